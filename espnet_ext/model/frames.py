"""How many frames the network makes of an input, and how short an input may be.

Symbols: B utterances, S samples, F feature frames, M features, T encoder frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from espnet_ext.model import espnet
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.unit_frontend import UnitEmbedding

# Input lengths that the number of encoder frames is measured at.
_SAMPLES = (16000, 48000)
_FEATURE_FRAMES = (200, 600)  # or input ids


def min_feature_frames(preencoder: torch.nn.Module | None, encoder: Any) -> int:
    """Return the feature frames F that the encoder's subsampling needs for one encoder frame.

    It is 1 for an encoder without subsampling.
    """
    subsampling = getattr(encoder, "embed", None)
    if subsampling is None or preencoder is not None:
        return 1
    is_short, fewest = espnet.load("check_short_utt")(subsampling, 0)
    return fewest if is_short else 1


def min_samples(frontend: Any) -> int:
    """Return the samples S that a frontend needs: a centred STFT mirrors half a window at the ends.

    A frontend may declare its own number as the attribute `min_samples`.
    """
    if hasattr(frontend, "min_samples"):
        return frontend.min_samples
    stft: Any = getattr(frontend, "stft", None)
    return stft.n_fft // 2 + 1 if getattr(stft, "center", False) else 1


def frontend_frames(samples: int, frontend: Any) -> int | None:
    """Return the feature frames F of S samples, or None if only running the frontend would tell."""
    if frontend is None or isinstance(frontend, UnitEmbedding):
        return samples
    stft: Any = getattr(frontend, "stft", None)
    if stft is None:
        return None
    padding = 2 * (stft.n_fft // 2) if stft.center else 0
    return max(0, (samples + padding - stft.n_fft) // stft.hop_length + 1)


@dataclass(frozen=True)
class EncoderFrames:
    """Encoder frames T of an input, as a linear function of its length.

    The function rounds nothing: the exact number is less than one frame away.
    """

    slope: float  # encoder frames per sample, per feature frame, or per input id
    intercept: float

    def __call__(self, length: int) -> float:
        return self.slope * length + self.intercept

    @classmethod
    @torch.no_grad()
    def measure(cls, model: Any, feature_shape: Sequence[int] = ()) -> "EncoderFrames":
        """Run the model on two inputs of zeros and draw the line through both frame counts.

        Args:
            model: a `DualOutputModel`.
            feature_shape: () if it reads samples or input ids, (M,) if it reads features.
        """
        reads_ids = isinstance(model.frontend, UnitEmbedding)
        short, long = _FEATURE_FRAMES if feature_shape or reads_ids else _SAMPLES
        parameter = next(model.parameters())
        dtype = torch.long if reads_ids else parameter.dtype
        speech = parameter.new_zeros(2, long, *feature_shape, dtype=dtype)
        lengths = torch.tensor([short, long], device=parameter.device)
        training = model.training
        model.eval()
        try:
            any_value = {name: lengths.new_zeros(2) for name in model.conditions}
            request = EncoderRequest(conditions=any_value)
            frames = next(iter(model.encode(speech, lengths, request).lengths.values()))  # (2,)
        finally:
            model.train(training)
        slope = float(frames[1] - frames[0]) / (long - short)
        return cls(slope, float(frames[0]) - slope * short)


def pad_short(
    feats: torch.Tensor, lengths: torch.Tensor, fewest: int, training: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Append zeros to features (B, F, M) so that each utterance has at least `fewest` frames.

    >>> feats, lengths = pad_short(torch.ones(1, 2, 3), torch.tensor([2]), 7)
    >>> tuple(feats.shape), lengths.tolist()
    ((1, 7, 3), [7])
    """
    # Batch normalisation cannot learn from one frame of one utterance: give it a second one.
    needed = 2 * fewest if training and fewest > 1 and feats.size(0) == 1 else fewest
    missing = needed - feats.size(1)
    if missing > 0:
        feats = torch.nn.functional.pad(feats, (0, 0, 0, missing))
    return feats, lengths.clamp(min=fewest)
