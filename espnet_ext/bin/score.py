"""Score one set's hypotheses: every hypothesis kind against every reference kind."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(f"{__doc__} `score mdd --help`: mispronunciation detection.")
    parser.add_argument("--data", required=True, help="data directory with the references")
    parser.add_argument("--hypotheses", required=True, help="folder with text.<output> to score")
    parser.add_argument(
        "--token_types",
        type=token_types,
        default="surface=char meaning=char",
        help="what the texts of each output are made of: char, jamo, bpe, word or phone",
    )
    parser.add_argument("--lexicon", default=None, help="words and phones, for phone cross cells")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=20260, help="of the bootstrap")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["mdd"]:
        from espnet_ext.bin import mdd

        return mdd.main(arguments[1:])
    options = parser.parse_args(arguments)
    if options.resamples < 1:
        parser.error("--resamples must be at least 1")

    from espnet_ext.report.provenance import provenance
    from espnet_ext.report.terminal import score_line
    from espnet_ext.scoring.score import score_directory

    result = score_directory(
        options.data,
        options.hypotheses,
        options.token_types,
        lexicon=options.lexicon,
        resamples=options.resamples,
        seed=options.seed,
        provenance=provenance("score", arguments),
    )
    for cell in result["cells"]:
        print(score_line(cell))
    print(f"wrote {options.hypotheses}/score.json")
    return 0


def token_types(value: str) -> dict[str, str]:
    """Parse "surface=phone meaning=char"."""
    import argparse

    types = {}
    for item in value.split():
        name, equals, kind = item.partition("=")
        if not (name and equals and kind):
            raise argparse.ArgumentTypeError(f"'{item}' is not <output>=<token type>")
        types[name] = kind
    if not types:
        raise argparse.ArgumentTypeError("no <output>=<token type> given")
    return types


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
