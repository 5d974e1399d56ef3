"""Options that make training faster, and where they act."""

import argparse
import logging
from typing import Any

from espnet_ext.model import espnet
from espnet_ext.model.build import autocast_dtype
from espnet_ext.training.fast_layers import use_fast_layers
from espnet_ext.training.precision import choose_precision
from espnet_ext.training.process_settings import prepare_cpu_training


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the training command."""
    group = parser.add_argument_group("Speed")
    group.add_argument(
        "--fast_layers",
        type=espnet.load("str2bool"),
        default=False,
        help="compute convolution, attention and dropout of ESPnet's encoders and decoders by "
        "faster functions; losses differ by rounding, and dropout draws other random numbers",
    )


def prepare(args: argparse.Namespace) -> None:
    """Make the settings of the process. Called before the model is built."""
    if not args.ngpu:
        prepare_cpu_training()


def speed_up(model: Any, args: argparse.Namespace) -> None:
    """Make a model that is to be trained faster, as the options say.

    `args.cpu_autocast: auto` is replaced by the number format that is chosen.
    """
    if args.fast_layers:
        counts = use_fast_layers(model, keep_attention_weights=args.num_att_plot > 0)
        logging.info("fast_layers: %s", counts)
    if args.cpu_autocast == "auto" and not args.ngpu:
        args.cpu_autocast = choose_precision(model, args)
        model.autocast_dtype = autocast_dtype(args.cpu_autocast)
