"""Times in a table: rows that are a part of a recording.

The columns are `start` and `end`, or `start` and `duration`, in seconds from the beginning of the
recording. A row in which both cells are empty is the whole recording.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from espnet_ext.corpora.preparation import CorpusOptions, Report
from espnet_ext.corpora.segments import cut_segments
from espnet_ext.data.audio import MAX_OVERSHOOT, AudioInfo, audio_info
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import Job

TIMES = ("start", "end", "duration")
# Names that other tools use for times. They are suggested, never assumed: `offset` is the start for
# some and the end for others. A duration alone says nothing about a part.
_OTHER_NAMES = (
    "begin offset onset stop tmin tmax xmin xmax t_start t_end start_time end_time begin_time "
    "stop_time time_start time_end time_begin start_sec end_sec start_s end_s start_seconds "
    "end_seconds start_ms end_ms segment_start segment_end start_offset end_offset audio_start "
    "audio_end"
)
REMEDY = (
    "write start and end (or duration) in seconds from the beginning of the recording, such as "
    "12.35; if a row is the whole recording, leave both cells empty"
)


class Span(NamedTuple):
    """A part of a recording."""

    start: float  # seconds
    seconds: float  # duration


def time_columns(names: Collection[str]) -> tuple[str, ...]:
    """Return the two columns that state the times; () without them.

    >>> time_columns(["start", "end", "duration"]), time_columns(["duration"])
    (('start', 'end'), ())
    """
    end = next((name for name in TIMES[1:] if name in names), "")
    return ("start", end) if "start" in names and end else ()


def unread_times(columns: Mapping[str, Iterable[str]]) -> str:
    """Return what is wrong if ignored columns probably are times within a recording, or "".

    Args:
        columns: Name of each ignored column → its cells.

    >>> unread_times({"offset": ["1.5"], "duration": ["2"], "begin": ["Monday"]})
    "'offset' is probably a time in the recording: name the columns start and end, or start and \
duration (seconds)"
    """
    names = []
    for column, cells in columns.items():
        plain = column.lower().replace(" ", "_").replace("-", "_")
        is_time = plain in _OTHER_NAMES.split() or plain in ("start", "end")
        if is_time and any(_seconds(cell) is not None for cell in cells):
            names.append(f"'{column}'")
    if not names:
        return ""
    are = "are probably times" if len(names) > 1 else "is probably a time"
    return (
        f"{' and '.join(names)} {are} in the recording: name the columns start and end, or start "
        "and duration (seconds)"
    )


def read_span(cells: Mapping[str, str], columns: Sequence[str]) -> tuple[Span | None, str]:
    """Return the part of the recording that a row is (None: the whole), and what is wrong.

    >>> read_span({"start": "1.5", "end": "4"}, ("start", "end"))
    (Span(start=1.5, seconds=2.5), '')
    >>> read_span({"start": "4", "end": "1.5"}, ("start", "end"))
    (None, "end '1.5' is not after start '4'")
    """
    values = {column: cells.get(column, "") for column in columns}
    if not any(values.values()):
        return None, ""
    times = []
    for column, value in values.items():
        if not value:
            return None, f"{column} is empty"
        seconds = _seconds(value)
        if seconds is None:
            return None, f"{column} '{value}' is not a number of seconds"
        if seconds < 0:
            return None, f"{column} '{value}' is negative"
        times.append(seconds)
    start, end = times
    if columns[1] == "duration":
        return (Span(start, end), "") if end else (None, f"duration '{values['duration']}' is zero")
    if end <= start:
        return None, f"end '{values['end']}' is not after start '{values['start']}'"
    return Span(start, end - start), ""


def _seconds(cell: str) -> float | None:
    try:
        seconds = float(cell)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None


def check_spans(utterances: Iterable[Utterance], spans: Mapping[str, Span]) -> dict[str, str]:
    """Return what is wrong with parts of readable recordings, by utterance id."""
    recordings: dict[str, AudioInfo] = {}
    problems = {}
    for utterance in utterances:
        if (span := spans.get(utterance.utt_id)) is None:
            continue
        if utterance.audio not in recordings:
            recordings[utterance.audio] = audio_info(utterance.audio)
        info = recordings[utterance.audio]
        if span.start >= info.seconds or span.start + span.seconds > info.seconds + MAX_OVERSHOOT:
            part = f"'{span.start:g}' to '{span.start + span.seconds:g}' s"
            problems[utterance.utt_id] = f"{part} is not in the recording of '{info.seconds:g}' s"
        elif info.channels > 1:
            problem = f"a part of a recording with {info.channels} channels: mix it first, for "
            problems[utterance.utt_id] = f"{problem}example with sox IN OUT remix -"
    return problems


def cut_rows(
    utterances: Sequence[Utterance],
    spans: Mapping[str, Span],
    folder: Path,
    options: CorpusOptions,
    report: Report,
) -> list[Utterance]:
    """Return the utterances; parts of recordings are cut out, to `<folder>/<utterance>.flac`."""
    planned = [
        (one, Job(one.utt_id, one.audio, "", start=span.start, seconds=span.seconds))
        for one in utterances
        if (span := spans.get(one.utt_id))
    ]
    if not planned:
        return list(utterances)
    cut = {
        one.utt_id: one for one in cut_segments(planned, folder, options, report, "parts of rows")
    }
    return [
        cut.get(one.utt_id, one)
        for one in utterances
        if one.utt_id in cut or one.utt_id not in spans
    ]
