"""Add task vectors to biases, so that stock ESPnet computes exactly the same output.

For one set of active tasks, the sum of the vectors is a constant. A constant after subsampling is
added to the bias of the last affine layer of the subsampling. A constant after the encoder is
folded into the biases of the linear layers that read the encoder output: keys and values of a
decoder, the projection of CTC, the joint network.
"""

from collections.abc import Sequence
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.heads.base import ELSEWHERE

TOLERANCE = 1e-4  # relative


@torch.no_grad()
def fold_vectors(model: Any, output: str, active: Sequence[str]) -> None:
    """Put the vectors of the active tasks into the biases on the path to `output`.

    Afterwards the model has no conditioner, and is valid only for that output and that set of
    tasks.

    Args:
        model: a `DualOutputModel` with task vectors.
    Raises:
        UserError: if a part has no layer whose bias the vectors can be added to.
    """
    vectors = model.conditioning
    mask = vectors.active_set(active)  # (K,)
    expected = _encode_noise(model, mask)
    if "features" in vectors.places:
        _into_subsampling(model.encoder, vectors.added("features", mask[None])[0])
    if "encoder" in vectors.places:
        vector = vectors.added("encoder", mask[None])[0]  # (D,)
        model.heads[output].absorb_constant(vector)
        expected = expected - vector
    model.conditioning = None
    result = _encode_noise(model, mask)
    if (result - expected).abs().max() > TOLERANCE * expected.abs().max():
        raise _cannot_fold(model.encoder)


def _encode_noise(model: Any, active: torch.Tensor) -> torch.Tensor:
    """Return the encoder output (1, T, D) of fixed noise."""
    generator = torch.Generator().manual_seed(0)
    weight = next(model.encoder.parameters())
    shape = (16000,) if model.frontend is not None else (100, _feature_size(model))
    speech = torch.randn(1, *shape, generator=generator).to(weight)
    training = model.training
    model.eval()
    lengths = torch.tensor([speech.size(1)], device=weight.device)
    states, _ = model.encode(speech, lengths, EncoderRequest(active=active)).shared()
    model.train(training)
    return states


def _feature_size(model: Any) -> int:
    linear = next(m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear))
    return linear.in_features


def _into_subsampling(encoder: Any, vector: torch.Tensor) -> None:
    """Add a vector (D,) to the bias of the last affine layer of the subsampling."""
    parts = list(getattr(encoder, "takes_constants", encoder.embed).modules())
    affine: list[Any] = [p for p in parts if isinstance(p, torch.nn.Linear | torch.nn.LayerNorm)]
    if not affine or affine[-1].bias is None:
        raise _cannot_fold(encoder)
    affine[-1].bias += vector


def _cannot_fold(encoder: torch.nn.Module) -> UserError:
    kind = type(encoder).__name__
    message = f"task vectors cannot be added to a bias in the subsampling of {kind}"
    return UserError(message, ELSEWHERE)
