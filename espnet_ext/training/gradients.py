"""Do the outputs pull the shared encoder in one direction? Cosines of their losses' gradients.

Cosine and norms as in Yu et al. (2020), "Gradient Surgery for Multi-Task Learning", definition 1:
two outputs conflict where the cosine of their gradients is below zero.

Legend: B utterances, T encoder frames, D width.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping

import torch

from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.layers import ALL, parameter_groups
from espnet_ext.model.losses import weighted_head_loss


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
        Output → a gradient per parameter of `parameter_groups(model).shared["all"]`, or None if no
        utterance is labelled for it; and output → labelled utterances.
    """
    parameters = parameter_groups(model).shared[ALL]
    request = EncoderRequest(active=model.labelled(batch))
    encoded = model.encode(batch["speech"], batch["speech_lengths"], request)
    # The graphs of the heads end at copies of their input, and are freed before the encoder's.
    leaves = {name: states.detach().requires_grad_() for name, states in encoded.hidden.items()}
    losses = model.losses(dataclasses.replace(encoded, hidden=leaves), batch)
    labelled = {name: int(loss.labelled) for name, loss in losses.items()}
    arriving = {
        name: torch.autograd.grad(weighted_head_loss(loss) * scale, leaves[name])[0]
        for name, loss in losses.items()
        if labelled[name] and parameters
    }  # output → (B, T, D)
    gradients: dict[str, list[torch.Tensor] | None] = dict.fromkeys(losses)
    last = next(reversed(arriving), None)
    for name, gradient in arriving.items():
        found = torch.autograd.grad(
            encoded.hidden[name],
            parameters,
            gradient,
            retain_graph=name != last,
            allow_unused=True,
        )
        pairs = zip(found, parameters, strict=True)
        gradients[name] = [torch.zeros_like(p) if g is None else g / scale for g, p in pairs]
    return gradients, labelled


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
    layers = parameter_groups(model).shared
    places = {id(p): i for i, p in enumerate(layers[ALL])}
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
    notes += [] if layers[ALL] else ["the outputs share no trainable parameter"]
    for name, one in gradients.items():
        if one is not None and norms[name][ALL] is None:
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
