"""Score the hypotheses of a set: every kind of hypothesis against every kind of reference."""

import argparse
import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(f"{__doc__} For mispronunciation detection see `espnet-ext mdd --help`.")
    parser.add_argument("--data", required=True, help="data directory with the references")
    parser.add_argument(
        "--hypotheses", required=True, help="folder with the hypotheses, text.<output>"
    )
    parser.add_argument(
        "--token_types",
        type=token_types,
        default=None,
        help="token type of the texts of each output: char, jamo, bpe, word, phone or label "
        "(default: that of the model, if its decode.json is with the hypotheses, else char)",
    )
    parser.add_argument(
        "--lexicon",
        default=None,
        help="file with words and their phones, to compare written hypotheses with phones",
    )
    parser.add_argument(
        "--nlsyms_txt",
        default=None,
        help="non-linguistic symbols, one per line: removed from references and hypotheses",
    )
    parser.add_argument(
        "--resamples", type=int, default=1000, help="number of bootstrap resamples for intervals"
    )
    parser.add_argument("--seed", type=int, default=20260, help="random seed of the bootstrap")
    parser.add_argument(
        "--missing",
        choices=["empty", "leave_out"],
        default="empty",
        help="count an utterance without a hypothesis as an empty one, or leave it out",
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["mdd"]:
        from espnet_ext.bin import mdd

        return mdd.main(arguments[1:])
    options = parser.parse_args(arguments)
    if options.resamples < 1:
        parser.error("--resamples must be at least 1")

    from pathlib import Path

    from espnet_ext.provenance import provenance
    from espnet_ext.report.terminal import score_line
    from espnet_ext.scoring.hypotheses import recorded_token_types
    from espnet_ext.scoring.score import score_directory
    from espnet_ext.text.tokenizers import read_symbols

    types = options.token_types
    if types is None:
        of_model = recorded_token_types(Path(options.hypotheses))
        types = {"surface": "char", "meaning": "char", **of_model}
    result = score_directory(
        options.data,
        options.hypotheses,
        types,
        lexicon=options.lexicon,
        symbols=read_symbols(options.nlsyms_txt) if options.nlsyms_txt else (),
        resamples=options.resamples,
        seed=options.seed,
        leave_out_missing=options.missing == "leave_out",
        provenance=provenance("score", arguments),
    )
    for cell in result["cells"]:
        print(score_line(cell))
    print(f"wrote {options.hypotheses}/score.json")
    return 0


def token_types(value: str) -> dict[str, str]:
    """Parse "surface=phone meaning=char".

    Raises:
        argparse.ArgumentTypeError: an item is not <output>=<token type>, or there is none.
    """
    types = {}
    for item in value.split():
        output, equals, token_type = item.partition("=")
        if not (output and equals and token_type):
            raise argparse.ArgumentTypeError(f"'{item}' is not <output>=<token type>")
        types[output] = token_type
    if not types:
        raise argparse.ArgumentTypeError("no <output>=<token type> given")
    return types


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
