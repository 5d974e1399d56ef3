"""Speech too short for the network: how short is too short, and what to do about it.

Symbols: B utterances, S samples, F feature frames, M features.
"""

import torch

from espnet_ext.model import espnet


def fewest_frames(preencoder: torch.nn.Module | None, encoder: torch.nn.Module) -> int:
    """Frames that the encoder's subsampling needs to give one; 1 for an encoder without."""
    subsampling = getattr(encoder, "embed", None)
    if subsampling is None or preencoder is not None:
        return 1
    is_short, fewest = espnet.load("check_short_utt")(subsampling, 0)
    return fewest if is_short else 1


def fewest_samples(frontend: torch.nn.Module) -> int:
    """Samples that a frontend needs: an STFT reflects half a window at both ends."""
    if hasattr(frontend, "fewest_samples"):
        return frontend.fewest_samples
    stft = getattr(frontend, "stft", None)
    return stft.n_fft // 2 + 1 if getattr(stft, "center", False) else 1


def frames_of(samples: int, frontend: torch.nn.Module | None) -> int | None:
    """Frames F that `frontend` makes of S samples; None where only running it would tell."""
    if frontend is None:
        return samples
    stft = getattr(frontend, "stft", None)
    if stft is None:
        return None
    around = 2 * (stft.n_fft // 2) if stft.center else 0
    return max(0, (samples + around - stft.n_fft) // stft.hop_length + 1)


def lengthen(
    feats: torch.Tensor, lengths: torch.Tensor, fewest: int, training: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, F, M) and lengths (B,) with at least `fewest` frames each, by zeros at the end.

    >>> feats, lengths = lengthen(torch.ones(1, 2, 3), torch.tensor([2]), 7)
    >>> tuple(feats.shape), lengths.tolist()
    ((1, 7, 3), [7])
    """
    # Batch normalisation cannot learn from one frame of one utterance: give it a second one.
    room = 2 * fewest if training and fewest > 1 and feats.size(0) == 1 else fewest
    missing = room - feats.size(1)
    if missing > 0:
        feats = torch.nn.functional.pad(feats, (0, 0, 0, missing))
    return feats, lengths.clamp(min=fewest)
