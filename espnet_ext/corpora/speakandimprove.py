"""Speak & Improve Corpus 2025: spontaneous English of learners (Knill et al., arXiv 2412.11986).

The layout is that of the 2025 challenge. `reference-materials/stms/<set>-{asr,fluent,gec}.stm`
hold, phrase by phrase, the verbatim transcript, the transcript without disfluencies, and its
correction; `flists.*/<set>-asr.tsv` list the audio; `annotations/<set>-trans-ref.json` annotates
each word.
Surface is the verbatim transcript, meaning the correction, and the output `fluent` the transcript
without disfluencies.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.corpora.preparation import (
    CorpusOptions,
    Report,
    Sets,
    assign_sets,
    list_faults,
    require_folder,
)
from espnet_ext.corpora.segments import cut_segments
from espnet_ext.corpora.transcripts import english_words
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.data.rendering import Job
from espnet_ext.errors import UserError

HOW_TO_GET = (
    "request it at https://www.englishlanguageitutoring.com/datasets/speak-and-improve-corpus-2025"
)
SETS = ("train", "valid", "test")
MATERIALS = "reference-materials"
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
HESITATION = "%hesitation%"
STMS = {"surface": "asr", "fluent": "fluent", "meaning": "gec"}  # output → name of its STM
QUICK_FILES = 24  # recordings per set with --quick true, as cutting all audio takes long
_LINE = re.compile(
    r"(?P<file>\S+)\s+(?P<channel>\S+)\s+(?P<speaker>\S+)\s+(?P<start>\d+(?:\.\d+)?)\s+"
    r"(?P<end>\d+(?:\.\d+)?)\s+(?:<(?P<label>[^>]*)>\s*)?(?P<words>.*)"
)
_WORD = re.compile(r"[^\W_](?:[\w'.&-]*[\w'.])?|'[\w']+")
_PARTIAL = re.compile(r"\(([^\W_][\w'-]*-)\)")
_UNIT = "speech-unit"  # prefix of the tags that end a phrase
_MARKS = frozenset(("disfluency", "partial", "pronunciation"))

Annotation = Sequence[Mapping[str, Any]]  # items of an annotated phrase: words and tags


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare speakandimprove`."""

    corpus_dir: str | os.PathLike = ""  # folder with reference-materials and data/flac
    hesitation: str = "uh"  # word for a hesitation; "none" or "": hesitations are dropped
    partials: bool = True  # keep words that were broken off (`univers-`)

    @property
    def hesitation_word(self) -> str:
        return "" if self.hesitation == "none" else self.hesitation


@dataclass(frozen=True)
class Phrase:
    """A line of an STM."""

    file: str
    speaker: str
    start: float  # seconds
    end: float  # seconds
    label: str  # "o,Q5,B2,P1": audio quality, grade and part of the test
    words: str


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set: train, valid and test.

    Each phrase is cut out of its recording, to `<data_dir>/speakandimprove_audio`. If the
    evaluation set (`eval-asr.stm`) is present, it is the test set, and valid is the published dev
    set. Otherwise dev is the test set, and valid consists of every tenth training speaker.
    """
    root = Path(require_folder(options.corpus_dir, "Speak & Improve", HOW_TO_GET))
    audio_dir = Path(options.data_dir) / "speakandimprove_audio"
    materials = next((path for path in (root / MATERIALS, root) if (path / "stms").is_dir()), None)
    if materials is None:
        remedy = f"expected {MATERIALS}/stms and data/flac; {HOW_TO_GET}"
        raise UserError(f"{root}: has no {MATERIALS}/stms", remedy)
    names = [
        name
        for name in ("train", "dev", "eval")
        if (materials / "stms" / f"{name}-asr.stm").is_file()
    ]
    requested = options.selected(SETS)
    source = {"train": "train", "valid": "dev", "test": "eval"}  # set → published set
    if "eval" not in names:
        source = {"train": "train", "valid": "train", "test": "dev"}
    needed = dict.fromkeys(source[name] for name in requested)
    if missing := [name for name in needed if name not in names]:
        remedy = f"expected {' and '.join(f'{name}-asr.stm' for name in missing)}; {HOW_TO_GET}"
        message = f"{materials}/stms: has only: {' '.join(names) or 'none of the sets'}"
        raise UserError(message, remedy)
    parts = {}
    for name in needed:
        planned = _plan(root, materials, name, options, report)
        parts[name] = cut_segments(planned, audio_dir / name, options, report, "phrases")
    sets = _split(parts, "eval" in names, report)
    return {name: sets[name] for name in requested}


# -- transcripts


def read_stm(path: str | os.PathLike) -> Iterator[Phrase]:
    """Yield the phrases of an STM file (a format of NIST).

    Raises:
        UserError: The file cannot be read, or has malformed lines; names them all.
    """
    faults = []
    number = 0
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, 1):
                if line.startswith(";;") or not line.strip():
                    continue
                match = _LINE.fullmatch(line.strip())
                if match is None or (phrase := _phrase(match)) is None:
                    faults.append(f"{path}:{number}: {line.strip()[:80]}")
                else:
                    yield phrase
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", HOW_TO_GET) from None
    except UnicodeDecodeError as error:
        message = f"{path}:{number + 1}: is not UTF-8: {error.reason}"
        raise UserError(message, "replace the file with a fresh copy") from None
    if faults:
        message = f"{path}: {len(faults)} lines are not phrases:{list_faults(faults)}"
        raise UserError(message, "replace the file with a fresh copy")


def _phrase(match: re.Match) -> Phrase | None:
    start, end = float(match["start"]), float(match["end"])
    if end <= start or id_problem(match["file"]) or id_problem(match["speaker"]):
        return None
    words = " ".join(match["words"].split())
    return Phrase(match["file"], match["speaker"], start, end, match["label"] or "", words)


def read_words(text: str, hesitation: str = "uh", partials: bool = True) -> tuple[str, str]:
    """Return the words of a phrase as a transcript, and why it has none.

    >>> read_words("five (%hesitation%) fight (univers-) it's")
    ("five uh fight univers- it's", '')
    >>> read_words("five (%hesitation%) fight (univers-)", "", False)
    ('five fight', '')
    >>> read_words("{ a / b } is")
    ('', "'{' is not understood")
    """
    if text == IGNORED:
        return "", "excluded from scoring by the annotators"
    words = []
    for token in text.split():
        if token in (f"({HESITATION})", HESITATION):
            words += [hesitation] if hesitation else []
        elif match := _PARTIAL.fullmatch(token):
            words += [match[1].lower()] if partials else []
        elif _WORD.fullmatch(token):
            words.append(token.lower())
        else:
            return "", f"'{token}' is not understood"
    return " ".join(words), "" if words else "has no words"


def _plan(
    root: Path, materials: Path, name: str, options: Options, report: Report
) -> list[tuple[Utterance, Job]]:
    """Return (utterance, job) pairs of a set.

    A job cuts the audio of its utterance out of the recording. Its target is still empty;
    `cut_segments` sets it.
    """
    audio = _audio_files(root, materials, name)
    phrases = {
        output: _phrases_by_start(
            materials / "stms" / f"{name}-{stm}.stm", required=output == "surface"
        )
        for output, stm in STMS.items()
    }
    annotations = _read_annotations(materials / "annotations" / f"{name}-trans-ref.json", report)
    by_file: dict[str, list[Phrase]] = {}
    for phrase in phrases["surface"].values():
        by_file.setdefault(phrase.file, []).append(phrase)
    for output in ("fluent", "meaning"):
        if unmatched := phrases[output].keys() - phrases["surface"].keys():
            what = f"{name}: {output} phrases without a verbatim phrase at the same time"
            report.counts[what] += len(unmatched)
    planned = []
    recordings = sorted(by_file)[:QUICK_FILES] if options.quick else sorted(by_file)
    for file in recordings:
        spoken = sorted(by_file[file], key=lambda phrase: phrase.start)
        units = _matching_units(spoken, annotations.get(file))
        for index, phrase in enumerate(spoken):
            utt_id = f"{file}-{phrase.start * 100:06.0f}"
            if not file.startswith(phrase.speaker):
                utt_id = f"{phrase.speaker}-{utt_id}"
            if file not in audio:
                report.leave_out(utt_id, "no audio")
                continue
            texts = _texts(utt_id, phrase, phrases, options, report)
            _add_fluent(texts, units[index] if units else None, utt_id, report)
            if not texts.keys() & {"surface", "meaning"}:
                report.leave_out(utt_id, "no transcript of any kind")
                continue
            # The end of the last phrase is that of the allowed answering time, which may be later
            # than the end of the recording.
            last = index == len(spoken) - 1
            domain = phrase.label.rpartition(",")[2] or None
            utterance = Utterance(utt_id, phrase.speaker, audio[file], texts, "en", domain=domain)
            seconds = None if last else phrase.end - phrase.start
            job = Job(utt_id, audio[file], "", start=phrase.start, seconds=seconds)
            planned.append((utterance, job))
    return planned


def _phrases_by_start(path: Path, required: bool) -> dict[tuple[str, float], Phrase]:
    """Return phrases by file and start time, which the STMs of a set share (unlike the ends)."""
    if not required and not path.is_file():
        return {}
    phrases: dict[tuple[str, float], Phrase] = {}
    for phrase in read_stm(path):
        if (phrase.file, phrase.start) in phrases:
            message = f"{path}: {phrase.file}: two phrases start at {phrase.start:g} s"
            raise UserError(message, "replace the file with a fresh copy")
        phrases[phrase.file, phrase.start] = phrase
    return phrases


def _audio_files(root: Path, materials: Path, name: str) -> dict[str, str]:
    """Return file name → path of the audio in the list of a set, of the files that exist."""
    lists = sorted(materials.glob(f"flists*/{name}-asr.tsv"))
    if not lists:
        raise UserError(f"{materials}: has no flists.flac/{name}-asr.tsv", HOW_TO_GET)
    audio = {}
    for number, line in enumerate(lists[0].read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split("\t")
        if len(cells) != 2:
            message = f"{lists[0]}:{number}: expected a name and a path"
            raise UserError(message, "replace the file with a fresh copy")
        for folder in (root, root.parent):
            if (folder / cells[1]).is_file():
                audio[cells[0]] = str((folder / cells[1]).absolute())
                break
    if not audio:
        raise UserError(
            f"{lists[0]}: none of its files exists",
            f"unpack the audio archives so that the files are in {root}/data/flac/{name}",
        )
    return audio


def _texts(
    utt_id: str,
    verbatim: Phrase,
    phrases: Mapping[str, Mapping[tuple[str, float], Phrase]],
    options: Options,
    report: Report,
) -> dict[str, str]:
    """Return the transcripts of a phrase by output; report the missing ones."""
    texts = {}
    for output in STMS:
        phrase = phrases[output].get((verbatim.file, verbatim.start))
        if phrase is None:
            report.mark_unlabelled(utt_id, output, "not annotated")
            continue
        text, reason = read_words(phrase.words, options.hesitation_word, options.partials)
        if text:
            texts[output] = text
        else:
            report.mark_unlabelled(utt_id, output, reason)
    return texts


# -- word annotations


def _read_annotations(path: Path, report: Report) -> dict[str, list[list[dict[str, Any]]]]:
    """Return file → annotated phrases; empty if there is no such annotation."""
    if not path.is_file():
        report.notes.append(f"no {path.name}, so fluent transcripts are only from the STM")
        return {}
    value = files.read_json(path)
    annotations = {}
    try:
        for entry in value["files"]:
            annotations[str(entry["File-id"])] = split_units(entry["Transcript"])
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{path}: unexpected content (files, File-id, Transcript): {error!r}"
        raise UserError(message, "replace the file with a fresh copy") from None
    for units in annotations.values():
        for item in (item for unit in units for item in unit):
            for mark in item.get("marks", ()):
                report.counts[f"words marked {mark}"] += 1
            if "tag" in item:
                report.counts[f"tags {item['tag']}"] += 1
    return annotations


def split_units(transcript: Annotation) -> list[list[dict[str, Any]]]:
    """Split an annotated transcript into phrases; items after the last tag are a phrase too.

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


def fluent(unit: Annotation) -> tuple[str, str]:
    """Return an annotated phrase without its disfluencies, and why it cannot be derived.

    >>> fluent([{"word": "IN", "marks": ["disfluency"]}, {"tag": "hesitation"}, {"word": "IN"}])
    ('in', '')
    >>> fluent([{"word": "IN"}, {"tag": "unknown"}])
    ('', "has tag 'unknown'")
    """
    words = []
    for item in unit:
        marks = set(item.get("marks", ()))
        if unknown := sorted(marks - _MARKS):
            return "", f"mark '{unknown[0]}' is not understood"
        if "word" in item:
            if not marks & {"disfluency", "partial"}:
                words.append(str(item["word"]))
        elif item.get("tag") != "hesitation":
            return "", f"has tag '{item.get('tag')}'"
    text = english_words(" ".join(words))
    return text, "" if text else "has no words"


def _matching_units(
    phrases: Sequence[Phrase], units: Sequence[Annotation] | None
) -> Sequence[Annotation] | None:
    """Return the annotated phrases of a file if they match the STM in number and words."""
    if units is None or len(units) != len(phrases):
        return None
    for phrase, unit in zip(phrases, units, strict=True):
        if phrase.words != IGNORED:
            annotated = " ".join(str(item["word"]) for item in unit if "word" in item)
            spoken = re.sub(r"\((%hesitation%)\)|[()]|%hesitation%", " ", phrase.words)
            if english_words(annotated) != english_words(spoken):
                return None
    return units


def _add_fluent(
    texts: dict[str, str], unit: Annotation | None, utt_id: str, report: Report
) -> None:
    """Add the fluent transcript from the annotation if the STM has none; in place."""
    if "fluent" in texts or "surface" not in texts:
        return
    if unit is None:
        reason = "not annotated, and the word annotation does not match the STM"
        report.mark_unlabelled(utt_id, "fluent", reason)
        return
    text, reason = fluent(unit)
    if text:
        texts["fluent"] = text
        report.unlabelled.get(utt_id, {}).pop("fluent", None)
        report.counts["fluent phrases taken from the word annotation"] += 1
    else:
        report.mark_unlabelled(utt_id, "fluent", reason)


# -- sets


def _split(parts: Mapping[str, list[Utterance]], has_eval: bool, report: Report) -> Sets:
    """Return the sets, from those published sets that are needed."""
    train, dev = parts.get("train", []), parts.get("dev", [])
    if has_eval:
        report.notes.append("split as published: train, dev (valid) and eval (test)")
        sets = {"train": train, "valid": dev, "test": parts.get("eval", [])}
    else:
        speakers = sorted({utterance.speaker for utterance in train})
        if len(speakers) == 1:
            message = "speakandimprove: train and valid need two speakers, here is one"
            raise UserError(message, HOW_TO_GET)
        set_of = assign_sets(speakers, {"valid": 1}) if speakers else {}
        sets = {"train": [], "valid": [], "test": dev}
        for utterance in train:
            sets[set_of[utterance.speaker]].append(utterance)
        report.notes.append(
            "split by speakers: there is no evaluation set, so the published dev is test; every "
            "tenth of the published training speakers is valid"
        )
    report.notes.append("a speaker is a submission; it is not published who submitted twice")
    return {
        name: sorted(utterances, key=lambda utterance: utterance.utt_id)
        for name, utterances in sets.items()
    }
