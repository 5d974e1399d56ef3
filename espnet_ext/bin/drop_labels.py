"""Take labels away from a data directory, to measure how training does with fewer."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument("--output_name", required=True, help="output whose labels go")
    parser.add_argument("--share", type=float, required=True, help="of its labels, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument(
        "--outputs", type=cli.words, default=[], help="outputs whose gaps are written as <na>"
    )
    parser.add_argument(
        "--complete",
        type=cli.boolean,
        default=False,
        help="keep only utterances that have all --outputs",
    )
    args = parser.parse_args(argv)
    if args.complete and not args.outputs:
        parser.error("--complete needs --outputs")

    from espnet_ext.data.labels import Drop, drop_labels

    rule = Drop(args.output_name, args.share, args.seed, tuple(args.outputs), args.complete)
    print(drop_labels(args.input, args.output, rule))
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
