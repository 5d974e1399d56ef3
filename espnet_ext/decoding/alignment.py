"""When the tokens of a transcript were said, by the branch's CTC (Graves et al., 2006).

Symbols: T frames, V tokens, L tokens of the transcript.
"""

import itertools
from collections.abc import Sequence

import torch

Spans = tuple[tuple[float, float], ...]


def align(log_probs: torch.Tensor, token_ids: Sequence[int], seconds: float) -> Spans | None:
    """Start and end of each token in seconds, along the likeliest path of CTC.

    Args:
        log_probs: (T, V) of the CTC layer; blank is 0.
        token_ids: L ids, none of them blank.
        seconds: how long the audio is; its T frames are taken as equally long.
    Returns:
        L pairs; None where T frames are too few for these tokens.
    """
    from torchaudio.functional import forced_align

    repeats = sum(a == b for a, b in itertools.pairwise(token_ids))
    frames = log_probs.size(0)
    if not token_ids:
        return ()
    if frames < len(token_ids) + repeats:
        return None
    targets = torch.tensor([list(token_ids)], dtype=torch.int32, device=log_probs.device)
    path, _ = forced_align(log_probs.unsqueeze(0).float(), targets, blank=0)
    spans: list[tuple[float, float]] = []
    position = 0
    for token, run in itertools.groupby(path[0].tolist()):
        length = sum(1 for _ in run)
        if token != 0:
            spans.append((position * seconds / frames, (position + length) * seconds / frames))
        position += length
    return tuple(spans)
