"""Import the hypotheses of another recogniser, to score them beside the systems.

    espnet-ext baseline --hypotheses meaning=whisper/test --data dump/raw/en/test \\
        --token_types "surface=phone meaning=char" --output_dir exp/en/baseline_whisper/decode/test
    espnet-ext score --data dump/raw/en/test --missing leave_out \\
        --token_types "surface=phone meaning=char" --hypotheses exp/en/baseline_whisper/decode/test

A folder has a Kaldi file `text`, or `text.<output>` for several outputs. run.sh does both with
--baselines "whisper:meaning=whisper".
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli
from espnet_ext.bin.score import token_types


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument(
        "--hypotheses",
        nargs="+",
        required=True,
        metavar="[OUTPUT=]DIR",
        help="folders with the hypotheses of the set as a Kaldi file text, or text.<output>; "
        "without OUTPUT, a file text is the meaning",
    )
    parser.add_argument("--data", required=True, help="data directory with the references")
    parser.add_argument(
        "--token_types",
        type=token_types,
        default="surface=char meaning=char",
        help="outputs to compare, and the token type of the references of each",
    )
    parser.add_argument("--output_dir", required=True, help="folder for text.<output>")
    parser.add_argument(
        "--baseline_clean",
        type=cli.boolean,
        default=False,
        help="adapt case and punctuation of the hypotheses to the references, and in English write "
        "numbers and symbols as words where no reference has digits",
    )
    parser.add_argument(
        "--lang",
        default="",
        help="language of the hypotheses (default: that of the data directory's utt2lang)",
    )
    parser.add_argument(
        "--nothing_comparable",
        choices=["error", "warning"],
        default="error",
        help="if the hypotheses of no output can be compared: end with an error, or write "
        "baseline.json with the reasons, so that scoring and report name them",
    )
    cli.add_overwrite(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)

    from espnet_ext.provenance import provenance
    from espnet_ext.scoring.baseline import Source, import_hypotheses

    result = import_hypotheses(
        [Source.parse(word) for word in options.hypotheses],
        options.data,
        options.output_dir,
        options.token_types,
        clean=options.baseline_clean,
        lang=options.lang,
        overwrite=options.overwrite,
        allow_nothing=options.nothing_comparable == "warning",
        provenance=provenance("baseline", arguments),
    )
    for output, fact in result["outputs"].items():
        print(f"{output}: {fact['hypotheses']} of {result['utterances']} utterances")
    texts = "text.<output> and " if result["outputs"] else ""
    print(f"wrote {options.output_dir}/{texts}baseline.json")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
