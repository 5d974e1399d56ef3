"""Joint CTC/attention search over one output of a batch of utterances, by ESPnet's own searcher.

Exact: no window on the CTC recursion. Symbols: B utterances, T frames, D encoder size.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from espnet_ext.decoding.options import SearchOptions
from espnet_ext.model import espnet
from espnet_ext.model.branch import Branch


@dataclass(frozen=True)
class Hypothesis:
    """One recognised transcript."""

    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    score: float  # weighted sum of log probabilities and length bonus
    scores: dict[str, float] = field(default_factory=dict)  # by scorer, unweighted


@dataclass(frozen=True)
class RawHypothesis:
    """Token ids with scores, before they become text."""

    token_ids: tuple[int, ...]
    score: float
    scores: dict[str, float]


def build_searcher(branch: Branch, options: SearchOptions, lm: torch.nn.Module | None = None):
    """ESPnet's batched searcher for one branch; scorers that weigh nothing are left out.

    A branch with CTC alone searches by CTC, one with a decoder alone by attention.
    """
    ctc_weight = options.ctc_weight
    if "ctc" not in branch.parts:
        ctc_weight = 0.0
    elif "decoder" not in branch.parts:
        ctc_weight = 1.0
    size = len(branch.tokens)
    scorers = {
        "decoder": branch.parts.get("decoder"),
        "ctc": espnet.load("CTCPrefixScorer")(branch.parts["ctc"], branch.eos)
        if "ctc" in branch.parts
        else None,
        "length_bonus": espnet.load("LengthBonus")(size),
        "lm": lm,
    }
    weights = {
        "decoder": 1.0 - ctc_weight, "ctc": ctc_weight, "length_bonus": options.penalty,
        "lm": options.lm_weight if lm is not None else 0.0,
    }  # fmt: skip
    logging.getLogger(espnet.SEARCH_LOGGER).setLevel(logging.ERROR)  # a line a hypothesis
    searcher = espnet.load("BatchBeamSearch")(
        beam_size=min(options.beam_size, size),
        weights=weights,
        scorers=scorers,
        sos=branch.sos,
        eos=branch.eos,
        vocab_size=size,
        token_list=branch.tokens,
        pre_beam_score_key=None if ctc_weight == 1.0 else "full",
        normalize_length=options.normalize_length,
    ).eval()
    if options.end_detect:  # which ESPnet ties to a ratio of 0: the bounds get ours behind its back
        bounds = searcher._length_bounds
        searcher._length_bounds = lambda lengths, _zero, least: bounds(
            lengths, options.maxlenratio, least
        )
    return searcher


@torch.no_grad()
def search(
    searcher, states: torch.Tensor, lengths: torch.Tensor, options: SearchOptions
) -> list[list[RawHypothesis]]:
    """Search a batch.

    Args:
        states: (B, T, D); lengths: (B,), sorted or not.
    Returns:
        For each utterance its n best, best first.
    """
    found = searcher(
        x=states, x_lengths=lengths,
        maxlenratio=0.0 if options.end_detect else options.maxlenratio,
        minlenratio=options.minlenratio,
    )  # fmt: skip
    return [
        [
            RawHypothesis(
                _strip(hypothesis.yseq, searcher.eos), float(hypothesis.score),
                {name: float(score) for name, score in hypothesis.scores.items()},
            )
            for hypothesis in nbest[: options.nbest]
        ]
        for nbest in found
    ]  # fmt: skip


def _strip(ids: torch.Tensor | Sequence[int], eos: int) -> tuple[int, ...]:
    """The content: without sos and eos (one id) at the ends, and without blanks (id 0).

    A hypothesis that ends in the very last step allowed has two eos, its own and the searcher's.
    """
    plain = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
    end = len(plain)
    while end > 1 and plain[end - 1] == eos:
        end -= 1
    return tuple(i for i in plain[1:end] if i != 0)
