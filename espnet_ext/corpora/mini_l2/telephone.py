"""Make a share of the corpus telephone speech: 300 to 3400 Hz, sampled at 8 kHz.

Beside the audio of an utterance, `<utterance>.8k.flac` is written. Existing files are kept unless
the audio is newer.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from espnet_ext.data.record import Utterance
from espnet_ext.progress import track

SUFFIX = ".8k.flac"


def with_telephone_speech(utterances: Sequence[Utterance], share: float) -> list[Utterance]:
    """Return the utterances of a set; a share of them has 8 kHz audio and the band `narrow`.

    Args:
        share: from 0 to 1. A larger share contains the utterances of a smaller one.
    """
    chosen = narrow_ids([utterance.utt_id for utterance in utterances], share)
    paths = {
        utterance.utt_id: _write_narrow(Path(utterance.audio))
        for utterance in track(
            [utterance for utterance in utterances if utterance.utt_id in chosen],
            "telephone speech",
        )
    }
    return [
        dataclasses.replace(utterance, audio=str(paths[utterance.utt_id]), band="narrow")
        if utterance.utt_id in chosen
        else utterance
        for utterance in utterances
    ]


def narrow_ids(utt_ids: Iterable[str], share: float) -> set[str]:
    """Return a share of utterance ids, rounded, in an order that depends on the ids alone.

    >>> sorted(narrow_ids(["a", "b", "c", "d"], 0.5))
    ['c', 'd']
    """
    ordered = sorted(utt_ids, key=lambda utt_id: hashlib.sha256(utt_id.encode()).hexdigest())
    return set(ordered[: round(share * len(ordered))])


def _write_narrow(source: Path) -> Path:
    """Write the audio of an utterance as telephone speech at 8 kHz; return its path."""
    from espnet_ext.data.audio import load_audio, write_audio
    from espnet_ext.data.narrowband import NARROW_RATE, narrowband

    target = source.with_suffix(SUFFIX)
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    samples, rate = load_audio(str(source))
    # The simulation leaves nothing above 4 kHz, so samples can be dropped without aliasing.
    write_audio(target, narrowband(samples, rate)[:: rate // NARROW_RATE], NARROW_RATE)
    return target
