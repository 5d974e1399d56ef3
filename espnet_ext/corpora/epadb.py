"""EpaDB (Vidal, Ferrer & Brambilla, Interspeech 2019): English read by speakers of Spanish.

`{train,test}/<spkr>/{waveforms,transcriptions,annotations_1}` (older copies: `<spkr>/…`) and
`reference_transcriptions.txt`. A TextGrid's tier `annotation` holds what was heard, in ARPAbet and
symbols beyond it for allophones and Spanish sounds: surface. Canonical is the reference variant
that fits the annotation best, as the corpus's own labels are made; meaning is the prompt.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espnet_ext.corpora.preparation import (
    UNIDENTIFIED,
    Report,
    Sets,
    by_turns,
    check_audio,
    english_words,
    known_sentences,
    require_folder,
)
from espnet_ext.corpora.textgrid import read_textgrid
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.progress import track
from espnet_ext.text.phones import is_phone

HOW_TO_GET = "get it from https://github.com/JazminVidal/EpaDB"
REFERENCES = "reference_transcriptions.txt"
# Symbols beyond the 39 phones, written as here: case tells TH (think) from Th (aspirated T).
ALLOPHONES = {"Th": "T", "Kh": "K", "Ph": "P", "AX": "AH"}  # → the phone that they are a form of
OTHERS = frozenset(("DX", "BH", "GH", "RR", "X", "LL", "A", "E", "I", "O", "U"))
SILENCES = frozenset(("", "sil", "sp", "spn", "None"))
DELETED = "0"
_VARIANT = re.compile(r"(TEXT|TRANSCRIPTION)\s+(\w+):\s*(.*)")

Slots = list[tuple[str, ...]]  # a reference: alternatives, phone by phone; "0" is none


@dataclass(frozen=True)
class References:
    """`reference_transcriptions.txt`, by number of the sentence."""

    texts: Mapping[str, str]
    variants: Mapping[str, Sequence[Slots]]


def prepare(
    corpus_dir: str | os.PathLike,
    *,
    allophones: str = "fold",
    unidentified: str = "unlabelled",
    skip_unreadable: bool = False,
    nj: int = 1,
    report: Report | None = None,
) -> Sets:
    """The corpus as train, valid and test: the published test speakers, if they are in a folder of
    their own; of the others every tenth validates. Else speakers are dealt out 8:1:1.

    `allophones`: "fold" makes Th, Kh, Ph, AX the phones T, K, P, AH, as other English corpora have
    them; "keep" leaves them, so that an unaspirated T for Th is a deviation, as the annotators had
    it. `unidentified`: "unlabelled", or "token" for ERR in place of what is no phone.
    """
    report = report if report is not None else Report("epadb")
    root = Path(require_folder(corpus_dir, "EpaDB", HOW_TO_GET))
    folders = _speaker_folders(root)
    references = _references(root)
    parts: dict[str, list[Utterance]] = {"": [], "train": [], "test": []}
    for part, folder in track(folders, "epadb: reading annotations", unit="speaker"):
        parts[part] += _read_speaker(folder, references, report, allophones, unidentified)
    sets: Sets = {"train": [], "valid": [], "test": []}
    for part, utterances in parts.items():
        kept = check_audio(utterances, report, skip_unreadable=skip_unreadable, nj=nj)
        sets["test" if part == "test" else "train"] += kept
    _split(sets, report)
    for name in sets:
        sets[name].sort(key=lambda one: one.utt_id)
    report.notes.append(known_sentences(sets))
    return sets


def read_symbol(label: str, allophones: str = "fold") -> list[str] | None:
    """An annotated label as phones: [] is none (silence, deleted), None is not understood.

    `+` joins two sounds in one place; a final `*` marks a deviating one; stress digits do not
    count. ERR (and err) is a phone that the annotator could not name.

    >>> read_symbol("Th"), read_symbol("Th", "keep"), read_symbol("AH+R"), read_symbol("OSH")
    (['T'], ['Th'], ['AH', 'R'], None)
    >>> read_symbol("0"), read_symbol("sp"), read_symbol("O*"), read_symbol("err")
    ([], [], ['O'], ['ERR'])
    """
    label = label.strip()
    if label in SILENCES or label == DELETED:
        return []
    found = []
    for piece in label.split("+"):
        piece = piece.strip().rstrip("*")
        if len(piece) > 1 and piece[-1] in "012":
            piece = piece[:-1]
        if piece.upper() == UNIDENTIFIED:
            found.append(UNIDENTIFIED)
        elif piece in ALLOPHONES:
            found.append(ALLOPHONES[piece] if allophones == "fold" else piece)
        elif is_phone(piece) or piece in OTHERS:
            found.append(piece)
        else:
            return None
    return found


def best_reference(heard: Sequence[str], variants: Sequence[Slots]) -> list[str] | None:
    """Of the references with as many places as labels, the one with most in common, "0" included.

    In a place where the label is among the alternatives, that one; else the first. None if no
    reference has as many places.

    >>> best_reference(["AA", "T"], [[("AO", "AA"), ("Th", "CH")], [("ER",)]])
    ['AA', 'Th']
    """
    best, most = None, -1
    for slots in variants:
        if len(slots) != len(heard):
            continue
        found = [
            label if label in slot else slot[0] for label, slot in zip(heard, slots, strict=True)
        ]
        same = sum(one == label for one, label in zip(found, heard, strict=True))
        if same > most:
            best, most = found, same
    return best


def _speaker_folders(root: Path) -> list[tuple[str, Path]]:
    """(part, folder) of each speaker; part is "train", "test", or "" where there are no parts."""
    found = []
    for part in ("train", "test", ""):
        place = root / part
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if (folder / "waveforms").is_dir():
                found.append((part, folder))
    if not found:
        remedy = f"expected {{train,test}}/<spkr>/waveforms; {HOW_TO_GET}"
        raise UserError(f"{root}: no speaker's folder", remedy)
    names = [folder.name for _, folder in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        remedy = "keep one of them, or name one part of the corpus"
        raise UserError(f"{root}: {' '.join(twice)}: speakers in two parts", remedy)
    return found


def _references(root: Path) -> References:
    """The file, wherever it lies; without it no canonical form is known."""
    places = [root / REFERENCES, root / "train" / REFERENCES, root / "test" / REFERENCES]
    path = next((one for one in places if one.is_file()), None)
    if path is None:
        raise UserError(f"{root}: has no {REFERENCES}", HOW_TO_GET)
    try:
        return parse_references(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8: {error.reason}", HOW_TO_GET) from None
    except ValueError as error:
        raise UserError(f"{path}:{error}", "take it from a fresh copy") from None


def parse_references(text: str) -> References:
    """Prompts and variants; a line that is neither is a `ValueError` with its number.

    >>> parse_references("TEXT 1: Our toy\\nTRANSCRIPTION 1: AA R/0  T OY\\n").variants
    {'1': [[('AA',), ('R', '0'), ('T',), ('OY',)]]}
    """
    texts: dict[str, str] = {}
    variants: dict[str, list[Slots]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _VARIANT.fullmatch(line.strip())
        if not match or not match[3]:
            raise ValueError(f"{number}: neither TEXT nor TRANSCRIPTION: '{line.strip()[:60]}'")
        if match[1] == "TEXT":
            texts[match[2]] = match[3]
            continue
        slots = [tuple(place.split("/")) for place in match[3].split()]
        for symbol in (one for slot in slots for one in slot):
            if symbol != DELETED and not read_symbol(symbol, "keep"):
                raise ValueError(f"{number}: '{symbol}' is no phone")
        variants.setdefault(match[2], []).append(slots)
    return References(texts, variants)


def _read_speaker(
    folder: Path, references: References, report: Report, allophones: str, unidentified: str
) -> Iterator[Utterance]:
    """Utterances of a speaker, sorted; what has no audio is reported as left out."""
    speaker = folder.name
    audio = {path.stem: path for path in sorted((folder / "waveforms").glob("*.wav"))}
    grids = {path.stem: path for path in (folder / "annotations_1").glob("*.TextGrid")}
    for stem in sorted(grids.keys() - audio.keys()):
        report.left_out[_utt_id(speaker, stem)] = "no audio"
    for stem, sound in audio.items():
        utt_id = _utt_id(speaker, stem)
        sentence = stem.rpartition("_")[2]
        texts, said = {}, ""
        if stem in grids:
            texts, said = _read_annotation(
                grids[stem],
                references.variants.get(sentence, ()),
                report,
                utt_id,
                allophones,
                unidentified,
            )
        else:
            for output in ("surface", "canonical"):
                report.miss(utt_id, output, "not annotated")
        lab = folder / "transcriptions" / f"{stem}.lab"
        prompt = lab.read_text(encoding="utf-8", errors="replace") if lab.is_file() else ""
        meaning = english_words(prompt) or said or english_words(references.texts.get(sentence, ""))
        if meaning:
            texts["meaning"] = meaning
            if not prompt.strip():
                report.counts["prompts without a .lab file, from the annotation or the list"] += 1
        else:
            report.miss(utt_id, "meaning", "no prompt")
        if texts:
            yield Utterance(utt_id, speaker, str(sound), texts, "en", "es", domain="read")
        else:
            report.left_out[utt_id] = "no transcript of any kind"
            report.unlabelled.pop(utt_id, None)


def _utt_id(speaker: str, stem: str) -> str:
    return f"{speaker}-{stem.removeprefix(speaker + '_')}"


def _read_annotation(
    path: Path,
    variants: Sequence[Slots],
    report: Report,
    utt_id: str,
    allophones: str,
    unidentified: str,
) -> tuple[dict[str, str], str]:
    """Surface and canonical, and the words as aligned; notes why one is absent."""
    both = ("surface", "canonical")

    def miss(outputs: Sequence[str], reason: str) -> None:
        for output in outputs:
            report.miss(utt_id, output, reason)

    try:
        tiers = {name.lower(): tier for name, tier in read_textgrid(path).items()}
    except UserError as error:
        miss(both, f"faulty TextGrid: '{error.message}'")
        return {}, ""
    said = tiers.get("words")
    words = english_words(" ".join(one.label for one in said.intervals)) if said else ""
    tier = tiers.get("annotation")
    if tier is None:
        miss(both, "no tier named annotation")
        return {}, words
    if disorder := tier.disorder():
        miss(both, f"the annotation's times are out of order: '{disorder}'")
        return {}, words
    labels = [one.label.strip() for one in tier.intervals if one.label.strip() not in SILENCES]
    report.counts["phones with a deviation mark (*), read as the phone"] += sum(
        "*" in label for label in labels
    )
    texts = {}
    heard = [read_symbol(label, allophones) for label in labels]
    strange = [label for label, phones in zip(labels, heard, strict=True) if phones is None]
    for label in strange:
        report.counts[f"label '{label}', not understood"] += 1
    phones = [phone for found in heard for phone in ([UNIDENTIFIED] if found is None else found)]
    if UNIDENTIFIED in phones and unidentified == "unlabelled":
        reason = f"label '{strange[0]}' is no phone" if strange else "a phone is ERR"
        miss(("surface",), reason)
    elif phones:
        texts["surface"] = " ".join(phones)
    else:
        miss(("surface",), "no phone at all")
    plain = [label if len(label) < 2 else re.sub("[012]$", "", label) for label in labels]
    reference = best_reference(plain, variants)
    if reference is None:
        miss(("canonical",), "no reference has as many places as the annotation")
    else:
        wanted = [read_symbol(symbol, allophones) or [] for symbol in reference]
        texts["canonical"] = " ".join(phone for found in wanted for phone in found)
    return texts, words


def _split(sets: Sets, report: Report) -> None:
    """Move speakers from train to valid, and to test if there is none; in place."""
    speakers = sorted({one.speaker for one in sets["train"]})
    parts = {"valid": 1} if sets["test"] else {"valid": 1, "test": 1}
    if len(speakers) < len(parts) + 1:
        raise UserError(f"{len(speakers)} speakers are too few to split", "get more of the corpus")
    place = by_turns(speakers, parts)
    everyone, sets["train"] = sets["train"], []
    for one in everyone:
        sets[place[one.speaker]].append(one)
    rule = "the published test speakers; of the others" if len(parts) == 1 else "of all"
    report.notes.append(f"split by speakers: {rule}, every tenth is " + " or ".join(parts))
