"""Speak & Improve Corpus 2025 (Knill et al., arXiv 2412.11986): free speech of English learners.

As the challenge of that year has it: `reference-materials/stms/<set>-{asr,fluent,gec}.stm` have
what was said, the same without disfluencies, and its correction, phrase by phrase;
`flists.*/<set>-asr.tsv` say where the audio is; `annotations/<set>-trans-ref.json` marks each word.
Surface is what was said, meaning the correction, and `text.fluent` what lies between.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.corpora.preparation import (
    Report,
    Sets,
    by_turns,
    english_words,
    require_folder,
    shown,
)
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.data.rendering import Job, render
from espnet_ext.errors import UserError

HOW_TO_GET = (
    "ask for it at https://www.englishlanguageitutoring.com/datasets/speak-and-improve-corpus-2025"
)
MATERIALS = "reference-materials"
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
HESITATION = "%hesitation%"
STMS = {"surface": "asr", "fluent": "fluent", "meaning": "gec"}  # output → name of its STM
QUICK_FILES = 24  # of each set, as cutting all audio takes long
_LINE = re.compile(
    r"(?P<file>\S+)\s+(?P<channel>\S+)\s+(?P<speaker>\S+)\s+(?P<start>\d+(?:\.\d+)?)\s+"
    r"(?P<end>\d+(?:\.\d+)?)\s+(?:<(?P<label>[^>]*)>\s*)?(?P<words>.*)"
)
_WORD = re.compile(r"[^\W_](?:[\w'.&-]*[\w'.])?|'[\w']+")
_PARTIAL = re.compile(r"\(([^\W_][\w'-]*-)\)")
_UNIT = "speech-unit"  # how tags that end a phrase begin
_MARKS = frozenset(("disfluency", "partial", "pronunciation"))


@dataclass(frozen=True)
class Phrase:
    """A line of an STM; times in seconds."""

    file: str
    speaker: str
    start: float
    end: float
    label: str  # "o,Q5,B2,P1": audio quality, grade and part of the test
    words: str


def prepare(
    corpus_dir: str | os.PathLike,
    audio_dir: str | os.PathLike,
    *,
    hesitation: str = "uh",
    partials: bool = True,
    quick: bool = False,
    skip_unreadable: bool = False,
    nj: int = 1,
    report: Report | None = None,
) -> Sets:
    """The corpus as train, valid and test; phrases are cut out of their recordings to `audio_dir`.

    With an evaluation set (`eval-asr.stm`), that tests and dev validates. Without, dev tests and
    every tenth speaker of train validates. `hesitation` is the word that stands for a marked one
    ("": none), `partials` whether broken-off words (`univers-`) stay.
    """
    report = report if report is not None else Report("speakandimprove")
    root = Path(require_folder(corpus_dir, "Speak & Improve", HOW_TO_GET))
    materials = next((path for path in (root / MATERIALS, root) if (path / "stms").is_dir()), None)
    if materials is None:
        remedy = f"expected {MATERIALS}/stms and data/flac; {HOW_TO_GET}"
        raise UserError(f"{root}: has no {MATERIALS}/stms", remedy)
    there = [
        name
        for name in ("train", "dev", "eval")
        if (materials / "stms" / f"{name}-asr.stm").is_file()
    ]
    if "train" not in there or "dev" not in there:
        remedy = f"expected train-asr.stm and dev-asr.stm; {HOW_TO_GET}"
        message = f"{materials}/stms: has only: {' '.join(there) or 'none of the sets'}"
        raise UserError(message, remedy)
    parts = {}
    for name in there:
        jobs = _plan(root, materials, name, hesitation, partials, quick, report)
        parts[name] = _cut(jobs, Path(audio_dir) / name, skip_unreadable, nj, report)
    return _split(parts, report)


def read_stm(path: str | os.PathLike) -> Iterator[Phrase]:
    """The phrases of an STM (NIST's format), one at a time; all faulty lines at once."""
    faults = []
    number = 0
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if line.startswith(";;") or not line.strip():
                    continue
                match = _LINE.fullmatch(line.strip())
                if match is None or (one := _phrase(match)) is None:
                    faults.append(f"{path}:{number}: {line.strip()[:80]}")
                else:
                    yield one
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", HOW_TO_GET) from None
    except UnicodeDecodeError as error:
        message = f"{path}:{number + 1}: is not UTF-8: {error.reason}"
        raise UserError(message, "take it from a fresh copy") from None
    if faults:
        message = f"{path}: {len(faults)} lines are no phrases:{shown(faults)}"
        raise UserError(message, "take it from a fresh copy")


def _phrase(match: re.Match) -> Phrase | None:
    start, end = float(match["start"]), float(match["end"])
    if end <= start or id_problem(match["file"]) or id_problem(match["speaker"]):
        return None
    words = " ".join(match["words"].split())
    return Phrase(match["file"], match["speaker"], start, end, match["label"] or "", words)


def read_words(text: str, hesitation: str = "uh", partials: bool = True) -> tuple[str, str]:
    """The words of a phrase as a transcript, or why it has none.

    >>> read_words("five (%hesitation%) fight (univers-) it's")
    ("five uh fight univers- it's", '')
    >>> read_words("five (%hesitation%) fight (univers-)", "", False)
    ('five fight', '')
    >>> read_words("{ a / b } is")
    ('', "'{' is not understood")
    """
    if text == IGNORED:
        return "", "left out of scoring by the annotators"
    found = []
    for token in text.split():
        if token in (f"({HESITATION})", HESITATION):
            found += [hesitation] if hesitation else []
        elif match := _PARTIAL.fullmatch(token):
            found += [match[1].lower()] if partials else []
        elif _WORD.fullmatch(token):
            found.append(token.lower())
        else:
            return "", f"'{token}' is not understood"
    return " ".join(found), "" if found else "no word in it"


def _plan(
    root: Path,
    materials: Path,
    name: str,
    hesitation: str,
    partials: bool,
    quick: bool,
    report: Report,
) -> list[tuple[Utterance, Job]]:
    """Utterances of a set and how their audio is to be cut (its target is set by `_cut`)."""
    audio = _audio(root, materials, name)
    phrases = {
        output: _by_place(materials / "stms" / f"{name}-{stm}.stm", output == "surface")
        for output, stm in STMS.items()
    }
    marks = _marks(materials / "annotations" / f"{name}-trans-ref.json", report)
    by_file: dict[str, list[Phrase]] = {}
    for one in phrases["surface"].values():
        by_file.setdefault(one.file, []).append(one)
    for output in ("fluent", "meaning"):
        if strangers := sorted(phrases[output].keys() - phrases["surface"].keys()):
            report.counts[f"{name}: {output} phrases without a verbatim one at their time"] += len(
                strangers
            )
    planned = []
    wanted = sorted(by_file)[:QUICK_FILES] if quick else sorted(by_file)
    for file in wanted:
        spoken = sorted(by_file[file], key=lambda one: one.start)
        units = _units_of(spoken, marks.get(file))
        for index, one in enumerate(spoken):
            utt_id = f"{file}-{one.start * 100:06.0f}"
            if not file.startswith(one.speaker):
                utt_id = f"{one.speaker}-{utt_id}"
            if file not in audio:
                report.left_out[utt_id] = "no audio"
                continue
            texts = _texts(utt_id, one, phrases, hesitation, partials, report)
            _add_fluent(texts, units[index] if units else None, utt_id, report)
            if not texts.keys() & {"surface", "meaning"}:
                report.left_out[utt_id] = "no transcript of any kind"
                report.unlabelled.pop(utt_id, None)
                continue
            # The last phrase ends with the time that was given to answer, not with the recording.
            last = index == len(spoken) - 1
            part = one.label.rpartition(",")[2] or None
            record = Utterance(utt_id, one.speaker, audio[file], texts, "en", domain=part)
            seconds = None if last else one.end - one.start
            planned.append((record, Job(utt_id, audio[file], "", start=one.start, seconds=seconds)))
    return planned


def _by_place(path: Path, needed: bool) -> dict[tuple[str, float], Phrase]:
    """Phrases by file and start, in which the STMs of a set agree (in the ends they do not)."""
    if not needed and not path.is_file():
        return {}
    found: dict[tuple[str, float], Phrase] = {}
    for one in read_stm(path):
        if (one.file, one.start) in found:
            message = f"{path}: {one.file}: two phrases begin at {one.start:g} s"
            raise UserError(message, "take it from a fresh copy")
        found[one.file, one.start] = one
    return found


def _audio(root: Path, materials: Path, name: str) -> dict[str, str]:
    """Sound files by the file's name, as the list of the set has them, if they are there."""
    lists = sorted(materials.glob(f"flists*/{name}-asr.tsv"))
    if not lists:
        raise UserError(f"{materials}: has no flists.flac/{name}-asr.tsv", HOW_TO_GET)
    found = {}
    for number, line in enumerate(lists[0].read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 2:
            message = f"{lists[0]}:{number}: not a name and a path"
            raise UserError(message, "take it from a fresh copy")
        for place in (root, root.parent):
            if (place / cells[1]).is_file():
                found[cells[0]] = str((place / cells[1]).absolute())
                break
    if not found:
        raise UserError(
            f"{lists[0]}: not one of its files is there",
            f"unpack the archives of audio so that {root}/data/flac/{name} holds them",
        )
    return found


def _texts(
    utt_id: str,
    one: Phrase,
    phrases: Mapping[str, Mapping[tuple[str, float], Phrase]],
    hesitation: str,
    partials: bool,
    report: Report,
) -> dict[str, str]:
    texts = {}
    for output in STMS:
        phrase = phrases[output].get((one.file, one.start))
        if phrase is None:
            report.miss(utt_id, output, "not annotated")
            continue
        text, reason = read_words(phrase.words, hesitation, partials)
        if text:
            texts[output] = text
        else:
            report.miss(utt_id, output, reason)
    return texts


# -- marks


def _marks(path: Path, report: Report) -> dict[str, list[list[dict[str, Any]]]]:
    """Phrases of marked words by file; empty where there is no such file."""
    if not path.is_file():
        report.notes.append(f"{path.name}: not there, so fluent is only what its STM has")
        return {}
    value = files.read_json(path)
    found = {}
    try:
        for entry in value["files"]:
            found[str(entry["File-id"])] = split_units(entry["Transcript"])
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{path}: not as expected (files, File-id, Transcript): {error!r}"
        raise UserError(message, "take it from a fresh copy") from None
    for units in found.values():
        for item in (item for unit in units for item in unit):
            for mark in item.get("marks", ()):
                report.counts[f"words marked {mark}"] += 1
            if "tag" in item:
                report.counts[f"tags {item['tag']}"] += 1
    return found


def split_units(transcript: Sequence[Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """The items of a marked transcript by phrase; what no tag ends is a phrase too.

    >>> split_units([{"word": "I"}, {"tag": "speech-unit-statement"}, {"tag": "hesitation"}])
    [[{'word': 'I'}], [{'tag': 'hesitation'}]]
    """
    units: list[list[dict[str, Any]]] = [[]]
    for item in transcript:
        if str(item.get("tag", "")).startswith(_UNIT):
            units.append([])
        else:
            units[-1].append(dict(item))
    return [unit for unit in units if unit]


def fluent(unit: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """A marked phrase without its disfluencies, or why that is not known.

    >>> fluent([{"word": "IN", "marks": ["disfluency"]}, {"tag": "hesitation"}, {"word": "IN"}])
    ('in', '')
    >>> fluent([{"word": "IN"}, {"tag": "unknown"}])
    ('', "tag 'unknown' in it")
    """
    words = []
    for item in unit:
        marks = set(item.get("marks", ()))
        if strange := sorted(marks - _MARKS):
            return "", f"mark '{strange[0]}' is not understood"
        if "word" in item:
            if not marks & {"disfluency", "partial"}:
                words.append(str(item["word"]))
        elif item.get("tag") != "hesitation":
            return "", f"tag '{item.get('tag')}' in it"
    text = english_words(" ".join(words))
    return text, "" if text else "no word in it"


def _units_of(
    spoken: Sequence[Phrase], units: Sequence[Sequence[Mapping[str, Any]]] | None
) -> Sequence[Sequence[Mapping[str, Any]]] | None:
    """The marked phrases of a file, if they are as many as the STM's and have the same words."""
    if units is None or len(units) != len(spoken):
        return None
    for one, unit in zip(spoken, units, strict=True):
        if one.words != IGNORED:
            marked = " ".join(str(item["word"]) for item in unit if "word" in item)
            said = re.sub(r"\((%hesitation%)\)|[()]|%hesitation%", " ", one.words)
            if english_words(marked) != english_words(said):
                return None
    return units


def _add_fluent(
    texts: dict[str, str],
    unit: Sequence[Mapping[str, Any]] | None,
    utt_id: str,
    report: Report,
) -> None:
    """Where the STM has no fluent phrase, take it from the marks; in place."""
    if "fluent" in texts or "surface" not in texts:
        return
    if unit is None:
        report.miss(utt_id, "fluent", "not annotated, and the marks do not fit the STM")
        return
    text, reason = fluent(unit)
    if text:
        texts["fluent"] = text
        report.unlabelled.get(utt_id, {}).pop("fluent", None)
        report.counts["fluent phrases taken from the marks"] += 1
    else:
        report.miss(utt_id, "fluent", reason)


# -- audio and sets


def _cut(
    planned: Sequence[tuple[Utterance, Job]],
    folder: Path,
    skip_unreadable: bool,
    nj: int,
    report: Report,
) -> list[Utterance]:
    """Cut the phrases' audio; what has been cut from the same recording before stays."""
    jobs = [
        replace(job, target=str((folder / f"{job.utt_id}.flac").absolute())) for _, job in planned
    ]
    made, failed = render(jobs, folder, nj=nj, label="speakandimprove: cutting phrases")
    if failed and not skip_unreadable:
        faults = [f"{utt_id}: {error.message}" for utt_id, error in sorted(failed.items())]
        raise UserError(
            f"speakandimprove: {len(faults)} phrases cannot be cut:{shown(faults)}",
            "take the audio from a fresh copy, or leave them out: --skip_unreadable true",
        )
    kept = []
    for one, _ in planned:
        if one.utt_id in failed:
            report.left_out[one.utt_id] = "unreadable audio"
            report.unlabelled.pop(one.utt_id, None)
            continue
        cut = made[one.utt_id]
        report.seconds[one.utt_id] = cut.frames / cut.rate
        kept.append(replace(one, audio=cut.audio))
    return kept


def _split(parts: Mapping[str, list[Utterance]], report: Report) -> Sets:
    if "eval" in parts:
        report.notes.append("split as published: train, dev (valid) and eval (test)")
        sets = {"train": parts["train"], "valid": parts["dev"], "test": parts["eval"]}
    else:
        speakers = sorted({one.speaker for one in parts["train"]})
        if len(speakers) < 2:
            raise UserError("speakandimprove: one speaker cannot train and validate", HOW_TO_GET)
        place = by_turns(speakers, {"valid": 1})
        sets = {"train": [], "valid": [], "test": parts["dev"]}
        for one in parts["train"]:
            sets[place[one.speaker]].append(one)
        report.notes.append(
            "split by speakers: no evaluation set here, so the published dev is test; of the "
            "published training speakers every tenth is valid"
        )
    report.notes.append("a speaker is a submission: who submitted twice is not told")
    return {name: sorted(part, key=lambda one: one.utt_id) for name, part in sets.items()}
