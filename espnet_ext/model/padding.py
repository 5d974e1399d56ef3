"""Padding that keeps the features of an utterance independent of its batch.

Symbols: B utterances, S samples.
"""

from typing import Any

import torch


def mirror_ends(speech: torch.Tensor, lengths: torch.Tensor, frontend: Any) -> torch.Tensor:
    """Return samples (B, S + half a window) with each utterance followed by its mirrored end.

    A centred STFT mirrors the end of its input, which in a batch is the end of the longest
    utterance. The last frames of shorter utterances would contain padding instead, so results would
    depend on the batch composition. Without an STFT the samples (B, S) are returned unchanged.
    """
    stft: Any = getattr(frontend, "stft", None)
    half = stft.n_fft // 2 if getattr(stft, "center", False) else 0
    if not half or speech.size(0) == 1:
        return speech
    padded = torch.nn.functional.pad(speech, (0, half))  # (B, S + half)
    offsets = torch.arange(1, half + 1, device=speech.device)  # (half,) from the last sample
    ends = lengths.to(speech.device).unsqueeze(1) - 1  # (B, 1)
    sources = (ends - offsets).clamp(min=0)  # `model.frames` makes utterances long enough
    return padded.scatter(1, ends + offsets, speech.gather(1, sources))


def is_batch_invariant(model: Any) -> bool:
    """Return whether the encoder output of an utterance can be independent of its batch.

    ESPnet's legacy positional encodings depend on the padding, as do some frontends. Such models
    must encode utterances one by one.
    """
    is_legacy = any(type(m).__name__.startswith("Legacy") for m in model.encoder.modules())
    return not is_legacy and not getattr(model.frontend, "sees_padding", False)
