"""The search of one output: which scorers a branch has, and what they weigh."""

from dataclasses import dataclass, field

import torch

from espnet_ext.decoding.beam import BeamSearch
from espnet_ext.decoding.options import SearchOptions
from espnet_ext.decoding.scorers import build_scorer
from espnet_ext.model.branch import Branch


@dataclass(frozen=True)
class Hypothesis:
    """One recognised transcript."""

    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    score: float  # weighted sum of log probabilities and length bonus
    scores: dict[str, float] = field(default_factory=dict)  # by scorer, unweighted
    confidences: tuple[float, ...] = ()  # of each token, 0 to 1
    times: tuple[tuple[float, float], ...] | None = None  # start and end of each token, seconds


def build_searcher(
    branch: Branch, options: SearchOptions, lm: torch.nn.Module | None = None, int8: bool = False
) -> BeamSearch:
    """The search for one branch; scorers that weigh nothing are left out.

    A branch with CTC alone searches by CTC, one with a decoder alone by attention.
    """
    ctc_weight = options.ctc_weight
    if "ctc" not in branch.parts:
        ctc_weight = 0.0
    elif "decoder" not in branch.parts:
        ctc_weight = 1.0
    scorers = {}
    if ctc_weight != 1.0:
        scorers["decoder"] = (build_scorer(branch.parts["decoder"], int8), 1.0 - ctc_weight)
    if lm is not None and options.lm_weight:
        scorers["lm"] = (build_scorer(lm, int8), options.lm_weight)
    return BeamSearch(
        scorers, branch.parts.get("ctc"), ctc_weight, len(branch.tokens), branch.sos, branch.eos,
        options,
    )  # fmt: skip
