"""Combine data directories into one; what a corpus has no transcripts for stays unlabelled."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--inputs", nargs="+", required=True, help="data directories")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default="surface meaning",
        help="each directory has labels for at least one of these",
    )
    parser.add_argument(
        "--label_outputs",
        type=cli.words,
        default=[],
        help='those of them that are made of label tables, as in "l1=utt2l1"',
    )
    args = parser.parse_args(argv)
    cli.require_pairs(parser, "--label_outputs", args.label_outputs)
    if not args.outputs:
        parser.error("--outputs: name at least one output")

    from espnet_ext.data.combine import combine_directories

    labels = dict(word.split("=") for word in args.label_outputs)
    for line in combine_directories(args.inputs, args.output, args.outputs, labels):
        print(line)
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
