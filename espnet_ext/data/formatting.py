"""Audio formatting (stage 3): every utterance as 16-bit mono at one rate, in files or arks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.audio import AudioInfo, is_pipe, source_file
from espnet_ext.data.checking import Check, Checks
from espnet_ext.data.directory import remove_stale, require_output, write_directory
from espnet_ext.data.findings import as_json
from espnet_ext.data.policy import Policy, take
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import ARK_ENTRIES, Job, Made, findings_of, render
from espnet_ext.data.validate import MENDED, check_directory

AUDIO_FORMATS = ("wav", "flac", "wav.ark", "flac.ark")
# Findings about audio that formatting exists to mend.
_FORMATTED = frozenset({"sample-rate", "mixed-rates", "channels"})


@dataclass(frozen=True)
class Format:
    """What audio is to become."""

    sample_rate: int = 16000  # Hz
    audio_format: str = "wav"  # one of AUDIO_FORMATS
    channel: int | str | None = None  # of audio with several: a number from 0, or "mix"
    copy: bool = False  # write also what is in this format already, instead of referring to it
    allow_pipes: bool = False  # run commands in wav.scp

    @property
    def suffix(self) -> str:
        return "." + self.audio_format.removesuffix(".ark")

    @property
    def is_ark(self) -> bool:
        return self.audio_format.endswith(".ark")


def format_directory(
    source: str | os.PathLike,
    target: str | os.PathLike,
    form: Format,
    *,
    nj: int = 1,
    policy: Policy | None = None,
) -> str:
    """Write `target`: the utterances of `source` in the format; returns a line on what was made.

    What is a file in that format already is referred to where it is (unless `form.copy`); what an
    earlier run wrote from the same source is left alone. Audio that cannot be read is an error that
    lists all of it; nothing is left out but what `policy` says.
    """
    require_output(source, target)
    policy = policy or Policy()
    check = check_directory(source, Checks(allow_pipes=form.allow_pipes, duplicates=False))
    check.findings = [one for one in check.findings if one.code not in _FORMATTED]
    utterances = _take(check, target, policy)
    folder = Path(target) / "data"
    kept = [one for one in utterances if _fits(one.audio, check.audio[one.utt_id], form)]
    kept_ids = {one.utt_id for one in kept}
    rest = [one for one in utterances if one.utt_id not in kept_ids]
    made, failed = render(_jobs(rest, folder, form), folder, nj=nj, label="formatting audio")
    if failed:
        check.findings += findings_of(failed, Path(source) / "wav.scp")
        utterances = _take(check, target, policy)
        kept = [one for one in kept if one.utt_id not in failed]
    frames = {one.utt_id: check.audio[one.utt_id].frames for one in kept}
    frames |= {one.utt_id: one.frames for one in made.values()}
    placed = [
        replace(one, audio=made[one.utt_id].audio) if one.utt_id in made else one
        for one in utterances
    ]
    extra = {"utt2num_samples": {utt_id: str(count) for utt_id, count in frames.items()}}
    write_directory(target, placed, extra=extra)
    # ESPnet's own scripts read these two.
    files.write_text(Path(target) / "feats_type", "raw\n")
    files.write_text(Path(target) / "audio_format", form.audio_format + "\n")
    return _summary(target, placed, made, len(kept), sum(frames.values()), form)


def _take(check: Check, target: str | os.PathLike, policy: Policy) -> list[Utterance]:
    """What to work on; errors also stand in a file, however long the list."""
    report = Path(target) / "validation.json"
    if any(finding.code not in MENDED for finding in check.errors):
        files.write_json(report, {"directory": check.path, "findings": as_json(check.findings)})
    else:
        remove_stale(report)
    return take(check, target, policy)


def _fits(source: str, info: AudioInfo, form: Format) -> bool:
    """Whether an entry of wav.scp can be referred to as it is."""
    if form.copy or form.is_ark or is_pipe(source) or source_file(source) != source:
        return False
    wanted = (form.suffix[1:].upper(), "PCM_16", form.sample_rate, 1)
    return (info.format, info.subtype, info.rate, info.channels) == wanted


def _jobs(utterances: Sequence[Utterance], folder: Path, form: Format) -> list[Job]:
    def target(index: int, utt_id: str) -> str:
        if form.is_ark:
            return str(folder / f"audio.{index // ARK_ENTRIES + 1}.ark")
        return str(folder / f"{utt_id}{form.suffix}")

    return [
        Job(
            one.utt_id,
            one.audio,
            target(index, one.utt_id),
            sample_rate=form.sample_rate,
            channel=form.channel,
            allow_pipes=form.allow_pipes,
            entry=form.suffix if form.is_ark else "",
        )
        for index, one in enumerate(utterances)
    ]


def _summary(
    target: str | os.PathLike,
    utterances: Sequence[Utterance],
    made: dict[str, Made],
    kept: int,
    frames: int,
    form: Format,
) -> str:
    fresh = [one for one in made.values() if one.fresh]
    rates = sorted({one.source_rate for one in fresh} - {form.sample_rate})
    parts = [f"{len(fresh)} written as {form.audio_format}"]
    if rates:
        count = sum(one.source_rate != form.sample_rate for one in fresh)
        parts.append(f"{count} of them resampled from {', '.join(map(str, rates))} Hz")
    if several := sum(one.source_channels > 1 for one in fresh):
        parts.append(f"{several} of them reduced to one channel ({form.channel})")
    if kept:
        parts.append(f"{kept} in that format already and referred to where they are")
    if len(made) > len(fresh):
        parts.append(f"{len(made) - len(fresh)} unchanged since an earlier run")
    hours = frames / form.sample_rate / 3600
    head = f"{target}: {len(utterances)} utterances, {hours:.2f} h at {form.sample_rate} Hz"
    return f"{head}: {', '.join(parts)}"
