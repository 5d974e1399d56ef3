"""Split a data directory into train, valid and test, by speaker."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory to split")
    parser.add_argument("--output", required=True, help="folder to write the sets in: data/<lang>")
    parser.add_argument(
        "--sets",
        type=cli.words,
        default="train=8 valid=1 test=1",
        help="names of the sets, each with its share of the utterances",
    )
    parser.add_argument(
        "--by",
        choices=("speaker", "utterance"),
        default="speaker",
        help="speaker: no speaker is in two sets; utterance: the sets share speakers",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choice")
    parser.add_argument(
        "--disjoint_sentences",
        type=cli.boolean,
        default=False,
        help="no sentence (meaning) is in two sets; utterances that prevent this are left out",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.data.splitting import SplitOptions, parse_shares, split_directory

    options = SplitOptions(parse_shares(args.sets), args.by, args.seed, args.disjoint_sentences)
    print("\n".join(split_directory(args.input, args.output, options, overwrite=args.overwrite)))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
