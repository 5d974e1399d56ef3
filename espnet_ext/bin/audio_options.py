"""Types of option values, and options, that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espnet_ext.data.policy import Policy

CHANNEL_HELP = "which of several channels to take: a number from 0, or mix for their mean"


def count(value: str) -> int:
    """Parse a whole number from 1."""
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"'{value}' is not a whole number from 1")
    return int(value)


def channel(value: str) -> int | str:
    """Parse the number of a channel from 0, or `mix`."""
    if value == "mix":
        return value
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{value}' is neither the number of a channel nor mix")
    return int(value)


def share(value: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"'{value}' is not a number from 0 to 1")
    return number


def seconds(value: str) -> float:
    """Parse a duration above 0."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{value}' is not a number of seconds above 0")
    return number


def add_channel(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses one of several channels of a recording."""
    parser.add_argument("--channel", type=channel, default=None, help=CHANNEL_HELP)


def condition(value: str) -> tuple[str, str]:
    """Parse the value of a condition: `l1=ko`."""
    name, _, label = value.partition("=")
    if not (name and label):
        raise argparse.ArgumentTypeError(f"'{value}' is not NAME=VALUE")
    return name, label


def add_conditions(parser: argparse.ArgumentParser) -> None:
    """Add the option for labels of all recordings, as pairs."""
    parser.add_argument(
        "--conditions",
        nargs="+",
        type=condition,
        metavar="NAME=VALUE",
        default=[],
        help="labels of all recordings, for a model that reads any, such as l1=ko; the band is by "
        "default that of the sample rate",
    )


def add_judge(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that judge recordings."""
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        default=None,
        help="calibration by espnet-ext calibrate (default: calibration.json beside the model)",
    )
    parser.add_argument(
        "--precision",
        type=share,
        default=None,
        help="operating point: report deviations from the probability on that had this precision "
        "on the validation data",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        default=None,
        help="operating point: report deviations with this probability or more (default: that of "
        "the calibration, which favours few false alarms)",
    )
    parser.add_argument(
        "--lexicon",
        default=None,
        help="pronunciations of words, which are accepted beside those of the CMU dictionary",
    )
    add_conditions(parser)
    parser.add_argument("--beam_size", type=int, default=5, help="hypotheses in the search")
    parser.add_argument(
        "--number_format",
        choices=("float32", "int8_search", "int8", "bfloat16"),
        default="float32",
        help="of the network: int8_search quantises the linear layers of the decoders, which takes "
        "less than half of the time on CPUs; transcripts change slightly. int8 also quantises the "
        "encoder",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that run an encoder over a data directory."""
    parser.add_argument("--ngpu", type=int, default=0, help="1 computes the features on a GPU")
    parser.add_argument(
        "--batch_seconds",
        type=seconds,
        default=30.0,
        help="audio in a batch, with padding; raise it on a GPU",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to do with broken utterances."""
    parser.add_argument(
        "--on_error",
        choices=("error", "skip", "quarantine"),
        default="error",
        help="if utterances are broken: stop, leave them out, or leave them out and copy them to "
        "<output>/quarantine; removed_broken.tsv lists what is left out",
    )
    parser.add_argument(
        "--max_broken",
        type=share,
        default=0.05,
        help="stop if more than this share of the utterances is broken",
    )


def policy_of(args: argparse.Namespace, keep_all: bool) -> Policy:
    """Return the policy that the options of `add_policy` describe."""
    from espnet_ext.data.policy import Policy

    return Policy(args.on_error, args.max_broken, keep_all)
