"""Stage 2: copy a data directory at other speeds."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser(__doc__)
    options.add_argument("--input", required=True, help="data directory to copy")
    options.add_argument("--output", required=True, help="data directory to write")
    options.add_argument("--speeds", type=cli.words, default="0.9 1.0 1.1", help="factors")
    options.add_argument("--audio_dir", help="folder for the audio; default: <output>/audio")
    options.add_argument("--channel", type=audio_options.channel, help=audio_options.CHANNEL_HELP)
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    options.add_argument("--nj", type=audio_options.count, default=1, help="parallel processes")
    chosen = options.parse_args(argv)

    from espnet_ext.data.perturb import perturb_directory

    print(
        perturb_directory(
            chosen.input,
            chosen.output,
            chosen.speeds,
            audio_dir=chosen.audio_dir,
            channel=chosen.channel,
            allow_pipes=chosen.allow_pipes,
            nj=chosen.nj,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
