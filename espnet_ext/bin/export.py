"""Export data or a head for another toolkit.

    espnet-ext export --to lhotse data/en/train --output manifests/train
    espnet-ext export --to espnet exp/en/do --output_name meaning --output stock_meaning

`--to lhotse` writes a data directory as manifests: recordings, supervisions and cuts. Surface,
meaning and canonical are custom fields of the supervisions; `text` is the meaning. To import the
manifests: espnet-ext import --from lhotse.

`--to espnet` writes one head of a system as a model directory of stock ESPnet's ASR task, with its
search options, and prints the commands that decode it.

`--to onnx` writes encoder, CTC and decoders of a system as ONNX files, compares them with PyTorch,
and prints the differences and the speed. Needs the extra onnx.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import audio_options, cli, early_checks
from espnet_ext.overwriting import OutputFolder, require_no_input


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.parser(
        "Export a data directory for lhotse, one head of a system as a model of stock ESPnet, or "
        "encoder and heads of a system as ONNX files."
    )
    parser.add_argument("source", metavar="DIR", help="data directory or model directory to read")
    parser.add_argument(
        "--to",
        choices=("lhotse", "espnet", "onnx"),
        required=True,
        help="target: lhotse manifests, a model directory of ESPnet's ASR task, or ONNX files",
    )
    parser.add_argument("--output", required=True, help="folder to write")
    parser.add_argument(
        "--nj", type=audio_options.count, default=1, help="lhotse: number of processes"
    )
    parser.add_argument("--output_name", default=None, help="espnet: output whose head is exported")
    parser.add_argument("--weights", default="model.pth", help="espnet: weights file in DIR")
    parser.add_argument(
        "--config",
        default=None,
        help="espnet: decoding configuration (YAML) to record (default: the defaults of the head)",
    )
    parser.add_argument(
        "--active",
        type=cli.words,
        default=None,
        help="espnet: tasks whose vectors become biases (default: as in decoding all outputs)",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    if args.to == "espnet":
        if args.output_name is None:
            parser.error('--to espnet needs --output_name, for example "--output_name meaning"')
        return _export_head(args)
    for name in ("output_name", "config", "active"):
        if getattr(args, name) is not None:
            parser.error(f"--{name} is for --to espnet only")
    if args.to == "onnx":
        return _export_onnx(args)

    from espnet_ext.corpora.interchange import to_lhotse

    print(to_lhotse.write(args.source, args.output, nj=args.nj, overwrite=args.overwrite))
    return 0


def _export_onnx(args: argparse.Namespace) -> int:
    require_no_input(args.output, [args.source])
    model_dir = early_checks.require_model(args.source)

    from espnet_ext.model.onnx_export import FILES, export_onnx, lines

    folder = OutputFolder(
        args.output, "export onnx", FILES, inputs=[args.source], overwrite=args.overwrite
    )
    with folder as target:
        report = export_onnx(model_dir, target)
    print("\n".join(lines(report)))
    return 0


def _export_head(args: argparse.Namespace) -> int:
    require_no_input(args.output, [args.source])
    model_dir = early_checks.require_model(args.source)

    from espnet_ext.decoding.options import parse_options, read_options
    from espnet_ext.model.export import FILES, export_head

    config = read_options(args.config) if args.config else {}
    parse_options(config, [args.output_name])  # raises for invalid options
    shared = {key: value for key, value in config.items() if key != "outputs"}
    search = {**shared, **((config.get("outputs") or {}).get(args.output_name) or {})}
    folder = OutputFolder(
        args.output,
        f"export {args.output_name}",
        FILES,
        inputs=[args.source],
        overwrite=args.overwrite,
    )
    with folder as target:
        export_head(
            model_dir,
            args.output_name,
            target,
            args.weights,
            active=args.active,
            search=search,
        )
    print((Path(args.output) / "README.md").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
