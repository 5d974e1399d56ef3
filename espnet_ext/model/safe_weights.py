"""Weights in the format of safetensors, which packed models have: tensors only, no code.

Tensors that share memory (tied embeddings) are written once; the metadata of the file names the
others.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from espnet_ext.errors import UserError

SUFFIX = ".safetensors"
FILE = f"model{SUFFIX}"
DEFAULT = "model.pth"  # of a model directory
_ALIASES = "aliases"  # key of the metadata: name → the name under which it is written


def choose(folder: Path, weights: str) -> str:
    """Return the name of the weights in a folder: packed models have `FILE`, not `DEFAULT`."""
    is_packed = weights == DEFAULT and not (folder / DEFAULT).exists()
    return FILE if is_packed and (folder / FILE).is_file() else weights


def write(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a state dictionary."""
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    names: dict[tuple, str] = {}
    for name, value in state.items():
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in names:
            aliases[name] = names[place]
            continue
        names[place] = name
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    # One key only: several are written in random order, and archives of one model must be equal.
    save_file(tensors, path, metadata={_ALIASES: json.dumps(aliases)})


def read(path: Path, remedy: str) -> dict[str, torch.Tensor]:
    """Return the state dictionary of a file.

    Args:
        remedy: what to do about a file that cannot be read.

    Raises:
        UserError: it is missing or not in this format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            aliases = json.loads((opened.metadata() or {}).get(_ALIASES, "{}"))
        return state | {name: state[target] for name, target in aliases.items()}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "name other weights") from None
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}", remedy) from None
