"""What all checks share: their options, the directory that is being checked, and its tables."""

import array
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.data.checks.columns import AudioColumn, LabelColumn
from espnet_ext.data.checks.findings import ERROR, WARNING, Finding, as_json, errors_of
from espnet_ext.data.directory import text_files
from espnet_ext.data.missing import MISSING
from espnet_ext.data.record import NA
from espnet_ext.data.table import Block, normalized, stream_table

Place = tuple[Path, int, str]  # file, line from 1 (0: the whole file), utterance id or ""
TextRow = tuple[int, str, str]  # line, utterance id, transcript
_MAX_LISTED_IDS = 5  # in a finding about many utterances


@dataclass(frozen=True)
class TokenOptions:
    """How the transcripts of one output are split into tokens."""

    token_type: str  # char, jamo, phone, word, bpe
    token_list: str = ""  # path of tokens.txt; for bpe, bpe.model is in the same folder


@dataclass(frozen=True)
class FrameOptions:
    """How audio becomes encoder frames: features every `hop` samples, then subsampling."""

    rate: int  # Hz
    hop: int  # samples
    input_layer: str  # ESPnet's name of the subsampling layer: conv2d, conv2d6, …


@dataclass(frozen=True)
class CheckOptions:
    """What to check in addition to the tables themselves."""

    sample_rate: int | None = None  # Hz that all audio must have
    check_audio: bool = True  # read the headers of sound files
    outputs: Sequence[str] = ()  # outputs that must have transcripts
    allow_pipes: bool = False  # run commands in wav.scp
    read_samples: bool = False  # decode all audio: damage, silence, clipping
    duplicates: bool = True  # compare recordings of equal length (if audio is checked)
    empty_severity: str = ERROR  # of empty transcripts; only sets to decode may have them
    nj: int = 8  # threads; more than cores, because reading headers waits for the disk
    tokens: Mapping[str, TokenOptions] = field(default_factory=dict)  # by output
    frames: FrameOptions | None = None  # for CTC: labels must not outnumber encoder frames
    against: Sequence[str | os.PathLike] = ()  # directories that must share nothing with this one
    shared_severity: str = ERROR  # of what is shared with one of `against`

    @property
    def empty_texts(self) -> bool:
        """Whether empty transcripts are accepted."""
        return self.empty_severity != ERROR


_MISSING = frozenset(MISSING)


@dataclass
class Checked:
    """A data directory under check: what it contains, and the findings so far.

    `data.validate.CHECKS` run in order; each may use what earlier ones have filled in.
    """

    folder: Path
    options: CheckOptions
    findings: list[Finding] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)  # id → position in wav.scp, from 0
    lines: array.array = field(default_factory=lambda: array.array("I"))  # position → line
    speakers: int = 0
    languages: str | LabelColumn = ""  # language of all utterances, or by id where they differ
    labelled: dict[str, bytearray] = field(default_factory=dict)  # output → 1 at each position
    characters: dict[str, Counter[str]] = field(default_factory=dict)  # by output
    audio: AudioColumn = field(init=False)  # by id; empty if not checked

    def __post_init__(self) -> None:
        self.audio = AudioColumn(self.ids)

    @property
    def utterances(self) -> int:
        return len(self.ids)

    @property
    def transcripts(self) -> dict[str, int]:
        """Number of transcripts by output."""
        return {name: sum(labelled) for name, labelled in self.labelled.items()}

    @property
    def seconds(self) -> float:
        """Duration of all audio; 0 if audio was not checked."""
        return sum(info.seconds for info in self.audio.values())

    @property
    def errors(self) -> list[Finding]:
        return errors_of(self.findings)

    def add(
        self, severity: str, code: str, place: Place, message: str, remedy: str, share: str = ""
    ) -> None:
        """Report a finding."""
        file, line, utt_id = place
        location = (str(file), line, utt_id)
        self.findings.append(Finding(severity, code, *location, message, remedy, share))

    def line_of(self, utt_id: str) -> int:
        """The line of an utterance in wav.scp."""
        return self.lines[self.ids[utt_id]]

    def scan(self, file: Path, empty_message: str = "") -> Iterator[Block]:
        """Yield the blocks of a table; report malformed rows, ids without audio and empty values.

        `empty_message` is the finding for an empty value. Without it, empty values are yielded
        without a finding, because the check of transcripts has its own.
        """
        for block in stream_table(file, self.findings):
            if not all(map(self.ids.__contains__, block.keys)):
                for line, key in zip(block.lines, block.keys, strict=True):
                    if key not in self.ids:
                        remedy = "add its audio to wav.scp, or remove the row"
                        self.add(ERROR, "unknown-id", (file, line, key), "not in wav.scp", remedy)
            if empty_message and "" in block.values:
                for line, key, value in block.rows():
                    if not value:
                        remedy = "fill in the value, or remove the row"
                        self.add(ERROR, "no-value", (file, line, key), empty_message, remedy)
            yield block

    def add_missing_words(self, file: Path, block: Block) -> None:
        """Report values such as `nan`, which programs write into cells without a value."""
        if _MISSING.isdisjoint(block.values):
            return
        for line, key, value in block.rows():
            if value in _MISSING:
                message = f"is '{value}', which programs write into cells without a value"
                remedy = "remove the row if there is no value"
                self.add(WARNING, "missing-word", (file, line, key), message, remedy)

    def summary(self) -> str:
        """Return one line: size of the directory, and numbers of errors and warnings."""
        counts = Counter(finding.severity for finding in self.findings)
        texts = ", ".join(f"{count} {name}" for name, count in self.transcripts.items())
        hours = f", {self.seconds / 3600:.2f} h" if self.audio else ""
        return (
            f"{self.folder}: {self.utterances} utterances, {self.speakers} speakers{hours}, "
            f"{texts or 'no texts'}: "
            + ", ".join(
                f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in (ERROR, WARNING)
            )
        )

    def as_json(self) -> dict:
        """Return all findings and numbers, for a report file."""
        return {
            "directory": str(self.folder),
            "utterances": self.utterances,
            "speakers": self.speakers,
            "seconds": round(self.seconds, 3) or None,
            "labelled": self.transcripts,
            "characters": {
                name: dict(sorted(counts.items())) for name, counts in self.characters.items()
            },
            "findings": as_json(self.findings),
        }


class TokenCounts:
    """How often tokens occur, and line and id of the first row with each."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first_rows: dict[str, tuple[int, str]] = {}

    def add(self, row: TextRow, tokens: Iterable[str]) -> None:
        for token in tokens:
            self.counts[token] += 1
            self.first_rows.setdefault(token, (row[0], row[1]))


def labelled_rows(folder: Path, output: str) -> Iterator[TextRow]:
    """Yield (line, id, transcript) of utterances that have a transcript of an output.

    Transcripts are normalised by `text.unicode.normalize`.
    """
    for block in stream_table(text_files(folder)[output], []):
        for line, key, value in block.rows():
            if value and value != NA:
                yield line, key, value if block.is_normal else normalized(value)


def some_ids(ids: Sequence[str]) -> str:
    """Return the first of many ids as text.

    >>> some_ids(["a", "b"]), some_ids(list("abcdefg"))
    ('a, b', 'a, b, c, d, e, …')
    """
    more = ["…"] if len(ids) > _MAX_LISTED_IDS else []
    return ", ".join([*ids[:_MAX_LISTED_IDS], *more])
