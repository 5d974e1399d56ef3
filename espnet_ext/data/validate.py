"""Checking a data directory: everything that is wrong with it, at once."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from espnet_ext.data.audio import AudioInfo, audio_info, is_pipe, read_audio
from espnet_ext.data.directory import LABEL_TABLES, require_directory, speakers_of, text_files
from espnet_ext.data.findings import ERROR, WARNING, Finding, describe, errors_of
from espnet_ext.data.record import NA, Utterance, is_output_name
from espnet_ext.data.table import Row, is_nfc, normalized, scan_table
from espnet_ext.errors import UserError
from espnet_ext.progress import say, track

BANDS = ("narrow", "wide")
# What every stage that rewrites a directory mends by itself: it sorts, and it normalises texts.
MENDED = frozenset({"unsorted", "not-nfc", "whitespace", "spk2utt"})
_THREADS = 8  # headers wait for the disk rather than for a core


@dataclass
class Check:
    """A directory's findings and what it holds."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    utterances: int = 0
    speakers: int = 0
    labelled: dict[str, int] = field(default_factory=dict)  # transcripts by output
    audio: dict[str, AudioInfo] = field(default_factory=dict)  # by id; empty if not checked

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
        errors, warnings = len(self.errors), len(self.findings) - len(self.errors)
        return (
            f"{self.path}: {self.utterances} utterances, {self.speakers} speakers"
            f"{hours if self.audio else ''}, {texts}: "
            f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
        )


def validate_directory(
    path: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    check_audio: bool = True,
    outputs: Sequence[str] | None = None,
    allow_pipes: bool = False,
    read_samples: bool = False,
) -> list[Finding]:
    """All findings of a data directory, in the order of its files; empty if all is well.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = {"wav.scp": "s1-u1 a.wav", "utt2spk": "s1-u1 s1", "text": "s1-u2 가"}
    ...     for name, row in rows.items():
    ...         _ = Path(folder, name).write_text(row + "\\n")
    ...     [finding.code for finding in validate_directory(folder)]
    ['unknown-id', 'no-audio']
    """
    return check_directory(
        path,
        sample_rate=sample_rate,
        check_audio=check_audio,
        outputs=outputs,
        allow_pipes=allow_pipes,
        read_samples=read_samples,
    ).findings


def check_directory(
    path: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    check_audio: bool = True,
    outputs: Sequence[str] | None = None,
    allow_pipes: bool = False,
    read_samples: bool = False,
) -> Check:
    """Check a directory: `sample_rate` (Hz) that audio must have, `outputs` that must be there.

    `read_samples` decodes all audio, which also finds damage behind sound headers.
    """
    folder = require_directory(path)
    check = Check(str(folder))
    audio = _scan(check, folder / "wav.scp", "names no audio", "no-value")
    check.utterances = len(audio)
    if not audio:
        remedy = "run data preparation (stage 1) again, or add utterances"
        check.add(
            ERROR, "no-utterances", (folder / "wav.scp", 0, ""), "no utterances in it", remedy
        )
    _check_speakers(check, folder, audio)
    for name, file in text_files(folder).items():
        _check_texts(check, name, file, audio)
    for name in LABEL_TABLES:
        if (folder / name).exists():
            _check_labels(check, folder / name, audio)
    _check_outputs(check, folder, outputs or ())
    _check_pipes(check, folder, audio, allow_pipes)
    if check_audio:
        sources = {row.key: row for row in audio.values() if allow_pipes or not is_pipe(row.value)}
        _check_audio(check, folder / "wav.scp", sources, sample_rate, read_samples)
    return check


def require_valid(check: Check, *, ignore: frozenset[str] = MENDED) -> None:
    """Raise a `UserError` that lists the errors, except those that the caller mends."""
    errors = [finding for finding in check.errors if finding.code not in ignore]
    mended = Counter(one.code for one in check.errors if one.code in ignore)
    if errors:
        what = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        listing = "\n".join(["", *describe(errors)])
        remedy = f"mend these; python -m espnet_ext.bin.validate {check.path} checks it again"
        raise UserError(f"{check.path}: {what} in the data directory:{listing}", remedy)
    for code, count in mended.items():
        say(f"{check.path}: mended on writing: {count} × [{code}]")


def _scan(check: Check, file: Path, empty: str, code: str) -> dict[str, Row]:
    """Rows that have a value, by id; what is wrong with the others is noted."""
    rows, findings = scan_table(file)
    check.findings += findings
    for row in rows:
        if not row.value:
            remedy = "fill it in, or remove the row"
            if code == "empty-text":
                remedy = "write the transcript, or remove the row: without one it is unlabelled"
            check.add(ERROR, code, (file, row.line, row.key), empty, remedy)
    return {row.key: row for row in rows if row.value}


def _known(check: Check, file: Path, rows: Mapping[str, Row], audio: Mapping[str, Row]) -> None:
    for row in rows.values():
        if row.key not in audio:
            remedy = "add its audio to wav.scp, or remove the row"
            check.add(ERROR, "unknown-id", (file, row.line, row.key), "not in wav.scp", remedy)


def _check_speakers(check: Check, folder: Path, audio: Mapping[str, Row]) -> None:
    file = folder / "utt2spk"
    rows = _scan(check, file, "names no speaker", "no-value")
    _known(check, file, rows, audio)
    for row in rows.values():
        if any(character.isspace() for character in row.value):
            remedy = "name it without whitespace"
            message = f"the speaker {row.value!r} has whitespace"
            check.add(ERROR, "malformed-speaker", (file, row.line, row.key), message, remedy)
        elif not row.key.startswith(row.value):
            message = f"the id does not begin with its speaker '{row.value}'"
            remedy = "name utterances <speaker>-<utterance>, so that both files sort alike"
            check.add(WARNING, "speaker-prefix", (file, row.line, row.key), message, remedy)
    for row in audio.values():
        if row.key not in rows:
            remedy = f"add '{row.key} <speaker>'"
            check.add(ERROR, "no-speaker", (file, 0, row.key), "has no row here", remedy)
    check.speakers = len({row.value for row in rows.values()})
    inverse = folder / "spk2utt"
    if inverse.exists():
        found = {row.key: row.value for row in scan_table(inverse)[0]}
        utterances = (Utterance(row.key, row.value, "") for row in rows.values())
        if found != speakers_of(utterances):
            remedy = "remove it: it is written anew from utt2spk"
            message = "does not say the same as utt2spk"
            check.add(WARNING, "spk2utt", (inverse, 0, ""), message, remedy)


def _check_texts(check: Check, name: str, file: Path, audio: Mapping[str, Row]) -> None:
    rows = _scan(check, file, f"the {name} transcript is empty", "empty-text")
    _known(check, file, rows, audio)
    labelled = 0
    for row in rows.values():
        place = (file, row.line, row.key)
        if row.value == NA:
            continue
        labelled += row.key in audio
        normal = normalized(row.value)
        if not is_nfc(row.value):
            message = "not in Unicode normal form C (decomposed Hangul or accents)"
            remedy = (
                "stages 3 and 4 normalise it; by hand: uconv -x any-nfc, or unicodedata.normalize"
            )
            check.add(ERROR, "not-nfc", place, message, remedy)
        elif not normal:
            message = f"the {name} transcript has no visible character"
            check.add(ERROR, "empty-text", place, message, "write the transcript or remove the row")
        elif normal != row.value:
            message = "repeated whitespace, invisible characters or conjoining jamo"
            check.add(WARNING, "whitespace", place, message, "stages 3 and 4 normalise it")
        if NA in row.value:
            message = f"the sentinel {NA} stands within a transcript"
            remedy = f"remove {NA}; alone in its row it means: unlabelled"
            check.add(ERROR, "sentinel", place, message, remedy)
    check.labelled[name] = labelled


def _check_labels(check: Check, file: Path, audio: Mapping[str, Row]) -> None:
    rows = _scan(check, file, "has no value", "no-value")
    _known(check, file, rows, audio)
    for row in rows.values():
        if file.name == "utt2band" and row.value not in (*BANDS, NA):
            message = f"'{row.value}' is no band"
            remedy = f"use one of: {', '.join(BANDS)}"
            check.add(ERROR, "unknown-band", (file, row.line, row.key), message, remedy)


def _check_outputs(check: Check, folder: Path, outputs: Sequence[str]) -> None:
    for name in outputs:
        if not check.labelled.get(name):
            message = f"no utterance has a {name} transcript"
            remedy = f"write text.{name}, or ask for the outputs that there are: " + (
                ", ".join(check.labelled) or "none"
            )
            check.add(ERROR, "no-output", (folder / f"text.{name}", 0, ""), message, remedy)
    for file in sorted(folder.glob("text?*")):
        if not is_output_name(file.name.removeprefix("text.")) or file.name[4] != ".":
            remedy = "rename it to text.<output> (letters, digits, '_'), or remove it"
            check.add(WARNING, "ignored-file", (file, 0, ""), "is not read", remedy)
    if (folder / "text").exists() and (folder / "text.meaning").exists():
        message, remedy = "is not read, because text.meaning is there", "remove one of them"
        check.add(WARNING, "ignored-file", (folder / "text", 0, ""), message, remedy)


def _check_pipes(check: Check, folder: Path, audio: Mapping[str, Row], allow_pipes: bool) -> None:
    for row in audio.values():
        if is_pipe(row.value) and not (allow_pipes and row.value.endswith("|")):
            message = "is a command, and commands are not run unasked"
            remedy = "if you trust wav.scp, pass --allow_pipes true; else write the audio to files"
            check.add(ERROR, "pipe", (folder / "wav.scp", row.line, row.key), message, remedy)


def _check_audio(
    check: Check,
    file: Path,
    sources: Mapping[str, Row],
    sample_rate: int | None,
    read_samples: bool,
) -> None:
    def look(row: Row) -> AudioInfo | UserError:
        try:
            info = audio_info(row.value, allow_pipes=True)
            # Only floating-point files can hold what is not a number.
            if read_samples or info.subtype.upper() in ("FLOAT", "DOUBLE", "FLOAT32", "FLOAT64"):
                read_audio(row.value, allow_pipes=True)
            return info
        except UserError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        looked = zip(sources.values(), pool.map(look, sources.values()), strict=True)
        for row, info in track(looked, "checking audio", len(sources)):
            place = (file, row.line, row.key)
            if isinstance(info, UserError):
                missing = "no such audio file" in info.message
                code = "no-audio" if missing else "unreadable-audio"
                check.add(ERROR, code, place, info.message, info.remedy)
                continue
            check.audio[row.key] = info
            _check_info(check, place, row.value, info, sample_rate)
    rates = Counter(info.rate for info in check.audio.values())
    if sample_rate is None and len(rates) > 1:
        message = "mixed sample rates: " + ", ".join(f"{n} at {r} Hz" for r, n in rates.items())
        remedy = "run stage 3 (format_audio), which resamples"
        check.add(WARNING, "mixed-rates", (file, 0, ""), message, remedy)


def _check_info(
    check: Check, place: tuple, source: str, info: AudioInfo, sample_rate: int | None
) -> None:
    if info.frames == 0:
        remedy = "record it again, or remove the utterance"
        check.add(ERROR, "empty-audio", place, f"{source}: has no samples", remedy)
    if info.channels != 1:
        message = f"{source}: has {info.channels} channels, not one"
        remedy = "run stage 3 (format_audio) with --channel N (from 0) or --channel mix"
        check.add(ERROR, "channels", place, message, remedy)
    if sample_rate is not None and info.rate != sample_rate:
        message = f"{source}: is at {info.rate} Hz, not {sample_rate} Hz"
        remedy = f"run stage 3 (format_audio) with --sample_rate {sample_rate}, which resamples"
        check.add(ERROR, "sample-rate", place, message, remedy)
