"""A grid of trainings (local/study.sh): plan it, collect its results, report them, and its power.

espnet-ext study plan --study egs2/mini_l2/study1/conf/study.yaml --dir exp
espnet-ext study collect --study conf/study.yaml --dir exp --results cells.json
espnet-ext study merge --study conf/study.yaml --inputs "a.json b.json" --results cells.json
espnet-ext study report --study conf/study.yaml --results cells.json --output RESULTS.md
espnet-ext study power --study conf/study.yaml --results cells.json --speakers 16
espnet-ext study coverage
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import audio_options, cli

ACTIONS = {
    "plan": "list the trainings, which are done, and the estimated hours",
    "settings": "print the settings that local/study.sh reads",
    "collect": "check the results of all trainings and write them into one file",
    "merge": "write the results of several such files into one",
    "report": "write the report and its figures from that file",
    "power": "print which differences can be detected, from the variances in that file",
    "coverage": "print how often intervals contain the true difference in simulated studies",
}


def get_parser() -> argparse.ArgumentParser:
    parser = cli.parser((__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "action",
        choices=ACTIONS,
        metavar="action",
        help="; ".join(f"{name}: {text}" for name, text in ACTIONS.items()),
    )
    parser.add_argument("--study", help="study.yaml, the design of the grid")
    parser.add_argument("--dir", default="exp", help="plan, collect: folder of the trainings")
    parser.add_argument(
        "--cells",
        type=cli.words,
        default=[],
        help='plan: only some trainings, as in "languages=ko systems=do,so_surface seeds=0"',
    )
    parser.add_argument(
        "--calls",
        type=cli.boolean,
        default=False,
        help="plan: print lines for local/study.sh instead of a table",
    )
    parser.add_argument(
        "--per_call",
        type=audio_options.count,
        default=1,
        help="plan --calls: trainings per call of run.sh",
    )
    parser.add_argument(
        "--verify",
        type=cli.boolean,
        default=False,
        help="plan --calls: also trainings that are done, so that run.sh checks them",
    )
    parser.add_argument(
        "--set", help="set of the scores (default: the validation set of the study)"
    )
    parser.add_argument(
        "--sets", type=cli.words, default=[], help="collect: sets (default: the validation set)"
    )
    parser.add_argument(
        "--partial",
        type=cli.boolean,
        default=False,
        help="collect: list missing results in the file instead of stopping",
    )
    parser.add_argument(
        "--inputs", type=cli.words, default=[], help="merge: files of collected results"
    )
    parser.add_argument(
        "--allow_other_options",
        type=cli.boolean,
        default=False,
        help="merge: settings may have been trained with other options or versions than each other",
    )
    parser.add_argument("--results", default="cells.json", help="file of the collected results")
    parser.add_argument("--output", default="RESULTS.md", help="report: Markdown file to write")
    parser.add_argument(
        "--figures", default="figures", help="report: folder of the figures, beside the report"
    )
    parser.add_argument("--speakers", type=int, help="power: speakers of the test set")
    parser.add_argument(
        "--studies",
        type=audio_options.count,
        default=2000,
        help="power, coverage: number of simulated studies",
    )
    parser.add_argument(
        "--quick",
        type=cli.boolean,
        default=False,
        help="the trainings are those of local/study.sh --quick true",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.action != "coverage" and not args.study:
        parser.error(f"{args.action} needs --study")
    if args.speakers is not None and args.speakers < 2:
        parser.error(f"--speakers {args.speakers}: write 2 or more")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if args.action == "coverage":
        _print_coverage(args.studies)
        return 0

    from espnet_ext.study.design import read_study

    study = read_study(args.study, args.quick)
    if args.action == "plan":
        _plan(study, args)
    elif args.action == "settings":
        from espnet_ext.study.plan import shell_settings

        print("\n".join(shell_settings(study)))
    elif args.action == "collect":
        _collect(study, args, arguments)
    elif args.action == "merge":
        if len(args.inputs) < 2:
            parser.error("merge needs --inputs with at least two files")
        _merge(study, args, arguments)
    elif args.action == "report":
        _report(study, args, arguments)
    else:
        _power(study, args)
    return 0


def _plan(study, args: argparse.Namespace) -> None:
    from espnet_ext.study.design import select
    from espnet_ext.study.plan import calls, overview

    cells = select(study.cells(), study, args.cells)
    if args.calls:
        lines = calls(
            study,
            args.dir,
            cells,
            args.set or study.valid_set,
            per_call=args.per_call,
            verify=args.verify,
        )
    else:
        lines = iter(overview(study, args.dir, cells))
    for line in lines:
        print(line)


def _collect(study, args: argparse.Namespace, arguments: Sequence[str]) -> None:
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.provenance import provenance
    from espnet_ext.study.collect import collect, is_cells_file, write_cells

    require_result_file(args.results, is_cells_file)
    sets = args.sets or [study.valid_set]
    content = collect(study, args.dir, sets, require_all=not args.partial)
    content |= {"quick": True} if args.quick else {}
    write_cells(args.results, {**content, "provenance": provenance("study", arguments)})
    missing = len(content["missing"])
    print(
        f"{args.results}: {len(content['cells'])} of {len(study.cells()) * len(sets)} results on "
        f"{' and '.join(sets)}" + (f"; {missing} are missing" if missing else "")
    )


def _merge(study, args: argparse.Namespace, arguments: Sequence[str]) -> None:
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.provenance import provenance
    from espnet_ext.study.collect import is_cells_file, read_cells, write_cells
    from espnet_ext.study.merge import merge

    require_result_file(args.results, is_cells_file, inputs=args.inputs)
    contents = {str(path): read_cells(path) for path in args.inputs}
    content = merge(study, contents, allow_other_options=args.allow_other_options)
    write_cells(args.results, {**content, "provenance": provenance("study", arguments)})
    print(f"{args.results}: {len(content['cells'])} results, {len(content['missing'])} are missing")
    for note in content["notes"]:
        print(f"note: {note}", file=sys.stderr)


def _results(study, args: argparse.Namespace):
    from espnet_ext.study.collect import read_cells
    from espnet_ext.study.results import Results, of_design

    content = of_design(study, read_cells(args.results), args.results)
    return Results(content, args.set or study.valid_set)


def _report(study, args: argparse.Namespace, arguments: Sequence[str]) -> None:
    import os

    from espnet_ext.files import write_text
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.provenance import provenance
    from espnet_ext.report.markdown import section_markdown
    from espnet_ext.study.figures import write_figures
    from espnet_ext.study.page import sections

    mark = "Made by `espnet-ext study report`"
    output = Path(args.output)
    require_result_file(
        output, lambda path: mark in path.read_text(encoding="utf-8"), inputs=[args.results]
    )
    results = _results(study, args)
    parts = [section_markdown(section) for section in sections(study, results)]
    figures = write_figures(study, results, output.parent / args.figures)
    links = [f"![{path.stem}]({os.path.relpath(path, output.parent)})" for path in figures]
    made = provenance("study", arguments)
    sources = results.content.get("sources") or [results.content.get("provenance", {})]
    head = [
        f"# {study.title}",
        f"Results on the set `{results.dset}`. {mark}; do not edit.",
    ]
    origin = [
        "# How this file was made",
        f"- this file: `{made['command']}`, commit {made['commit']}",
        *(
            f"- results: `{source.get('command')}`, commit {source.get('commit')}, "
            f"{source.get('date')}, {source.get('machine', {}).get('cpu')}"
            for source in sources
        ),
    ]
    text = "\n\n".join([*head, *parts[:3], *links, *parts[3:], "\n".join(origin)])
    # The title is the only heading of the first level
    lines = [
        "#" + line if line.startswith("#") and number else line
        for number, line in enumerate(text.splitlines())
    ]
    write_text(output, "\n".join(lines).replace("\n\n\n", "\n\n") + "\n")
    print(f"{output}, {', '.join(map(str, figures))}")


def _power(study, args: argparse.Namespace) -> None:
    from espnet_ext.report.markdown import section_markdown
    from espnet_ext.study.page import power_section

    section = power_section(
        study, _results(study, args), speakers=args.speakers, studies=args.studies
    )
    print(section_markdown(section))


def _print_coverage(studies: int) -> None:
    from espnet_ext.report.markdown import section_markdown
    from espnet_ext.study.page import coverage_section

    print(section_markdown(coverage_section(studies)))


if __name__ == "__main__":
    sys.exit(cli.run(main))
