"""Combine data directories into one; each utterance keeps its transcripts.

utt2corpus names the directory that each utterance is from: the part of the paths in which the
directories differ. Rows of an utt2corpus that a directory has are kept.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--inputs", nargs="+", required=True, help="data directories to read")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default="surface meaning",
        help="each directory must have transcripts for at least one of these outputs",
    )
    parser.add_argument(
        "--label_outputs",
        type=cli.words,
        default=[],
        help='outputs that stage 4 creates from label tables: "l1=utt2l1"',
    )
    parser.add_argument(
        "--prefix",
        type=cli.boolean,
        default=False,
        help="put the name of its directory before each speaker and utterance id, so that corpora "
        "may have equal names: l2arctic_ABA-a0001",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    cli.require_pairs(parser, "--label_outputs", args.label_outputs)
    if not args.outputs:
        parser.error("--outputs is empty: give at least one output")

    from espnet_ext.data.combine import combine_directories

    labels = dict(word.split("=") for word in args.label_outputs)
    lines = combine_directories(
        args.inputs,
        args.output,
        args.outputs,
        labels,
        prefix=args.prefix,
        overwrite=args.overwrite,
    )
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
