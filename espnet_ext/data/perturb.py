"""Speed perturbation (stage 2): copies of a training set, spoken faster and slower.

Ko et al., "Audio augmentation for speech recognition", Interspeech 2015: resampling changes tempo
and pitch together. Ids and speakers of copies begin with `sp<factor>-`, as in Kaldi and ESPnet.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from espnet_ext.data.checking import Checks
from espnet_ext.data.directory import read_directory, require_output, write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.data.rendering import Job, findings_of, render
from espnet_ext.data.validate import check_directory, require_valid
from espnet_ext.errors import UserError

_SLOWEST, _FASTEST = 0.25, 4.0  # beyond this it is a mistyped number, not speech


def parse_speeds(words: Sequence[str]) -> dict[str, float]:
    """Factors by the name that ids get; the names are as written.

    >>> parse_speeds(["0.9", "1.0"])
    {'0.9': 0.9, '1.0': 1.0}
    """
    speeds: dict[str, float] = {}
    for word in words:
        try:
            speed = float(word)
        except ValueError:
            speed = 0.0
        if not _SLOWEST <= speed <= _FASTEST:
            remedy = f'give factors from {_SLOWEST} to {_FASTEST}, as in --speeds "0.9 1.0 1.1"'
            raise UserError(f"'{word}' is no speed factor", remedy)
        if speed in speeds.values():
            raise UserError(f"the speed factor {word} is given twice", "give it once")
        speeds[word] = speed
    if not speeds:
        raise UserError("no speed factors", 'give some, as in --speeds "0.9 1.0 1.1"')
    return speeds


def perturbed(utterance: Utterance, name: str, folder: Path) -> Utterance:
    """The record of a copy; its audio is still to be made.

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
) -> str:
    """Write `target`: a copy of `source` for each factor; returns a line on what was made.

    The factor 1 is the utterances themselves. A copy lasts its original's time over its factor.
    """
    factors = parse_speeds(speeds)
    require_output(source, target)
    require_valid(check_directory(source, Checks(check_audio=False, allow_pipes=allow_pipes)))
    folder = Path(audio_dir or Path(target) / "audio")
    originals = read_directory(source)
    utterances: list[Utterance] = []
    jobs: list[Job] = []
    for name, speed in factors.items():
        if speed == 1.0:
            utterances += originals
            continue
        for original in originals:
            copy = perturbed(original, name, folder)
            utterances.append(copy)
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
    made, failed = render(jobs, folder, nj=nj, label="speed perturbation")
    if failed:
        check = check_directory(source, Checks(check_audio=False, allow_pipes=allow_pipes))
        check.findings += findings_of(failed, Path(source) / "wav.scp")
        require_valid(check)
    write_directory(target, utterances)
    fresh = sum(one.fresh for one in made.values())
    return (
        f"{target}: {len(utterances)} utterances of {len(originals)}, speeds {' '.join(factors)}: "
        f"{fresh} written to {folder}, {len(made) - fresh} unchanged since an earlier run"
    )
