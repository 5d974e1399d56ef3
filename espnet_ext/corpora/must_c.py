"""MuST-C (Di Gangi et al., NAACL 2019; CC BY-NC-ND 4.0): English talks with translations.

Layout: `<pair>/data/<split>/{wav,txt}`, or `data/<pair>/<split>/{wav,txt}`, with a pair such as
`en-de`. `txt/<split>.yaml` lists the segments of the talks in `wav`; line n of `txt/<split>.en` and
of `txt/<split>.de` belongs to segment n. Other corpora in this layout are read as well.
The transcript is the output `transcript`, its translation the output `translation`.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from espnet_ext.corpora.commonvoice import words
from espnet_ext.corpora.preparation import CorpusOptions, Report, Sets, list_faults, require_folder
from espnet_ext.corpora.segments import cut_segments
from espnet_ext.data.audio import MAX_OVERSHOOT, audio_info
from espnet_ext.data.record import Utterance, id_problem
from espnet_ext.data.rendering import Job
from espnet_ext.errors import UserError, did_you_mean
from espnet_ext.text.unicode import normalize

HOW_TO_GET = "request it at https://mt.fbk.eu/must-c and unpack the archive of the pair"
FRESH = "replace the file with a fresh copy"
SPLITS = {"train": "train", "valid": "dev", "test": "tst-COMMON", "test_he": "tst-HE"}
DEFAULT_SETS = ("train", "valid", "test")
TRANSCRIPT, TRANSLATION = "transcript", "translation"  # outputs
QUICK_SEGMENTS = 200  # of each split with --quick true, before the sets are shrunk
KEYS = ("duration", "offset", "speaker_id", "wav")
# Forms of a text, by ESPnet's names: true case, lower case, lower case without punctuation
CASES: dict[str, Callable[[str], str]] = {
    "tc": normalize,
    "lc": lambda text: normalize(text).lower(),
    "lc.rm": words,
}


@dataclass(frozen=True)
class Options(CorpusOptions):
    """Options of `espnet-ext prepare must_c`."""

    corpus_dir: str | os.PathLike = ""  # with the folder of the pair
    lang: str = "en"  # that is spoken
    tgt_lang: str = "de"  # language of the translations
    transcript_case: str = "lc.rm"  # a key of CASES
    translation_case: str = "tc"
    missing_text: str = "error"  # an empty line: "error", or "unlabelled"


@dataclass(frozen=True)
class Segment:
    """An entry of a segment list."""

    line: int  # line number in the YAML file, from 1
    wav: str  # name of the recording
    speaker: str
    start: float  # seconds
    seconds: float


def prepare(options: Options, report: Report) -> Sets:
    """Return the utterances by set: train, valid (dev), test (tst-COMMON); test_he on request.

    Each segment is cut out of its recording, to `<data_dir>/<corpus>_audio`.
    """
    root = Path(require_folder(options.corpus_dir, "MuST-C", HOW_TO_GET))
    pair = f"{options.lang}-{options.tgt_lang}"
    folder = find_pair(root, pair)
    names = [
        *options.selected(DEFAULT_SETS),
        *(name for name in SPLITS if name not in DEFAULT_SETS and name in options.sets),
    ]
    splits = sorted(path.parent.name for path in folder.glob("*/txt"))
    if missing := [SPLITS[name] for name in names if SPLITS[name] not in splits]:
        message = f"{folder}: has no split {' and no '.join(missing)}, only {' '.join(splits)}"
        present = [name for name in SPLITS if SPLITS[name] in splits]
        remedy = f"to prepare the others only: --sets '{' '.join(present)}'; {HOW_TO_GET}"
        raise UserError(message, remedy)
    audio_dir = Path(options.data_dir) / f"{report.corpus}_audio" / pair
    sets = {}
    for name in names:
        planned = plan_split(folder / SPLITS[name], SPLITS[name], options, report)
        sets[name] = cut_segments(planned, audio_dir / SPLITS[name], options, report)
    report.notes.append(f"{pair}, split as published: " + ", ".join(SPLITS[name] for name in names))
    return sets


def find_pair(root: Path, pair: str) -> Path:
    """Return the folder with the splits of a pair of languages.

    Args:
        root: the corpus, or the folder of the pair or of its data.

    Raises:
        UserError: there is no such pair; names those that there are.
    """
    for folder in (root / "data" / pair, root / pair / "data", root / pair):
        if _has_splits(folder):
            return folder
    for folder in (root / "data", root):  # the folder of one pair
        if _has_splits(folder) and pair in (folder.name, folder.parent.name):
            return folder
    places = itertools.chain(root.glob("*-*"), root.glob("data/*-*"))
    pairs = sorted({p.name for p in places if _has_splits(p) or _has_splits(p / "data")})
    if not pairs:
        remedy = f"expected {pair}/data/train/txt or data/{pair}/train/txt; {HOW_TO_GET}"
        raise UserError(f"{root}: has no folder {pair} with splits", remedy)
    remedy = did_you_mean(pair, pairs, f"choose --tgt_lang of {' '.join(pairs)}", "{}")
    raise UserError(f"{root}: has no pair {pair}, only {' '.join(pairs)}", remedy)


def _has_splits(folder: Path) -> bool:
    return next(folder.glob("*/txt"), None) is not None


def plan_split(
    folder: Path, split: str, options: Options, report: Report
) -> list[tuple[Utterance, Job]]:
    """Return the utterances of a split with the jobs that cut their audio.

    Raises:
        UserError: the segment list or the texts are damaged, or do not fit each other or the audio;
            names the file and all lines.
    """
    path = folder / "txt" / f"{split}.yaml"
    segments = read_segments(path)
    files = {
        TRANSCRIPT: folder / "txt" / f"{split}.{options.lang}",
        TRANSLATION: folder / "txt" / f"{split}.{options.tgt_lang}",
    }
    texts = {name: read_lines(file) for name, file in files.items()}
    for name, rows in texts.items():
        if len(rows) != len(segments):
            raise UserError(
                f"{files[name]}: has {len(rows)} lines, but {path} has {len(segments)} segments",
                "line n is the text of segment n: take both files from a fresh copy",
            )
    if options.missing_text == "error":
        _require_texts(files, texts)
    numbers = range(len(segments))
    if options.quick:
        numbers = numbers[:: 1 + len(segments) // QUICK_SEGMENTS]
    names = {segments[n].wav for n in numbers}
    durations = _durations(folder / "wav", names, path, options.skip_unreadable)
    late = _late_segments([segments[n] for n in numbers], durations)
    if late and not options.skip_unreadable:
        _raise_late(path, late, durations)
    cases = {TRANSCRIPT: options.transcript_case, TRANSLATION: options.translation_case}
    planned = []
    for number in numbers:
        segment = segments[number]
        utt_id = f"{segment.speaker}-{Path(segment.wav).stem}-{number:06d}"
        if segment.wav not in durations or segment in late:
            is_late = segment in late
            report.leave_out(utt_id, "ends after its recording" if is_late else "unreadable audio")
            continue
        readable = {name: CASES[cases[name]](rows[number]) for name, rows in texts.items()}
        for name, text in readable.items():
            if not text:
                is_empty = not texts[name][number].strip()
                reason = "an empty line" if is_empty else "the text has no words"
                report.mark_unlabelled(utt_id, name, reason)
        labels = {name: text for name, text in readable.items() if text}
        if not labels:
            report.leave_out(utt_id, "neither transcript nor translation")
            continue
        audio = str(folder / "wav" / segment.wav)
        utterance = Utterance(
            utt_id,
            segment.speaker,
            audio,
            labels,
            options.lang,
            text_langs={TRANSLATION: options.tgt_lang},
        )
        job = Job(utt_id, audio, "", start=segment.start, seconds=segment.seconds)
        planned.append((utterance, job))
    return sorted(planned, key=lambda pair: pair[0].utt_id)


def read_segments(path: Path) -> list[Segment]:
    """Return the segments of a list: a YAML sequence of mappings. Only the needed keys are read.

    The file is parsed as a stream of events, which gives line numbers and builds no objects.

    Raises:
        UserError: the file is not such a sequence, or entries are malformed; names all lines.
    """
    segments: list[Segment] = []
    faults: list[str] = []
    for line, entry in _entries(path):
        try:
            segments.append(_segment(line, entry))
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
    if faults:
        message = f"{path}: {len(faults)} entries are not segments:{list_faults(faults)}"
        raise UserError(message, f"expected {', '.join(KEYS)}: {FRESH}")
    if not segments:
        raise UserError(f"{path}: has no segments", FRESH)
    return segments


def _segment(line: int, entry: Mapping[str, str]) -> Segment:
    """Return the segment of an entry; ValueError says what is wrong with it."""
    if missing := [key for key in KEYS if not entry.get(key)]:
        raise ValueError(f"has no {' and no '.join(missing)}")
    wav, speaker = entry["wav"], entry["speaker_id"]
    try:
        start, seconds = float(entry["offset"]), float(entry["duration"])
    except ValueError:
        raise ValueError(
            f"offset '{entry['offset']}' or duration '{entry['duration']}' is not a number"
        ) from None
    if not (math.isfinite(start) and math.isfinite(seconds) and start >= 0 and seconds > 0):
        raise ValueError(f"offset {start:g} s or duration {seconds:g} s is out of range")
    for name in (wav, speaker):
        if problem := id_problem(name):
            raise ValueError(f"the name {name!r} {problem}")
    return Segment(line, wav, speaker, start, seconds)


def _entries(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the scalars of each mapping of a YAML sequence."""
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entry: dict[str, str] = {}
    key: str | None = None
    line = depth = 0
    try:
        with open(path, "rb") as handle:
            for event in yaml.parse(handle, Loader=loader):
                if isinstance(event, yaml.CollectionStartEvent):
                    depth += 1
                    if isinstance(event, yaml.MappingStartEvent) != (depth == 2) or depth > 2:
                        raise UserError(f"{path}:{_line(event)}: not a sequence of mappings", FRESH)
                    entry, key, line = {}, None, _line(event)
                elif isinstance(event, yaml.CollectionEndEvent):
                    depth -= 1
                    if depth == 1:
                        yield line, entry
                elif isinstance(event, yaml.ScalarEvent) and depth == 2:
                    if key is None:
                        key = event.value
                    else:
                        entry[key], key = event.value, None
                elif isinstance(event, yaml.ScalarEvent | yaml.AliasEvent):
                    at = _line(event)
                    raise UserError(f"{path}:{at}: not a sequence of mappings", FRESH)
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", HOW_TO_GET) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"{place}: is not valid YAML: {problem}", FRESH) from None


def _line(event: Any) -> int:
    return event.start_mark.line + 1


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file. Lines are split at line feeds only.

    Published texts contain other characters that Unicode treats as the end of a line (U+2028).
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        present = " ".join(sorted(file.name for file in path.parent.glob("*")))
        remedy = f"choose another pair of languages (there is: {present}), or {HOW_TO_GET}"
        raise UserError(f"{path}: cannot read: {error.strerror}", remedy) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: is not UTF-8: {error.reason}", FRESH) from None
    return lines[:-1] if lines[-1] == "" else lines


def _require_texts(files: Mapping[str, Path], texts: Mapping[str, list[str]]) -> None:
    """Raise a UserError that names all empty lines."""
    faults = [
        f"{files[name]}:{number}: no {name}"
        for name, rows in texts.items()
        for number, row in enumerate(rows, 1)
        if not row.strip()
    ]
    if faults:
        raise UserError(
            f"{len(faults)} segments have no text:{list_faults(faults)}",
            "write the missing lines, or keep the segments without them: --missing_text unlabelled",
        )


def _durations(folder: Path, names: set[str], path: Path, skip: bool) -> dict[str, float]:
    """Return the seconds of each recording that can be read.

    Args:
        skip: leave out the others, instead of raising an error that names them all.
    """
    durations, faults = {}, []
    for name in sorted(names):
        try:
            durations[name] = audio_info(str(folder / name)).seconds
        except UserError as error:
            faults.append(error.message)
    if faults and not skip:
        message = f"{path}: {len(faults)} recordings cannot be read:{list_faults(faults)}"
        remedy = "or leave out their segments: --skip_unreadable true"
        raise UserError(message, f"take them from a fresh copy of {folder}, {remedy}")
    return durations


def _late_segments(segments: list[Segment], durations: Mapping[str, float]) -> list[Segment]:
    """Return the segments that end after their recording, if its duration is known."""
    return [
        segment
        for segment in segments
        if (seconds := durations.get(segment.wav)) is not None
        and (segment.start + segment.seconds > seconds + MAX_OVERSHOOT or segment.start >= seconds)
    ]


def _raise_late(path: Path, late: list[Segment], durations: Mapping[str, float]) -> None:
    """Raise a UserError that names all segments that end after their recording."""
    faults = [
        f"{path}:{segment.line}: {segment.wav}: {segment.start:g} s + {segment.seconds:g} s, but "
        f"the recording has {durations[segment.wav]:.2f} s"
        for segment in late
    ]
    raise UserError(
        f"{len(faults)} segments end after their recording:{list_faults(faults)}",
        "take the recordings and the list from the same release, or leave them out: "
        "--skip_unreadable true",
    )
