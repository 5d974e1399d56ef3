"""Write RESULTS.md, its details and report.html from the result files of an experiment."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--exp_dir", default="exp", help="experiment directory")
    parser.add_argument("--dump_dir", default="dump/raw", help="formatted data, for its size")
    parser.add_argument("--langs", type=cli.words, required=True, help="languages")
    parser.add_argument("--systems", type=cli.words, required=True, help="systems, in order")
    parser.add_argument("--train_tag", required=True, help="training configuration's name")
    parser.add_argument("--decode_tag", required=True, help="decoding configuration's name")
    parser.add_argument(
        "--coupled",
        type=cli.words,
        default=[],
        help="systems whose coupled decoding, <decode_tag>_coupled, is reported as a system too",
    )
    parser.add_argument(
        "--variants",
        type=cli.words,
        default=[],
        metavar="SYSTEM:VARIANT",
        help="further decodings of systems, <decode_tag>_<variant>, that are reported as systems "
        "too; --coupled do is do:coupled",
    )
    parser.add_argument(
        "--baselines",
        type=cli.words,
        default=[],
        help="other recognisers, whose scored hypotheses are in baseline_<name>/<decode_tag>",
    )
    parser.add_argument("--sets", type=cli.words, default="test", help="test sets")
    parser.add_argument("--results", default="RESULTS.md", help="Markdown file to write")
    parser.add_argument(
        "--details",
        default=None,
        help="Markdown file for all tables (default: beside --results, as RESULTS_details.md)",
    )
    parser.add_argument("--html", default="report.html", help="page to write")
    parser.add_argument("--title", default="Two transcripts per utterance: results", help="heading")
    parser.add_argument(
        "--caveat",
        default=None,
        help="limitation that holds for all numbers and is shown with them, for example "
        "'synthetic speech'",
    )
    parser.add_argument(
        "--quick",
        type=cli.boolean,
        default=False,
        help="the results are of a quick run: conclude nothing from them",
    )
    parser.add_argument(
        "--published",
        type=cli.boolean,
        default=True,
        help="show published results of Korean and English learners beside these",
    )
    parser.add_argument("--examples", type=int, default=4, help="utterances shown per language")
    parser.add_argument(
        "--audio_mb",
        type=_megabytes,
        default=3.0,
        help="megabytes of audio inside the page: the examples first, then all other utterances if "
        "they fit; if not, the page plays them from their files (default: 3)",
    )
    parser.add_argument("--summary", type=cli.boolean, default=False, help="print the error rates")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)

    from espnet_ext.analysis.registry import ANALYSES
    from espnet_ext.files import write_text
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.provenance import provenance
    from espnet_ext.report.collect import collect
    from espnet_ext.report.contents import build
    from espnet_ext.report.html import is_report_page, report_page
    from espnet_ext.report.markdown import (
        details_page,
        is_details_page,
        is_results_page,
        results_page,
    )
    from espnet_ext.report.shown_utterances import shown_utterances
    from espnet_ext.report.terminal import cells_table

    target, page = Path(options.results), Path(options.html)
    details = Path(options.details or target.with_stem(f"{target.stem}_details"))
    require_result_file(target, lambda path: is_results_page(path.read_text(encoding="utf-8")))
    require_result_file(details, lambda path: is_details_page(path.read_text(encoding="utf-8")))
    require_result_file(page, lambda path: is_report_page(path.read_text(encoding="utf-8")))
    folder = "analysis/"
    expected = {
        name.removeprefix(folder): not analysis.requested_by
        and len(options.systems) >= analysis.min_systems
        for analysis in ANALYSES.values()
        for name in analysis.result_files
        if name.startswith(folder)
    }
    names = {
        name.removeprefix(folder): analysis.name
        for analysis in ANALYSES.values()
        for name in analysis.result_files
        if name.startswith(folder)
    }
    results = collect(
        options.exp_dir,
        options.langs,
        options.systems,
        options.train_tag,
        options.decode_tag,
        options.sets,
        analyses=expected,
        names=names,
        title=options.title,
        provenance=provenance("report", arguments),
        caveats=[options.caveat] if options.caveat else [],
        variants=[f"{name}:coupled" for name in options.coupled] + options.variants,
        baselines=options.baselines,
        dump_dir=options.dump_dir,
    )
    budget = round(1e6 * options.audio_mb)
    utterances = shown_utterances(results, options.examples, page, budget, _encode)
    report = build(results, options.dump_dir, quick=options.quick, with_published=options.published)
    write_text(target, results_page(report, details.name, page.name))
    write_text(details, details_page(report))
    write_text(page, report_page(report, utterances))
    for item in results.missing:
        print(f"missing: {item}", file=sys.stderr)
    if options.summary:
        for language in results.languages:
            for name, runs in language.sets.items():
                scores = {system: run.score for system, run in runs.items()}
                print(cells_table(language.name, name, scores) + "\n")
    print(f"wrote {target}, {details} and {options.html}")
    return 0


def _megabytes(value: str) -> float:
    """Parse a size in megabytes."""
    try:
        size = float(value)
    except ValueError:
        size = -1.0
    if not 0 <= size <= 1000:  # no browser opens larger pages
        raise argparse.ArgumentTypeError(f"'{value}' is not a number from 0 to 1000")
    return size


def _encode(source: str) -> bytes:
    """Return a recording as FLAC.

    Raises:
        UserError: if it cannot be read.
    """
    from espnet_ext.data.audio import encode_audio, load_audio

    return encode_audio(*load_audio(source), ".flac")


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
