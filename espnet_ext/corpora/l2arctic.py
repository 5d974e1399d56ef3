"""L2-ARCTIC (Zhao et al., Interspeech 2018; CC BY-NC 4.0): hand-corrected phones of read English.

`<SPK>/{wav,transcript,annotation}`: surface are the perceived phones, canonical the annotated
canonical ones, meaning the words. The corpus's README defines the phone labels: `AH0` said well,
`CPL,PPL,s` substituted, `CPL,sil,d` deleted, `sil,PPL,a` added, `*` deviates from American English,
`err` cannot be told. How each is read, and what is done about faulty ones, says `parse_label`.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from espnet_ext.corpora.delivered import spread
from espnet_ext.corpora.preparation import (
    UNIDENTIFIED,
    Report,
    Sets,
    by_turns,
    check_audio,
    english_words,
    known_sentences,
    read_phone,
    require_folder,
)
from espnet_ext.corpora.textgrid import Tier, read_textgrid
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track

# First languages by speaker (the corpus's README).
SPEAKERS = {
    "ar": ("ABA", "SKA", "YBAA", "ZHAA"),
    "zh": ("BWC", "LXC", "NCC", "TXHC"),
    "hi": ("ASI", "RRBI", "SVBI", "TNI"),
    "ko": ("HJK", "HKK", "YDCK", "YKWK"),
    "es": ("EBVS", "ERMS", "MBMPS", "NJS"),
    "vi": ("HQTV", "PNV", "THV", "TLV"),
}
L1 = {speaker: l1 for l1, speakers in SPEAKERS.items() for speaker in speakers}
# The split that published results use: one speaker of each first language to test and to validate.
TEST_SPEAKERS = frozenset(("TLV", "NJS", "TNI", "TXHC", "ZHAA", "YKWK"))
VALID_SPEAKERS = frozenset(("THV", "MBMPS", "SVBI", "NCC", "YBAA", "YDCK"))
SPLITS = ("auto", "standard", "speakers", "sentences")
SUITCASE = "suitcase_corpus"
NO_ANNOTATION = "not annotated"
HOW_TO_GET = (
    "the corpus comes by its authors' request form, https://psi.engr.tamu.edu/l2-arctic-corpus/; "
    "give the archive that they send with --archive FILE"
)


@dataclass(frozen=True)
class Label:
    """One label of the phones tier. "" is nothing (silence, or no such phone), None not known."""

    canonical: str | None  # what should have been said
    perceived: str | None  # what was heard; "ERR" if the annotators could not tell
    marked: bool = False  # carried the deviation mark
    problem: str = ""  # why a part is not known


def parse_label(text: str) -> Label:
    """Read one label of the phones tier; what is not understood becomes None, never a guess.

    A marked phone (`AO*`: an AO with a foreign accent) is read as that phone, because the marks are
    not systematic enough to be tokens; the report counts them. A label whose letter contradicts its
    phones (`AH,sil,s`) is not understood.

    >>> parse_label("AH0"), parse_label(" r, W* ,S")  # doctest: +NORMALIZE_WHITESPACE
    (Label(canonical='AH', perceived='AH', marked=False, problem=''),
     Label(canonical='R', perceived='W', marked=True, problem=''))
    >>> parse_label("T,sil,d").perceived, parse_label("sil,AH,a").canonical
    ('', '')
    """
    shown = f"label '{text.strip()}'"
    pieces = re.split(r"[,;]", text.strip().rstrip(",;. "))
    if len(pieces) == 1:
        phone, marked = read_phone(pieces[0])
        if phone is None or phone == UNIDENTIFIED:
            return Label(None, None, marked, f"{shown} is no phone")
        return Label(phone, phone, marked)
    canonical, _ = read_phone(pieces[0])
    if canonical == UNIDENTIFIED:
        canonical = None
    if len(pieces) != 3:
        return Label(canonical or None, None, False, f"{shown} has {len(pieces)} parts")
    perceived, marked = read_phone(pieces[1])
    kind = re.sub(r"[\W\d_]", "", pieces[2]).lower()
    if canonical is None or perceived is None:
        return Label(canonical, perceived, marked, f"{shown} has a part that is no phone")
    agrees = {"s": canonical and perceived, "d": canonical and not perceived}
    agrees["a"] = perceived and not canonical
    if not agrees.get(kind):
        return Label(None, None, marked, f"{shown} contradicts itself")
    return Label(canonical, perceived, marked)


def read_annotation(
    path: str | os.PathLike, report: Report, utt_id: str, unidentified: str = "unlabelled"
) -> dict[str, str]:
    """Transcripts by output (surface, canonical) of an annotation; notes why one is absent."""

    def miss(outputs: tuple[str, ...], reason: str) -> None:
        for output in outputs:
            report.miss(utt_id, output, reason)

    both = ("surface", "canonical")
    try:
        tiers = {name.lower(): tier for name, tier in read_textgrid(path).items()}
    except UserError as error:
        miss(both, f"faulty TextGrid: '{error.message}'")
        return {}
    tier = tiers.get("phones")
    if tier is None or not tier.intervals:
        miss(both, "the annotation has no phones")
        return {}
    if disorder := tier.disorder():
        miss(both, f"the phones' times are out of order: '{disorder}'")
        return {}
    if _has_unknown_word(tiers.get("words"), tier):
        miss(both, "a word unknown to the aligner has no phones (spn)")
        return {}
    labels = [parse_label(interval.label) for interval in tier.intervals]
    report.counts["phones with a deviation mark (*), read as the phone"] += sum(
        label.marked for label in labels
    )
    texts = {}
    for output in both:
        phones = [label.perceived if output == "surface" else label.canonical for label in labels]
        problem = next(
            (one.problem for one, phone in zip(labels, phones, strict=True) if phone is None), ""
        )
        if not problem and unidentified == "unlabelled" and UNIDENTIFIED in phones:
            problem = "a phone could not be identified (err)"
        text = " ".join(phone for phone in phones if phone)
        if problem or not text:
            miss((output,), problem or "no phone at all")
        else:
            texts[output] = text
    return texts


def _has_unknown_word(words: Tier | None, phones: Tier) -> bool:
    """Whether the forced alignment had no pronunciation for a word and nobody supplied one."""
    unknown = words is not None and any(one.label.strip() == "<unk>" for one in words.intervals)
    return unknown and any(one.label.strip().lower() == "spn" for one in phones.intervals)


def prepare(
    corpus_dir: str | os.PathLike,
    *,
    split: str = "auto",
    unannotated: str = "train",
    unidentified: str = "unlabelled",
    suitcase: bool = False,
    skip_unreadable: bool = False,
    nj: int = 1,
    report: Report | None = None,
) -> Sets:
    """The corpus as train, valid and test.

    `split`: "standard" is the field's (six speakers to test, six to validate); "speakers" takes the
    last speaker of every six by name to test and as many before them to validate; "sentences" deals
    sentences out 8:1:1, all speakers in all sets. "auto" is standard if there is somebody to train
    on then, else speakers, or sentences if there are fewer than three speakers. `unannotated`
    utterances (words only) go to "train" only, to "all" sets, or to "none". With `unidentified`
    "token", `err` becomes the token ERR instead of leaving the surface unlabelled. `suitcase` adds
    the spontaneous narratives (domain "spontaneous") to their speaker's set. `nj` speakers are read
    at a time.
    """
    report = report if report is not None else Report("l2arctic")
    root = Path(require_folder(corpus_dir, "L2-ARCTIC", HOW_TO_GET))
    folders = _speaker_folders(root, report)
    utterances = []
    read = spread(partial(_read_apart, unidentified=unidentified), folders.items(), nj)
    label = "l2arctic: reading annotations"
    for found, account in track(read, label, len(folders), unit="speaker"):
        utterances += found
        report.take(account)
    if suitcase:
        utterances += _read_suitcase(root, folders, report, unidentified)
    if not any("surface" in one.texts for one in utterances):
        raise UserError(f"{root}: not one annotated utterance", "check <SPK>/annotation/*.TextGrid")
    utterances = check_audio(utterances, report, skip_unreadable=skip_unreadable, nj=nj)
    sets: Sets = {"train": [], "valid": [], "test": []}
    place = _place(sorted(folders), utterances, split, report)
    for one in sorted(utterances, key=lambda one: one.utt_id):
        name = place(one)
        annotated = report.unlabelled.get(one.utt_id, {}).get("surface") != NO_ANNOTATION
        if annotated or unannotated == "all" or (unannotated == "train" and name == "train"):
            sets[name].append(one)
        else:
            _leave_out(report, one.utt_id, f"not annotated (--unannotated {unannotated})")
    report.notes.append(known_sentences(sets))
    return sets


def _speaker_folders(root: Path, report: Report) -> dict[str, Path]:
    """Folders with `wav` by speaker; the archives of some releases nest `<SPK>/<SPK>/wav`."""
    folders, others = {}, []
    for entry in sorted(path for path in root.iterdir() if path.is_dir()):
        inner = next((one for one in (entry, entry / entry.name) if (one / "wav").is_dir()), None)
        if entry.name == SUITCASE:
            continue
        if inner is None:
            others.append(entry.name)
            continue
        if not (inner / "transcript").is_dir():
            remedy = "expected <SPK>/{wav,transcript,annotation} as published; take a fresh copy"
            raise UserError(f"{inner}: has wav/ but no transcript/", remedy)
        folders[entry.name] = inner
    if not folders:
        zipped = sorted(path.name for path in root.glob("*.zip"))
        hint = f"unpack {', '.join(zipped[:3])} … there first" if zipped else HOW_TO_GET
        raise UserError(f"{root}: has no <SPK>/{{wav,transcript,annotation}}", hint)
    if others:
        report.notes.append(f"folders without wav/ are not speakers: {' '.join(others)}")
    if strangers := [speaker for speaker in folders if speaker not in L1]:
        report.notes.append(f"speakers of unknown first language: {' '.join(strangers)}")
    return folders


def _files(folder: Path, *suffixes: str) -> dict[str, Path]:
    """Files by stem; of several suffixes the first wins."""
    found: dict[str, Path] = {}
    for suffix in suffixes:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() == suffix and not path.name.startswith("."):
                found.setdefault(path.stem, path)
    return found


def _read_apart(work: tuple[str, Path], unidentified: str) -> tuple[list[Utterance], Report]:
    """A speaker's utterances with an account of their own, as another process gives them."""
    report = Report("l2arctic")
    return list(_read_speaker(*work, report, unidentified)), report


def _read_speaker(
    speaker: str, folder: Path, report: Report, unidentified: str
) -> Iterator[Utterance]:
    """Utterances of a speaker, sorted; what has no audio is reported as left out."""
    audio = _files(folder / "wav", ".wav", ".flac")
    transcripts = _files(folder / "transcript", ".txt")
    annotations = _files(folder / "annotation", ".textgrid")
    for stem in sorted({**transcripts, **annotations}.keys() - audio.keys()):
        report.left_out[f"{speaker}-{stem}"] = "no audio"
    for stem, sound in sorted(audio.items()):
        utt_id = f"{speaker}-{stem}"
        texts = {}
        if stem in annotations:
            texts = read_annotation(annotations[stem], report, utt_id, unidentified)
        else:
            report.miss(utt_id, "surface", NO_ANNOTATION)
            report.miss(utt_id, "canonical", NO_ANNOTATION)
        if words := _read_words(transcripts.get(stem), report, utt_id):
            texts["meaning"] = words
        if not texts:
            _leave_out(report, utt_id, "no transcript of any kind")
            continue
        yield Utterance(utt_id, speaker, str(sound), texts, "en", L1.get(speaker), domain="read")


def _read_words(path: Path | None, report: Report, utt_id: str) -> str:
    if path is None:
        report.miss(utt_id, "meaning", "no transcript file")
        return ""
    try:
        words = english_words(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read: {error}", "take it from a fresh copy") from None
    if not words:
        report.miss(utt_id, "meaning", "the transcript file is empty")
    return words


def _read_suitcase(
    root: Path, folders: dict[str, Path], report: Report, unidentified: str
) -> Iterator[Utterance]:
    """One narrative a speaker, about a minute each: beware of stage 4's length limit."""
    inner = root / SUITCASE / SUITCASE
    folder = inner if (inner / "wav").is_dir() else root / SUITCASE
    if not (folder / "wav").is_dir():
        message = f"{folder}: has no wav/, so no spontaneous speech"
        raise UserError(message, "unpack suitcase_corpus.zip there, or leave --suitcase off")
    annotations = _files(folder / "annotation", ".textgrid")
    transcripts = _files(folder / "transcript", ".txt")
    for stem, sound in sorted(_files(folder / "wav", ".wav", ".flac").items()):
        speaker = stem.upper()
        utt_id = f"{speaker}-suitcase"
        if speaker not in folders:
            report.left_out[utt_id] = "suitcase narrative of a speaker without read speech here"
            continue
        texts = {}
        if stem in annotations:
            texts = read_annotation(annotations[stem], report, utt_id, unidentified)
        else:
            report.miss(utt_id, "surface", NO_ANNOTATION)
            report.miss(utt_id, "canonical", NO_ANNOTATION)
        if words := _read_words(transcripts.get(stem), report, utt_id):
            texts["meaning"] = words
        if texts:
            l1 = L1.get(speaker)
            yield Utterance(utt_id, speaker, str(sound), texts, "en", l1, domain="spontaneous")
        else:
            _leave_out(report, utt_id, "no transcript of any kind")


def _leave_out(report: Report, utt_id: str, reason: str) -> None:
    report.left_out[utt_id] = reason
    report.unlabelled.pop(utt_id, None)


def _place(
    speakers: list[str], utterances: list[Utterance], split: str, report: Report
) -> Callable[[Utterance], str]:
    """What says which set an utterance is in; the rule that was used goes to the report's notes."""
    trainers = [one for one in speakers if one not in TEST_SPEAKERS | VALID_SPEAKERS]
    testers = [one for one in speakers if one in TEST_SPEAKERS]
    validators = [one for one in speakers if one in VALID_SPEAKERS]
    if split == "auto":
        if testers and (trainers or validators):
            split = "standard"
        else:
            split = "speakers" if len(speakers) >= 3 else "sentences"
        report.notes.append(f"the speakers here allow --split {split}")
    if split == "standard":
        if not (testers and (trainers or validators)):
            message = f"--split standard: of {' '.join(speakers)} none can "
            message += "train" if testers else "test"
            raise UserError(message, "--split speakers or --split sentences, or get more speakers")
        if not trainers:
            trainers, validators = validators, []
        if not validators and len(trainers) > 1:
            validators = [trainers.pop()]
    elif split == "speakers":
        if len(speakers) < 3:
            message = f"--split speakers: three are needed, here are {len(speakers)}"
            raise UserError(message, "--split sentences")
        share = max(1, len(speakers) // 6)
        trainers, validators = speakers[: -2 * share], speakers[-2 * share : -share]
        testers = speakers[-share:]
    if split == "sentences" or not validators:
        return _place_sentences(utterances, set(testers), split, report)
    report.notes.append(
        f"split by speakers ({split}): train {' '.join(trainers)}; valid {' '.join(validators)}; "
        f"test {' '.join(testers)}"
    )
    sets = {speaker: "valid" for speaker in validators} | {speaker: "test" for speaker in testers}
    return lambda one: sets.get(one.speaker, "train")


def _place_sentences(
    utterances: list[Utterance], testers: set[str], split: str, report: Report
) -> Callable[[Utterance], str]:
    """Deal sentences out; under "standard" with one training speaker, only to train and valid."""
    names = sorted({_sentence(one) for one in utterances})
    if len(names) < 3:
        raise UserError(f"{len(names)} sentences are too few to split", "add speakers or sentences")
    if split == "sentences":
        sets = by_turns(names, {"valid": 1, "test": 1})
        report.notes.append("split by sentences: of every ten, eight train, one valid, one test")
        return lambda one: sets[_sentence(one)]
    sets = by_turns(names, {"valid": 1})
    report.notes.append(
        f"split by speakers (standard): test {' '.join(sorted(testers))}; of the one other "
        "speaker's sentences, every tenth is valid"
    )
    return lambda one: "test" if one.speaker in testers else sets[_sentence(one)]


def _sentence(one: Utterance) -> str:
    return one.utt_id.removeprefix(one.speaker + "-")
