"""What a difference between two systems shows, in words."""

from collections.abc import Mapping, Sequence

from espnet_ext.document import number

LEVEL = 0.05  # significance level of adjusted and permutation p values


def direction(row: Mapping) -> int:
    """Return 1 or -1 for a difference above or below zero, 0 if neither is shown.

    Its interval must exclude zero, and its p value must stay below LEVEL after Holm's correction.
    """
    if not row["interval"] or (row.get("p_holm") or 0.0) >= LEVEL:
        return 0
    low, high = row["interval"]
    return (low > 0) - (high < 0)


def only_these_speakers(row: Mapping) -> bool:
    """Whether a difference is shown, but not for other speakers by a permutation test.

    A bootstrap over few speakers takes too many chance differences for real ones (see
    `document.MISSED`); the permutation test does not.
    """
    p = row.get("p_permutation")
    return bool(direction(row)) and p is not None and p >= LEVEL


def speakers_caveat(row: Mapping) -> str:
    """Return a sentence that restricts a difference to these speakers; empty if it needs none."""
    if not only_these_speakers(row):
        return ""
    p = row["p_permutation"]
    return f" This holds for these speakers; for others it is not shown (permutation p = {p:.3f})."


def headline(rows: Sequence[Mapping], set_name: str) -> str:
    """Return the main finding of a comparison in one sentence; empty without a difference.

    It is about the first system that was trained jointly on several outputs, or else about the
    first pair of systems.

    Args:
        rows: differences in the error of outputs over all utterances, with `a`, `b`, `joint`,
            `output` and, if the output's head is of another kind in b, `changed_head`.
    """
    chosen = [row for row in rows if row["joint"]] or list(rows)
    if not chosen:
        return ""
    first = chosen[0]
    if first["joint"]:
        subject = f"joint training ({first['b']})"
        chosen = [row for row in chosen if row["b"] == first["b"]]
    else:
        subject = first["b"]
        chosen = [row for row in chosen if (row["a"], row["b"]) == (first["a"], first["b"])]
    *others, last = map(_clause, chosen)
    return f"On {set_name}, {subject} {', '.join(others)}{' and ' if others else ''}{last}."


def _clause(row: Mapping) -> str:
    """Return the predicate of a headline for one output."""
    a, output, way = row["a"], row["output"], direction(row)
    rates = [number(row[key]) for key in ("rate_a", "rate_b")]
    limits = ["shown for these speakers only"] if only_these_speakers(row) else []
    limits += ["the head changed too"] if way and row.get("changed_head") else []
    limited = f" ({'; '.join(limits)})" if limits else ""
    if not way:
        return f"shows no difference in {output} error from {a} ({rates[1]} % against {rates[0]} %)"
    if row["joint"]:
        verb = {1: "raises", -1: "lowers"}[way]
        return f"{verb} the {output} error of {a} from {rates[0]} % to {rates[1]} %{limited}"
    word = {1: "a higher", -1: "a lower"}[way]
    return f"has {word} {output} error than {a}, {rates[1]} % against {rates[0]} %{limited}"
