"""Compare systems on one set: consistency of outputs, differences, divergence of references."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import analyze, cli


def main(argv: Sequence[str] | None = None) -> int:
    from espnet_ext.analysis.cross import ANALYSIS

    parser = cli.parser(__doc__)
    analyze.add_arguments(parser, ANALYSIS)
    parser.add_argument("--output", required=True, help="JSON file to write")
    arguments = list(sys.argv[1:] if argv is None else argv)
    analyze.run(ANALYSIS, parser.parse_args(arguments), parser, "cross", arguments)
    return 0


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
