"""Evidence for each deviation in the CTC posteriors of the recording.

The score of a deviation is the log-odds of two transcripts: what was recognised, and the same with
this deviation undone. It is exact: CTC sums over all alignments. Like the alignment-free goodness
of pronunciation of Cao et al. (Interspeech 2024, "A framework for phoneme-level pronunciation
assessment using CTC"), it needs no phone boundaries, and it covers deletions and insertions.

Symbols: T frames, V vocabulary size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from espnet_ext.decoding.alignment import align, ctc_log_likelihoods
from espnet_ext.decoding.search import Hypothesis
from espnet_ext.feedback.comparison import Comparison
from espnet_ext.feedback.transcript import Transcript

MAX_ODDS = 50.0  # nats; of a transcript that has no path


@dataclass(frozen=True)
class Evidence:
    """A recording compared with a sentence, before any threshold.

    Args:
        comparison: the alignment and the deviations.
        scores: log-odds of each deviation in nats.
        peaks: largest posterior of each recognised unit, see `peaks`.
        surface: the recognised surface.
        transcript: its units.
        seconds: duration of the recording.
    """

    comparison: Comparison
    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    surface: Hypothesis
    transcript: Transcript
    seconds: float


def log_odds(
    log_probs: torch.Tensor,
    transcript: Transcript,
    comparison: Comparison,
    token_ids: Callable[[str], Sequence[int]],
    unknown: int,
) -> list[float | None]:
    """Return the log-odds of each deviation in nats, from −`MAX_ODDS` to `MAX_ODDS`.

    Args:
        log_probs: (T, V) of the CTC of the surface.
        transcript: what was recognised.
        comparison: its comparison with the expected pronunciation.
        token_ids: tokenizer of the surface: text → ids.
        unknown: id of the token for characters that the vocabulary lacks.

    Returns:
        One value per deviation; None if the vocabulary lacks a token of the corrected transcript.
    """
    if not comparison.deviations:
        return []
    recognised = list(token_ids(transcript.text()))
    corrected = [
        list(token_ids(transcript.undo(comparison, deviation)))
        for deviation in comparison.deviations
    ]
    scores = ctc_log_likelihoods(log_probs, [recognised, *corrected])
    odds: list[float | None] = []
    for ids, score in zip(corrected, scores[1:], strict=True):
        if unknown in ids and unknown not in recognised:
            odds.append(None)
            continue
        difference = scores[0] - score
        odds.append(0.0 if math.isnan(difference) else max(-MAX_ODDS, min(MAX_ODDS, difference)))
    return odds


def peaks(
    log_probs: torch.Tensor, transcript: Transcript, token_ids: Sequence[int]
) -> tuple[float, ...]:
    """Return the largest CTC posterior of each recognised unit within its frames.

    Args:
        log_probs: (T, V) of the CTC of the surface.
        transcript: what was recognised.
        token_ids: token ids of the recognised surface.
    """
    frames = align(log_probs, token_ids, float(len(log_probs)))  # the unit of time is one frame
    if frames is None:
        return (0.0,) * len(transcript.units)
    of_token = [
        float(log_probs[round(start) : round(end), token].max().exp())
        for (start, end), token in zip(frames, token_ids, strict=True)
    ]
    return tuple(of_token[token] for token in transcript.token_of)
