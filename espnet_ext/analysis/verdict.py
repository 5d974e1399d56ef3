"""What a difference between two systems shows, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espnet_ext.analysis.training_options import Difference, shortened
from espnet_ext.document import number, signed_with_interval

Heads = Mapping[str, Mapping[str, str]]  # system → output → kind of its head
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


def measures_joint_training(row: Mapping) -> bool:
    """Return whether the systems differ in nothing but the outputs that they were trained on."""
    is_equal = row.get("training_differences") == [] and not row.get("decoding_differences")
    return bool(row["joint"]) and is_equal


def _options_caveat(row: Mapping) -> str:
    """Return a sentence on other options of training and decoding that two systems differ in."""
    if differences := _option_differences(row):
        options = shortened(differences, row["a"], row["b"])
        if row["joint"]:
            return f" Joint training need not be the cause: they also differ in {options}."
        return f" They also differ in {options}, which may be the cause."
    if row["joint"] and row.get("training_differences") is None:
        return " Whether both were trained with equal options was not recorded."
    return ""


def _option_differences(row: Mapping) -> list[Difference]:
    return [*(row.get("training_differences") or ()), *(row.get("decoding_differences") or ())]


def option_notes(comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield all options of training and decoding that differ between each pair of systems."""
    for comparison in comparisons:
        if differences := _option_differences(comparison):
            a, b = comparison["a"], comparison["b"]
            options = shortened(differences, a, b, most=len(differences))
            yield f"{a} and {b} also differ in {options}."


def changed_head(row: Mapping, heads: Heads) -> str:
    """Return "from … to …" if the output's head is of another kind in the second system."""
    kinds = [heads.get(row[side], {}).get(row["output"]) for side in "ab"]
    if None in kinds or kinds[0] == kinds[1]:
        return ""
    return f"from {kinds[0]} to {kinds[1]}"


def conclusion(row: Mapping, heads: Heads) -> str:
    """Say in a few words whether the second system is better, and what else differs."""
    if not row["interval"]:
        return "–"
    words = {1: "worse", 0: "no difference shown", -1: "better"}
    if row["output"] != row["reference"]:
        words |= {1: "farther", -1: "closer"}
    text = words[direction(row)]
    if only_these_speakers(row):
        text += " for these speakers only"
    if change := changed_head(row, heads):
        text += f"; its head also changed {change}"
    if _option_differences(row):
        text += "; other options also changed"
    return text


def difference_finding(row: Mapping, heads: Heads) -> str:
    """Return a sentence about a difference in the error of an output, and what else differs."""
    a, b, output, way = row["a"], row["b"], row["output"], direction(row)
    if not way:
        text = f"no difference in {output} error is shown between {b} and {a}"
    elif measures_joint_training(row):
        verb = {1: "raises", -1: "lowers"}[way]
        text = f"joint training ({b}) {verb} the {output} error of {a}"
    else:
        word = {1: "higher", -1: "lower"}[way]
        text = f"the {output} error of {b} is {word} than that of {a}"
    rates = f"{number(row['rate_b'])} % against {number(row['rate_a'])} %"
    difference = signed_with_interval(row["difference"], row["interval"])
    text = f"{text}: {rates}, {difference} percentage points."
    if change := changed_head(row, heads):
        text += f" The {output} head also changed {change}, which may be the cause."
    return text[:1].upper() + text[1:] + _options_caveat(row) + speakers_caveat(row)


def headline(rows: Sequence[Mapping], set_name: str) -> str:
    """Return the main finding of a comparison in one sentence; empty without a difference.

    It is about the first system that was trained jointly on several outputs, or else about the
    first pair of systems.

    Args:
        rows: differences in the error of outputs over all utterances, with `a`, `b`, `joint`,
            `training_differences`, `decoding_differences`, `output` and, if the output's head is
            of another kind in b, `changed_head`.
    """
    chosen = [row for row in rows if row["joint"]] or list(rows)
    if not chosen:
        return ""
    first = chosen[0]
    if first["joint"]:
        chosen = [row for row in chosen if row["b"] == first["b"]]
    else:
        chosen = [row for row in chosen if (row["a"], row["b"]) == (first["a"], first["b"])]
    is_joint = all(map(measures_joint_training, chosen))
    subject = f"joint training ({first['b']})" if is_joint else first["b"]
    *others, last = (_clause(row, is_joint) for row in chosen)
    return f"On {set_name}, {subject} {', '.join(others)}{' and ' if others else ''}{last}."


def _clause(row: Mapping, is_joint: bool) -> str:
    """Return the predicate of a headline for one output; `is_joint`: of joint training."""
    a, output, way = row["a"], row["output"], direction(row)
    rates = [number(row[key]) for key in ("rate_a", "rate_b")]
    limits = ["shown for these speakers only"] if only_these_speakers(row) else []
    limits += ["the head changed too"] if way and row.get("changed_head") else []
    limits += ["other options too"] if _option_differences(row) else []
    limited = f" ({'; '.join(limits)})" if limits else ""
    if not way:
        return f"shows no difference in {output} error from {a} ({rates[1]} % against {rates[0]} %)"
    if is_joint:
        verb = {1: "raises", -1: "lowers"}[way]
        return f"{verb} the {output} error of {a} from {rates[0]} % to {rates[1]} %{limited}"
    word = {1: "a higher", -1: "a lower"}[way]
    return f"has {word} {output} error than {a}, {rates[1]} % against {rates[0]} %{limited}"
