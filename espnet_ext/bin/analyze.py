"""Analyse trained systems: similarity, probes, swaps, task vectors, partial labels, differences."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Input, Option
from espnet_ext.bin import cli, early_checks


def main(argv: Sequence[str] | None = None) -> int:
    from espnet_ext.analysis.registry import ANALYSES

    parser = cli.parser(__doc__)
    names = parser.add_subparsers(dest="analysis", required=True, metavar="ANALYSIS")
    subparsers = {}
    for name, analysis in ANALYSES.items():
        subparsers[name] = names.add_parser(
            name,
            help=analysis.description,
            description=analysis.description,
            allow_abbrev=False,
            formatter_class=parser.formatter_class,
        )
        add_arguments(subparsers[name], analysis)
        subparsers[name].add_argument("--output", required=True, help="JSON file to write")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)
    run(ANALYSES[options.analysis], options, subparsers[options.analysis], "analyze", arguments)
    return 0


def add_arguments(parser: argparse.ArgumentParser, analysis: Analysis) -> None:
    """Add the inputs and options that an analysis declares."""
    for source in analysis.inputs:
        if source.per_system:
            metavar = source.metavar or "NAME=DIR"
            extra: dict[str, Any] = {"nargs": "+", "metavar": metavar, "default": []}
        else:
            extra = {"default": None}
        parser.add_argument(source.option, required=source.required, help=source.help, **extra)
    for option in analysis.options:
        parser.add_argument(
            option.option,
            type=cli.boolean if option.type is bool else option.type,
            default=option.default,
            choices=option.choices,
            required=option.required,
            help=option.help,
        )
    if analysis.uses_device:
        parser.add_argument("--batch_size", type=int, default=16, help="utterances per batch")
        parser.add_argument("--ngpu", type=int, default=0, help="1 uses a GPU, 0 the CPU")


def run(
    analysis: Analysis,
    options: argparse.Namespace,
    parser: argparse.ArgumentParser,
    verb: str,
    argv: Sequence[str],
) -> None:
    """Run an analysis on parsed options, print its section, and write its result if asked to."""
    arguments = _arguments(analysis, options, parser)
    _check_inputs(analysis, arguments)

    from espnet_ext.document import Section
    from espnet_ext.files import read_json, write_json
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.provenance import provenance
    from espnet_ext.report.markdown import section_markdown

    def is_result(path: Path) -> bool:
        content = read_json(path)
        return isinstance(content, dict) and {"kind", "section"} <= content.keys()

    if options.output:
        require_result_file(options.output, is_result)
    result = analysis.result(**arguments)
    result["provenance"] = provenance(verb, argv)
    print(section_markdown(Section.from_json(result["section"])))
    if options.output:
        write_json(options.output, result)
        print(f"wrote {options.output}")


def _check_inputs(analysis: Analysis, arguments: Mapping[str, Any]) -> None:
    """Raise a `UserError` if data, or models that will run, are missing; PyTorch is not needed."""
    sources = list(analysis.inputs)
    data = [source for source in sources if source in (definition.DATA, definition.TRAINING_DATA)]
    early_checks.require_data(arguments[source.argument] for source in data)
    for source in sources if analysis.uses_device else ():
        if source in (definition.MODELS, definition.TWINS):
            for folder in arguments[source.argument].values():
                early_checks.require_model(folder)


def _arguments(
    analysis: Analysis, options: argparse.Namespace, parser: argparse.ArgumentParser
) -> dict[str, Any]:
    """Return the arguments of the analysis' `run`."""
    arguments: dict[str, Any] = {}
    sources: Sequence[Input | Option] = [*analysis.inputs, *analysis.options]
    for source in sources:
        arguments[source.argument] = getattr(options, source.argument)
    systems: dict[str, str] | None = None
    for source in analysis.inputs:
        if source.per_system and not source.metavar:
            known = None if source.adds_systems else systems
            folders = cli.named_folders(parser, source.option, arguments[source.argument], known)
            arguments[source.argument] = folders
            if systems is None:
                systems = folders
                if len(folders) < analysis.min_systems:
                    parser.error(f"{source.option}: give {analysis.min_systems} or more systems")
    if analysis.uses_device:
        if options.batch_size < 1:
            parser.error("--batch_size must be at least 1")
        arguments["batch_size"] = options.batch_size
        arguments["device"] = "cuda" if options.ngpu else "cpu"
    return arguments


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
