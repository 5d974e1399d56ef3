"""The layers of ESPnet's encoders and decoders, and what they put out in a forward pass.

Legend: B utterances, T encoder frames or tokens, D width.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


def encoder_layers(encoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """`embed`, which subsamples, then the blocks `0`, `1`, …; empty without a list of blocks."""
    blocks = _blocks(getattr(encoder, "encoders", None))
    embed = getattr(encoder, "embed", None)
    return {"embed": embed, **blocks} if blocks and embed is not None else blocks


def decoder_layers(decoder: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The blocks `0`, `1`, … of a Transformer decoder; empty for one without (an RNN)."""
    return _blocks(getattr(decoder, "decoders", None))


def _blocks(stack: torch.nn.Module | None) -> dict[str, torch.nn.Module]:
    listed = isinstance(stack, torch.nn.ModuleList | torch.nn.Sequential)
    return {str(number): block for number, block in enumerate(stack)} if listed else {}


@contextmanager
def watch(modules: Mapping[str, torch.nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """Fill a dictionary with what the modules put out inside the `with`: name → (B, T, D).

    Of what a block returns besides (positions, masks, memory), nothing is kept, nor any gradient.
    """
    seen: dict[str, torch.Tensor] = {}

    def keeper(name: str):
        def keep(_module, _inputs, output) -> None:
            while isinstance(output, tuple):  # (x, mask), or ((x, positions), mask)
                output = output[0]
            seen[name] = output.detach()

        return keep

    handles = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
