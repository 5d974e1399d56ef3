"""Make a data directory of another toolkit's data: Kaldi, lhotse, Hugging Face, Common Voice.

    espnet-ext import --from kaldi DIR --output data/en/train
    espnet-ext import --from lhotse cuts.jsonl.gz --surface verbatim --meaning text --output DIR
    espnet-ext import --from hf NAME --split train --meaning sentence --output data/en/train
    espnet-ext import --from commonvoice cv-corpus-17.0/en --split train --output data/en/train

Without a choice of columns, plain transcripts are meaning. Audio is referred to where it is; parts
of files (Kaldi's segments, lhotse's offsets) are written to OUTPUT/data. OUTPUT/import.json tells
what was left out or is unlabelled, and why. What is wrong with a source is told all at once, by
kind, and nothing is imported.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli

if TYPE_CHECKING:
    from espnet_ext.corpora.interchange.columns import Columns
    from espnet_ext.corpora.interchange.sink import Sink

SOURCES = ("kaldi", "lhotse", "hf", "commonvoice")


def main(argv: Sequence[str] | None = None) -> int | None:
    options = cli.parser(__doc__.partition("\n")[0])
    options.add_argument("source", metavar="SOURCE", help="folder, manifest or name of the data")
    options.add_argument("--from", dest="kind", choices=SOURCES, required=True, help="what it is")
    options.add_argument("--output", required=True, help="data directory to write")
    for output in ("surface", "meaning", "canonical"):
        options.add_argument(f"--{output}", default="", help=f"column (or file) of the {output}")
    options.add_argument(
        "--texts", type=cli.words, default=[], help="of other outputs: 'fluent=COLUMN gloss=COLUMN'"
    )
    options.add_argument("--id", default="", help="column of the utterances' ids")
    options.add_argument("--audio", default="", help="column of the audio (hf)")
    options.add_argument("--speaker", default="", help="column of the speakers, or =NAME for all")
    for label in ("lang", "l1", "band", "domain"):
        options.add_argument(f"--{label}", default="", help="column of it, or =VALUE for all")
    options.add_argument("--split", default="", help="which part of it (hf, commonvoice)")
    options.add_argument("--config", default="", help="which configuration of it (hf)")
    options.add_argument("--root", default="", help="where relative paths start (default: here)")
    options.add_argument("--channel", type=audio_options.channel, help=audio_options.CHANNEL_HELP)
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in the source"
    )
    options.add_argument(
        "--skip_unreadable", type=cli.boolean, default=False, help="leave out unreadable audio"
    )
    options.add_argument("--nj", type=audio_options.count, default=1, help="processes")
    chosen = options.parse_args(argv)
    texts = {name: getattr(chosen, name) for name in ("surface", "meaning", "canonical")}
    for pair in chosen.texts:
        output, equals, column = pair.partition("=")
        if not (output and equals and column):
            options.error(f"--texts '{pair}': write OUTPUT=COLUMN")
        texts[output] = column
    if chosen.split and chosen.kind not in ("hf", "commonvoice"):
        options.error(f"--split: {chosen.kind} has no splits")
    if chosen.config and chosen.kind != "hf":
        options.error(f"--config: {chosen.kind} has no configurations")

    from espnet_ext.corpora.interchange.columns import LABELS, Columns
    from espnet_ext.corpora.interchange.sink import Sink
    from espnet_ext.corpora.preparation import Report
    from espnet_ext.progress import say

    named = {name: getattr(chosen, name) for name in ("id", "audio", "speaker", *LABELS)}
    columns = Columns({name: column for name, column in texts.items() if column}, **named)
    report = Report(chosen.kind)
    sink = Sink(
        chosen.output,
        report,
        channel=chosen.channel,
        allow_pipes=chosen.allow_pipes,
        nj=chosen.nj,
        skip_unreadable=chosen.skip_unreadable,
        source=chosen.source,
    )
    with sink.faults.reading():
        _read(chosen, columns, sink)
    for line in report.lines(sink.finish()):
        say(line)
    print(f"{chosen.output}: wrote it and import.json")
    return 0


def _read(chosen: argparse.Namespace, columns: "Columns", sink: "Sink") -> None:
    """Give the source's utterances to the sink."""
    if chosen.kind == "kaldi":
        from espnet_ext.corpora.interchange import from_kaldi

        from_kaldi.read(chosen.source, columns, sink, root=chosen.root)
    elif chosen.kind == "lhotse":
        from espnet_ext.corpora.interchange import from_lhotse

        from_lhotse.read(chosen.source, columns, sink, root=chosen.root)
    elif chosen.kind == "hf":
        from espnet_ext.corpora.interchange import from_hf

        from_hf.read(
            chosen.source,
            columns,
            sink,
            root=chosen.root,
            split=chosen.split,
            config=chosen.config,
        )
    else:
        from espnet_ext.corpora import commonvoice

        commonvoice.read(chosen.source, columns, sink, split=chosen.split)


if __name__ == "__main__":
    sys.exit(cli.run(main))
