"""The outputs and inline tags that are requested, and the tasks that are active for each output.

Tasks are outputs (`meaning`) and, for models with task vectors, kinds of inline tags in them
(`meaning.l1`).
"""

from collections.abc import Iterable, Mapping, Sequence

from espnet_ext.errors import UserError
from espnet_ext.model.conditioning.active import HOW, active_sets
from espnet_ext.model.config import check_keys, suggest
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.text.tags import output_of


def requested_tasks(model: DualOutputModel, names: Sequence[str] | None) -> list[str]:
    """Return the requested tasks in the model's order.

    Args:
        model: the model.
        names: names of tasks; None requests all.

    Raises:
        UserError: for a task that the model does not have, or a tag without its output.
    """
    tasks = _tasks_of(model)
    if names is None:
        return tasks
    if isinstance(names, str) or not list(names):
        raise UserError(f"outputs {names!r}", f"give a list of names out of: {', '.join(tasks)}")
    for name in names:
        if name not in tasks:
            kind = "tag" if "." in name else "output"
            vectors = " as task vectors" if "." in name and model.conditioning is None else ""
            raise UserError(
                f"{kind} '{name}' was never trained{vectors}: the model has {', '.join(tasks)}",
                suggest(str(name), tasks),
            )
        if output_of(name) not in names:
            raise UserError(f"tag '{name}' without its output", f"request '{output_of(name)}' too")
    return [name for name in tasks if name in names]


def active_tasks(
    model: DualOutputModel, tasks: Sequence[str], active: str | Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return output → the tasks that are active in the encoder while it is decoded.

    They are () for a model without task vectors. An output can be decoded although it is inactive;
    the encoder is then conditioned on its absence. Inactive tags are not expected.

    Args:
        model: the model.
        tasks: requested tasks, as from `requested_tasks`.
        active: a way to choose them ("auto", "together" or "alone", see
            `model.conditioning.active`); or names of tasks separated by spaces, for all outputs;
            or output → names of tasks, where outputs that are left out get all requested tasks.

    Raises:
        UserError: if `active` is none of these, or names unknown tasks.
    """
    conditioner = model.conditioning
    outputs = [task for task in tasks if output_of(task) == task]
    chosen: dict[str, tuple[str, ...]]
    if isinstance(active, str) and active in HOW:
        chosen = active_sets(tasks, [] if conditioner is None else conditioner.trained, active)
    elif isinstance(active, str):
        known = _tasks_of(model)
        for name in active.split() or [active]:
            if name not in known:
                raise UserError(f"active outputs: '{name}'", suggest(name, [*HOW, *known]))
        chosen = dict.fromkeys(outputs, tuple(active.split()))
    else:
        _check_names_by_output(active, outputs)
        chosen = {name: tuple(active.get(name, tasks)) for name in outputs}
    if conditioner is None or not conditioner.uses_active:
        return dict.fromkeys(outputs, ())
    return {
        name: conditioner.names_of(conditioner.active_set(names)) for name, names in chosen.items()
    }


def _tasks_of(model: DualOutputModel) -> list[str]:
    return list(model.heads if model.conditioning is None else model.conditioning.tasks)


def _check_names_by_output(active: object, outputs: Sequence[str]) -> None:
    """Raise a `UserError` unless `active` maps outputs to lists of names."""
    if not isinstance(active, Mapping):
        raise UserError(
            f"active outputs {active!r}", "give auto, together or alone, or a list per output"
        )
    check_keys(active, outputs, "active outputs")
    for name, names in active.items():
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise UserError(
                f"active outputs of '{name}': {names!r}", "give a list of names, e.g. ['surface']"
            )
