"""Stage 3: write every utterance as 16-bit mono audio at one sample rate, in files or arks."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ext import files
from espnet_ext.data.audio import AudioInfo, is_pipe, source_file
from espnet_ext.data.checks.context import Checked, CheckOptions
from espnet_ext.data.checks.findings import ERROR, WARNING, as_json, describe
from espnet_ext.data.directory import ESPNET_FILES, output_directory, remove_stale, write_directory
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.narrowband import NARROW, band_of
from espnet_ext.data.paths import existing_path
from espnet_ext.data.policy import REMOVED, Policy, usable_utterances
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import ARK_ENTRIES, Job, Rendered, findings_of, render
from espnet_ext.data.validate import FIXED_ON_WRITING, check_directory
from espnet_ext.progress import say

AUDIO_FORMATS = ("wav", "flac", "wav.ark", "flac.ark")
# Warnings about audio that this stage changes without being asked to.
_SCALE_CODES = frozenset({"integer-scale", "above-full-scale"})
# Findings about audio that formatting fixes.
_FIXED_BY_FORMATTING = frozenset({"sample-rate", "mixed-rates", "channels"})


@dataclass(frozen=True)
class AudioFormat:
    """The audio format to write."""

    sample_rate: int = 16000  # Hz
    audio_format: str = "wav"  # one of AUDIO_FORMATS
    channel: int | str | None = None  # which of several: a number from 0, or "mix" for their mean
    copy: bool = False  # also write audio that has the format already
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
    audio_format: AudioFormat,
    *,
    nj: int = 1,
    policy: Policy | None = None,
    overwrite: bool = False,
) -> str:
    """Write the utterances of `source` in a format to `target`; return a summary line.

    If any audio has 8 kHz or less, or a label in utt2band, every utterance without a label gets
    that of its sample rate: later stages only see the new rate.

    Files that have the format already are referred to where they are, unless `audio_format.copy` is
    set. Files that an earlier run wrote from the same source are kept.

    Args:
        overwrite: replace files that this command did not write.

    Raises:
        UserError: with all utterances whose audio cannot be read, unless the policy leaves them
            out.
    """
    # ESPnet's own dump has a table `text`, which this command never writes.
    is_of_espnet = (Path(target) / "text").exists()
    further = FurtherTables([source], target, audio_changes=True)
    names = rf"validation\.json|{re.escape(REMOVED)}|utt2num_samples|{ESPNET_FILES}"
    with output_directory(
        target,
        "format_audio",
        [source],
        overwrite=overwrite,
        further=f"{names}|{further.pattern()}",
        evidence=() if is_of_espnet else ("audio_format", "utt2num_samples"),
    ):
        return _format(source, target, audio_format, policy or Policy(), further, nj, overwrite)


def _format(
    source: str | os.PathLike,
    target: str | os.PathLike,
    audio_format: AudioFormat,
    policy: Policy,
    further: FurtherTables,
    nj: int,
    overwrite: bool,
) -> str:
    options = CheckOptions(
        allow_pipes=audio_format.allow_pipes,
        duplicates=False,
        empty_severity=WARNING if policy.keep_all else ERROR,
    )
    checked = check_directory(source, options)
    checked.findings = [
        finding for finding in checked.findings if finding.code not in _FIXED_BY_FORMATTING
    ]
    utterances = _usable_utterances(checked, target, policy)
    for line in describe(item for item in checked.findings if item.code in _SCALE_CODES):
        say(line)
    folder = Path(target) / "data"
    referred = {
        utterance.utt_id
        for utterance in utterances
        if _has_format(utterance.audio, checked.audio[utterance.utt_id], audio_format)
    }
    to_write = [utterance for utterance in utterances if utterance.utt_id not in referred]
    jobs = _jobs(to_write, folder, audio_format)
    label = "formatting audio"
    rendered, failed = render(jobs, folder, nj=nj, label=label, overwrite=overwrite)
    if failed:
        checked.findings += findings_of(failed, Path(source) / "wav.scp")
        utterances = _usable_utterances(checked, target, policy)
        # An ark with an unreadable sound was not written: write it without that sound.
        jobs = [job for job in jobs if job.utt_id not in failed]
        remaining, _ = render(jobs, folder, nj=nj, label=label, overwrite=overwrite)
        rendered = {**remaining, **rendered}
    rates = {utterance.utt_id: checked.audio[utterance.utt_id].rate for utterance in utterances}
    has_bands = any(u.band or band_of(rates[u.utt_id]) == NARROW for u in utterances)
    formatted = []
    frames: dict[str, int] = {}
    for utterance in utterances:
        sound = rendered.get(utterance.utt_id)
        # ESPnet reads the file too, and only under the name that it has on disk.
        audio = sound.audio if sound else existing_path(utterance.audio)
        band = utterance.band or (band_of(rates[utterance.utt_id]) if has_bands else utterance.band)
        utterance = replace(utterance, audio=audio, band=band)
        formatted.append(utterance)
        frames[utterance.utt_id] = (sound or checked.audio[utterance.utt_id]).frames
    samples = {utt_id: str(count) for utt_id, count in frames.items()}
    extra = {**further.rows(formatted), "utt2num_samples": samples}
    write_directory(target, formatted, extra=extra, empty_texts=policy.keep_all)
    # ESPnet's scripts read these two.
    files.write_text(Path(target) / "feats_type", "raw\n")
    files.write_text(Path(target) / "audio_format", audio_format.audio_format + "\n")
    return _summary(target, formatted, rendered, sum(frames.values()), audio_format)


def _usable_utterances(
    checked: Checked, target: str | os.PathLike, policy: Policy
) -> list[Utterance]:
    """Return the utterances to format; write all errors to `<target>/validation.json`."""
    report = Path(target) / "validation.json"
    if any(finding.code not in FIXED_ON_WRITING for finding in checked.errors):
        findings = as_json(checked.findings)
        files.write_json(report, {"directory": str(checked.folder), "findings": findings})
    else:
        remove_stale(report)
    return usable_utterances(checked, target, policy)


def _has_format(source: str, info: AudioInfo, audio_format: AudioFormat) -> bool:
    """Return whether an entry of wav.scp can be used as it is."""
    if audio_format.copy or audio_format.is_ark or is_pipe(source) or source_file(source) != source:
        return False
    expected = (audio_format.suffix[1:].upper(), "PCM_16", audio_format.sample_rate, 1)
    has_format = (info.format, info.subtype, info.rate, info.channels) == expected
    return has_format and info.has_length


def _jobs(utterances: Sequence[Utterance], folder: Path, audio_format: AudioFormat) -> list[Job]:
    def target(index: int, utt_id: str) -> str:
        if audio_format.is_ark:
            return str(folder / f"audio.{index // ARK_ENTRIES + 1}.ark")
        return str(folder / f"{utt_id}{audio_format.suffix}")

    return [
        Job(
            utterance.utt_id,
            utterance.audio,
            target(index, utterance.utt_id),
            sample_rate=audio_format.sample_rate,
            channel=audio_format.channel,
            allow_pipes=audio_format.allow_pipes,
            entry=audio_format.suffix if audio_format.is_ark else "",
        )
        for index, utterance in enumerate(utterances)
    ]


def _summary(
    target: str | os.PathLike,
    utterances: Sequence[Utterance],
    rendered: Mapping[str, Rendered],
    frames: int,
    audio_format: AudioFormat,
) -> str:
    rate = audio_format.sample_rate
    fresh = [sound for sound in rendered.values() if sound.fresh]
    resampled = [sound.source_rate for sound in fresh if sound.source_rate != rate]
    parts = [f"{len(fresh)} written as {audio_format.audio_format}"]
    if resampled:
        rates = ", ".join(map(str, sorted(set(resampled))))
        parts.append(f"{len(resampled)} of them resampled from {rates} Hz")
    if several := sum(sound.source_channels > 1 for sound in fresh):
        parts.append(f"{several} of them reduced to one channel ({audio_format.channel})")
    if referred := sum(utterance.utt_id not in rendered for utterance in utterances):
        parts.append(f"{referred} have that format already and are not copied")
    if len(rendered) > len(fresh):
        parts.append(f"{len(rendered) - len(fresh)} unchanged since an earlier run")
    hours = frames / rate / 3600
    return f"{target}: {len(utterances)} utterances, {hours:.2f} h at {rate} Hz: {', '.join(parts)}"
