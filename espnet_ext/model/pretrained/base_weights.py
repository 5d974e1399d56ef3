"""Checkpoints without the frozen weights of adapted parts, and the identity of these weights.

With `finetune_conf.adapter.save: trained`, a checkpoint has the trained weights and, under `BASE`,
the SHA-256 of the frozen ones. Loading takes the frozen weights from the pre-trained model and from
`init_param`, as training did, and refuses others.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.checksums import sha256_of_tensors
from espnet_ext.model.config import places_of

BASE = "adapter_base"  # key of the SHA-256 in a state dictionary: 4 integers of 64 bits


def frozen_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return the frozen weights of adapted parts, by their names in the state dictionary."""
    weights = {}
    for name, place in model.adapters.frozen.items():
        module, _, attribute = place.rpartition(".")
        weights[name] = getattr(model.get_submodule(module), attribute).detach()
    return weights


def digest(weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the SHA-256 of names, types, sizes and values, as a tensor (4,) of integers."""
    return torch.frombuffer(bytearray(sha256_of_tensors(weights)), dtype=torch.int64).clone()


def hexadecimal(base: torch.Tensor) -> str:
    """Return the first digits of a SHA-256, for messages."""
    return base.cpu().numpy().tobytes().hex()[:16]


def is_without_base(state: Mapping[str, Any]) -> bool:
    """Return whether a state dictionary lacks the frozen weights."""
    return BASE in state


def source_of(config: Mapping[str, Any]) -> str:
    """Return the names of the pre-trained models and files of a configuration, for messages."""
    confs = [config.get(f"{part}_conf") for part in ("frontend", "encoder", "decoder")]
    confs += [output.get("decoder_conf") for output in (config.get("outputs") or {}).values()]
    names: dict[str, None] = {}
    for conf in confs:
        if conf and conf.get("model"):
            revision = conf.get("revision")
            names[f"{conf['model']}{f' (revision {revision})' if revision else ''}"] = None
    names |= dict.fromkeys(config.get("init_param") or ())
    return ", ".join(names) or "random weights"


def initial_config(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration that a training began with.

    Its pre-trained parts are read from their checkpoints again. Relative paths of checkpoints and
    of `init_param` are found from the model's folder (`places_of`).

    Raises:
        UserError: if a file of `init_param` does not exist.
    """
    places = places_of(folder)
    result = dict(config)
    for key in ("frontend_conf", "encoder_conf", "decoder_conf"):
        result[key] = _reread(config.get(key) or {}, {}, places)
    result["outputs"] = {
        name: {
            **output,
            "decoder_conf": _reread(output["decoder_conf"], result["decoder_conf"], places),
        }
        if output.get("decoder_conf")
        else output
        for name, output in config["outputs"].items()
    }
    result["init_param"] = [
        _with_existing_file(item, places) for item in config.get("init_param") or ()
    ]
    return result


def _reread(
    conf: Mapping[str, Any], shared: Mapping[str, Any], places: Sequence[Path]
) -> dict[str, Any]:
    """Return options of a part without its architecture, if they or shared ones name a model."""
    is_named = conf.get("model") or shared.get("model")
    result = {key: value for key, value in conf.items() if key != "architecture" or not is_named}
    if conf.get("model"):  # else a name on the hub
        folders = [place / conf["model"] for place in places]
        result["model"] = str(next((path for path in folders if path.is_dir()), conf["model"]))
    return result


def _with_existing_file(specification: str, places: Sequence[Path]) -> str:
    """Return an item of `init_param`, FILE[:…], with the path of an existing file."""
    name, colon, parts = specification.partition(":")
    file = next((place / name for place in places if (place / name).is_file()), None)
    if file is None:
        folders = list(dict.fromkeys(str(place.resolve()) for place in places))
        raise UserError(
            f"init_param: {name}: no such file in {', '.join(folders)}",
            "restore the file, or load the model in the folder in which it was trained",
        )
    return f"{file}{colon}{parts}"


def with_base_weights(model: Any, state: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a state dictionary with the frozen weights of the model added.

    Args:
        state: weights of a checkpoint without frozen weights.
        where: the file, for messages.
    Raises:
        UserError: if the checkpoint was trained with other frozen weights.
    """
    weights = frozen_weights(model)
    expected, actual = state[BASE].cpu(), digest(weights)
    if not torch.equal(expected, actual):
        raise UserError(
            f"{where}: its adapter was trained on another base: SHA-256 {hexadecimal(expected)}…, "
            f"but the weights of {model.adapters.source} have {hexadecimal(actual)}…",
            "restore the pre-trained model, its revision and the init_param files that it was "
            "trained with",
        )
    return {**weights, **{key: value for key, value in state.items() if key != BASE}}


def add_base_weights(model: Any, state: dict[str, Any], *_) -> None:
    """Add the frozen weights to a state dictionary without them (hook of `load_state_dict`)."""
    if model.adapters is not None and is_without_base(state):
        complete = with_base_weights(model, state, "the weights")
        state.clear()
        state.update(complete)


@contextlib.contextmanager
def saved_without_base(model: Any) -> Iterator[None]:
    """Leave the frozen weights out of `model.state_dict()` while the context is open."""
    base = digest(frozen_weights(model))

    def leave_out(_model, state: dict[str, Any], _prefix: str, _metadata) -> None:
        for name in model.adapters.frozen:
            state.pop(name, None)
        state[BASE] = base

    handle = model.register_state_dict_post_hook(leave_out)
    try:
        yield
    finally:
        handle.remove()
