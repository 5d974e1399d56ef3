"""Compare the gradients that the outputs' losses give the shared encoder.

Two outputs conflict if the cosine of their gradients is below zero (Yu et al., arXiv 2001.06782,
"Gradient Surgery for Multi-Task Learning", definition 1).

Symbols: B utterances, T encoder frames, D width.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

import torch

from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.layers import ALL, parameter_groups
from espnet_ext.model.losses import weighted_head_loss


def output_gradients(
    model: DualOutputModel, batch: Mapping[str, torch.Tensor], scale: float = 1.0
) -> tuple[dict[str, list[torch.Tensor] | None], dict[str, int]]:
    """Return the gradient of each output's weighted loss with respect to the shared parameters.

    Run one forward pass for all outputs, and one backward pass through the encoder per output.
    `.grad` of the parameters stays as it is.

    Args:
        batch: `speech`, `speech_lengths`, and `text_<output>` with lengths, as for `forward`.
        scale: factor of the losses in the backward pass, so that small gradients survive half
            precision. The gradients are divided by it.
    Returns:
        - Output → gradients, one per parameter of `parameter_groups(model).shared["all"]`; None if
          no utterance is labelled for the output.
        - Output → number of labelled utterances.
    """
    parameters = parameter_groups(model).shared[ALL]
    request = EncoderRequest(active=model.labelled(batch), conditions=model.conditions_of(batch))
    encoded = model.encode(batch["speech"], batch["speech_lengths"], request)
    # Cut the graphs between encoder and heads, so that those of the heads are freed first.
    leaves = {name: states.detach().requires_grad_() for name, states in encoded.hidden.items()}
    losses = model.losses(dataclasses.replace(encoded, hidden=leaves), batch)
    labelled = {name: int(loss.labelled) for name, loss in losses.items()}
    state_gradients = {
        name: torch.autograd.grad(weighted_head_loss(loss) * scale, leaves[name])[0]
        for name, loss in losses.items()
        if labelled[name] and parameters
    }  # output → (B, T, D)
    gradients: dict[str, list[torch.Tensor] | None] = dict.fromkeys(losses)
    last = next(reversed(state_gradients), None)
    for name, gradient in state_gradients.items():
        parameter_gradients = torch.autograd.grad(
            encoded.hidden[name],
            parameters,
            gradient,
            retain_graph=name != last,
            allow_unused=True,
        )
        pairs = zip(parameter_gradients, parameters, strict=True)
        gradients[name] = [torch.zeros_like(p) if g is None else g / scale for g, p in pairs]
    return gradients, labelled


def compare_gradients(
    model: DualOutputModel, batch: Mapping[str, torch.Tensor], scale: float = 1.0
) -> dict:
    """Return the norm of each output's gradient and the cosine of each pair, per encoder layer.

    A value is None if it is undefined: no labelled utterance, no trainable parameter, a gradient
    that is not finite, or (cosine only) a gradient of zero. Parameters that only one of two outputs
    reaches, such as its private layers, do not enter their cosine.

    Returns:
        {"labelled": {output: utterances}, "norms": {output: {layer: norm}},
        "pairs": [{"a", "b", "cosine": {layer: cosine}}], "notes": [reasons for None]}
    """
    gradients, labelled = output_gradients(model, batch, scale)
    layers = parameter_groups(model).shared
    index_of = {id(p): i for i, p in enumerate(layers[ALL])}
    indices = {name: [index_of[id(p)] for p in group] for name, group in layers.items()}
    products = {
        pair: _products(gradients[pair[0]], gradients[pair[1]])
        for pair in itertools.combinations_with_replacement(gradients, 2)
    }

    def product(a: str, b: str, numbers: Sequence[int]) -> float | None:
        terms = products[a, b]
        return None if terms is None or not numbers else math.fsum(terms[i] for i in numbers)

    norms = {
        name: {layer: _root(product(name, name, numbers)) for layer, numbers in indices.items()}
        for name in gradients
    }
    pairs = []
    for a, b in itertools.combinations(gradients, 2):
        squares = zip(products[a, a] or (), products[b, b] or (), strict=False)
        reached = {i for i, pair in enumerate(squares) if 0.0 not in pair}  # by both outputs
        cosine = {}
        for layer, numbers in indices.items():
            both = [i for i in numbers if i in reached]
            lengths = [_root(product(name, name, both)) for name in (a, b)]
            cosine[layer] = _quotient(product(a, b, both), *lengths)
        pairs.append({"a": a, "b": b, "cosine": cosine})
    notes = [f"{name}: no labelled utterance in the batch" for name, n in labelled.items() if not n]
    notes += [] if layers[ALL] else ["the outputs share no trainable parameter"]
    for name, gradient in gradients.items():
        if gradient is not None and norms[name][ALL] is None:
            notes.append(f"{name}: the gradient is not finite")
    return {"labelled": labelled, "norms": norms, "pairs": pairs, "notes": notes}


def _products(a: list[torch.Tensor] | None, b: list[torch.Tensor] | None) -> list[float] | None:
    """Return the inner product of two gradients for each parameter, in float64."""
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
