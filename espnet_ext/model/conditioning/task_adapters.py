"""Small modules per output, or per label of the utterance, in a shared encoder.

- `adapter`: after a layer, h ← h + U σ(V h) (Houlsby et al., arXiv 1902.00751, section 2.1).
- `lora`: beside the projections of queries and values, W x + alpha / rank · B A x (Hu et al., arXiv
  2106.09685, eq. 3). One per first language is MAS-LoRA with the accent known (arXiv 2505.20006).

U and B start at zero: the initial model is the one without these modules. The encoder itself is
trained too, unless `freeze_param` names it.

Symbols: R rows, T frames, D width.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.base import Conditioner, ConditionerContext
from espnet_ext.model.conditioning.cross_stitch import map_states
from espnet_ext.model.conditioning.experts import WHERE, RoutedConditioner
from espnet_ext.model.conditioning.layers import blocks_of, last_layers
from espnet_ext.model.conditioning.routing import TASK, Routed
from espnet_ext.model.conditioning.tops import several_outputs
from espnet_ext.model.config import check_count, check_keys, check_weight, suggest

KINDS = ("adapter", "lora")
OUTPUT = "output"  # value of `per`: one module per output
PROJECTIONS = ("linear_q", "linear_v", "q_proj", "v_proj")  # of ESPnet, of transformers


class TaskAdapters(RoutedConditioner):
    """Adapters or LoRA per output or per label.

    Args:
        outputs: names, in the model's order.
        labels: the values of the condition `per`; none if it is "output".
        kind: "adapter" or "lora".
        per: "output", or a condition: "l1" is one module per label in `utt2l1`.
        layers: how many of the last layers have them, or "all".
        rank: width of the bottleneck.
        alpha: LoRA only: the product is multiplied by alpha / rank.
    """

    def __init__(
        self,
        outputs: Sequence[str],
        labels: Sequence[str] = (),
        kind: str = KINDS[0],
        per: str = OUTPUT,
        layers: int | str = "all",
        rank: int = 16,
        alpha: float = 16.0,
    ):
        super().__init__(outputs, by_task=per == OUTPUT)
        if kind not in KINDS:
            raise UserError(f"{WHERE}.kind: unknown '{kind}'", suggest(str(kind), KINDS))
        check_count(rank, f"{WHERE}.rank", 1)
        check_weight(alpha, f"{WHERE}.alpha")
        if alpha == 0:
            raise UserError(f"{WHERE}.alpha: 0: LoRA has no effect", "give a number above 0")
        self.kind, self.layers, self.rank, self.alpha = kind, layers, rank, alpha
        self.axis = TASK if self.by_task else per
        self.values = tuple(self.outputs if self.by_task else labels)
        self.conditions = () if self.by_task else (per,)
        self.added = torch.nn.ModuleDict()  # name of the adapted module → its additions
        self._unseen: set[str] = set()  # adapted modules whose forward has not been called yet

    @classmethod
    def conditions_of(cls, conf: Mapping[str, Any]) -> Sequence[str]:
        per = conf.get("per", OUTPUT)
        return () if per == OUTPUT or not isinstance(per, str) else (per,)

    @classmethod
    def build(cls, conf: Mapping[str, Any], context: ConditionerContext) -> "TaskAdapters":
        known = list(inspect.signature(cls).parameters)[2:]
        check_keys(conf, known, WHERE)
        if "alpha" in conf and conf.get("kind", KINDS[0]) == "adapter":
            raise UserError(f"{WHERE}.alpha: kind: adapter has none", "remove it, or kind: lora")
        per = conf.get("per", OUTPUT)
        if not isinstance(per, str):
            raise UserError(f"{WHERE}.per: {per!r}", "write output, or a label such as l1")
        if per == OUTPUT:
            several_outputs(context, "adapters")
        labels = () if per == OUTPUT else context.conditions[per]
        for label in labels:
            if "." in label:
                raise UserError(
                    f"conditions.{per}: '{label}': the name of an adapter has no dot",
                    f"write another label into utt2{per}",
                )
        built = cls(list(context.tokens), labels, **conf)
        built.adapted(context.encoder)  # raises errors
        return built

    def adapted(self, encoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
        """Return name → module to adapt, in the chosen layers."""
        blocks = blocks_of(encoder, WHERE)
        numbers = last_layers(self.layers, len(blocks), f"{WHERE}.layers")
        if not len(numbers):
            raise UserError(f"{WHERE}.layers: 0: nothing is adapted", "write at least 1, or all")
        if self.kind == "adapter":
            return {str(number): blocks[number] for number in numbers}
        projections: dict[str, torch.nn.Module] = {
            f"{number}-{name.replace('.', '-')}": module
            for number in numbers
            for name, module in blocks[number].named_modules()
            if name.rpartition(".")[2] in PROJECTIONS and isinstance(module, torch.nn.Linear)
        }
        if not projections:
            raise UserError(
                f"{WHERE}.kind: lora: the layers of {type(encoder).__name__} have no module named "
                f"{', '.join(PROJECTIONS)}",
                "write kind: adapter",
            )
        return projections

    def attach(self, encoder: torch.nn.Module) -> None:
        blocks = blocks_of(encoder, WHERE)
        adapted = self.adapted(encoder)
        if self.by_task:
            first = min(int(name.partition("-")[0]) for name in adapted)
            repeated = list(blocks)[first:]
            self.separate_batch_norms(repeated)
            self.repeat_rows_before(encoder, repeated)
        size: int = encoder.output_size()  # type: ignore[operator]
        for name, module in adapted.items():
            if self.kind == "adapter":
                made = _bottleneck(size, size, self.rank, torch.nn.GELU())
            else:
                assert isinstance(module, torch.nn.Linear)
                made = _bottleneck(module.in_features, module.out_features, self.rank, None)
            self.added[name] = Routed(made, self.routing, {self.axis: self.values})
            # A partial of a method is copied with its object, unlike a nested function.
            module.register_forward_hook(functools.partial(self._add, name))
        self._unseen = set(adapted)

    def _add(self, name: str, _module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        """Add the result of an adapter or LoRA to that of a module (a forward hook)."""
        self._unseen.discard(name)
        if self.kind == "lora":
            return output + self.alpha / self.rank * self.added[name](inputs[0])
        return map_states(output, lambda states: states + self.added[name](states))

    def encode(self, encoder, run, encoder_pass):
        tasks = encoder_pass.outputs if self.by_task else ()
        ids = {name: encoder_pass.conditions[name] for name in self.conditions}
        self.routing.begin(tasks, ids, {} if self.by_task else {self.axis: self.values})
        result = run()
        if self.kind == "lora" and len(self._unseen) == len(self.added):
            raise UserError(
                f"conditioning: adapters: the {type(encoder).__name__} does not call its "
                "projections, so LoRA would have no effect",
                "write kind: adapter",
            )
        return result

    def fold(self, model, output, active):
        Conditioner.fold(self, model, output, active)


def _bottleneck(
    size: int, result: int, rank: int, activation: torch.nn.Module | None
) -> torch.nn.Sequential:
    """Return size → rank → result, whose result is zero at the start."""
    has_bias = activation is not None
    last = torch.nn.Linear(rank, result, bias=has_bias)
    for parameter in last.parameters():
        torch.nn.init.zeros_(parameter)
    first = torch.nn.Linear(size, rank, bias=has_bias)
    return torch.nn.Sequential(first, *([activation] if activation is not None else []), last)
