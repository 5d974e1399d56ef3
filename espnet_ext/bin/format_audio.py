"""Stage 3: write the audio of a data directory at one rate, with one channel, in one format."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    from espnet_ext.data.formatting import AUDIO_FORMATS, AudioFormat, format_directory

    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory to read")
    parser.add_argument("--output", required=True, help="data directory to write")
    parser.add_argument("--sample_rate", type=audio_options.count, default=16000, help="in Hz")
    parser.add_argument(
        "--audio_format", choices=AUDIO_FORMATS, default="wav", help="16-bit format to write"
    )
    audio_options.add_channel(parser)
    parser.add_argument(
        "--copy",
        type=cli.boolean,
        default=False,
        help="also write audio that has the format already, instead of referring to it",
    )
    parser.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    parser.add_argument("--nj", type=audio_options.count, default=1, help="parallel processes")
    audio_options.add_policy(parser)
    parser.add_argument(
        "--whole",
        type=cli.boolean,
        default=False,
        help="keep every utterance (for sets to decode): a broken one is an error",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    audio_format = AudioFormat(
        sample_rate=args.sample_rate,
        audio_format=args.audio_format,
        channel=args.channel,
        copy=args.copy,
        allow_pipes=args.allow_pipes,
    )
    policy = audio_options.policy_of(args, keep_all=args.whole)
    summary = format_directory(
        args.input,
        args.output,
        audio_format,
        nj=args.nj,
        policy=policy,
        overwrite=args.overwrite,
    )
    print(summary)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
