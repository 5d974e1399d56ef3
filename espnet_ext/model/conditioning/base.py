"""The base class of conditioners.

Symbols: B utterances, K tasks, F feature frames, M features, T encoder frames, D encoder size.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.inline import InlineTags
from espnet_ext.model.config import suggest
from espnet_ext.model.encoding import EncoderPass, EncoderRequest, TaskMask

# What an encoder returns: hidden states (B, T, D), lengths (B,) and named auxiliary losses.
Encoded = tuple[torch.Tensor, torch.Tensor, Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class ConditionerContext:
    """What a conditioner is built from, beside its configuration."""

    tokens: Mapping[str, Sequence[str]]  # output → its token list
    encoder: torch.nn.Module
    output_size: int  # D of what the heads read
    # condition → its values; `EncoderPass.conditions` has their positions (see `model.conditions`)
    conditions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shared_decoder: torch.nn.Module | None = None  # decoder of the outputs with `decoder: shared`
    frontend: torch.nn.Module | None = None


class Conditioner(torch.nn.Module):
    """Acts on the encoder for the tasks that are active.

    Tasks are the outputs (`meaning`), and kinds of inline tags within them (`meaning.l1`).

    Args:
        outputs: names, in the model's order.
        tags: the outputs' kinds of inline tags; none unless given.
        trained: sets of tasks that were active in training, for choosing at inference; () if
            unknown.
    """

    # labels of utterances that it reads: "band" is the label in utt2band (see `model.conditions`)
    conditions: Sequence[str] = ()
    uses_active: ClassVar[bool] = True  # whether the choice of active tasks has an effect

    def __init__(
        self,
        outputs: Sequence[str],
        tags: InlineTags | None = None,
        trained: Sequence[Sequence[str]] = (),
    ):
        super().__init__()
        self.outputs = tuple(outputs)
        self.tags = tags or InlineTags(dict.fromkeys(outputs, ()))
        self.tasks = (*self.outputs, *self.tags.ids)
        self.trained = [self.names_of(self.active_set(names)) for names in trained]

    # -- building

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "Conditioner":
        """Build from `conditioning_conf`; raise `UserError` if it is invalid."""
        raise NotImplementedError

    @classmethod
    def conditions_of(cls, conf: Mapping[str, Any]) -> Sequence[str]:
        """Return the `conditions` that it reads if it is built from `conditioning_conf`."""
        return cls.conditions

    @classmethod
    def with_label_sets(
        cls, conf: Mapping[str, Any], sets: Iterable[tuple[str, ...]]
    ) -> dict[str, Any]:
        """Return `conditioning_conf` with what is known from the training set.

        Args:
            sets: the label sets of its utterances: the tasks that they have labels for.
        """
        if not cls.uses_active:
            return dict(conf)
        return {**conf, "trained": [list(names) for names in sorted(sets) if names]}

    def attach(self, encoder: torch.nn.Module) -> None:
        """Change the encoder once, after it is built: insert modules, for example."""

    def attach_decoder(self, decoder: torch.nn.Module) -> None:
        """Change the shared decoder once, after it is built."""

    # -- tasks

    def active_set(self, names: Iterable[str]) -> TaskMask:
        """Return names of tasks as a mask (K,)."""
        names = list(names)
        for name in names:
            if name not in self.tasks:
                what = "tag" if "." in name else "output"
                raise UserError(
                    f"active outputs: unknown {what} '{name}'", suggest(name, list(self.tasks))
                )
        return torch.tensor([name in names for name in self.tasks])

    def names_of(self, active: TaskMask) -> tuple[str, ...]:
        """Return the tasks of a mask (K,)."""
        pairs = zip(self.tasks, active.tolist(), strict=True)
        return tuple(name for name, is_active in pairs if is_active)

    def check_active(self, names: Sequence[str]) -> str:
        """Return a warning about decoding with these tasks active, or "".

        Raises:
            UserError: if the result would be random.
        """
        return ""

    def drop_tasks_of(
        self, batch: Mapping[str, torch.Tensor], active: TaskMask
    ) -> tuple[Mapping[str, torch.Tensor], TaskMask]:
        """Return a training batch and its active tasks (B, K), with some made inactive."""
        return batch, active

    # -- encoding

    @property
    def needs_pass_per_output(self) -> bool:
        """Whether outputs need separate encoder passes even if the same tasks are active."""
        return False

    def passes(
        self, outputs: Sequence[str], request: EncoderRequest, separate: bool = False
    ) -> list[EncoderPass]:
        """Return the encoder passes of a request; outputs with equal active tasks share one.

        All outputs share one if the choice of active tasks has no effect (`uses_active`).

        Args:
            separate: the encoder itself needs one pass per output.
        """
        separate = separate or self.needs_pass_per_output
        if not (self.uses_active or separate):
            return [EncoderPass(tuple(outputs), self.active_set(outputs), request.conditions)]
        every = torch.ones(len(self.tasks), dtype=torch.bool)
        groups: list[tuple[list[str], TaskMask]] = []
        for name in outputs:
            active = request.active
            if isinstance(active, Mapping):
                active = active.get(name)
            active = every if active is None else active
            for names, other in groups:
                same = active is other or torch.equal(active.cpu(), other.cpu())
                if same and not separate:
                    names.append(name)
                    break
            else:
                groups.append(([name], active))
        return [EncoderPass(tuple(n), active, request.conditions) for n, active in groups]

    def groups(self, outputs: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the outputs of a pass in groups; each group reads other rows of its result.

        With G groups, `encode` returns G·B rows: those of the first group, then the next. Thus a
        conditioner can run several tasks in one pass that shares the layers below them.
        """
        return [tuple(outputs)]

    def encode(
        self, encoder: torch.nn.Module, run: Callable[[], Encoded], encoder_pass: EncoderPass
    ) -> Encoded:
        """Run the encoder for one pass, and change what it returns.

        Args:
            encoder: ESPnet's.
            run: runs the encoder and the postencoder.
            encoder_pass: whose `active` is (B, K) here, on the encoder's device.
        """
        raise NotImplementedError

    def label_losses(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return auxiliary losses of the last pass that need transcripts: name → ().

        Called once after `encode`, in training and validation. The names never vary. Weights are
        in `auxiliary_weights`.

        Args:
            batch: as for the model's `forward`.
        """
        return {}

    # -- reports

    def statistics(self) -> dict[str, torch.Tensor]:
        """Return values to log by name, () each; the names never vary."""
        return {}

    # -- export

    def fold(self, model: torch.nn.Module, output: str, active: Sequence[str]) -> None:
        """Add the effect of this conditioner to the biases that lead to `output`, and remove it.

        Afterwards the model is valid only for this output with these active tasks.

        Raises:
            UserError: if the effect of this kind of conditioner is not a constant.
        """
        raise UserError(
            f"{type(self).__name__}: a stock ESPnet model cannot express this conditioning",
            "decode this system with espnet-ext decode instead",
        )
