"""Evaluate mispronunciation detection: compare recognised with annotated pronunciations."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import analyze, cli


def main(argv: Sequence[str] | None = None) -> int:
    from espnet_ext.analysis.mdd import ANALYSIS

    parser = cli.parser(__doc__)
    analyze.add_arguments(parser, ANALYSIS)
    parser.add_argument("--output", "--json", help="JSON file to write all results to")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    if options.prompt and options.meaning:
        parser.error("--prompt and --meaning both give the canonical phones: give only one")
    if options.convention == "leng" and (options.prompt or options.meaning or options.words):
        parser.error(
            "--convention leng compares with --canonical alone: leave out --prompt, --meaning and "
            "--words"
        )
    analyze.run(ANALYSIS, options, parser, "mdd", arguments)
    return 0


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
