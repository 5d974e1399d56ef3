"""Stage 14: pack a trained system and its model card into a zip archive."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli, early_checks


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Pack a model directory into a zip archive, which unpacks to a model directory."
    )
    parser.add_argument("--model_dir", required=True, help="directory of a trained system")
    parser.add_argument("--weights", default="model.pth", help="weights file in --model_dir")
    parser.add_argument("--archive", required=True, help="zip archive to write")
    parser.add_argument(
        "--export",
        type=cli.words,
        default=[],
        help='heads to export for stock ESPnet: "surface meaning"',
    )
    parser.add_argument("--license", default="", help="licence of the weights, for the card")
    parser.add_argument(
        "--data",
        default="",
        help="which corpora the model was trained on, and their licences, for the card",
    )
    args = parser.parse_args(argv)

    from pathlib import Path

    from espnet_ext.errors import UserError
    from espnet_ext.files import sha256_of
    from espnet_ext.overwriting import require_result_file

    archive = Path(args.archive)
    if archive.suffix != ".zip":
        raise UserError(f"--archive {archive}: not a zip", "end its name with .zip")
    if not archive.absolute().parent.is_dir():
        raise UserError(f"{archive.parent}: no such folder", "create it, or name another archive")
    early_checks.require_configuration(args.model_dir)

    from espnet_ext.model.pack import is_archive, pack_model

    require_result_file(archive, is_archive)
    names = pack_model(args.model_dir, archive, args.weights, args.export, args.license, args.data)
    megabytes = archive.stat().st_size / 1e6
    print(f"{archive}: {len(names)} files, {megabytes:.1f} MB, SHA-256 {sha256_of(archive)}")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
