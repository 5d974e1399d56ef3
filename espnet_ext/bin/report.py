"""Write RESULTS.md, its details and report.html from the result files of an experiment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.bin import cli

if TYPE_CHECKING:
    from espnet_ext.report.html import Utterances


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
    from espnet_ext.provenance import provenance
    from espnet_ext.report.collect import collect
    from espnet_ext.report.contents import build
    from espnet_ext.report.html import report_page
    from espnet_ext.report.markdown import details_page, results_page
    from espnet_ext.report.terminal import cells_table

    folder = "analysis/"
    expected = {
        name.removeprefix(folder): not analysis.requested_by
        and len(options.systems) >= analysis.min_systems
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
        title=options.title,
        provenance=provenance("report", arguments),
        caveats=[options.caveat] if options.caveat else [],
        coupled=options.coupled,
        baselines=options.baselines,
    )
    page = Path(options.html)
    utterances = _utterances(results, options.examples, page, round(1e6 * options.audio_mb))
    report = build(results, options.dump_dir)
    target = Path(options.results)
    details = Path(options.details or target.with_stem(f"{target.stem}_details"))
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


def _utterances(results, count: int, page: Path, limit: int) -> Utterances:
    """Return the examples of each language's first set, and all utterances, with their recordings.

    Args:
        count: examples per language.
        page: the page, which links to recordings.
        limit: bytes of audio that it may carry.
    """
    from espnet_ext.report.browser_data import browser_data
    from espnet_ext.report.examples import choose, example
    from espnet_ext.report.html import ShownExample, Utterances
    from espnet_ext.report.recordings import data_uri, embed_all, link

    shown: dict[str, list[ShownExample]] = {}
    sources: dict[int, str | None] = {}  # id of an Utterance → where the page has its recording
    unreadable: list[str] = []
    for language in results.languages:
        if not language.utterances:
            continue
        set_name, first = next(iter(language.utterances.items()))
        for utt_id in choose(first.utterances, count):
            chosen = example(first, utt_id)
            content = _audio(chosen.audio, unreadable)
            if content and len(content) > limit:
                content = None
            limit -= len(content or b"")
            audio_id = f"audio-{len(sources)}"
            if content:
                sources[id(first.utterances[utt_id])] = f"#{audio_id}"
            uri = data_uri(content) if content else None
            one = ShownExample(chosen, set_name, uri, audio_id)
            shown.setdefault(language.code, []).append(one)
    for message in unreadable:
        print(f"warning: an example has no audio: {message}", file=sys.stderr)
    others = [
        utterance
        for language in results.languages
        for utterances in language.utterances.values()
        for utterance in utterances.utterances.values()
        if id(utterance) not in sources
    ]
    embedded = embed_all(others, lambda source: _audio(source, []), limit)
    for utterance, content in zip(others, embedded or (), strict=False):
        sources[id(utterance)] = data_uri(content) if content else None
    if embedded is None:
        for utterance in others:
            sources[id(utterance)] = link(utterance.audio, page)
        linked = sum(sources[id(utterance)] is not None for utterance in others)
        print(
            f"note: {page} plays the recordings of {linked} of {len(others)} utterances from their "
            f"files, because they are larger than {limit / 1e6:.1f} MB (--audio_mb)"
        )
    return Utterances(shown, browser_data(results, lambda utterance: sources[id(utterance)]))


def _audio(source: str, unreadable: list[str]) -> bytes | None:
    """Return an utterance as FLAC; None, with a message in `unreadable`, if it cannot be read."""
    from espnet_ext.data.audio import encode_audio, load_audio
    from espnet_ext.errors import UserError

    try:
        return encode_audio(*load_audio(source), ".flac")
    except UserError as error:
        unreadable.append(error.message)
        return None


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
