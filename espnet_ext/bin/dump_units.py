"""Write the discrete units of a data directory, with the k-means of learn_kmeans."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Write the discrete units of a data directory to text.rm.NAME (repeats removed) or "
        "text.ts.NAME (repeats kept): one row per utterance, in which unit n is the character "
        "U+4E00 + n, as in ESPnet's asr2 recipes."
    )
    parser.add_argument("--input", required=True, metavar="DIR", help="data directory")
    parser.add_argument(
        "--units", required=True, metavar="DIR", help="folder that learn_kmeans wrote"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder to write to (default: that of --input)"
    )
    parser.add_argument("--name", default="units", help="last part of the file's name")
    parser.add_argument(
        "--repeats",
        default="remove",
        choices=("remove", "keep"),
        help="whether frames with the units of the frame before are removed",
    )
    parser.add_argument(
        "--encoder",
        default=None,
        metavar="MODEL",
        help="folder or hub name of the encoder (default: where it was for learn_kmeans)",
    )
    audio_options.add_encoder(parser)
    parser.add_argument(
        "--nj",
        type=audio_options.count,
        default=1,
        help="parallel processes on the CPU; each one loads the encoder",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from functools import partial
    from pathlib import Path

    from espnet_ext.data.directory import require_directory
    from espnet_ext.errors import UserError
    from espnet_ext.model.load import gpu
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.units.dump import manifest_path, units_path, write_dump
    from espnet_ext.units.extractor import UnitExtractor
    from espnet_ext.units.files import read_model
    from espnet_ext.units.parallel_dump import stream_dumped_in_parallel

    if not args.name.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"--name '{args.name}'", "use letters, digits, '-' and '_'")
    if args.ngpu and args.nj > 1:
        raise UserError(f"--nj {args.nj} with --ngpu {args.ngpu}", "use --nj 1 on a GPU")
    folder = require_directory(args.input)
    target = units_path(args.output or folder, args.name, args.repeats)
    is_dump = manifest_path(target).is_file()
    require_new_file(target, overwrite=args.overwrite or is_dump)
    model = read_model(args.units)
    device = gpu() if args.ngpu else "cpu"
    load = partial(UnitExtractor.from_pretrained, args.units, device, args.encoder)
    Path(target.parent).mkdir(parents=True, exist_ok=True)
    rows = stream_dumped_in_parallel(load, folder, args.repeats, args.nj, args.batch_seconds)
    done = write_dump(rows, model, folder, target, args.repeats)
    seconds = done.feature_seconds + done.assignment_seconds
    share = done.assignment_seconds / seconds if seconds else 0.0
    print(
        f"{target}: {done.utterances} utterances, {done.frames} frames, {done.units} units; "
        f"{seconds:.1f} s of computation, of which {share:.1%} for the nearest centroids"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
