"""Stage 2: speed perturbation. Add copies of a training set that are faster and slower.

Ko et al., "Audio augmentation for speech recognition", Interspeech 2015: resampling changes tempo
and pitch together. Ids and speakers of copies begin with `sp<factor>-`, as in Kaldi and ESPnet.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ext.data.checks.context import CheckOptions
from espnet_ext.data.directory import output_directory, read_directory, write_directory
from espnet_ext.data.further_tables import FurtherTables
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import JOURNAL, Job, findings_of, render
from espnet_ext.data.validate import check_directory, require_valid
from espnet_ext.errors import UserError

_MIN_SPEED, _MAX_SPEED = 0.25, 4.0  # a number outside is a typing error


def parse_speeds(words: Sequence[str]) -> dict[str, float]:
    """Return speed factors by the name that ids get, which is the factor as written.

    >>> parse_speeds(["0.9", "1.0"])
    {'0.9': 0.9, '1.0': 1.0}
    """
    speeds: dict[str, float] = {}
    for word in words:
        try:
            speed = float(word)
        except ValueError:
            speed = 0.0
        if not _MIN_SPEED <= speed <= _MAX_SPEED:
            remedy = f'give factors from {_MIN_SPEED} to {_MAX_SPEED}: --speeds "0.9 1.0 1.1"'
            raise UserError(f"'{word}' is not a speed factor", remedy)
        if speed in speeds.values():
            raise UserError(f"the speed factor {word} is given twice", "give it once")
        speeds[word] = speed
    if not speeds:
        raise UserError("--speeds is empty", 'give speed factors: --speeds "0.9 1.0 1.1"')
    return speeds


def perturbed(utterance: Utterance, name: str, folder: Path) -> Utterance:
    """Return the record of a copy. Its audio does not exist yet.

    >>> perturbed(Utterance("s1-u1", "s1", "u1.wav"), "0.9", Path("audio")).utt_id
    'sp0.9-s1-u1'
    """
    utt_id = f"sp{name}-{utterance.utt_id}"
    return replace(
        utterance,
        utt_id=utt_id,
        speaker=f"sp{name}-{utterance.speaker}",
        audio=str(folder / f"{utt_id}.wav"),
    )


def perturb_directory(
    source: str | os.PathLike,
    target: str | os.PathLike,
    speeds: Sequence[str],
    *,
    audio_dir: str | os.PathLike | None = None,
    channel: int | str | None = None,
    allow_pipes: bool = False,
    nj: int = 1,
    overwrite: bool = False,
) -> str:
    """Write a copy of `source` per speed factor to `target`; return a summary line.

    The factor 1 stands for the utterances themselves. A copy at speed s has 1/s of the duration.

    Args:
        audio_dir: folder of the new audio; default: `audio` in the target.
        overwrite: replace files that this command did not write.
    """
    factors = parse_speeds(speeds)
    folder = Path(audio_dir or Path(target) / "audio")
    further = FurtherTables([source], target, audio_changes=True)
    with output_directory(
        target,
        "perturb",
        [source],
        overwrite=overwrite,
        further=further.pattern(),
        evidence=(f"audio/{JOURNAL}",),
    ):
        return _perturb(
            source,
            target,
            factors,
            folder,
            channel,
            allow_pipes,
            further,
            nj=nj,
            overwrite=overwrite,
        )


def _perturb(
    source: str | os.PathLike,
    target: str | os.PathLike,
    factors: Mapping[str, float],
    folder: Path,
    channel: int | str | None,
    allow_pipes: bool,
    further: FurtherTables,
    *,
    nj: int,
    overwrite: bool,
) -> str:
    options = CheckOptions(check_audio=False, allow_pipes=allow_pipes)
    require_valid(check_directory(source, options))
    originals = read_directory(source)
    utterances: list[Utterance] = []
    original_of: dict[str, Utterance] = {}  # id of a copy → its original
    jobs: list[Job] = []
    for name, speed in factors.items():
        if speed == 1.0:
            utterances += originals
            continue
        for original in originals:
            copy = perturbed(original, name, folder)
            utterances.append(copy)
            original_of[copy.utt_id] = original
            jobs.append(
                Job(
                    copy.utt_id,
                    original.audio,
                    copy.audio,
                    channel=channel,
                    speed=speed,
                    allow_pipes=allow_pipes,
                )
            )
    label = "speed perturbation"
    rendered, failed = render(jobs, folder, nj=nj, label=label, overwrite=overwrite)
    if failed:
        checked = check_directory(source, options)
        checked.findings += findings_of(failed, Path(source) / "wav.scp")
        require_valid(checked)
    write_directory(target, utterances, extra=further.rows(utterances, original_of))
    fresh = sum(sound.fresh for sound in rendered.values())
    return (
        f"{target}: {len(utterances)} utterances from {len(originals)}, "
        f"speeds {' '.join(factors)}: {fresh} written to {folder}, "
        f"{len(rendered) - fresh} unchanged since an earlier run"
    )
