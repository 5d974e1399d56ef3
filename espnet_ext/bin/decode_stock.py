"""Decode a stock ESPnet model by ESPnet's asr_inference, with the files of `espnet-ext decode`."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli, early_checks


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--model_dir",
        required=True,
        help="experiment folder of ESPnet's ASR task, or an archive (.zip, .tgz), or user/name on "
        "the Hugging Face hub",
    )
    parser.add_argument(
        "--weights",
        default="model.pth",
        help="weights file in --model_dir; model.pth stands for the best that ESPnet wrote",
    )
    parser.add_argument("--data", required=True, help="data directory to decode")
    parser.add_argument("--output_dir", required=True, help="folder for text.text and decode.json")
    parser.add_argument(
        "--config",
        default=None,
        help="options for asr_inference (YAML; default: inference.yaml in --model_dir if it is "
        "there, else ESPnet's defaults)",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    cli.add_overwrite(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(arguments)
    early_checks.check_decoding(args.model_dir, args.data, args.output_dir)

    from espnet_ext.decoding.stock_search import decode_with_stock
    from espnet_ext.provenance import provenance

    facts = decode_with_stock(
        args.model_dir,
        args.data,
        args.output_dir,
        weights=args.weights,
        config=args.config,
        device="cuda" if args.ngpu else "cpu",
        overwrite=args.overwrite,
        provenance=provenance("decode_stock", arguments, with_gpu=bool(args.ngpu)),
    )
    print(
        f"{args.output_dir}: {facts['utterances']} utterances by asr_inference in "
        f"{facts['seconds']:.1f} s"
    )
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
