"""Evaluate a set's systems together: divergence, consistency of outputs, differences."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--systems",
        nargs="+",
        required=True,
        metavar="NAME=DIR",
        help="scored folders of hypotheses, with utterances.json",
    )
    parser.add_argument(
        "--unit",
        choices=("char", "jamo", "phone"),
        default=None,
        help="of distances: phones if surface is phones, else characters",
    )
    parser.add_argument("--lexicon", default=None, help="words and phones, to pronounce meaning by")
    parser.add_argument("--output", required=True, help="JSON file to write")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    systems: dict[str, str] = {}
    for item in " ".join(options.systems).split():
        name, equals, folder = item.partition("=")
        if not (name and equals and folder):
            parser.error(f"--systems: '{item}' is not <name>=<folder>")
        if name in systems:
            parser.error(f"--systems: '{name}' is given twice")
        systems[name] = folder
    if not systems:
        parser.error("--systems: give at least one")

    from espnet_ext.files import write_json
    from espnet_ext.report.cross_task import readings
    from espnet_ext.report.provenance import provenance
    from espnet_ext.scoring.cross import cross_task

    result = cross_task(systems, unit=options.unit, lexicon=options.lexicon)
    result["provenance"] = provenance("cross", arguments)
    write_json(options.output, result)
    for line in readings(result):
        print(line)
    print(f"wrote {options.output} ({result['utterances']} utterances)")
    return 0


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
