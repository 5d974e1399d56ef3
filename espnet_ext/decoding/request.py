"""What is asked of a model: which outputs and tags, and what its task vectors say is active."""

from collections.abc import Iterable, Mapping, Sequence

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.active import HOW, active_sets
from espnet_ext.model.config import check_keys, suggest
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.text.tags import output_of


def requested(model: DualOutputModel, names: Sequence[str] | None) -> list[str]:
    """The tasks asked for, in the model's order; all unless given.

    These are outputs and, with task vectors, kinds of inline tags within them (`meaning.l1`).
    """
    known = list(model.heads if model.conditioning is None else model.conditioning.tasks)
    if names is None:
        return known
    if isinstance(names, str) or not list(names):
        raise UserError(f"outputs {names!r}", f"give a list of names out of: {', '.join(known)}")
    for name in names:
        if name not in known:
            what = "tag" if "." in name else "output"
            vectors = " as task vectors" if "." in name and model.conditioning is None else ""
            raise UserError(
                f"{what} '{name}' was never trained{vectors}: the model has {', '.join(known)}",
                suggest(str(name), known),
            )
        if output_of(name) not in names:
            raise UserError(f"tag '{name}' without its output", f"ask for '{output_of(name)}' too")
    return [name for name in known if name in names]


def active_outputs(
    model: DualOutputModel, tasks: Sequence[str], active: str | Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """For each output the tasks that are active while it is decoded; () without task vectors.

    Args:
        tasks: outputs, and tags within them, that are asked for.
        active: a way of `model.conditioning.active_sets`, or names of tasks with spaces between
            them, for all outputs, or the set for each output. A set without the output itself asks
            for what the model was told not to give; no tag is to be expected that is not in it.
    """
    vectors = model.conditioning
    outputs = [task for task in tasks if output_of(task) == task]
    known = list(model.heads) if vectors is None else vectors.tasks
    if isinstance(active, str) and active in HOW:
        found = active_sets(tasks, [] if vectors is None else vectors.trained, active)
    elif isinstance(active, str):
        for name in active.split() or [active]:
            if name not in known:
                raise UserError(f"active outputs: '{name}'", suggest(name, [*HOW, *known]))
        found = dict.fromkeys(outputs, tuple(active.split()))
    else:
        _check_sets(active, outputs)
        found = {name: tuple(active.get(name, tasks)) for name in outputs}
    if vectors is None:
        return dict.fromkeys(outputs, ())
    return {name: vectors.names_of(vectors.active_set(names)) for name, names in found.items()}


def _check_sets(active: Mapping[str, Sequence[str]], outputs: Sequence[str]) -> None:
    """What is no mapping of outputs to lists of names is a `UserError`."""
    if not isinstance(active, Mapping):
        raise UserError(
            f"active outputs {active!r}", "give auto, together or alone, or a list for each output"
        )
    check_keys(active, outputs, "active outputs")
    for name, own in active.items():
        if isinstance(own, str) or not isinstance(own, Iterable):
            raise UserError(
                f"active outputs of '{name}': {own!r}", "give a list of names, e.g. ['surface']"
            )
