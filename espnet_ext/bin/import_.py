"""Import data of another toolkit as a data directory: Kaldi, lhotse, Hugging Face, Common Voice.

    espnet-ext import --from kaldi DIR --output data/en/train
    espnet-ext import --from lhotse cuts.jsonl.gz --surface verbatim --meaning text --output DIR
    espnet-ext import --from hf NAME --split train --meaning sentence --output data/en/train
    espnet-ext import --from commonvoice cv-corpus-17.0/en --split train --output data/en/train

Plain transcripts (`text`, `sentence`) are the meaning, unless another column is named for it;
`--meaning none` leaves them out. The report names what is not imported. wav.scp refers to audio
where it is; parts of files (Kaldi's segments, lhotse's offsets) are written to OUTPUT/data.
OUTPUT/import.json says which utterances were left out or are unlabelled, and why. If the source has
errors, they are all reported, by kind, and nothing is imported.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli

if TYPE_CHECKING:
    from espnet_ext.corpora.interchange.column_mapping import ColumnMapping
    from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder

SOURCES = ("kaldi", "lhotse", "hf", "commonvoice")
OUTPUTS = ("surface", "meaning", "canonical")


def _add_options(parser: argparse.ArgumentParser) -> None:
    from espnet_ext.corpora import phone_notation
    from espnet_ext.data.missing import MISSING

    parser.add_argument("source", metavar="SOURCE", help="folder, manifest or name of the data")
    parser.add_argument(
        "--from", dest="kind", choices=SOURCES, required=True, help="kind of source"
    )
    parser.add_argument("--output", required=True, help="data directory to write")
    for output in OUTPUTS:
        parser.add_argument(
            f"--{output}", default="", help=f"column (or file) of the {output}; none: leave it out"
        )
    parser.add_argument(
        "--texts",
        type=cli.words,
        default=[],
        help="columns of other outputs: 'fluent=COLUMN gloss=COLUMN'",
    )
    parser.add_argument("--id", default="", help="column of the utterance ids")
    parser.add_argument("--audio", default="", help="column of the audio (hf)")
    parser.add_argument(
        "--speaker", default="", help="column of the speakers, or =NAME for all utterances"
    )
    for label in ("lang", "l1", "band", "domain"):
        parser.add_argument(
            f"--{label}", default="", help=f"column of the {label}, or =VALUE for all utterances"
        )
    parser.add_argument("--split", default="", help="split of the source (hf, commonvoice)")
    parser.add_argument("--config", default="", help="configuration of the source (hf)")
    parser.add_argument(
        "--root",
        default="",
        help="folder that relative audio paths start from (default: the current one)",
    )
    audio_options.add_channel(parser)
    parser.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run the commands in the source"
    )
    parser.add_argument(
        "--skip_unreadable", type=cli.boolean, default=False, help="leave out unreadable audio"
    )
    parser.add_argument(
        "--phones",
        choices=phone_notation.MODES,
        default="cmu",
        help="English phones: cmu: AO1, ao and unambiguous IPA become AO; keep: as written",
    )
    parser.add_argument(
        "--missing",
        type=cli.words,
        default=" ".join(MISSING),
        help="cells that mean an empty cell",
    )
    parser.add_argument("--nj", type=audio_options.count, default=1, help="number of processes")
    cli.add_overwrite(parser)


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.parser(__doc__.partition("\n")[0])
    _add_options(parser)
    args = parser.parse_args(argv)
    texts = {output: getattr(args, output) for output in OUTPUTS}
    for pair in args.texts:
        output, equals, column = pair.partition("=")
        if not (output and equals and column):
            parser.error(f"--texts '{pair}': write OUTPUT=COLUMN")
        texts[output] = column
    if args.split and args.kind not in ("hf", "commonvoice"):
        parser.error(f"--split: {args.kind} has no splits")
    if args.config and args.kind != "hf":
        parser.error(f"--config: {args.kind} has no configurations")

    from espnet_ext.corpora.interchange.column_mapping import LABELS, ColumnMapping
    from espnet_ext.corpora.interchange.directory_builder import DirectoryBuilder, ImportOptions
    from espnet_ext.corpora.preparation import Report
    from espnet_ext.progress import say

    columns = ColumnMapping(
        {output: column for output, column in texts.items() if column},
        **{name: getattr(args, name) for name in ("id", "audio", "speaker", *LABELS)},
        missing=args.missing,
    )
    report = Report(args.kind)
    options = ImportOptions(
        args.channel, args.allow_pipes, args.nj, args.skip_unreadable, args.phones
    )
    builder = DirectoryBuilder(
        args.output, report, options, source=args.source, overwrite=args.overwrite
    )
    with builder.errors.reraising():
        _read(args, columns, builder)
    for line in report.lines(builder.finish()):
        say(line)
    print(f"wrote {args.output} and import.json")
    return 0


def _read(args: argparse.Namespace, columns: "ColumnMapping", builder: "DirectoryBuilder") -> None:
    """Add the utterances of the source to the builder."""
    if args.kind == "kaldi":
        from espnet_ext.corpora.interchange import from_kaldi

        from_kaldi.read(args.source, columns, builder, root=args.root)
    elif args.kind == "lhotse":
        from espnet_ext.corpora.interchange import from_lhotse

        from_lhotse.read(args.source, columns, builder, root=args.root)
    elif args.kind == "hf":
        from espnet_ext.corpora.interchange import from_hf

        from_hf.read(
            args.source, columns, builder, root=args.root, split=args.split, config=args.config
        )
    else:
        from espnet_ext.corpora import commonvoice

        commonvoice.read(args.source, columns, builder, split=args.split)


if __name__ == "__main__":
    sys.exit(cli.run(main))
