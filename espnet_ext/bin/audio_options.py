"""Kinds of option values that the commands over audio share."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espnet_ext.data.policy import Policy

CHANNEL_HELP = "which channel to take of several: a number from 0, or mix"


def count(value: str) -> int:
    """A whole number from 1."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"'{value}' is not a whole number from 1")
    return int(value)


def channel(value: str) -> int | str:
    """A channel's number from 0, or `mix`."""
    if value == "mix":
        return value
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{value}' is neither a channel's number nor mix")
    return int(value)


def share(value: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{value}' is not a number from 0 to 1")
    return number


def add_policy(options: argparse.ArgumentParser) -> None:
    """What to do with broken utterances."""
    options.add_argument(
        "--on_error",
        choices=("error", "skip", "quarantine"),
        default="error",
        help="broken utterances: stop, leave them out, or also keep them in <output>/quarantine; "
        "what is left out stands in removed_broken.tsv",
    )
    options.add_argument(
        "--max_broken", type=share, default=0.05, help="share of them beyond which it stops"
    )


def policy_of(chosen: argparse.Namespace, whole: bool) -> "Policy":
    """The policy that `add_policy`'s options ask for."""
    from espnet_ext.data.policy import Policy

    return Policy(chosen.on_error, chosen.max_broken, whole)
