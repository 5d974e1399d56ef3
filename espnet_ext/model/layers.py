"""The layers of ESPnet's encoders and decoders: their outputs and their parameters.

Symbols: B utterances, T encoder frames or tokens, L tokens, P prompt tokens, D width.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from espnet_ext.model.losses import ParameterGroups

ALL = "all"  # every parameter that the outputs share


def encoder_layers(encoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return `embed`, which subsamples, then the blocks `0`, `1`, …; {} if there is no list."""
    blocks = _blocks(getattr(encoder, "encoders", None))
    embed = getattr(encoder, "embed", None)
    return {"embed": embed, **blocks} if blocks and embed is not None else blocks


def decoder_layers(decoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Return the blocks `0`, `1`, … of a Transformer decoder; {} for a decoder without (an RNN)."""
    return _blocks(getattr(decoder, "decoders", None))


def token_states(decoder: torch.nn.Module, states: torch.Tensor) -> torch.Tensor:
    """Return the states of a decoder layer from which tokens are predicted: (B, L + 1, D).

    A decoder with a prompt also has states (P − 1) before them, which predict the prompt.

    Args:
        states: (B, P + L, D); (B, L + 1, D) for a decoder without a prompt.
    """
    prompt = getattr(decoder, "prompt", None)  # (P, D)
    return states if prompt is None else states[:, len(prompt) - 1 :]


def _blocks(stack: torch.nn.Module | None) -> dict[str, torch.nn.Module]:
    if not isinstance(stack, torch.nn.ModuleList | torch.nn.Sequential):
        return {}
    return {str(number): block for number, block in enumerate(stack)}


@contextmanager
def watch(
    modules: Mapping[str, torch.nn.Module], detach: bool = True
) -> Iterator[dict[str, torch.Tensor]]:
    """Collect the outputs of modules while the context is open: name → (B, T, D).

    If a module returns a tuple (states, mask), the states are collected.

    Args:
        detach: whether to cut the outputs from the graph.
    """
    outputs: dict[str, torch.Tensor] = {}

    def hook(name: str):
        def collect(_module, _inputs, output) -> None:
            while isinstance(output, tuple):  # (states, mask), or ((states, positions), mask)
                output = output[0]
            outputs[name] = output.detach() if detach else output

        return collect

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def parameter_groups(model: Any) -> ParameterGroups:
    """Return the trainable parameters of a `DualOutputModel` by what uses them."""
    heads = {
        name: [p for part in head.parts.values() for p in part.parameters()]
        for name, head in model.heads.items()
    }
    objective = getattr(model, "objective", None)
    objective = objective.parameters() if isinstance(objective, torch.nn.Module) else ()
    counts = Counter(id(p) for parameters in heads.values() for p in parameters)
    heads = {name: [p for p in of_head if counts[id(p)] == 1] for name, of_head in heads.items()}
    excluded = {id(p) for parameters in heads.values() for p in parameters}
    excluded |= {id(p) for p in objective}
    shared = {name: list(m.parameters()) for name, m in encoder_layers(model.encoder).items()}
    shared[ALL] = [p for p in model.parameters() if id(p) not in excluded]
    return ParameterGroups(_trainable(shared), _trainable(heads))


def _trainable(
    groups: Mapping[str, list[torch.nn.Parameter]],
) -> dict[str, list[torch.nn.Parameter]]:
    return {name: [p for p in parameters if p.requires_grad] for name, parameters in groups.items()}
