"""Stage 7: train a language model of ESPnet with the safeguards of stage 11."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Train a language model of one output. Options of ESPnet's lm_train follow after --."
    )
    parser.add_argument(
        "--resume_changed",
        type=cli.boolean,
        default=False,
        help="continue the training in --output_dir although its configuration or data changed",
    )
    parser.add_argument(
        "--overwrite",
        type=cli.boolean,
        default=False,
        help="if the training in --output_dir had another configuration or other data, rename the "
        "folder and train from scratch",
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    args = parser.parse_args(arguments[:split])
    options = arguments[split + 1 :]
    if not options:
        parser.error("options of ESPnet's lm_train are missing: write them after --")

    from espnet_ext.training import signals

    with signals.interruptible():
        from espnet_ext.provenance import provenance
        from espnet_ext.training import language_model

        language_model.train(
            options,
            resume_changed=args.resume_changed,
            overwrite=args.overwrite,
            provenance=provenance("lm_train", arguments),
        )
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
