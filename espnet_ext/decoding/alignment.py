"""Token times and likelihoods of transcripts by CTC (Graves et al., 2006).

Symbols:
    T: encoder frames
    D: encoder output size
    V: vocabulary size
    L: tokens of the transcript
    K: transcripts
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

Spans = tuple[tuple[float, float], ...]  # start and end of each token, in seconds


def align(log_probs: torch.Tensor, token_ids: Sequence[int], seconds: float) -> Spans | None:
    """Return the start and end of each token in seconds, on the best CTC path.

    Args:
        log_probs: (T, V) output of the CTC layer; blank is 0.
        token_ids: L ids without blanks.
        seconds: duration of the audio, divided evenly into T frames.

    Returns:
        L pairs; None if T frames are too few to emit the tokens.
    """
    from torchaudio.functional import forced_align

    num_frames = log_probs.size(0)
    # Between two equal tokens CTC needs a blank.
    blanks_needed = sum(a == b for a, b in itertools.pairwise(token_ids))
    if not token_ids:
        return ()
    if num_frames < len(token_ids) + blanks_needed:
        return None
    targets = torch.tensor([list(token_ids)], dtype=torch.int32, device=log_probs.device)
    path, _ = forced_align(log_probs.unsqueeze(0).float(), targets, blank=0)
    spans: list[tuple[float, float]] = []
    start = 0
    for token, frames in itertools.groupby(path[0].tolist()):
        end = start + len(list(frames))
        if token != 0:
            spans.append((start * seconds / num_frames, end * seconds / num_frames))
        start = end
    return tuple(spans)


def ctc_log_probs(ctc: Any, encoder_out: torch.Tensor) -> torch.Tensor | None:
    """Return the CTC log probabilities (T, V) of an utterance; None without CTC.

    Args:
        ctc: the CTC of a head, or None.
        encoder_out: (T, D) that it reads.
    """
    return None if ctc is None else ctc.log_softmax(encoder_out.unsqueeze(0))[0]


def ctc_log_likelihoods(
    log_probs: torch.Tensor, transcripts: Sequence[Sequence[int]]
) -> list[float]:
    """Return log P(transcript | audio) of K transcripts, summed over all CTC paths.

    Args:
        log_probs: (T, V) output of the CTC layer; blank is 0.
        transcripts: token ids without blanks, K sequences.

    Returns:
        K values in nats; minus infinity if T frames are too few to emit the tokens.
    """
    lengths = torch.tensor([len(ids) for ids in transcripts])  # (K,)
    targets = torch.tensor([i for ids in transcripts for i in ids], dtype=torch.long)
    losses = torch.nn.functional.ctc_loss(
        log_probs.cpu().double().unsqueeze(1).expand(-1, len(transcripts), -1),  # (T, K, V)
        targets,
        torch.full_like(lengths, len(log_probs)),
        lengths,
        reduction="none",
    )
    return (-losses).tolist()
