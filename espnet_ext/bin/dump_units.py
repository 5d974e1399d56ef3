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
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from pathlib import Path

    from espnet_ext.data.directory import require_directory
    from espnet_ext.errors import UserError
    from espnet_ext.model.load import gpu
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.units.dump import dump_units, manifest_path, units_path
    from espnet_ext.units.extractor import UnitExtractor

    if not args.name.replace("_", "").replace("-", "").isalnum():
        raise UserError(f"--name '{args.name}'", "use letters, digits, '-' and '_'")
    folder = require_directory(args.input)
    target = units_path(args.output or folder, args.name, args.repeats)
    is_dump = manifest_path(target).is_file()
    require_new_file(target, overwrite=args.overwrite or is_dump)
    extractor = UnitExtractor.from_pretrained(
        args.units, gpu() if args.ngpu else "cpu", args.encoder
    )
    Path(target.parent).mkdir(parents=True, exist_ok=True)
    done = dump_units(extractor, folder, target, args.repeats, args.batch_seconds)
    seconds = done.feature_seconds + done.assignment_seconds
    share = done.assignment_seconds / seconds if seconds else 0.0
    print(
        f"{target}: {done.utterances} utterances, {done.frames} frames, {done.units} units; "
        f"{seconds:.1f} s, of which {share:.1%} for the nearest centroids"
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
