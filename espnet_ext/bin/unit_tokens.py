"""Write a joint input vocabulary of discrete units and text, with their tokenizers."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--unit_text",
        required=True,
        nargs="+",
        metavar="FILE",
        help="units of the training set, as dump_units writes them: text.rm.units",
    )
    parser.add_argument(
        "--text",
        required=True,
        nargs="+",
        metavar="FILE",
        help="texts that a model reads as input: text.surface",
    )
    parser.add_argument("--token_dir", required=True, help="folder to write to")
    parser.add_argument(
        "--unit_token_type",
        default="bpe",
        choices=("unit", "bpe"),
        help="unit: each unit is a token; bpe: SentencePiece",
    )
    parser.add_argument(
        "--text_token_type",
        default="bpe",
        choices=("char", "jamo", "phone", "word", "bpe"),
        help="tokens of the text",
    )
    parser.add_argument(
        "--unit_vocab_size", type=audio_options.count, default=4000, help="tokens of units, for bpe"
    )
    parser.add_argument(
        "--text_vocab_size", type=audio_options.count, default=4000, help="tokens of text, for bpe"
    )
    parser.add_argument(
        "--bpemode", default="unigram", choices=("unigram", "bpe"), help="SentencePiece model"
    )
    parser.add_argument(
        "--symbols",
        type=cli.words,
        default=[],
        help='further tokens, such as guiding tokens: "<to:meaning> <to:surface>"',
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.data.record import NA
    from espnet_ext.data.table import read_table
    from espnet_ext.errors import UserError
    from espnet_ext.overwriting import OutputFolder
    from espnet_ext.text.unicode import normalize
    from espnet_ext.units import vocabulary
    from espnet_ext.units.dump import manifest_path, read_dump_manifest, stream_units
    from espnet_ext.units.sequences import units_to_text

    sources = [
        vocabulary.UnitSource.of(read_dump_manifest(file), str(manifest_path(file)))
        for file in args.unit_text
    ]
    for file, source in zip(args.unit_text, sources, strict=True):
        if source != sources[0]:
            raise UserError(
                f"{file}: its units are of another k-means than those of {args.unit_text[0]}, or "
                "repeats are removed in one file only",
                "dump both sets with the same options: espnet-ext dump_units --units --repeats",
            )
    count = sources[0].count
    unit_texts = [
        units_to_text(units) for file in args.unit_text for _, units in stream_units(file, count)
    ]
    texts = [
        normalize(text)
        for file in args.text
        for text in read_table(file, empty_ok=True).values()
        if text and text != NA
    ]
    if not texts:
        raise UserError(f"{' '.join(args.text)}: no text", "name files with transcripts")
    with OutputFolder(
        args.token_dir,
        "unit_tokens",
        vocabulary.NAMES,
        inputs=[],
        overwrite=args.overwrite,
    ) as folder:
        joint = vocabulary.build(
            folder,
            sources[0],
            unit_texts,
            texts,
            unit_type=args.unit_token_type,
            unit_size=args.unit_vocab_size,
            text_type=args.text_token_type,
            text_size=args.text_vocab_size,
            bpemode=args.bpemode,
            symbols=args.symbols,
        )
    print(
        f"{folder / vocabulary.TOKENS}: {len(joint)} tokens: {len(joint.unit_range)} of units, "
        f"{len(joint.text_range)} of text"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
