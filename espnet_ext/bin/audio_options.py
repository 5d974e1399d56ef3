"""Kinds of option values that the commands over audio share."""

import argparse

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
