"""LoRA and DoRA through `peft`: small trained matrices beside frozen weights.

LoRA (Hu et al., arXiv 2106.09685, eq. 3) computes W x + alpha / rank · B A x, with B = 0 at the
start. DoRA (Liu et al., arXiv 2402.09353, eq. 5) also trains the norm of each row of the sum.

`add_adapters` freezes the adapted parts of a model. In state dictionaries, the frozen weights keep
the names that they have without an adapter. A model is merged (`merge_adapters`) before it decodes,
since some layers are read by their weights there.
"""

import contextlib
import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys, check_mapping, suggest
from espnet_ext.model.pretrained.base_weights import add_base_weights

WHERE = "finetune_conf.adapter"
TYPES = ("lora", "dora")
ALL, TRAINED = "all", "trained"  # values of `save`
# Projections of queries and values (Hu et al., sec. 7.1): of transformers, and of ESPnet.
QUERIES_AND_VALUES = ("q_proj", "v_proj", "linear_q", "linear_v")
_NAME = "default"  # of the adapter in peft
_LISTED = 12  # modules in a message
_IS_ADAPTER = re.compile(rf"\.lora_[A-Za-z_]+\.{_NAME}\b")  # in names of parameters


@dataclass(frozen=True)
class AdapterOptions:
    """Keys of `finetune_conf.adapter`."""

    type: str = "lora"  # lora or dora
    rank: int = 8
    alpha: float = 16  # the update is multiplied by alpha / rank
    dropout: float = 0.0  # dropout rate of the adapter's input
    # Names of modules, or their ends; * stands for any characters.
    target_modules: Sequence[str] = QUERIES_AND_VALUES
    # Parts of the model that are frozen and get adapters; default: the encoder (with the frontend)
    # and all pre-trained decoders.
    parts: Sequence[str] | None = None
    modules_to_save: Sequence[str] = ()  # modules of these parts that are trained as a whole
    # What checkpoints contain: all weights, or the trained ones (`base_weights`).
    save: str = ALL

    @classmethod
    def parse(cls, conf: Any) -> "AdapterOptions | None":
        """Check the values of `finetune_conf.adapter`; None if there is no adapter."""
        if conf is None:
            return None
        check_mapping(conf, WHERE)
        check_keys(conf, [field.name for field in fields(cls)], WHERE)
        conf = {key: value for key, value in conf.items() if value is not None}
        for key in ("target_modules", "parts", "modules_to_save"):
            if isinstance(conf.get(key), str):
                conf[key] = [conf[key]]
            if key in conf and not _is_list_of_names(conf[key]):
                raise UserError(f"{WHERE}.{key}: {conf[key]!r}", "write a list of names")
        options = cls(**conf)
        for key, choices in (("type", TYPES), ("save", (ALL, TRAINED))):
            value = getattr(options, key)
            if value not in choices:
                raise UserError(f"{WHERE}.{key}: {value!r}", suggest(str(value), choices))
        for key, is_valid, allowed in (
            ("rank", lambda x: isinstance(x, int) and x >= 1, "a whole number, 1 or more"),
            ("alpha", lambda x: 0 < x < float("inf"), "a number above 0"),
            ("dropout", lambda x: 0 <= x < 1, "a number from 0 to below 1"),
        ):
            value = getattr(options, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not is_valid(value):
                raise UserError(f"{WHERE}.{key}: {value!r}", f"write {allowed}")
        return options


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def options_of(config: Mapping[str, Any]) -> AdapterOptions | None:
    """Return the adapter of a configuration; None if it has none."""
    return AdapterOptions.parse((config.get("finetune_conf") or {}).get("adapter"))


def without_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without its adapter."""
    conf = {k: v for k, v in (config.get("finetune_conf") or {}).items() if k != "adapter"}
    return {**config, "finetune_conf": conf}


@dataclass(frozen=True)
class Adapters:
    """The adapters of a model.

    Attributes:
        modules: names of the adapted modules.
        frozen: the frozen parameters and statistics: name in the state dictionary → in the model.
        source: where the frozen weights are from, for messages.
    """

    options: AdapterOptions
    modules: Sequence[str]
    frozen: Mapping[str, str]
    source: str


def add_adapters(model: Any, options: AdapterOptions, source: str = "this model") -> None:
    """Add adapters to a `DualOutputModel` in place, and freeze the parts that they are added to.

    In these parts, only adapters, weights that the checkpoint does not have (`new_parameters`) and
    `modules_to_save` require a gradient afterwards. Statistics of batch normalisation are fixed.

    Args:
        source: where the weights of these parts are from, for messages.
    Raises:
        UserError: if a name matches no module, or `peft` is not installed.
    """
    parts = _parts(model, options)
    targets = _targets(parts, options)
    _check_targets(model, parts, targets)
    saved = _matching(_modules(parts), options.modules_to_save, "modules_to_save")
    trained = [p for name in saved for p in model.get_submodule(name).parameters()]
    trained += [p for part in parts.values() for p in getattr(part, "new_parameters", list)()]
    trained_ids = {id(p) for p in trained}
    base = dict(parts)
    if "encoder" in parts and model.frontend is not None:
        base["frontend"] = model.frontend
        _check_frontend(model.frontend, "frontend" in parts, trained_ids)
    frozen = [p for part in base.values() for p in part.parameters() if id(p) not in trained_ids]
    requires_grad = [(p, p.requires_grad) for p in model.parameters()]
    if hasattr(model.encoder, "prepare_for_adapters"):
        model.encoder.prepare_for_adapters()
    _inject(model, options, targets)
    for parameter, value in requires_grad:  # peft freezes everything else
        parameter.requires_grad_(value)
    for parameter in frozen:
        parameter.requires_grad_(False)
    statistics = [
        module
        for part in base.values()
        for module in part.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    model.fixed_statistics = statistics
    frozen_ids = {id(t) for t in (*frozen, *(b for m in statistics for b in m.buffers()))}
    tensors = (*model.named_parameters(remove_duplicate=False), *model.named_buffers())
    names = {n.replace(".base_layer.", "."): n for n, tensor in tensors if id(tensor) in frozen_ids}
    model.adapters = Adapters(options, targets, names, source)
    model.register_load_state_dict_pre_hook(add_base_weights)


def _parts(model: Any, options: AdapterOptions) -> dict[str, torch.nn.Module]:
    """Return the parts of a model that get adapters."""
    children = {name: child for name, child in model.named_children() if child is not None}
    if options.parts is None:
        return {
            name: child
            for name, child in children.items()
            if name == "encoder" or getattr(child, "pretrained", False)
        }
    for name in options.parts:
        if name not in children:
            known = f"parts of this model: {', '.join(children)}"
            raise UserError(f"{WHERE}.parts: the model has no part '{name}'", known)
    return {name: children[name] for name in options.parts}


def _modules(parts: Mapping[str, torch.nn.Module]) -> dict[str, torch.nn.Module]:
    """Return full name → module, for all modules of the parts."""
    return {
        ".".join(filter(None, (part, name))): module
        for part, child in parts.items()
        for name, module in child.named_modules()
    }


def _targets(parts: Mapping[str, torch.nn.Module], options: AdapterOptions) -> list[str]:
    """Return the full names of the modules that get an adapter."""
    adaptable = {name: m for name, m in _modules(parts).items() if _is_adaptable(m)}
    if tuple(options.target_modules) == QUERIES_AND_VALUES:  # a network has either names
        targets = [n for n in adaptable if n.rpartition(".")[2] in QUERIES_AND_VALUES]
    else:
        targets = _matching(adaptable, options.target_modules, "target_modules")
    for part in parts:
        if not any(name.startswith(f"{part}.") for name in targets):
            raise UserError(
                f"{WHERE}.target_modules: no module of {part} matches "
                f"{', '.join(options.target_modules)}",
                _known([name for name in adaptable if name.startswith(f"{part}.")])
                + f"; or leave {part} out of {WHERE}.parts",
            )
    return targets


def _is_adaptable(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.nn.Conv1d):
        return module.groups == 1
    return isinstance(module, torch.nn.Linear)


def _matching(modules: Mapping[str, Any], patterns: Sequence[str], key: str) -> list[str]:
    """Return the names that match a pattern; `UserError` for a pattern without a match."""
    matches: dict[str, None] = {}
    for pattern in patterns:
        names = [
            name
            for name in modules
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*.{pattern}")
        ]
        if not names:
            raise UserError(f"{WHERE}.{key}: no module matches '{pattern}'", _known(list(modules)))
        matches |= dict.fromkeys(names)
    return list(matches)


def _known(names: Sequence[str]) -> str:
    """Return a remedy that lists module names, with * for the numbers of layers."""
    counts: dict[str, int] = {}
    for name in names:
        short = re.sub(r"\.\d+(?=\.|$)", ".*", name)
        counts[short] = counts.get(short, 0) + 1
    listed = [f"{name} ({count})" for name, count in counts.items() if name][: 2 * _LISTED]
    return f"modules that can be named: {', '.join(listed) or 'none'}"


def _check_targets(
    model: Any, parts: Mapping[str, torch.nn.Module], targets: Sequence[str]
) -> None:
    """Refuse modules in which an adapter would have no effect, or an effect elsewhere."""
    shared: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        shared[id(parameter)] = shared.get(id(parameter), 0) + 1
    for name in targets:
        module = model.get_submodule(name)
        parent = model.get_submodule(name.rpartition(".")[0])
        if isinstance(parent, torch.nn.MultiheadAttention):
            reason = "torch.nn.MultiheadAttention reads its weight and never calls it"
        elif any(shared[id(p)] > 1 for p in module.parameters()):
            reason = "it shares its weight with another module"
        elif getattr(parts[name.partition(".")[0]], "frozen", False):
            reason = "this frontend computes no gradients; set frontend_conf.freeze: false"
        else:
            continue
        raise UserError(f"{WHERE}.target_modules: {name}: {reason}", "name other modules")


def _check_frontend(frontend: Any, is_adapted: bool, trained: set[int]) -> None:
    """Refuse `frontend_conf.freeze: false` if the adapter freezes the frontend nonetheless."""
    is_trained = any(id(p) in trained for p in frontend.parameters())
    if getattr(frontend, "frozen", True) is False and not is_adapted and not is_trained:
        raise UserError(
            f"frontend_conf.freeze: false, but {WHERE} freezes the frontend with the encoder",
            "remove freeze: false, or add frontend to the adapter's parts",
        )


def _inject(model: Any, options: AdapterOptions, targets: Sequence[str]) -> None:
    """Put peft's layers around modules of a model, and keep the names of their weights."""
    peft = _import_peft()
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(targets),
        use_dora=options.type == "dora",
    )
    try:
        peft.inject_adapter_in_model(config, model, _NAME)
    except (ValueError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{WHERE}: {reason}", "name other modules") from error
    for name in targets:
        layer = model.get_submodule(name)
        layer.register_state_dict_post_hook(_drop_base_layer)
        layer.register_load_state_dict_pre_hook(_insert_base_layer)


def _import_peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError(
            f"{WHERE}: adapters need the package peft", 'pip install "espnet-ext[pretrained]"'
        ) from None
    return peft


def _drop_base_layer(_layer, state: dict[str, Any], prefix: str, _metadata) -> None:
    """Rename `<prefix>base_layer.weight` to `<prefix>weight` in a state dictionary."""
    for key in [key for key in state if key.startswith(f"{prefix}base_layer.")]:
        state[prefix + key.removeprefix(f"{prefix}base_layer.")] = state.pop(key)


def _insert_base_layer(layer, state: dict[str, Any], prefix: str, *_) -> None:
    """Rename `<prefix>weight` to `<prefix>base_layer.weight` in a state dictionary."""
    for key in [key for key in state if key.startswith(prefix)]:
        remainder = key.removeprefix(prefix)
        if remainder.partition(".")[0] not in layer._modules:
            state[f"{prefix}base_layer.{remainder}"] = state.pop(key)


def is_adapter(name: str) -> bool:
    """Return whether a parameter belongs to an adapter.

    >>> is_adapter("encoder.encoders.0.self_attn.q_proj.lora_A.default.weight")
    True
    """
    return _IS_ADAPTER.search(name) is not None


def adapter_layers(model: Any) -> dict[str, Any]:
    """Return the name and peft's layer of each adapted module."""
    return {name: model.get_submodule(name) for name in model.adapters.modules}


@torch.no_grad()
def reset_magnitudes(model: Any) -> None:
    """Set the magnitudes of untrained DoRA layers to the norms of their weights.

    They differ after `--init_param` has loaded other weights.
    """
    for layer in adapter_layers(model).values():
        if _NAME in layer.lora_magnitude_vector and not layer.lora_B[_NAME].weight.any():
            magnitude = layer.lora_magnitude_vector[_NAME]
            weight = layer.get_base_layer().weight
            norm = magnitude.get_weight_norm(weight, torch.zeros_like(weight), scaling=1.0)
            magnitude.weight.copy_(norm)


@torch.no_grad()
def merge_adapters(model: Any) -> None:
    """Replace each adapted module by a plain one with the same function, in place."""
    if model.adapters is None:
        return
    for name, layer in adapter_layers(model).items():
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    model.adapters = None
    model.fixed_statistics = []


@contextlib.contextmanager
def check_called(model: Any) -> Iterator[None]:
    """Raise `UserError` if the context did not call each adapter of frontend and encoder.

    A network may read the weight of a layer instead of calling it. Its adapter would do nothing.
    """
    called: set[str] = set()
    layers = {
        name: layer
        for name, layer in adapter_layers(model).items()
        if name.partition(".")[0] in ("frontend", "preencoder", "encoder", "postencoder")
    }

    def hook(name: str):
        return lambda *_: called.add(name)

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if unused := [name for name in layers if name not in called]:
        raise UserError(
            f"{WHERE}.target_modules: the network never calls {', '.join(unused[:_LISTED])}, so "
            "an adapter there would have no effect",
            "name other modules",
        )


def untrained_modules(model: Any) -> list[str]:
    """Return the adapted modules whose adapter requires a gradient but is still zero."""
    return [
        name
        for name, layer in adapter_layers(model).items()
        if layer.lora_B[_NAME].weight.requires_grad and not layer.lora_B[_NAME].weight.any()
    ]


def summary(model: Any) -> str:
    """Return a line with the adapters of a model and the parameters that they train."""
    options = model.adapters.options
    modules: dict[str, int] = {}
    for name in model.adapters.modules:
        part = name.partition(".")[0]
        modules[part] = modules.get(part, 0) + 1
    trained: dict[str, int] = {}
    total = 0
    for name, parameter in model.named_parameters():
        total += parameter.numel()
        if parameter.requires_grad:
            part = "adapters" if is_adapter(name) else name.partition(".")[0]
            trained[part] = trained.get(part, 0) + parameter.numel()
    count = sum(trained.values())
    return (
        f"{options.type} of rank {options.rank} in "
        f"{', '.join(f'{number} modules of {part}' for part, number in modules.items())}: trains "
        f"{count:,} of {total:,} parameters ({100 * count / max(total, 1):.2f} %): "
        f"{', '.join(f'{part} {number:,}' for part, number in trained.items())}"
    )
