"""Stage 4: validate a data directory, remove what cannot be trained on, complete the texts."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


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
    options.add_argument(
        "--token_types", type=cli.words, default="", help='units: "surface=phone meaning=char"'
    )
    options.add_argument(
        "--config", default="", help="training configuration, to see what CTC cannot align"
    )
    options.add_argument(
        "--against", nargs="*", default=[], metavar="DIR", help="directories to share nothing with"
    )
    options.add_argument(
        "--read_samples", type=cli.boolean, default=False, help="decode all audio: slow, thorough"
    )
    options.add_argument("--nj", type=audio_options.count, default=8, help="recordings at a time")
    audio_options.add_policy(options)
    options.add_argument(
        "--label_outputs",
        type=cli.words,
        default=[],
        help='outputs made of labels, as in "l1=utt2l1 language=utt2lang"',
    )
    options.add_argument(
        "--inline_tags",
        type=cli.words,
        default=[],
        help='such outputs that are also written into others as tags, as in "meaning=l1"',
    )
    chosen = options.parse_args(argv)
    cli.require_pairs(options, "--label_outputs", chosen.label_outputs)
    cli.require_pairs(options, "--inline_tags", chosen.inline_tags)
    if not chosen.outputs:
        options.error("--outputs: name at least one output")

    from espnet_ext.data.checking import Checks
    from espnet_ext.data.filtering import Filter, filter_directory
    from espnet_ext.data.findings import WARNING
    from espnet_ext.data.pair_checks import read_frames, read_units

    rule = Filter(
        outputs=tuple(chosen.outputs),
        min_seconds=chosen.min_seconds,
        max_seconds=chosen.max_seconds,
        keep_all=chosen.no_filter,
        checks=Checks(
            allow_pipes=chosen.allow_pipes,
            read_samples=chosen.read_samples,
            nj=chosen.nj,
            tokens=read_units(chosen.token_types),
            frames=read_frames(chosen.config) if chosen.config else None,
            against=chosen.against,
            leaks=WARNING,  # a corpus as published may have them: told, and trained on
        ),
        policy=audio_options.policy_of(chosen, whole=chosen.no_filter),
        labels=dict(word.split("=") for word in chosen.label_outputs),
        tags=tuple(tuple(word.split("=")) for word in chosen.inline_tags),
    )
    for line in filter_directory(chosen.input, chosen.output, rule):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
