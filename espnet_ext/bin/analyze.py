"""Analyse trained systems: `cka` compares the encoders of several systems layer by layer."""

import argparse
import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    cka = verbs.add_parser(
        "cka",
        help="linear CKA between encoders",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cka.add_argument(
        "--models", nargs="+", required=True, metavar="NAME=DIR", help="two or more systems"
    )
    cka.add_argument("--data", required=True, help="data directory, formatted (dump/raw/…)")
    cka.add_argument("--output", required=True, help="JSON file to write")
    cka.add_argument("--max_utterances", type=int, default=500, help="evenly spread; 0: all")
    cka.add_argument("--batch_size", type=int, default=16, help="utterances a batch")
    cka.add_argument("--ngpu", type=int, default=0, help="0: CPU")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    models = _models(options.models, cka)
    if options.batch_size < 1:
        cka.error("--batch_size must be at least 1")

    from espnet_ext.analysis.compare import compare_encoders
    from espnet_ext.files import write_json
    from espnet_ext.report.provenance import provenance

    result = compare_encoders(
        models,
        options.data,
        max_utterances=options.max_utterances,
        batch_size=options.batch_size,
        device="cuda" if options.ngpu else "cpu",
    )
    result["provenance"] = provenance("analyze", arguments)
    write_json(options.output, result)
    for pair in result["pairs"]:
        curve = ", ".join(f"{p['layer']}: {p['cka']:.2f}" for p in pair["curve"] if p["cka"])
        print(f"CKA {pair['a']} – {pair['b']}: {curve}")
    print(f"wrote {options.output} ({result['utterances']} utterances, {result['frames']} frames)")
    return 0


def _models(given: Sequence[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """Systems by name; both `--models a=x b=y` and `--models "a=x b=y"` are understood."""
    models: dict[str, str] = {}
    for item in " ".join(given).split():
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            parser.error(f"--models: '{item}' is not <name>=<model directory>")
        if name in models:
            parser.error(f"--models: '{name}' is given twice")
        models[name] = folder
    if len(models) < 2:
        parser.error("--models: give at least two systems")
    return models


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
