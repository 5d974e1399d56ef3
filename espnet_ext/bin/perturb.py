"""Stage 2: copy a data directory at other speeds."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory to copy")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument("--speeds", type=cli.words, default="0.9 1.0 1.1", help="speed factors")
    parser.add_argument("--audio_dir", help="folder for the audio; default: <output>/audio")
    audio_options.add_channel(parser)
    parser.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    parser.add_argument("--nj", type=audio_options.count, default=1, help="parallel processes")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.data.perturb import perturb_directory

    print(
        perturb_directory(
            args.input,
            args.output,
            args.speeds,
            audio_dir=args.audio_dir,
            channel=args.channel,
            allow_pipes=args.allow_pipes,
            nj=args.nj,
            overwrite=args.overwrite,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
