"""What an objective sees of a batch, its base class, and the default: the weighted sum.

Symbols: B utterances, T encoder frames, D encoder size, K outputs.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys, check_mapping, check_weight, suggest
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


class Objective(torch.nn.Module):
    """Combines the losses of a batch into the scalar that training calls `backward` on.

    An objective may have parameters. They are trained with the model and saved in its checkpoints
    as `objective.*`. Models that are loaded for inference ignore them.

    `forward` receives the losses of the heads with their weights, the auxiliary losses, the hidden
    states of every output, and a function `losses.parameters` that returns groups of parameters. An
    objective that computes gradients itself returns `objectives.gradients.surrogate_loss`.

    `objective_conf` contains the keyword arguments of the constructor of a subclass, except
    `outputs`.

    Args:
        outputs: names of the outputs, in order.
        auxiliary_weights: name of an auxiliary loss → weight. These weights replace those that the
            encoder and the conditioner define.
    """

    needs_layers: ClassVar[bool] = False  # whether `forward` uses `losses.encoded.layers`
    # whether it changes the gradients of parameters that the outputs share, so that a training
    # whose encoder is frozen throughout cannot use it
    changes_shared_gradients: ClassVar[bool] = False

    def __init__(
        self, outputs: tuple[str, ...], auxiliary_weights: Mapping[str, float] | None = None
    ):
        super().__init__()
        check_mapping(auxiliary_weights or {}, "objective_conf.auxiliary_weights")
        for name, weight in (auxiliary_weights or {}).items():
            check_weight(weight, f"objective_conf.auxiliary_weights.{name}")
        self.outputs = tuple(outputs)
        self.auxiliary_weights = dict(auxiliary_weights or {})
        self.accum_grad = 1  # batches per update; set from the configuration
        # Returns the factor by which mixed precision multiplies losses; set by the Trainer.
        self.loss_scale: Callable[[], float] = lambda: 1.0

    def attach(self, model: Any) -> None:
        """Check the model that this objective trains, and create what depends on its sizes.

        Called once, when the model is complete but not yet trained. Modules and parameters are
        created on the CPU.

        Args:
            model: `DualOutputModel`.
        Raises:
            UserError: if the objective has no meaning for this model.
        """

    def begin_epoch(self) -> None:
        """Prepare for the next epoch of training. Called by all ranks."""

    def forward(self, losses: TrainingLosses) -> torch.Tensor:
        """Return the loss () of a batch; its value is also logged."""
        raise NotImplementedError

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return name → value () to log. The names must be the same for every batch."""
        return {}

    @classmethod
    def check_keys(cls, conf: Mapping[str, Any]) -> None:
        """Raise `UserError` for a key of `objective_conf` that the constructor does not accept.

        A constructor with `**name` also accepts the arguments of the next base class.
        """
        known: list[str] = []
        for base in cls.__mro__:
            constructor = vars(base).get("__init__")
            if constructor is None:
                continue
            parameters = list(inspect.signature(constructor).parameters.values())[1:]
            known += [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                break
        check_keys(
            conf, [key for key in dict.fromkeys(known) if key != "outputs"], "objective_conf"
        )


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
    terms += weighted_auxiliary(losses, auxiliary_weights)
    return sum(terms[1:], terms[0])


def weighted_auxiliary(
    losses: TrainingLosses, auxiliary_weights: Mapping[str, float] | None = None
) -> list[torch.Tensor]:
    """Return weight · loss, () each, of the auxiliary losses.

    Args:
        auxiliary_weights: name → weight, instead of those in `losses`.

    Raises:
        UserError: if they name a loss that there is not.
    """
    for name in auxiliary_weights or {}:
        if name not in losses.auxiliary:
            remedy = suggest(name, list(losses.auxiliary)) if losses.auxiliary else "remove it"
            raise UserError(
                f"objective_conf.auxiliary_weights: the system has no auxiliary loss '{name}'",
                remedy,
            )
    weights = {**losses.auxiliary_weights, **(auxiliary_weights or {})}
    # With the weight 0 too, so that all ranks have the same backward graph.
    return [weights.get(name, 0.0) * loss for name, loss in losses.auxiliary.items()]
