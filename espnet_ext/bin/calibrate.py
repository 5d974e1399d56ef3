"""Calibrate the probabilities of judge on annotated validation data."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from espnet_ext.bin import audio_options, cli, early_checks


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Learn from annotated validation data how probable it is that a deviation is real, and "
        "from which probability on `espnet-ext judge` reports it. Speakers and sentences of the "
        "data must not be in the training data; the test sets must not be used."
    )
    parser.add_argument(
        "model",
        help="directory of a trained system with the output surface, or its archive (.zip), or "
        "user/name on the Hugging Face hub",
    )
    parser.add_argument(
        "data", help="validation set with text.surface, text.canonical and text.meaning"
    )
    parser.add_argument(
        "--output",
        default=None,
        help="file to write (default: calibration.json in the model directory, where judge finds "
        "it)",
    )
    parser.add_argument(
        "--canonical_model",
        metavar="DIR",
        default=None,
        help="training set with text.canonical and text.surface: how frequent an error of the "
        "learners is also counts",
    )
    parser.add_argument(
        "--method",
        choices=("auto", "isotonic", "logistic", "temperature"),
        default="auto",
        help="isotonic regression, a logistic function, or a logistic function with a temperature "
        "fitted to held-out speakers; auto: the one with the smallest loss on held-out speakers",
    )
    parser.add_argument(
        "--precision",
        type=audio_options.share,
        default=0.8,
        help="of the default operating point: the smallest probability with this precision on "
        "held-out speakers, or the most precise one, but at least 0.5, if none has it",
    )
    parser.add_argument(
        "--evaluate",
        type=cli.words,
        default=[],
        metavar="DIR …",
        help="sets to measure the result on",
    )
    parser.add_argument(
        "--lexicon", default=None, help="pronunciations of words, as for espnet-ext judge"
    )
    parser.add_argument("--beam_size", type=int, default=5, help="hypotheses in the search")
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    cli.add_overwrite(parser)
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parser.parse_args(arguments)

    early_checks.require_data([args.data, *args.evaluate])
    folder = early_checks.require_model(args.model)

    from espnet_ext.feedback import calibrate as steps
    from espnet_ext.feedback.calibration import FILE
    from espnet_ext.feedback.judge import Judge
    from espnet_ext.files import sha256_of
    from espnet_ext.model.load import gpu
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.provenance import provenance
    from espnet_ext.text.lexicon import read_pronunciations

    output = args.output or folder / FILE
    require_new_file(output, inputs=[args.data, *args.evaluate], overwrite=args.overwrite)
    judge = Judge.from_pretrained(
        folder,
        uncalibrated=True,
        lexicon=read_pronunciations(args.lexicon) if args.lexicon else None,
        device=gpu() if args.ngpu else "cpu",
        beam_size=args.beam_size,
    )
    errors = None
    if args.canonical_model:
        errors = steps.estimate_errors(args.canonical_model, judge.language)
    annotated = steps.decode_annotated(judge, args.data)
    weights = folder / "model.pth"
    facts = {
        **steps.data_facts(args.data, annotated),
        "model": args.model,
        "model_sha256": sha256_of(weights) if weights.is_file() else None,
        "beam_size": args.beam_size,
        "provenance": provenance("calibrate", arguments, bool(args.ngpu)),
    }
    if args.canonical_model:
        facts["shared_with_training"] = steps.warn_about_training(
            annotated, args.canonical_model, args.data
        )
    else:
        print(
            "note: without --canonical_model TRAINING_SET, it is not checked whether speakers or "
            f"sentences of {args.data} are in the training set, which makes probabilities too large"
        )
    calibration = steps.learn(judge, annotated, errors, args.method, args.precision, facts)
    for line in steps.report_lines(calibration):
        print(line)
    measured = {}
    for name in args.evaluate:
        measured[name] = steps.measure_set(judge, calibration, steps.decode_annotated(judge, name))
        for line in steps.measure_lines(name, measured[name]):
            print(line)
    facts = {**calibration.facts, "evaluated": measured}
    replace(calibration, facts=facts).save(output)
    print(f"{output}: written")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
