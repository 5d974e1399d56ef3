"""Stage 4: validate a data directory and remove utterances that are unsuitable for training."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory to read")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default="surface meaning",
        help="outputs to train; where they have no transcript, <na> is written",
    )
    parser.add_argument("--min_seconds", type=float, default=0.1, help="remove shorter utterances")
    parser.add_argument("--max_seconds", type=float, default=20.0, help="remove longer utterances")
    parser.add_argument(
        "--no_filter", type=cli.boolean, default=False, help="remove nothing (for sets to decode)"
    )
    parser.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    parser.add_argument(
        "--token_types",
        type=cli.words,
        default="",
        help='token types of outputs: "surface=phone meaning=char"',
    )
    parser.add_argument(
        "--config",
        default="",
        help="training configuration, to find transcripts that are too long for CTC",
    )
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="DIR",
        help="warn about what the directory shares with these, e.g. with the training set",
    )
    parser.add_argument(
        "--read_samples",
        type=cli.boolean,
        default=False,
        help="decode all audio to find damage, silence and clipping (slow)",
    )
    parser.add_argument(
        "--nj", type=audio_options.count, default=8, help="recordings that are read in parallel"
    )
    audio_options.add_policy(parser)
    parser.add_argument(
        "--label_outputs",
        type=cli.words,
        default=[],
        help='outputs made from label tables: "l1=utt2l1 language=utt2lang"',
    )
    parser.add_argument(
        "--inline_tags",
        type=cli.words,
        default=[],
        help='add label outputs to the transcripts of other outputs as tags: "meaning=l1"',
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=0,
        help="also write this many tar archives in WebDataset layout to <output>/shards, which "
        "training reads in sequence (train_shards); about 1000 utterances each; 0: none",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    cli.require_pairs(parser, "--label_outputs", args.label_outputs)
    cli.require_pairs(parser, "--inline_tags", args.inline_tags)
    if not args.outputs:
        parser.error("--outputs: name at least one output")
    if args.shards < 0:
        parser.error(f"--shards {args.shards}: write a number of shards, or 0 (none)")

    from espnet_ext.data.checks.context import CheckOptions
    from espnet_ext.data.checks.findings import WARNING
    from espnet_ext.data.checks.tokens import parse_token_options, read_frame_options
    from espnet_ext.data.filtering import FilterOptions, filter_directory
    from espnet_ext.data.shards import remove_shards, write_shards

    options = FilterOptions(
        outputs=tuple(args.outputs),
        min_seconds=args.min_seconds,
        max_seconds=args.max_seconds,
        keep_all=args.no_filter,
        checks=CheckOptions(
            allow_pipes=args.allow_pipes,
            read_samples=args.read_samples,
            nj=args.nj,
            tokens=parse_token_options(args.token_types),
            frames=read_frame_options(args.config) if args.config else None,
            against=args.against,
            # Published corpora may share recordings between sets; training must not stop for it.
            shared_severity=WARNING,
        ),
        policy=audio_options.policy_of(args, keep_all=args.no_filter),
        labels=dict(word.split("=") for word in args.label_outputs),
        tags=tuple(tuple(word.split("=")) for word in args.inline_tags),
    )
    lines = filter_directory(args.input, args.output, options, overwrite=args.overwrite)
    if args.shards:
        lines.append(write_shards(args.output, args.shards))
    else:
        remove_shards(args.output)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
