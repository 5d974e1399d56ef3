"""Options that make training faster, and where they act."""

import argparse
import logging
from typing import Any

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.build import autocast_dtype
from espnet_ext.progress import say
from espnet_ext.training import compiled_layers, largest_batch
from espnet_ext.training.batching import BUCKETS, BucketOptions, describe_padding
from espnet_ext.training.fast_layers import use_fast_layers
from espnet_ext.training.precision import choose_for_all_processes
from espnet_ext.training.process_settings import prepare_cpu_training
from espnet_ext.training.repeat import batches_of
from espnet_ext.training.schedule import process_count
from espnet_ext.training.shards import ShardPlan
from espnet_ext.training.unit_training import configured_sampler

_LARGE_VOCABULARY = 20000  # from which on `chunked_loss: auto` computes losses in chunks
_FROM_SHAPES = ("unsorted", "sorted", "folded", "length", "numel")  # values of `batch_type`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the training command."""
    group = parser.add_argument_group("Speed")
    group.add_argument(
        "--fast_layers",
        type=espnet.load("str2bool"),
        default=False,
        help="on a CPU, compute convolution, attention and dropout of ESPnet's encoders and "
        "decoders by faster functions; losses differ by rounding, and dropout draws other random "
        "numbers",
    )
    group.add_argument(
        "--batching",
        type=espnet.load("str_or_none"),
        default=None,
        choices=[BUCKETS, None],
        help="buckets: batches of at most batch_bins samples, of utterances that are similar in "
        "duration and in the lengths of their transcripts, instead of batch_type",
    )
    group.add_argument(
        "--batching_conf",
        action=espnet.load("NestedDictAction"),
        default={},
        help="options of batching: quadratic_bins (length in samples at which a batch has half as "
        "many, 0: off) and max_utterances (of a batch, 0: unlimited)",
    )
    group.add_argument(
        "--scan_largest_batch",
        type=largest_batch.choice,
        default=largest_batch.AUTO,
        help="run the batches that may need most memory before the first update, so that a lack of "
        "memory shows at once; auto: on GPUs only",
    )
    group.add_argument(
        "--chunked_loss",
        type=largest_batch.choice,
        default=largest_batch.AUTO,
        help="compute the last layer and the loss of attention decoders in chunks of tokens, which "
        "takes less memory; losses differ by rounding; auto: for vocabularies of 20,000 and more",
    )
    group.add_argument(
        "--compile",
        type=str,
        default=compiled_layers.NONE,
        choices=[compiled_layers.NONE, compiled_layers.ENCODER],
        help="encoder: run the layers of the encoder through torch.compile in training; for GPUs; "
        "losses differ by rounding, and dropout draws other random numbers",
    )
    group.add_argument(
        "--fsdp",
        type=espnet.load("str2bool"),
        default=False,
        help="with several processes: divide parameters, gradients and optimizer state over them "
        "(FSDP2) instead of copying them, for large encoders",
    )
    group.add_argument(
        "--audio_cache_mb",
        type=megabytes,
        default=0.0,
        help="keep this many megabytes of the training audio in memory instead of decoding it in "
        "every epoch (115 MB per hour at 16 kHz); no effect with num_workers above 0",
    )


def megabytes(text: str) -> float:
    """Parse the value of `--audio_cache_mb`: a number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value} is below 0: write megabytes, or 0 (off)")
    return value


def check(args: argparse.Namespace, source: str) -> None:
    """Raise `UserError` for options that are wrong.

    Args:
        args: training arguments.
        source: name of the configuration in messages.
    """
    if args.audio_cache_mb and args.num_workers:
        say(
            f"note: {source}: audio_cache_mb has no effect: the processes of num_workers: "
            f"{args.num_workers} end with each epoch, and their audio is lost"
        )
    check_tf32(args, source)
    if args.batching is None:
        if args.batching_conf:
            raise UserError(
                f"{source}: batching_conf without batching", "write batching: buckets, or remove it"
            )
        return
    BucketOptions.parse(args.batching_conf)
    for key, allowed in (("iterator_type", "sequence"), ("shuffle_within_batch", False)):
        value = getattr(args, key)
        if value != allowed:
            raise UserError(
                f"{source}: batching {args.batching} does not work with {key}: {value}",
                f"remove {key} or batching",
            )


def check_tf32(args: argparse.Namespace, source: str) -> None:
    """Raise `UserError` for `use_tf32` with `use_amp`, where ESPnet fails with a stack trace."""
    if args.use_tf32 and args.use_amp:
        raise UserError(
            f"{source}: use_tf32 does not work with use_amp: both choose the number format of "
            "matrix products on a GPU",
            "write use_amp: false, or remove use_tf32",
        )


def describe_batches(args: argparse.Namespace) -> str:
    """Return a line about the batches of an epoch and their padding, for the log.

    It is "" if ESPnet forms the batches in another way than from the shape files.
    """
    if args.iterator_type != "sequence" or args.batch_type not in _FROM_SHAPES:
        return ""
    processes = process_count(args)
    if args.train_shards is not None:
        return ShardPlan(args, processes=processes).describe()
    sampler = configured_sampler(args, processes=processes)
    if sampler is None:
        return describe_padding(
            batches_of(args, args.train_shape_file, processes), args.train_shape_file
        )
    option = "batching"
    if args.balance:
        option = "balance"
    elif args.repeat_power or args.text_ratio is not None:
        option = "repeat_power" if args.repeat_power else "text_ratio"
    padding = describe_padding(sampler.generate(0), args.train_shape_file)
    return f"{option} {getattr(args, option)}: {sampler}\n{padding}"


def prepare(args: argparse.Namespace) -> None:
    """Make the settings of the process. Called before the model is built."""
    if not args.ngpu:
        prepare_cpu_training()


def speed_up(model: Any, args: argparse.Namespace) -> None:
    """Make a model that is to be trained faster, as the options say.

    `args.cpu_autocast: auto` is replaced by the number format that is chosen.
    """
    if args.fast_layers and args.ngpu:
        logging.info("fast_layers: no effect on a GPU")  # they made a first epoch slower there
    elif args.fast_layers:
        counts = use_fast_layers(model, keep_attention_weights=args.num_att_plot > 0)
        logging.info("fast_layers: %s", counts)
    choice = str(args.chunked_loss).lower()  # a boolean if it is from YAML
    for head in model.heads.values():
        for criterion in head.criteria:
            if getattr(criterion, "can_chunk", False):
                size = criterion.module.output_layer.out_features
                is_large = choice == largest_batch.AUTO and size >= _LARGE_VOCABULARY
                criterion.chunks = choice == largest_batch.ON or is_large
    if args.cpu_autocast == "auto" and not args.ngpu:
        args.cpu_autocast = choose_for_all_processes(model, args)
        model.autocast_dtype = autocast_dtype(args.cpu_autocast)
    if args.compile != compiled_layers.NONE:
        counts = compiled_layers.use_compiled_layers(model)
        compiled_layers.check_compiler("cuda" if args.ngpu else "cpu")
        logging.info("compile: %s", counts)
        if not args.ngpu:
            say("note: compile: on a CPU, this is not known to make training faster")
