"""Train the stock ESPnet ASR model of a single-output system, as a baseline, by asr_train."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli, train


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(f"{__doc__} Options of ESPnet follow after --.")
    train.add_data_options(parser)
    parser.add_argument("--exp_dir", required=True, help="experiment folder of the model")
    parser.add_argument("--ngpu", type=int, default=0, help="number of GPUs; 0 trains on the CPU")
    train.add_continuation_options(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    train.require_gpus(args.ngpu)

    from pathlib import Path

    from espnet_ext.provenance import provenance
    from espnet_ext.training import processes
    from espnet_ext.training.stock_training import train_stock

    further = arguments[split + 1 :]
    options = ["--ngpu", str(args.ngpu), *further]
    options += processes.process_options(1, args.ngpu, further)
    train_stock(
        Path(args.config),
        [Path(path) for path in args.system],
        train.data_of(args),
        Path(args.exp_dir),
        options,
        args.feats_normalize,
        resume_changed=args.resume_changed,
        overwrite=args.overwrite,
        provenance=provenance("train_stock", arguments, with_gpu=args.ngpu > 0),
    )
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
