"""Do the outputs pull the shared encoder in one direction? Cosines of their losses' gradients.

Cosine and norms as in Yu et al. (2020), "Gradient Surgery for Multi-Task Learning", definition 1:
two outputs conflict where the cosine of their gradients is below zero.

Legend: B utterances, T encoder frames, D width.
"""

import itertools
import math
from collections.abc import Mapping

import torch

from espnet_ext.model.dual import DualOutputModel, weighted_sum
from espnet_ext.model.layers import encoder_layers

WHOLE = "all"  # every parameter that the outputs share


def shared_parameters(model: DualOutputModel) -> dict[str, list[torch.nn.Parameter]]:
    """Layer → the trainable parameters in it; `all` is whatever the outputs share, frontend to
    postencoder, and so more than the layers together."""
    own = {
        id(p)
        for head in model.heads.values()
        for part in head.parts.values()
        for p in part.parameters()
    }
    layers = {name: list(part.parameters()) for name, part in encoder_layers(model.encoder).items()}
    layers[WHOLE] = [p for p in model.parameters() if id(p) not in own]
    return {name: [p for p in found if p.requires_grad] for name, found in layers.items()}


def output_gradients(
    model: DualOutputModel, batch: Mapping[str, torch.Tensor], scale: float = 1.0
) -> tuple[dict[str, list[torch.Tensor] | None], dict[str, int]]:
    """Gradients of each output's weighted loss by the parameters that all share.

    One forward pass serves all outputs, and one backward pass each goes through the encoder.
    Nothing is written to `.grad`.

    Args:
        batch: `speech`, `speech_lengths`, and `text_<output>` with lengths, as for `forward`.
        scale: multiplies the losses, for half precision; taken out of the gradients again.
    Returns:
        Output → a gradient per parameter of `shared_parameters(model)["all"]`, None for an output
        that no utterance is labelled for; and output → labelled utterances.
    """
    parameters = shared_parameters(model)[WHOLE]
    active = model.labelled(batch)
    states, lengths = model.encode(batch["speech"], batch["speech_lengths"], active=active)
    leaf = states.detach().requires_grad_()  # (B, T, D): decoders' graphs end here, and are freed
    losses = model.losses(leaf, lengths, batch)
    labelled = {name: int(loss.labelled) for name, loss in losses.items()}
    arriving = {
        name: torch.autograd.grad(weighted_sum({name: loss}) * scale, leaf)[0]
        for name, loss in losses.items()
        if labelled[name] and parameters
    }
    found: dict[str, list[torch.Tensor] | None] = dict.fromkeys(losses)
    last = next(reversed(arriving), None)
    for name, gradient in arriving.items():
        made = torch.autograd.grad(
            states, parameters, gradient, retain_graph=name != last, allow_unused=True
        )
        pairs = zip(made, parameters, strict=True)
        found[name] = [torch.zeros_like(p) if g is None else g / scale for g, p in pairs]
    return found, labelled


def compare_gradients(
    model: DualOutputModel, batch: Mapping[str, torch.Tensor], scale: float = 1.0
) -> dict:
    """Norm of each output's gradient and cosine of every pair's, per encoder layer.

    A value is None where it is undefined: no labelled utterance, no trainable parameter, a
    gradient that is zero (cosine only) or not finite.

    Returns:
        {"labelled": {output: utterances}, "norms": {output: {layer: norm}},
        "pairs": [{"a", "b", "cosine": {layer: cosine}}], "notes": [reasons for None]}
    """
    gradients, labelled = output_gradients(model, batch, scale)
    layers = shared_parameters(model)
    places = {id(p): i for i, p in enumerate(layers[WHOLE])}
    spans = {name: [places[id(p)] for p in found] for name, found in layers.items()}
    products = {
        pair: _products(gradients[pair[0]], gradients[pair[1]])
        for pair in itertools.combinations_with_replacement(gradients, 2)
    }

    def product(a: str, b: str, layer: str) -> float | None:
        one = products[a, b]
        return None if one is None or not spans[layer] else math.fsum(one[i] for i in spans[layer])

    norms = {
        name: {layer: _root(product(name, name, layer)) for layer in spans} for name in gradients
    }
    pairs = []
    for a, b in itertools.combinations(gradients, 2):
        cosine = {
            layer: _quotient(product(a, b, layer), norms[a][layer], norms[b][layer])
            for layer in spans
        }
        pairs.append({"a": a, "b": b, "cosine": cosine})
    notes = [f"{name}: no labelled utterance in the batch" for name, n in labelled.items() if not n]
    notes += [] if layers[WHOLE] else ["the outputs share no trainable parameter"]
    for name, one in gradients.items():
        if one is not None and norms[name][WHOLE] is None:
            notes.append(f"{name}: its gradient is not finite")
    return {"labelled": labelled, "norms": norms, "pairs": pairs, "notes": notes}


def _products(a: list[torch.Tensor] | None, b: list[torch.Tensor] | None) -> list[float] | None:
    """Inner products parameter by parameter, in float64."""
    if a is None or b is None:
        return None
    pairs = zip(a, b, strict=True)
    return torch.stack([(x.double() * y.double()).sum() for x, y in pairs]).tolist()


def _root(square: float | None) -> float | None:
    return None if square is None or not math.isfinite(square) else math.sqrt(square)


def _quotient(product: float | None, a: float | None, b: float | None) -> float | None:
    if product is None or not a or not b or not math.isfinite(product):
        return None
    return max(-1.0, min(1.0, product / (a * b)))
