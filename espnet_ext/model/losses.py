"""What an objective sees of a batch, and the default objective: the weighted sum.

Symbols: B utterances, T encoder frames, D encoder size, K outputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from espnet_ext.model.encoding import EncoderOutput
from espnet_ext.model.heads.base import HeadLosses


@dataclass(frozen=True)
class ParameterGroups:
    """Trainable parameters of a model, by what uses them. The objective's own are in none."""

    # encoder layer (`embed`, `0`, `1`, …) → its parameters; `all`: everything that the outputs
    # share, from frontend to postencoder, so it is more than the layers together
    shared: Mapping[str, list[torch.nn.Parameter]]
    heads: Mapping[str, list[torch.nn.Parameter]]  # output → parameters of its head


@dataclass(frozen=True)
class TrainingLosses:
    """The losses of one batch, and what an objective may need beside them."""

    heads: Mapping[str, HeadLosses]  # output → its losses with their weights
    auxiliary: Mapping[str, torch.Tensor] = field(default_factory=dict)  # name → ()
    # name → weight that the encoder or the conditioner gives an auxiliary loss; absent: 0
    auxiliary_weights: Mapping[str, float] = field(default_factory=dict)
    # hidden states and lengths by output, and those of all layers if the objective asks for them
    encoded: EncoderOutput | None = None
    labelled: torch.Tensor | None = None  # (B, K), which outputs an utterance has a transcript for
    parameters: Callable[[], ParameterGroups] | None = None


Objective = Callable[[TrainingLosses], torch.Tensor]


def weighted_head_loss(losses: HeadLosses) -> torch.Tensor:
    """Return Σ_i weight_i · loss_i over the losses i of one head."""
    terms = losses.weighted()
    return sum(terms[1:], terms[0])


def weighted_sum(
    losses: TrainingLosses, auxiliary_weights: Mapping[str, float] | None = None
) -> torch.Tensor:
    """Return Σ_o Σ_i weight_oi · loss_oi over outputs o and losses i, and the auxiliary losses.

    Weights are absolute: α·CTC + β·surface + γ·meaning of Cho & Kim, arXiv 2606.06065.

    Args:
        auxiliary_weights: name → weight, instead of those in `losses`.
    """
    terms = [term for head in losses.heads.values() for term in head.weighted()]
    weights = {**losses.auxiliary_weights, **(auxiliary_weights or {})}
    # With the weight 0 too, so that all ranks have the same backward graph.
    terms += [weights.get(name, 0.0) * loss for name, loss in losses.auxiliary.items()]
    return sum(terms[1:], terms[0])
