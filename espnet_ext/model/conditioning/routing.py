"""Route the rows of a batch through modules that exist once per task or once per band.

An encoder pass for several tasks starts with one row per utterance. Before the first layer that
differs by task, the rows are repeated, once per task. The layers below run once per utterance, and
all tasks run together in the layers above.

Symbols: B utterances, G tasks of the pass, R rows (B, or G·B after they were repeated), T frames,
D width.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

TASK, BAND = "task", "band"  # what an expert can depend on: the output that is read, utt2band
Index = slice | torch.Tensor  # rows of a batch


class Routing:
    """The tasks and bands of the rows of the encoder pass that runs.

    The modules of one encoder share it. It stays valid until the next pass begins, because gradient
    checkpointing runs layers again in the backward pass.
    """

    def __init__(self) -> None:
        self.begin((), {}, {})

    def begin(
        self,
        tasks: Sequence[str],
        bands: Mapping[str, torch.Tensor],
        values: Mapping[str, Sequence[str]],
    ) -> None:
        """Begin a pass.

        Args:
            tasks: G outputs whose rows differ; one or none if no layer differs by task.
            bands: condition → value ids (B,).
            values: condition → its values.
        """
        self.tasks = tuple(tasks)
        self.labels = {name: [values[name][i] for i in ids.tolist()] for name, ids in bands.items()}
        self.batch: int | None = None  # B, known when the first rows arrive
        self.plans: dict[Any, tuple[list[tuple[str, Index]], torch.Tensor | None]] = {}

    # -- repeating rows

    def before_layer(self, _module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Repeat the rows of a layer's arguments per task (a forward pre-hook).

        Masks are repeated too, in every layer: some encoders pass all layers the same mask. WavLM's
        position biases have B·H rows, and each layer passes them on to the next.
        """
        if len(self.tasks) < 2:
            return args, kwargs
        first = args[0] if args else kwargs["hidden_states"]
        rows = (first[0] if isinstance(first, tuple) else first).size(0)
        is_new = self.batch is None or rows == self.batch
        if self.batch is None:
            self.batch = rows
        bias = kwargs.pop("position_bias", None)
        if isinstance(first, tuple):  # (states, positions), where the positions have one row
            args = ((self._repeat(first[0]), *first[1:]), *args[1:])
        args = tuple(self._repeat(value) for value in args)
        kwargs = {name: self._repeat(value) for name, value in kwargs.items()}
        if bias is not None:
            kwargs["position_bias"] = self._all(bias) if is_new else bias
        return args, kwargs

    def after_encoder(self, _module, args: tuple, output: tuple) -> tuple:
        """Return an encoder's result (states, lengths, …) with G·B rows (a forward hook)."""
        if len(self.tasks) < 2:
            return output
        if self.batch is None:  # no layer that differs by task has run: layerdrop skipped them
            self.batch = args[0].size(0)
        states, lengths, *others = output
        return self._repeat(states), self._repeat(lengths), *others

    def _repeat(self, value: Any) -> Any:
        """Repeat a tensor of B rows per task; return anything else as it is."""
        has_rows = isinstance(value, torch.Tensor) and value.dim() and value.size(0) == self.batch
        return self._all(value) if has_rows else value

    def _all(self, value: torch.Tensor) -> torch.Tensor:
        return value.repeat(len(self.tasks), *[1] * (value.dim() - 1))

    # -- choosing experts

    def plan(
        self, axes: Sequence[str], rows: int, device: torch.device
    ) -> tuple[list[tuple[str, Index]], torch.Tensor | None]:
        """Return which rows each expert computes.

        Args:
            axes: what the experts depend on.
            rows: R.
        Returns:
            The name of each expert that has rows, with its rows; and the order (R,) that brings
            their concatenated results back into the order of the batch, None if it is the same.
        """
        key = (tuple(axes), rows)
        if key not in self.plans:
            rows_of: dict[str, list[int]] = {}
            for row, name in enumerate(self._experts(axes, rows)):
                rows_of.setdefault(name, []).append(row)
            joined = list(itertools.chain.from_iterable(rows_of.values()))
            order = None
            if joined != list(range(rows)):
                order = torch.tensor(joined, device=device).argsort()
            parts = [(name, _index(members, device)) for name, members in rows_of.items()]
            self.plans[key] = parts, order
        return self.plans[key]

    def _experts(self, axes: Sequence[str], rows: int) -> list[str]:
        """Return the name of each row's expert."""
        tasks: Sequence[str] = self.tasks or ("",)
        by_task = [task for task in tasks for _ in range(rows // len(tasks))]
        columns = []
        for axis in axes:
            labels = by_task if axis == TASK else self.labels[axis]
            columns.append(list(labels) * (rows // len(labels)))
        return [expert_name(axes, values) for values in zip(*columns, strict=True)]


def _index(rows: Sequence[int], device: torch.device) -> Index:
    """Return rows as a slice if they are consecutive, which selects without a copy."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return slice(rows[0], rows[-1] + 1)
    return torch.tensor(rows, device=device)


def expert_name(axes: Sequence[str], values: Sequence[str]) -> str:
    """Return the name of an expert, which is part of the names of its parameters.

    >>> expert_name(["task", "band"], ["surface", "narrow"])
    'task-surface+band-narrow'
    """
    return "+".join(f"{axis}-{value}" for axis, value in zip(axes, values, strict=True))


class Routed(torch.nn.Module):
    """A module that exists once per task, per band, or per combination of both.

    All start as copies of the module that they replace, so that the initial model is the one
    without experts. A module without rows in a batch gets a gradient of zero.

    Args:
        module: the module that is replaced.
        routing: routing of the encoder.
        values: axis ("task", "band") → its values.
    """

    def __init__(
        self, module: torch.nn.Module, routing: Routing, values: Mapping[str, Sequence[str]]
    ):
        super().__init__()
        self.axes = tuple(values)
        self.routing = routing
        names = [expert_name(self.axes, chosen) for chosen in itertools.product(*values.values())]
        copies = [module, *(copy.deepcopy(module) for _ in names[1:])]
        self.experts = torch.nn.ModuleDict(dict(zip(names, copies, strict=True)))
        self.register_load_state_dict_pre_hook(_load_dense_weights)

    def forward(self, *args, **kwargs):
        """Return what the rows' experts return; the first argument has R rows."""
        first = args[0] if args else kwargs["hidden_states"]
        states = first[0] if isinstance(first, tuple) else first
        rows = states.size(0)
        parts, order = self.routing.plan(self.axes, rows, states.device)
        if len(parts) == 1:
            result = self.experts[parts[0][0]](*args, **kwargs)
        else:
            results = []
            for name, index in parts:
                selected = {key: _select(value, index, rows) for key, value in kwargs.items()}
                bias = kwargs.get("position_bias")
                if bias is not None:  # (R·H, T, T) of WavLM
                    selected["position_bias"] = bias.unflatten(0, (rows, -1))[index].flatten(0, 1)
                results.append(self.experts[name](*_select(args, index, rows), **selected))
            result = _join(results, order)
        if self.training and torch.is_grad_enabled() and len(parts) < len(self.experts):
            used = {name for name, _ in parts}
            result = _hold(result, [e for name, e in self.experts.items() if name not in used])
        return result


def dense_name(name: str) -> str:
    """Return the name that a parameter of an expert has in the system without experts.

    >>> dense_name("encoder.encoders.0.feed_forward.experts.task-surface.w_1.weight")
    'encoder.encoders.0.feed_forward.w_1.weight'
    """
    before, _, after = name.partition(".experts.")
    return f"{before}.{after.partition('.')[2]}" if after else name


def _load_dense_weights(module: Any, state: dict[str, Any], prefix: str, *_others: Any) -> None:
    """Load the weights of the replaced module into all experts (a hook of `load_state_dict`).

    `--init_param` adds the weights of a file to those of the model, so the weights of a system
    without experts come together with the experts' present ones. A state with the former alone is
    not that of this model, and remains an error.
    """
    inside = f"{prefix}experts."
    for key in [k for k in state if k.startswith(prefix) and not k.startswith(inside)]:
        targets = [f"{inside}{name}.{key.removeprefix(prefix)}" for name in module.experts]
        if all(target in state for target in targets):
            state |= dict.fromkeys(targets, state.pop(key))


def _select(value: Any, index: Index, rows: int) -> Any:
    """Return the rows `index` of every tensor of R rows in a value or (nested) tuple."""
    if isinstance(value, tuple):
        return tuple(_select(part, index, rows) for part in value)
    if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == rows:
        return value[index]
    return value


def _join(values: Sequence[Any], order: torch.Tensor | None) -> Any:
    """Concatenate results row by row and restore the order; what all share is returned once."""
    first = values[0]
    if all(value is first for value in values):
        return first
    if isinstance(first, tuple):
        return tuple(_join(parts, order) for parts in zip(*values, strict=True))
    joined = torch.cat(list(values))
    return joined if order is None else joined[order]


def _hold(result: Any, unused: Sequence[torch.nn.Module]) -> Any:
    """Keep unused experts in the graph: ranks whose backward graphs differ hang under DDP."""
    if isinstance(result, tuple):
        return (_hold(result[0], unused), *result[1:])
    zero = sum((p.sum() * 0 for e in unused for p in e.parameters() if p.requires_grad), 0)
    return result + zero


def child_of(parent: Any, name: str) -> torch.nn.Module:
    """Return the module `name` of a parent: an attribute, or a number in a list."""
    return parent[int(name)] if name.isdigit() else getattr(parent, name)


def replace(parent: Any, name: str, module: torch.nn.Module) -> None:
    """Replace the module `name` of a parent (an attribute, or a number in a list)."""
    if name.isdigit():
        parent[int(name)] = module
    else:
        setattr(parent, name, module)


def unroute(module: torch.nn.Module, values: Mapping[str, str]) -> None:
    """Replace every `Routed` module below `module` by its expert for the values of its axes.

    Raises:
        KeyError: if a module has an axis without a value.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, Routed):
            child = child.experts[expert_name(child.axes, [values[a] for a in child.axes])]
            replace(module, name, child)
        unroute(child, values)
