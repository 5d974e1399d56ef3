"""Write RESULTS.md and report.html from the result files of an experiment folder."""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import cli

AUDIO_BUDGET = 3_000_000  # bytes before base64, so that the page stays below 5 MB


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--exp_dir", default="exp", help="experiment folder")
    parser.add_argument("--dump_dir", default="dump/raw", help="formatted data, for its size")
    parser.add_argument("--langs", type=cli.words, required=True, help="languages")
    parser.add_argument("--systems", type=cli.words, required=True, help="systems, in order")
    parser.add_argument("--train_tag", required=True, help="training configuration's name")
    parser.add_argument("--decode_tag", required=True, help="decoding configuration's name")
    parser.add_argument("--sets", type=cli.words, default="test", help="test sets")
    parser.add_argument("--results", default="RESULTS.md", help="Markdown file to write")
    parser.add_argument("--html", default="report.html", help="page to write")
    parser.add_argument("--title", default="Two transcripts an utterance: results", help="heading")
    parser.add_argument("--examples", type=int, default=4, help="utterances shown per language")
    parser.add_argument("--summary", type=cli.boolean, default=False, help="print the cells' table")
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = parser.parse_args(arguments)

    from espnet_ext.files import write_text
    from espnet_ext.report.collect import collect
    from espnet_ext.report.corpus import corpus_rows
    from espnet_ext.report.markdown import results_markdown
    from espnet_ext.report.page import report_page
    from espnet_ext.report.provenance import provenance
    from espnet_ext.report.summary import cells_table

    results = collect(
        options.exp_dir,
        options.langs,
        options.systems,
        options.train_tag,
        options.decode_tag,
        options.sets,
        title=options.title,
        provenance=provenance("report", arguments),
    )
    for language in results.languages:
        language.corpus = corpus_rows(Path(options.dump_dir) / language.code)
    shown = _examples(results, options.examples)
    write_text(options.results, results_markdown(results))
    write_text(options.html, report_page(results, shown))
    for item in results.missing:
        print(f"missing: {item}", file=sys.stderr)
    if options.summary:
        for language in results.languages:
            for name, runs in language.sets.items():
                scores = {system: run.score for system, run in runs.items()}
                print(cells_table(language.name, name, scores) + "\n")
    print(f"wrote {options.results} and {options.html}")
    return 0


def _examples(results, count: int) -> dict[str, list]:
    """Examples of each language's first set, with as much audio as the page may carry."""
    from espnet_ext.report.examples import choose, example

    left = AUDIO_BUDGET
    shown: dict[str, list] = {}
    for language in results.languages:
        runs = next(iter(language.sets.values()))
        for utt_id in choose(runs, count):
            one = example(runs, utt_id)
            content = _audio(one.audio, left)
            left -= len(content or b"")
            shown.setdefault(language.code, []).append((one, _data_uri(content)))
    return shown


def _audio(source: str, limit: int) -> bytes | None:
    """An utterance as FLAC; None if it cannot be had, since a report must not fail for a sound."""
    from espnet_ext.data.audio import encode_audio, load_audio
    from espnet_ext.errors import UserError

    try:
        content = encode_audio(*load_audio(source), ".flac")
    except UserError as error:
        print(f"warning: an example without its sound: {error.message}", file=sys.stderr)
        return None
    return content if len(content) <= limit else None


def _data_uri(content: bytes | None) -> str | None:
    import base64

    return content and "data:audio/flac;base64," + base64.b64encode(content).decode()


def entry() -> None:
    sys.exit(cli.run(main))


if __name__ == "__main__":
    entry()
