"""L2-ARCTIC: read English with hand-corrected phones (Zhao et al., Interspeech 2018; CC BY-NC 4.0).

Layout: `<SPK>/{wav,transcript,annotation}`. Surface is the perceived and canonical the canonical
phones of the annotation; meaning is the words. The corpus's README defines the labels of the phones
tier: `AH0` correct, `CPL,PPL,s` substituted, `CPL,sil,d` deleted, `sil,PPL,a` added, where CPL is
the canonical and PPL the perceived phone; `*` deviates from American English; `err` could not be
identified. See `parse_label` for how labels are read and what happens to malformed ones.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from espnet_ext.corpora.corpus_files import parallel_map
from espnet_ext.corpora.download import ArchiveOptions, Source, corpus_folder
from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    assign_sets,
    check_audio,
    require_folder,
    sentence_overlap,
)
from espnet_ext.corpora.textgrid import Tier, read_textgrid
from espnet_ext.corpora.transcripts import UNIDENTIFIED, english_words, read_phone
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
# The split of published results: one test and one validation speaker per first language.
TEST_SPEAKERS = frozenset(("TLV", "NJS", "TNI", "TXHC", "ZHAA", "YKWK"))
VALID_SPEAKERS = frozenset(("THV", "MBMPS", "SVBI", "NCC", "YBAA", "YDCK"))
SETS = ("train", "valid", "test")
SEEN = "test_seen"  # a set of the split "disjoint"
FOLDS = 4  # groups of sentences of the split "disjoint"
VALID_EVERY = 20  # of the split "disjoint": one sentence of this many validates
SUITCASE = "suitcase_corpus"
NO_ANNOTATION = "not annotated"
HOW_TO_GET = (
    "request the corpus from its authors, https://psi.engr.tamu.edu/l2-arctic-corpus/, and give "
    "the archive that they send with --archive FILE"
)
SOURCE = Source("l2arctic", "*/wav", HOW_TO_GET)


@dataclass(frozen=True)
class Options(ArchiveOptions):
    """Options of `espnet-ext prepare l2arctic`."""

    # "standard": the split of published results (six test, six validation speakers).
    # "speakers": the last sixth of the speakers by name tests, the sixth before it validates.
    # "sentences": 8:1:1 by sentence, with all speakers in all sets.
    # "disjoint": `test_speakers` test, and a quarter of the sentences (`fold`) is not in training.
    # The set test has sentences that are in no other set, test_seen those of the other sets.
    # "auto": "standard" if speakers are left to train on, else "speakers", or "sentences" if there
    # are fewer than three speakers.
    split: str = "auto"
    test_speakers: tuple[str, ...] = ()  # test speakers of the split "disjoint"
    fold: int = 1  # fold of the split "disjoint", 1 to 4
    unannotated: str = (
        "train"  # sets of the utterances that have only words: "train", "all", "none"
    )
    # A perceived phone labelled `err`: "unlabelled" omits the surface, "token" writes ERR.
    unidentified: str = "unlabelled"
    suitcase: bool = False  # add the spontaneous narratives (domain "spontaneous")


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set: train, valid and test."""
    root = Path(require_folder(corpus_folder(options, SOURCE), "L2-ARCTIC", HOW_TO_GET))
    folders = _speaker_folders(root, report)
    utterances = []
    read_speaker = partial(_read_speaker, unidentified=options.unidentified)
    results = parallel_map(read_speaker, folders.items(), options.nj)
    label = "l2arctic: reading annotations"
    for of_speaker, report_of_speaker in track(results, label, len(folders), unit="speaker"):
        utterances += of_speaker
        report.merge(report_of_speaker)
    if options.suitcase:
        utterances += _read_suitcase(root, folders, report, options.unidentified)
    if not any("surface" in utterance.texts for utterance in utterances):
        message = f"{root}: none of the utterances is annotated"
        raise UserError(message, "check <SPK>/annotation/*.TextGrid")
    names = (*SETS, SEEN) if options.split == "disjoint" else SETS
    if SEEN in options.sets and SEEN not in names:
        raise UserError(
            f"--sets {SEEN}: --split {options.split} has no such set", "--split disjoint"
        )
    requested = options.selected(names)
    set_of: Callable[[Utterance], str]
    if options.split == "disjoint":
        assigned = _split_disjoint(utterances, options, report)
        utterances = [utterance for utterance in utterances if utterance.utt_id in assigned]
        set_of = partial(_set_of, assigned)
    else:
        set_of = _choose_split(sorted(folders), utterances, options.split, requested, report)
    for utterance in utterances:
        if set_of(utterance) not in requested:
            report.unlabelled.pop(utterance.utt_id, None)
    utterances = check_audio(
        [utterance for utterance in utterances if set_of(utterance) in requested],
        report,
        skip_unreadable=options.skip_unreadable,
        nj=options.nj,
    )
    sets: Sets = {name: [] for name in requested}
    for utterance in sorted(utterances, key=lambda utterance: utterance.utt_id):
        name = set_of(utterance)
        reasons = report.unlabelled.get(utterance.utt_id, {})
        annotated = reasons.get("surface") != NO_ANNOTATION
        if annotated or options.unannotated in ("all", name):
            sets[name].append(utterance)
        else:
            reason = f"not annotated (--unannotated {options.unannotated})"
            report.leave_out(utterance.utt_id, reason)
    if {"train", "test"} <= sets.keys():
        report.notes.append(sentence_overlap(sets))
    return sets


# -- labels


@dataclass(frozen=True)
class Label:
    """One label of the phones tier. "" means no phone (silence), None a phone that is not known."""

    canonical: str | None
    perceived: str | None  # "ERR" if the annotators could not identify the phone
    marked: bool = False  # has the deviation mark
    problem: str = ""  # why a part is not known


def parse_label(text: str) -> Label:
    """Parse one label of the phones tier; a part that is not understood becomes None.

    A marked phone (`AO*`: an AO with a foreign accent) is read as that phone, because the marks are
    not systematic enough to be tokens; the report counts them. A label whose letter contradicts its
    phones (`AH,sil,s`) is not understood.

    >>> parse_label("AH0"), parse_label(" r, W* ,S")  # doctest: +NORMALIZE_WHITESPACE
    (Label(canonical='AH', perceived='AH', marked=False, problem=''),
     Label(canonical='R', perceived='W', marked=True, problem=''))
    >>> parse_label("T,sil,d").perceived, parse_label("sil,AH,a").canonical
    ('', '')
    """
    quoted = f"label '{text.strip()}'"
    parts = re.split(r"[,;]", text.strip().rstrip(",;. "))
    if len(parts) == 1:
        phone, marked = read_phone(parts[0])
        if phone is None or phone == UNIDENTIFIED:
            return Label(None, None, marked, f"{quoted} is not a phone")
        return Label(phone, phone, marked)
    canonical, _ = read_phone(parts[0])
    if canonical == UNIDENTIFIED:
        canonical = None
    if len(parts) != 3:
        return Label(canonical or None, None, False, f"{quoted} has {len(parts)} parts")
    perceived, marked = read_phone(parts[1])
    kind = re.sub(r"[\W\d_]", "", parts[2]).lower()
    if canonical is None or perceived is None:
        return Label(canonical, perceived, marked, f"{quoted} has a part that is not a phone")
    consistent = {
        "s": canonical and perceived,
        "d": canonical and not perceived,
        "a": perceived and not canonical,
    }
    if not consistent.get(kind):
        return Label(None, None, marked, f"{quoted} contradicts itself")
    return Label(canonical, perceived, marked)


def read_annotation(
    path: Path, report: Report, utt_id: str, unidentified: str = "unlabelled"
) -> dict[str, str]:
    """Return the surface and canonical phones of an annotation; report why one is missing."""
    outputs = ("surface", "canonical")
    tier, problem = _phones_tier(path)
    if tier is None:
        for output in outputs:
            report.mark_unlabelled(utt_id, output, problem)
        return {}
    labels = [parse_label(interval.label) for interval in tier.intervals]
    marked = sum(label.marked for label in labels)
    report.counts["phones with a deviation mark (*), read as the phone"] += marked
    texts = {}
    for output in outputs:
        phones = [label.perceived if output == "surface" else label.canonical for label in labels]
        unknown = [
            label.problem for label, phone in zip(labels, phones, strict=True) if phone is None
        ]
        text = " ".join(phone for phone in phones if phone)
        if unknown:
            report.mark_unlabelled(utt_id, output, unknown[0])
        elif unidentified == "unlabelled" and UNIDENTIFIED in phones:
            report.mark_unlabelled(utt_id, output, "a phone could not be identified (err)")
        elif not text:
            report.mark_unlabelled(utt_id, output, "no phones")
        else:
            texts[output] = text
    return texts


def _phones_tier(path: Path) -> tuple[Tier | None, str]:
    """Return the phones tier of an annotation, or None and why it cannot be used."""
    try:
        tiers = {name.lower(): tier for name, tier in read_textgrid(path).items()}
    except UserError as error:
        return None, f"faulty TextGrid: '{error.message}'"
    tier = tiers.get("phones")
    if tier is None or not tier.intervals:
        return None, "the annotation has no phones"
    if disorder := tier.disorder():
        return None, f"the times of the phones are out of order: '{disorder}'"
    if _has_unknown_word(tiers.get("words"), tier):
        return None, "a word unknown to the aligner has no phones (spn)"
    return tier, ""


def _has_unknown_word(words: Tier | None, phones: Tier) -> bool:
    """Return whether the aligner had no pronunciation for a word and the annotators added none."""
    unknown = words is not None and any(
        interval.label.strip() == "<unk>" for interval in words.intervals
    )
    return unknown and any(interval.label.strip().lower() == "spn" for interval in phones.intervals)


# -- reading


def _speaker_folders(root: Path, report: Report) -> dict[str, Path]:
    """Return speaker → folder with `wav`; some releases nest the folders: `<SPK>/<SPK>/wav`."""
    folders, others = {}, []
    for entry in sorted(path for path in root.iterdir() if path.is_dir()):
        if entry.name == SUITCASE:
            continue
        candidates = (entry, entry / entry.name)
        folder = next((path for path in candidates if (path / "wav").is_dir()), None)
        if folder is None:
            others.append(entry.name)
            continue
        if not (folder / "transcript").is_dir():
            remedy = "expected <SPK>/{wav,transcript,annotation} as published; take a fresh copy"
            raise UserError(f"{folder}: has wav/ but no transcript/", remedy)
        folders[entry.name] = folder
    if not folders:
        zipped = sorted(path.name for path in root.glob("*.zip"))
        remedy = f"unpack {', '.join(zipped[:3])} … there first" if zipped else HOW_TO_GET
        raise UserError(f"{root}: has no <SPK>/{{wav,transcript,annotation}}", remedy)
    if others:
        report.notes.append(f"folders without wav/, which are not speakers: {' '.join(others)}")
    if unknown := [speaker for speaker in folders if speaker not in L1]:
        report.notes.append(f"speakers of unknown first language: {' '.join(unknown)}")
    return folders


@dataclass(frozen=True)
class _Files:
    """The files of a folder with `wav`, `transcript` and `annotation`, by stem."""

    audio: Mapping[str, Path]
    transcripts: Mapping[str, Path]
    annotations: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path) -> "_Files":
        return cls(
            _files_by_stem(folder / "wav", ".wav", ".flac"),
            _files_by_stem(folder / "transcript", ".txt"),
            _files_by_stem(folder / "annotation", ".textgrid"),
        )

    def texts(self, stem: str, report: Report, utt_id: str, unidentified: str) -> dict[str, str]:
        """Return the transcripts of a stem by output; report the missing ones."""
        texts = {}
        if stem in self.annotations:
            texts = read_annotation(self.annotations[stem], report, utt_id, unidentified)
        else:
            report.mark_unlabelled(utt_id, "surface", NO_ANNOTATION)
            report.mark_unlabelled(utt_id, "canonical", NO_ANNOTATION)
        if words := _read_words(self.transcripts.get(stem), report, utt_id):
            texts["meaning"] = words
        if not texts:
            report.leave_out(utt_id, "no transcript of any kind")
        return texts


def _files_by_stem(folder: Path, *suffixes: str) -> dict[str, Path]:
    """Return stem → file; if a stem has several suffixes, the first of `suffixes` counts."""
    files: dict[str, Path] = {}
    for suffix in suffixes:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() == suffix and not path.name.startswith("."):
                files.setdefault(path.stem, path)
    return files


def _read_speaker(
    speaker_and_folder: tuple[str, Path], unidentified: str
) -> tuple[list[Utterance], Report]:
    """Return the utterances of one speaker and a report on them; runs in a worker process."""
    speaker, folder = speaker_and_folder
    report = Report("l2arctic")
    files = _Files.of(folder)
    for stem in sorted({**files.transcripts, **files.annotations}.keys() - files.audio.keys()):
        report.leave_out(f"{speaker}-{stem}", "no audio")
    utterances = []
    for stem, audio in sorted(files.audio.items()):
        utt_id = f"{speaker}-{stem}"
        if texts := files.texts(stem, report, utt_id, unidentified):
            utterances.append(
                Utterance(utt_id, speaker, str(audio), texts, "en", L1.get(speaker), domain="read")
            )
    return utterances, report


def _read_words(path: Path | None, report: Report, utt_id: str) -> str:
    if path is None:
        report.mark_unlabelled(utt_id, "meaning", "no transcript file")
        return ""
    try:
        words = english_words(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot read: {error}", "replace the file with a fresh copy"
        ) from None
    if not words:
        report.mark_unlabelled(utt_id, "meaning", "the transcript file is empty")
    return words


def _read_suitcase(
    root: Path, folders: Mapping[str, Path], report: Report, unidentified: str
) -> list[Utterance]:
    """Return the spontaneous narratives of the suitcase corpus: one utterance per speaker.

    They last about a minute. For training, --max_wav_duration must be raised accordingly.
    """
    nested = root / SUITCASE / SUITCASE
    folder = nested if (nested / "wav").is_dir() else root / SUITCASE
    if not (folder / "wav").is_dir():
        message = f"{folder}: has no wav/, so there is no spontaneous speech"
        raise UserError(message, "unpack suitcase_corpus.zip there, or leave --suitcase off")
    files = _Files.of(folder)
    utterances = []
    for stem, audio in sorted(files.audio.items()):
        speaker = stem.upper()
        utt_id = f"{speaker}-suitcase"
        if speaker not in folders:
            report.leave_out(utt_id, "narrative of a speaker whose read speech is not here")
        elif texts := files.texts(stem, report, utt_id, unidentified):
            l1 = L1.get(speaker)
            utterances.append(
                Utterance(utt_id, speaker, str(audio), texts, "en", l1, domain="spontaneous")
            )
    return utterances


# -- splits


def _choose_split(
    speakers: list[str],
    utterances: list[Utterance],
    split: str,
    requested: Sequence[str],
    report: Report,
) -> Callable[[Utterance], str]:
    """Return the function utterance → set, and note in the report how the sets were split.

    The speakers of a set that is not requested may be missing. With too few speakers to split,
    "auto" puts everything into the one set that is requested.
    """
    train = [speaker for speaker in speakers if speaker not in TEST_SPEAKERS | VALID_SPEAKERS]
    test = [speaker for speaker in speakers if speaker in TEST_SPEAKERS]
    valid = [speaker for speaker in speakers if speaker in VALID_SPEAKERS]
    lacks_test = not test and "test" in requested
    lacks_train = not (train or valid) and set(requested) != {"test"}
    if split == "auto":
        if len(requested) == 1 and len(speakers) < 3 and (lacks_test or lacks_train):
            report.notes.append(f"all speakers are in {requested[0]}: {' '.join(speakers)}")
            return lambda utterance: requested[0]
        if not (lacks_test or lacks_train):
            split = "standard"
        else:
            split = "speakers" if len(speakers) >= 3 else "sentences"
        report.notes.append(f"--split auto chose {split} for these speakers")
    if split == "standard":
        if lacks_test or lacks_train:
            names = "test" if lacks_test else "training"
            message = f"--split standard: none of {' '.join(speakers)} is a {names} speaker"
            raise UserError(message, "--split speakers or --split sentences, or get more speakers")
        if not train and not valid:
            report.notes.append(f"split by speakers (standard): test {' '.join(test)}")
            return lambda utterance: "test"
        if not train:
            train, valid = valid, []
        if not valid and len(train) > 1:
            valid = [train.pop()]
    elif split == "speakers":
        if len(speakers) < 3:
            message = f"--split speakers: needs three speakers, here are {len(speakers)}"
            raise UserError(message, "--split sentences")
        share = max(1, len(speakers) // 6)
        train, valid = speakers[: -2 * share], speakers[-2 * share : -share]
        test = speakers[-share:]
    if split == "sentences" or not valid:
        return _split_sentences(utterances, set(test), split, report)
    report.notes.append(
        f"split by speakers ({split}): train {' '.join(train)}; valid {' '.join(valid)}; "
        f"test {' '.join(test)}"
    )
    sets = dict.fromkeys(valid, "valid") | dict.fromkeys(test, "test")
    return lambda utterance: sets.get(utterance.speaker, "train")


def _set_of(assigned: Mapping[str, str], utterance: Utterance) -> str:
    return assigned[utterance.utt_id]


def _split_disjoint(
    utterances: Sequence[Utterance], options: Options, report: Report
) -> dict[str, str]:
    """Return utterance → set, such that test shares neither speaker nor sentence with another set.

    Utterances of other speakers with a sentence of the fold are in no set.
    """
    speakers = sorted({utterance.speaker for utterance in utterances})
    missing = [name for name in options.test_speakers if name not in speakers]
    if missing or not options.test_speakers or set(options.test_speakers) >= set(speakers):
        what = "it needs test speakers"
        if missing:
            what = f"unknown speaker {' '.join(missing)}"
        elif options.test_speakers:
            what = "all speakers are test speakers, so none is left for training"
        raise UserError(
            f"--split disjoint: {what}",
            f"give some of these with --test_speakers, but not all: {' '.join(speakers)}",
        )
    if not 1 <= options.fold <= FOLDS:
        raise UserError(f"--fold {options.fold}", f"write a number from 1 to {FOLDS}")
    sentences = sorted({_sentence(utterance) for utterance in utterances})
    held_out = set(sentences[options.fold - 1 :: FOLDS])
    valid = set([name for name in sentences if name not in held_out][::VALID_EVERY])
    assigned = {}
    for utterance in utterances:
        if utterance.speaker in options.test_speakers:
            continue
        if _sentence(utterance) in held_out:
            report.leave_out(utterance.utt_id, f"its sentence is in fold {options.fold}")
        else:
            assigned[utterance.utt_id] = "valid" if _sentence(utterance) in valid else "train"
    seen = {_sentence(utterance) for utterance in utterances if utterance.utt_id in assigned}
    for utterance in utterances:
        if utterance.speaker in options.test_speakers:
            assigned[utterance.utt_id] = SEEN if _sentence(utterance) in seen else "test"
    report.notes.append(
        f"split disjoint: test speakers {' '.join(options.test_speakers)}, fold {options.fold} of "
        f"{FOLDS}; the sentences of test are in no other set, those of {SEEN} are in training or "
        "validation"
    )
    return assigned


def _split_sentences(
    utterances: list[Utterance], test_speakers: set[str], split: str, report: Report
) -> Callable[[Utterance], str]:
    """Split by sentences; under "standard", the sentences of the one training speaker."""
    sentences = sorted({_sentence(utterance) for utterance in utterances})
    if len(sentences) < 3:
        message = f"{len(sentences)} sentences are too few to split"
        raise UserError(message, "add speakers or sentences")
    if split == "sentences":
        sets = assign_sets(sentences, {"valid": 1, "test": 1})
        report.notes.append("split by sentences: of each ten, eight train, one valid, one test")
        return lambda utterance: sets[_sentence(utterance)]
    sets = assign_sets(sentences, {"valid": 1})
    report.notes.append(
        f"split by speakers (standard): test {' '.join(sorted(test_speakers))}; every tenth "
        "sentence of the one other speaker is valid"
    )
    return lambda utterance: (
        "test" if utterance.speaker in test_speakers else sets[_sentence(utterance)]
    )


def _sentence(utterance: Utterance) -> str:
    return utterance.utt_id.removeprefix(utterance.speaker + "-")
