"""What follows an utterance in a batch. Symbols: B utterances, S samples."""

import torch


def mirror_ends(
    speech: torch.Tensor, lengths: torch.Tensor, frontend: torch.nn.Module | None
) -> torch.Tensor:
    """Samples (B, S) with the end of each utterance mirrored behind it: (B, S + half a window).

    An STFT mirrors the ends of what it gets, which in a batch is the end of the longest utterance;
    the last frames of all others would run into the silence that fills them up, and a result would
    depend on the company that it was decoded in. Frontends without an STFT get what they got.
    """
    stft = getattr(frontend, "stft", None)
    half = stft.n_fft // 2 if getattr(stft, "center", False) else 0
    if not half or speech.size(0) == 1:
        return speech
    wide = torch.nn.functional.pad(speech, (0, half))
    behind = torch.arange(1, half + 1, device=speech.device)  # (half,) samples behind the last one
    ends = lengths.to(speech.device).unsqueeze(1) - 1  # (B, 1)
    sources = (ends - behind).clamp(min=0)  # shorter ones never come here: see `model.frames`
    return wide.scatter(1, ends + behind, speech.gather(1, sources))
