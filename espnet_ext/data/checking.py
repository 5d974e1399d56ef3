"""What checks share: what to check, what was found so far, and reading tables for them."""

import array
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.data.findings import ERROR, WARNING, Finding, as_json, errors_of
from espnet_ext.data.table import Block, stream_table

if TYPE_CHECKING:
    from espnet_ext.data.audio import AudioInfo

_EXAMPLES = 5  # ids named where a finding is about many utterances


@dataclass(frozen=True)
class Tokens:
    """The units of an output."""

    token_type: str  # char, jamo, phone, word, bpe
    token_list: str = ""  # its file; bpe has its model beside it
    has_ctc: bool = True


@dataclass(frozen=True)
class Frames:
    """How many frames an encoder makes of audio: features every `hop` samples, then joined."""

    rate: int  # Hz
    hop: int  # samples
    input_layer: str  # ESPnet's name: conv2d, conv2d6, …


@dataclass(frozen=True)
class Checks:
    """What to check beyond what a directory is by itself."""

    sample_rate: int | None = None  # Hz that all audio must have
    check_audio: bool = True  # look at sound headers
    outputs: Sequence[str] = ()  # that must have transcripts
    allow_pipes: bool = False  # run commands in wav.scp
    read_samples: bool = False  # decode all audio: damage, silence, clipping
    duplicates: bool = True  # compare recordings of equal length (where audio is checked)
    nj: int = 8  # at a time; headers wait for the disk rather than for a core
    tokens: Mapping[str, Tokens] = field(default_factory=dict)  # by output
    frames: Frames | None = None  # what the encoder makes of audio, for CTC
    against: Sequence[str | os.PathLike] = ()  # directories that this one must share nothing with
    leaks: str = ERROR  # severity of utterances and recordings that it shares with them


@dataclass
class Check:
    """A directory's findings and what it holds."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    utterances: int = 0
    speakers: int = 0
    labelled: dict[str, int] = field(default_factory=dict)  # transcripts by output
    audio: dict[str, "AudioInfo"] = field(default_factory=dict)  # by id; empty if not checked
    characters: dict[str, Counter[str]] = field(default_factory=dict)  # by output
    ids: dict[str, int] = field(default_factory=dict)  # of wav.scp → place in it, from 0
    lines: array.array = field(default_factory=lambda: array.array("I"))  # place → line

    @property
    def errors(self) -> list[Finding]:
        return errors_of(self.findings)

    def add(
        self,
        severity: str,
        code: str,
        place: tuple[str | Path, int, str],
        message: str,
        remedy: str,
    ) -> None:
        file, line, utt_id = place
        self.findings.append(Finding(severity, code, str(file), line, utt_id, message, remedy))

    def summary(self) -> str:
        """One line: what is there and how it fared."""
        texts = ", ".join(f"{count} {name}" for name, count in self.labelled.items()) or "no texts"
        hours = f", {sum(info.seconds for info in self.audio.values()) / 3600:.2f} h"
        counts = Counter(finding.severity for finding in self.findings)
        fared = [f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in (ERROR, WARNING)]
        return (
            f"{self.path}: {self.utterances} utterances, {self.speakers} speakers"
            f"{hours if self.audio else ''}, {texts}: {', '.join(fared)}"
        )

    def as_json(self) -> dict:
        """Everything, for a file."""
        return {
            "directory": self.path,
            "utterances": self.utterances,
            "speakers": self.speakers,
            "seconds": round(sum(info.seconds for info in self.audio.values()), 3) or None,
            "labelled": self.labelled,
            "characters": {
                name: dict(sorted(counts.items())) for name, counts in self.characters.items()
            },
            "findings": as_json(self.findings),
        }


def scan(check: Check, file: Path, missing: str = "") -> Iterator[Block]:
    """A table's blocks; what is wrong with rows is noted, ids without audio and empty rows too.

    `missing` says what an empty row lacks; without it, it is a transcript, and passed on.
    """
    for block in stream_table(file, check.findings):
        if not all(map(check.ids.__contains__, block.keys)):
            for line, key in zip(block.lines, block.keys, strict=True):
                if key not in check.ids:
                    remedy = "add its audio to wav.scp, or remove the row"
                    check.add(ERROR, "unknown-id", (file, line, key), "not in wav.scp", remedy)
        if missing and "" in block.values:
            for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
                if not value:
                    remedy = "fill it in, or remove the row"
                    check.add(ERROR, "no-value", (file, line, key), missing, remedy)
        yield block


def named(ids: Sequence[str]) -> str:
    """Some of many ids.

    >>> named(["a", "b"]), named(list("abcdefg"))
    ('a, b', 'a, b, c, d, e, …')
    """
    return ", ".join([*ids[:_EXAMPLES], *(["…"] if len(ids) > _EXAMPLES else [])])
