"""Checking a data directory: everything that is wrong with it, at once.

The tables here; what they hold is looked at in `text_checks`, `pair_checks`, `audio_checks` and
`kaldi_checks`, what two directories have in common in `split_checks`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from espnet_ext.data import audio_checks, kaldi_checks, pair_checks, split_checks, text_checks
from espnet_ext.data.audio import is_pipe
from espnet_ext.data.checking import Check, Checks, named, scan
from espnet_ext.data.directory import LABEL_TABLES, require_directory, text_files
from espnet_ext.data.findings import ERROR, NOTE, WARNING, Finding, describe
from espnet_ext.data.record import NA, is_output_name
from espnet_ext.data.table import stream_table
from espnet_ext.errors import UserError
from espnet_ext.progress import say

BANDS = ("narrow", "wide")
# What every stage that rewrites a directory mends by itself: it sorts, and it normalises texts.
MENDED = frozenset({"unsorted", "not-nfc", "whitespace", "spk2utt", "no-newline"})


def validate_directory(
    path: str | os.PathLike,
    *,
    sample_rate: int | None = None,
    check_audio: bool = True,
    outputs: Sequence[str] | None = None,
    allow_pipes: bool = False,
    read_samples: bool = False,
) -> list[Finding]:
    """Errors and warnings of a data directory, in the order of its files; empty if all is well.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = {"wav.scp": "s1-u1 a.wav", "utt2spk": "s1-u1 s1", "text": "s1-u2 가"}
    ...     for name, row in rows.items():
    ...         _ = Path(folder, name).write_text(row + "\\n")
    ...     [finding.code for finding in validate_directory(folder)]
    ['spk2utt', 'unknown-id', 'no-text', 'no-audio']
    """
    rule = Checks(sample_rate, check_audio, outputs or (), allow_pipes, read_samples)
    return [one for one in check_directory(path, rule).findings if one.severity != NOTE]


def check_directory(path: str | os.PathLike, rule: Checks | None = None) -> Check:
    """Check a directory; memory grows with its ids and findings, not with its texts."""
    rule = rule or Checks()
    folder = require_directory(path)
    check = Check(str(folder))
    wanted = rule.check_audio
    sources = _read_ids(check, folder, wanted, rule.allow_pipes)
    _check_speakers(check, folder)
    langs = _check_labels(check, folder)
    covered = {}
    for name, file in text_files(folder).items():
        covered[name] = text_checks.check_texts(check, name, file, scan(check, file), langs)
    _check_coverage(check, folder, covered)
    pair_checks.check_pairs(check, folder)
    kaldi_checks.check_kaldi_tables(check, folder)
    _check_outputs(check, folder, rule.outputs)
    if wanted:
        audio_checks.check_audio(check, folder, sources, rule)
        kaldi_checks.check_lengths(check, folder)
        pair_checks.check_rates(check, folder)
    pair_checks.check_tokens(check, folder, rule.tokens, rule.frames)
    for other in rule.against:
        if Path(other).resolve() == folder.resolve():
            continue  # one of several directories to be checked
        split_checks.check_against(check, folder, other, rule.leaks)
        if wanted and rule.duplicates:
            audio_checks.check_shared_audio(check, folder, sources, other, rule)
    return check


def require_valid(check: Check, *, ignore: frozenset[str] = MENDED) -> None:
    """Raise a `UserError` that lists the errors, except those that the caller mends."""
    errors = [finding for finding in check.errors if finding.code not in ignore]
    if errors:
        what = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        listing = "\n".join(["", *describe(errors)])
        remedy = (
            f"mend these; python -m espnet_ext.bin.validate {check.path} checks it again, and with "
            "--fix DIR writes a copy without what is broken"
        )
        raise UserError(f"{check.path}: {what} in the data directory:{listing}", remedy)
    say_mended(check, ignore)


def say_mended(check: Check, ignore: frozenset[str] = MENDED) -> None:
    """What was wrong and is not any more in what the caller writes."""
    for code, times in Counter(one.code for one in check.errors if one.code in ignore).items():
        say(f"{check.path}: mended on writing: {times} × [{code}]")


def _read_ids(check: Check, folder: Path, keep: bool, allow_pipes: bool) -> list[str]:
    """Note the ids of wav.scp, check its entries; returns them if they are to be kept."""
    file = folder / "wav.scp"
    sources: list[str] = []
    for block in stream_table(file, check.findings):
        written = "\n".join(block.values)
        if "" not in block.values and "|" not in written and "~" not in written:
            check.ids.update(zip(block.keys, count(len(check.lines)), strict=False))
            check.lines.extend(block.lines)
            if keep:
                sources += block.values
            continue
        for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
            if not value:
                remedy = "fill it in, or remove the row"
                check.add(ERROR, "no-value", (file, line, key), "names no audio", remedy)
                continue
            check.ids[key] = len(check.lines)
            check.lines.append(line)
            if keep:
                sources.append(value)
            if value[0] == "~":
                remedy = "write the whole path: nothing expands the ~ here"
                check.add(ERROR, "tilde", (file, line, key), f"begins with ~: {value}", remedy)
            elif is_pipe(value) and not (allow_pipes and value.endswith("|")):
                message = "is a command, and commands are not run unasked"
                remedy = "if you trust wav.scp, pass --allow_pipes true; else write audio to files"
                check.add(ERROR, "pipe", (file, line, key), message, remedy)
    check.utterances = len(check.ids)
    if not check.ids:
        remedy = "run data preparation (stage 1) again, or add utterances"
        check.add(ERROR, "no-utterances", (file, 0, ""), "no utterances in it", remedy)
    return sources


def _add_ids(speakers: dict[str, kaldi_checks.Ids], speaker: str, keys: Sequence[str]) -> None:
    if keys:  # there are none before the first speaker
        speakers[speaker].add(keys)


def _check_speakers(check: Check, folder: Path) -> None:
    file = folder / "utt2spk"
    seen = bytearray(len(check.ids))  # by place: has a speaker
    speakers: dict[str, kaldi_checks.Ids] = {}
    previous, disorder = "", False
    for block in scan(check, file, "names no speaker"):
        pending: list[str] = []  # ids of the speaker that is being read
        for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
            if key in check.ids:
                seen[check.ids[key]] = 1
            if not value:
                continue
            if value not in speakers and any(character.isspace() for character in value):
                remedy = "name it without whitespace"
                message = f"the speaker {value!r} has whitespace"
                check.add(ERROR, "malformed-speaker", (file, line, key), message, remedy)
            elif not key.startswith(value):
                message = f"the id does not begin with its speaker '{value}'"
                remedy = "name utterances <speaker>-<utterance>, so that both files sort alike"
                check.add(WARNING, "speaker-prefix", (file, line, key), message, remedy)
            elif value < previous and not disorder:
                disorder = True
                message = f"sorted by id, but then not by speaker ('{value}' after '{previous}')"
                remedy = "part speaker and utterance by '-', and name no speaker with '-' in it"
                check.add(WARNING, "speaker-order", (file, line, key), message, remedy)
            if value != previous:
                _add_ids(speakers, previous, pending)
                speakers.setdefault(value, kaldi_checks.Ids())
                pending = []
            previous = value
            pending.append(key)
        _add_ids(speakers, previous, pending)
    for key, place in check.ids.items():
        if not seen[place]:
            remedy = f"add '{key} <speaker>'"
            check.add(ERROR, "no-speaker", (file, 0, key), "has no row here", remedy)
    check.speakers = len(speakers)
    if len(speakers) == 1 and len(check.ids) > 1:
        message = "all utterances are of one speaker"
        remedy = "if there are more, tell them apart: intervals and splits go by speaker"
        check.add(WARNING, "one-speaker", (file, 0, ""), message, remedy)
    kaldi_checks.check_inverse(check, folder, speakers)


def _check_coverage(check: Check, folder: Path, covered: Mapping[str, bytearray]) -> None:
    """What has no transcript: of an output, or at all."""
    if not check.ids:
        return
    if not covered:
        remedy = "write text.<output>: one line an utterance, its id and its transcript"
        check.add(WARNING, "no-text", (folder, 0, ""), "no transcripts of any kind", remedy)
        return
    import numpy as np

    tables = [np.frombuffer(seen, dtype=np.uint8) for seen in covered.values()]
    if not np.bitwise_or.reduce(tables).all():
        bare = [key for key, place in check.ids.items() if not any(t[place] for t in tables)]
        message = f"{len(bare)} utterances have no transcript of any kind: {named(bare)}"
        remedy = "transcribe them, or leave them to stage 4, which removes and lists them"
        check.add(WARNING, "no-text", (folder / "wav.scp", 0, ""), message, remedy)
    for name, seen in covered.items():
        if missing := len(seen) - sum(seen):
            share = 100 * sum(seen) / len(seen)
            message = f"{missing} utterances are unlabelled, {share:.1f} % are labelled"
            remedy = "nothing, if this is so by design: they train the other outputs"
            check.add(NOTE, "coverage", (folder / f"text.{name}", 0, ""), message, remedy)


def _check_labels(check: Check, folder: Path) -> str | dict[str, str]:
    """Returns the language of all utterances, or of each where they differ; "" if not known."""
    of_all: set[str] = set()
    for name in LABEL_TABLES:
        file = folder / name
        for block in scan(check, file, "has no value") if file.exists() else ():
            if name == "utt2lang":
                of_all.update(block.values)
            if name != "utt2band":
                continue
            for line, key, value in zip(block.lines, block.keys, block.values, strict=True):
                if value and value not in (*BANDS, NA):
                    remedy = f"use one of: {', '.join(BANDS)}"
                    message = f"'{value}' is no band"
                    check.add(ERROR, "unknown-band", (file, line, key), message, remedy)
    if len(of_all) < 2:
        return of_all.pop() if of_all else ""
    of_each: dict[str, str] = {}
    for block in stream_table(folder / "utt2lang", []):
        of_each |= zip(block.keys, block.values, strict=True)
    return of_each


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
