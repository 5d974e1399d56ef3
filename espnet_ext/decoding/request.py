"""What is asked of a model: which outputs, and which of them its task vectors say are active."""

from collections.abc import Mapping, Sequence

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning import active_sets
from espnet_ext.model.config import check_keys, suggest
from espnet_ext.model.dual import DualOutputModel


def requested(model: DualOutputModel, outputs: Sequence[str] | None) -> list[str]:
    """The outputs asked for, in the model's order; all unless given."""
    known = list(model.branches)
    if outputs is None:
        return known
    if isinstance(outputs, str) or not list(outputs):
        raise UserError(f"outputs {outputs!r}", f"give a list of names out of: {', '.join(known)}")
    for name in outputs:
        if name not in known:
            raise UserError(
                f"output '{name}' was never trained: the model has {', '.join(known)}",
                suggest(str(name), known),
            )
    return [name for name in known if name in outputs]


def active_outputs(
    model: DualOutputModel, outputs: Sequence[str], active: str | Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """For each output the ones that are active while it is decoded; () without task vectors.

    Args:
        active: a way of `model.conditioning.active_sets`, or the set for each output; a set without
            the output itself asks for what the model was told not to give.
    """
    vectors = model.conditioning
    if isinstance(active, str):
        found = active_sets(outputs, [] if vectors is None else vectors.trained, active)
    else:
        check_keys(active, outputs, "active outputs")
        found = {name: tuple(active.get(name, outputs)) for name in outputs}
    if vectors is None:
        return dict.fromkeys(outputs, ())
    return {name: vectors.names_of(vectors.active_set(names)) for name, names in found.items()}
