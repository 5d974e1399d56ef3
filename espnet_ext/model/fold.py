"""Task vectors turned into biases, so that a head with them runs in stock ESPnet, exactly.

For one set of active outputs what is added is constant. After subsampling it joins the bias of the
last affine layer; after the whole encoder it meets a linear layer in whatever reads it: keys and
values of the decoder, the projections of CTC and of a transducer's joint network.
"""

from collections.abc import Sequence

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.dual import DualOutputModel

TOLERANCE = 1e-4


@torch.no_grad()
def fold_vectors(model: DualOutputModel, output: str, active: Sequence[str]) -> None:
    """Put the vectors of the active outputs into the biases of `output`'s way, and remove them.

    Afterwards `model` is of use for that output and that set alone. `UserError` where a part has no
    layer that can take them.
    """
    vectors = model.conditioning
    if vectors is None:
        return
    chosen = vectors.active_set(active)
    expected = _states(model, chosen)
    if "features" in vectors.places:
        _into_subsampling(model.encoder, vectors.added("features", chosen[None])[0])
    if "encoder" in vectors.places:
        model.heads[output].absorb_constant(vectors.added("encoder", chosen[None])[0])
        expected = expected - vectors.added("encoder", chosen[None])[0]
    model.conditioning = None
    found = _states(model, chosen)
    if (found - expected).abs().max() > TOLERANCE * expected.abs().max():
        raise _impossible(f"the subsampling of {type(model.encoder).__name__}")


def _states(model: DualOutputModel, active: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = next(model.encoder.parameters())
    size = (16000,) if model.frontend is not None else (100, _feature_size(model))
    speech = torch.randn(1, *size, generator=generator).to(weight)
    mode = model.training
    model.eval()
    lengths = torch.tensor([speech.size(1)], device=weight.device)
    states, _ = model.encode(speech, lengths, active=active)
    model.train(mode)
    return states


def _feature_size(model: DualOutputModel) -> int:
    linear = next(m for m in model.encoder.modules() if isinstance(m, torch.nn.Linear))
    return linear.in_features


def _into_subsampling(encoder: torch.nn.Module, vector: torch.Tensor) -> None:
    parts = list(getattr(encoder, "takes_constants", encoder.embed).modules())
    affine = [p for p in parts if isinstance(p, torch.nn.Linear | torch.nn.LayerNorm)]
    if not affine or affine[-1].bias is None:
        raise _impossible(f"the subsampling of {type(encoder).__name__}")
    affine[-1].bias += vector


def _impossible(what: str) -> UserError:
    return UserError(
        f"{what} cannot take the task vectors as biases",
        "decode this system with espnet-ext decode instead",
    )
