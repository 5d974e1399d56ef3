"""Remove transcripts from a data directory at random, to train on fewer labels."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory to read")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument("--output_name", required=True, help="output whose transcripts to remove")
    parser.add_argument(
        "--share", type=float, required=True, help="share of the transcripts to remove, 0 to 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice")
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default=[],
        help="outputs to train: an utterance without a transcript of one of them gets <na>",
    )
    parser.add_argument(
        "--complete",
        type=cli.boolean,
        default=False,
        help="keep only utterances that have transcripts for all --outputs",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    if args.complete and not args.outputs:
        parser.error("--complete needs --outputs")

    from espnet_ext.data.labels import DropOptions, drop_labels

    outputs = tuple(args.outputs)
    options = DropOptions(args.output_name, args.share, args.seed, outputs, args.complete)
    print(drop_labels(args.input, args.output, options, overwrite=args.overwrite))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
