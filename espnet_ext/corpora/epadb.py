"""EpaDB (Vidal, Ferrer & Brambilla, Interspeech 2019): English read by speakers of Spanish.

Layout: `{train,test}/<spkr>/{waveforms,transcriptions,annotations_1}`, in older copies `<spkr>/…`,
and `reference_transcriptions.txt`. The tier `annotation` of a TextGrid holds the perceived phones,
in ARPAbet with additional symbols for allophones and Spanish sounds: surface. Canonical is the
reference variant that fits the annotation best, by the method of the corpus's own labels; meaning
is the prompt.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    assign_sets,
    check_audio,
    require_folder,
    sentence_overlap,
)
from espnet_ext.corpora.textgrid import read_textgrid
from espnet_ext.corpora.transcripts import UNIDENTIFIED, english_words
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.phones import is_phone

HOW_TO_GET = "get it from https://github.com/JazminVidal/EpaDB"
REFERENCES = "reference_transcriptions.txt"
# Symbols beyond the 39 phones. Case matters: TH is the consonant of "think", Th an aspirated T.
ALLOPHONES = {"Th": "T", "Kh": "K", "Ph": "P", "AX": "AH"}  # allophone → phone
OTHERS = frozenset(("DX", "BH", "GH", "RR", "X", "LL", "A", "E", "I", "O", "U"))
SILENCES = frozenset(("", "sil", "sp", "spn", "None"))
DELETED = "0"
_VARIANT = re.compile(r"(TEXT|TRANSCRIPTION)\s+(\w+):\s*(.*)")

SETS = ("train", "valid", "test")

Variant = list[tuple[str, ...]]  # alternatives for each phone of a reference; "0" means no phone


@dataclass(frozen=True)
class References:
    """Content of `reference_transcriptions.txt`, by sentence number."""

    texts: Mapping[str, str]
    variants: Mapping[str, Sequence[Variant]]


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare epadb`."""

    corpus_dir: str | os.PathLike = ""  # folder with train and test, or with the speakers
    # "fold": Th, Kh, Ph, AX become T, K, P, AH, as in other English corpora. "keep": an unaspirated
    # T in place of Th is a deviation, as in the annotation.
    allophones: str = "fold"
    # A label that is not a phone: "unlabelled" omits the surface, "token" writes ERR.
    unidentified: str = "unlabelled"


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set: train, valid and test.

    If the copy has the published folder `test`, its speakers are the test set, and valid consists
    of every tenth of the other speakers. Otherwise the speakers are split 8:1:1.
    """
    root = Path(require_folder(options.corpus_dir, "EpaDB", HOW_TO_GET))
    folders = _speaker_folders(root)
    references = _read_references(root)
    requested = options.selected(SETS)
    parts: dict[str, list[Utterance]] = {"": [], "train": [], "test": []}
    if any(part == "test" for part, _ in folders):
        folders = [(part, folder) for part, folder in folders if _is_needed(part, requested)]
    for part, folder in track(folders, "epadb: reading annotations", unit="speaker"):
        parts[part] += _read_speaker(folder, references, report, options)
    sets: Sets = {"train": [], "valid": [], "test": []}
    for part, utterances in parts.items():
        readable = check_audio(
            utterances, report, skip_unreadable=options.skip_unreadable, nj=options.nj
        )
        sets["test" if part == "test" else "train"] += readable
    _split(sets, requested, report)
    for utterances in sets.values():
        utterances.sort(key=lambda utterance: utterance.utt_id)
    if {"train", "test"} <= set(requested):
        report.notes.append(sentence_overlap(sets))
    return {name: sets[name] for name in requested}


def _is_needed(part: str, requested: Sequence[str]) -> bool:
    """Return whether a published part is needed for the requested sets."""
    if part == "test":
        return "test" in requested
    return "train" in requested or "valid" in requested


# -- labels


def read_symbol(label: str, allophones: str = "fold") -> list[str] | None:
    """Return the phones of an annotated label: [] for silence or a deletion, None if unknown.

    `+` joins two phones in one position; a final `*` marks a deviating phone; stress digits are
    ignored. ERR (or err) is a phone that the annotator could not identify.

    >>> read_symbol("Th"), read_symbol("Th", "keep"), read_symbol("AH+R"), read_symbol("OSH")
    (['T'], ['Th'], ['AH', 'R'], None)
    >>> read_symbol("0"), read_symbol("sp"), read_symbol("O*"), read_symbol("err")
    ([], [], ['O'], ['ERR'])
    """
    label = label.strip()
    if label in SILENCES or label == DELETED:
        return []
    phones = []
    for symbol in label.split("+"):
        symbol = symbol.strip().rstrip("*")
        if len(symbol) > 1 and symbol[-1] in "012":
            symbol = symbol[:-1]
        if symbol.upper() == UNIDENTIFIED:
            phones.append(UNIDENTIFIED)
        elif symbol in ALLOPHONES:
            phones.append(ALLOPHONES[symbol] if allophones == "fold" else symbol)
        elif is_phone(symbol) or symbol in OTHERS:
            phones.append(symbol)
        else:
            return None
    return phones


def best_reference(labels: Sequence[str], variants: Sequence[Variant]) -> list[str] | None:
    """Return the reference that agrees with most labels, "0" included; None if none fits.

    Only variants with as many positions as there are labels fit. In each position the result has
    the label if it is among the alternatives, else the first alternative.

    >>> best_reference(["AA", "T"], [[("AO", "AA"), ("Th", "CH")], [("ER",)]])
    ['AA', 'Th']
    """
    best, best_agreement = None, -1
    for variant in variants:
        if len(variant) != len(labels):
            continue
        reference = [
            label if label in alternatives else alternatives[0]
            for label, alternatives in zip(labels, variant, strict=True)
        ]
        agreement = sum(symbol == label for symbol, label in zip(reference, labels, strict=True))
        if agreement > best_agreement:
            best, best_agreement = reference, agreement
    return best


# -- reading


def _speaker_folders(root: Path) -> list[tuple[str, Path]]:
    """Return (part, folder) of each speaker; the part is "train", "test", or "" without parts."""
    folders = []
    for part in ("train", "test", ""):
        parent = root / part
        for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
            if (folder / "waveforms").is_dir():
                folders.append((part, folder))
    if not folders:
        remedy = f"expected {{train,test}}/<spkr>/waveforms; {HOW_TO_GET}"
        raise UserError(f"{root}: has no speaker folders", remedy)
    names = [folder.name for _, folder in folders]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        remedy = "keep one of the folders, or name one part of the corpus"
        raise UserError(f"{root}: {' '.join(repeated)}: speakers in two parts", remedy)
    return folders


def _read_references(root: Path) -> References:
    """Read `reference_transcriptions.txt`, which defines the canonical forms."""
    candidates = [root / REFERENCES, root / "train" / REFERENCES, root / "test" / REFERENCES]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise UserError(f"{root}: has no {REFERENCES}", HOW_TO_GET)
    try:
        return parse_references(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8: {error.reason}", HOW_TO_GET) from None
    except ValueError as error:
        raise UserError(f"{path}:{error}", "replace the file with a fresh copy") from None


def parse_references(text: str) -> References:
    """Parse prompts and variants; raise ValueError with the number of a malformed line.

    >>> parse_references("TEXT 1: Our toy\\nTRANSCRIPTION 1: AA R/0  T OY\\n").variants
    {'1': [[('AA',), ('R', '0'), ('T',), ('OY',)]]}
    """
    texts: dict[str, str] = {}
    variants: dict[str, list[Variant]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _VARIANT.fullmatch(line.strip())
        if not match or not match[3]:
            raise ValueError(f"{number}: neither TEXT nor TRANSCRIPTION: '{line.strip()[:60]}'")
        if match[1] == "TEXT":
            texts[match[2]] = match[3]
            continue
        variant = [tuple(position.split("/")) for position in match[3].split()]
        for symbol in (symbol for alternatives in variant for symbol in alternatives):
            if symbol != DELETED and not read_symbol(symbol, "keep"):
                raise ValueError(f"{number}: '{symbol}' is not a phone")
        variants.setdefault(match[2], []).append(variant)
    return References(texts, variants)


def _read_speaker(
    folder: Path, references: References, report: Report, options: Options
) -> Iterator[Utterance]:
    """Yield the utterances of a speaker, sorted; report those without audio as left out."""
    speaker = folder.name
    audio = {path.stem: path for path in sorted((folder / "waveforms").glob("*.wav"))}
    annotations = {path.stem: path for path in (folder / "annotations_1").glob("*.TextGrid")}
    for stem in sorted(annotations.keys() - audio.keys()):
        report.leave_out(_utt_id(speaker, stem), "no audio")
    for stem, audio_path in audio.items():
        utt_id = _utt_id(speaker, stem)
        sentence = stem.rpartition("_")[2]
        texts: dict[str, str] = {}
        aligned_words = ""
        if stem in annotations:
            variants = references.variants.get(sentence, ())
            texts, aligned_words = _read_annotation(
                annotations[stem], variants, report, utt_id, options
            )
        else:
            for output in ("surface", "canonical"):
                report.mark_unlabelled(utt_id, output, "not annotated")
        lab = folder / "transcriptions" / f"{stem}.lab"
        prompt = lab.read_text(encoding="utf-8", errors="replace") if lab.is_file() else ""
        reference_words = english_words(references.texts.get(sentence, ""))
        if meaning := english_words(prompt) or aligned_words or reference_words:
            texts["meaning"] = meaning
            if not prompt.strip():
                report.counts["prompts without a .lab file, from annotation or references"] += 1
        else:
            report.mark_unlabelled(utt_id, "meaning", "no prompt")
        if texts:
            yield Utterance(utt_id, speaker, str(audio_path), texts, "en", "es", domain="read")
        else:
            report.leave_out(utt_id, "no transcript of any kind")


def _utt_id(speaker: str, stem: str) -> str:
    return f"{speaker}-{stem.removeprefix(speaker + '_')}"


def _read_annotation(
    path: Path, variants: Sequence[Variant], report: Report, utt_id: str, options: Options
) -> tuple[dict[str, str], str]:
    """Return surface and canonical phones, and the aligned words; report what is missing."""

    def mark_unlabelled(outputs: Sequence[str], reason: str) -> None:
        for output in outputs:
            report.mark_unlabelled(utt_id, output, reason)

    both = ("surface", "canonical")
    try:
        tiers = {name.lower(): tier for name, tier in read_textgrid(path).items()}
    except UserError as error:
        mark_unlabelled(both, f"faulty TextGrid: '{error.message}'")
        return {}, ""
    words_tier = tiers.get("words")
    words = ""
    if words_tier:
        words = english_words(" ".join(interval.label for interval in words_tier.intervals))
    tier = tiers.get("annotation")
    if tier is None:
        mark_unlabelled(both, "no tier named annotation")
        return {}, words
    if disorder := tier.disorder():
        mark_unlabelled(both, f"the times of the annotation are out of order: '{disorder}'")
        return {}, words
    labels = [interval.label.strip() for interval in tier.intervals]
    labels = [label for label in labels if label not in SILENCES]
    marked = sum("*" in label for label in labels)
    report.counts["phones with a deviation mark (*), read as the phone"] += marked
    texts = {}
    phones_by_label = [read_symbol(label, options.allophones) for label in labels]
    unknown = [
        label for label, phones in zip(labels, phones_by_label, strict=True) if phones is None
    ]
    for label in unknown:
        report.counts[f"label '{label}', not understood"] += 1
    surface = [
        phone
        for phones in phones_by_label
        for phone in ([UNIDENTIFIED] if phones is None else phones)
    ]
    if UNIDENTIFIED in surface and options.unidentified == "unlabelled":
        reason = f"label '{unknown[0]}' is not a phone" if unknown else "a phone is ERR"
        mark_unlabelled(("surface",), reason)
    elif surface:
        texts["surface"] = " ".join(surface)
    else:
        mark_unlabelled(("surface",), "no phones")
    without_stress = [label if len(label) < 2 else re.sub("[012]$", "", label) for label in labels]
    reference = best_reference(without_stress, variants)
    if reference is None:
        mark_unlabelled(("canonical",), "no reference has as many positions as the annotation")
    else:
        canonical = [read_symbol(symbol, options.allophones) or [] for symbol in reference]
        texts["canonical"] = " ".join(phone for phones in canonical for phone in phones)
    return texts, words


def _split(sets: Sets, requested: Sequence[str], report: Report) -> None:
    """Move speakers from train to valid, and to test if it is empty; in place.

    If there are too few speakers and one set is requested, everything is in that set.
    """
    speakers = sorted({utterance.speaker for utterance in sets["train"]})
    shares = {"valid": 1} if sets["test"] or "test" not in requested else {"valid": 1, "test": 1}
    if not speakers:
        report.notes.append("split by speakers: the published test speakers")
        return
    if len(requested) == 1 and len(speakers) < len(shares) + 1:
        sets["train"], sets[requested[0]] = [], sets["train"]
        report.notes.append(f"all speakers are in {requested[0]}, as they are too few to split")
        return
    if len(speakers) < len(shares) + 1:
        raise UserError(f"{len(speakers)} speakers are too few to split", "get more of the corpus")
    set_of = assign_sets(speakers, shares)
    utterances, sets["train"] = sets["train"], []
    for utterance in utterances:
        sets[set_of[utterance.speaker]].append(utterance)
    if len(shares) == 1:
        rule = "the published test speakers; every tenth of the others is valid"
    else:
        rule = "of each ten, eight train, one valid, one test"
    report.notes.append(f"split by speakers: {rule}")
