"""Stage 3: bring a data directory's audio to one rate, one channel and one format."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    from espnet_ext.data.formatting import AUDIO_FORMATS, Format, format_directory

    options = cli.parser(__doc__)
    options.add_argument("--input", required=True, help="data directory to read")
    options.add_argument("--output", required=True, help="data directory to write")
    options.add_argument("--sample_rate", type=audio_options.count, default=16000, help="in Hz")
    options.add_argument("--audio_format", choices=AUDIO_FORMATS, default="wav", help="16-bit mono")
    options.add_argument("--channel", type=audio_options.channel, help=audio_options.CHANNEL_HELP)
    options.add_argument(
        "--copy",
        type=cli.boolean,
        default=False,
        help="write also what is in that format already, instead of referring to it",
    )
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    options.add_argument("--nj", type=audio_options.count, default=1, help="parallel processes")
    audio_options.add_policy(options)
    options.add_argument(
        "--whole", type=cli.boolean, default=False, help="leave out nothing (sets to decode)"
    )
    chosen = options.parse_args(argv)
    form = Format(
        sample_rate=chosen.sample_rate,
        audio_format=chosen.audio_format,
        channel=chosen.channel,
        copy=chosen.copy,
        allow_pipes=chosen.allow_pipes,
    )
    policy = audio_options.policy_of(chosen, whole=chosen.whole)
    print(format_directory(chosen.input, chosen.output, form, nj=chosen.nj, policy=policy))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
