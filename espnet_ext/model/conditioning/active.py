"""Which tasks are active while each output is decoded."""

import functools
from collections.abc import Sequence

from espnet_ext.errors import UserError
from espnet_ext.model.config import suggest
from espnet_ext.text.tags import output_of

HOW = ("auto", "together", "alone")


def active_sets(
    requested: Sequence[str], trained: Sequence[Sequence[str]], how: str = "auto"
) -> dict[str, tuple[str, ...]]:
    """Return output → the tasks that are active while it is decoded.

    "together": all that are requested. "alone": each output by itself, with its own requested tags.
    "auto": all that are requested if training had them active together. Otherwise, for each output,
    the set seen in training that has the most of the output's requested tags; among these, the
    fewest of its other tags; among these, the largest set within the request, or else the smallest.
    Outputs with equal sets can share an encoder pass.

    Args:
        requested: outputs, and tags within them (`meaning.l1`).
        trained: sets of tasks that were active in training; empty if unknown.

    >>> active_sets(["a", "b"], [("a",), ("b",)])
    {'a': ('a',), 'b': ('b',)}
    >>> active_sets(["a", "b", "b.t"], [("a", "b"), ("b", "b.t")])
    {'a': ('a', 'b'), 'b': ('b', 'b.t')}
    """
    if how not in HOW:
        raise UserError(f"active outputs: unknown '{how}'", suggest(how, HOW))
    outputs = [task for task in requested if output_of(task) == task]
    if how == "alone":
        return {name: tuple(t for t in requested if output_of(t) == name) for name in outputs}
    every = tuple(requested)
    if how == "together" or not trained or set(every) in [set(tasks) for tasks in trained]:
        return dict.fromkeys(outputs, every)
    chosen = {}
    for name in outputs:
        candidates = [tuple(tasks) for tasks in trained if name in tasks]
        if not candidates:
            raise UserError(
                f"output '{name}' was never trained: no utterance had a label for it",
                "request others, or train with labels for it",
            )
        chosen[name] = max(candidates, key=functools.partial(_fit, name, every))
    return chosen


def _fit(output: str, requested: Sequence[str], tasks: Sequence[str]) -> tuple[int, ...]:
    """Return how well a set of tasks fits what is requested of an output; larger is better."""
    is_requested = [task in requested for task in tasks if output_of(task) == output]
    inside = set(tasks) <= set(requested)
    size = len(tasks) if inside else -len(tasks)
    return sum(is_requested), -is_requested.count(False), inside, size
