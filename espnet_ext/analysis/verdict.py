"""What a difference between two systems shows, in words."""

from collections.abc import Mapping

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
