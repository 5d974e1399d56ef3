"""Stage 4: validate a data directory, remove what cannot be trained on, complete the texts."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser(__doc__)
    options.add_argument("--input", required=True, help="data directory to read")
    options.add_argument("--output", required=True, help="data directory to write")
    options.add_argument(
        "--outputs", type=cli.words, default="surface meaning", help="transcripts to complete"
    )
    options.add_argument("--min_seconds", type=float, default=0.1, help="remove shorter ones")
    options.add_argument("--max_seconds", type=float, default=20.0, help="remove longer ones")
    options.add_argument(
        "--no_filter", type=cli.boolean, default=False, help="remove nothing (sets to decode)"
    )
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    chosen = options.parse_args(argv)
    if not chosen.outputs:
        options.error("--outputs: name at least one output")

    from espnet_ext.data.filtering import Filter, filter_directory

    rule = Filter(
        outputs=tuple(chosen.outputs),
        min_seconds=chosen.min_seconds,
        max_seconds=chosen.max_seconds,
        keep_all=chosen.no_filter,
        allow_pipes=chosen.allow_pipes,
    )
    for line in filter_directory(chosen.input, chosen.output, rule):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
