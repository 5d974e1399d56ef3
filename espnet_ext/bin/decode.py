"""Stage 12: decode a dumped set; all outputs come from one pass over the audio."""

import argparse
import os
import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli, early_checks
from espnet_ext.errors import UserError

COUPLED_NBEST = 10  # default of --nbest with --coupling


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = cli.parser(
        "Decode a data directory into text.<output> files. Options of the search override --config."
    )
    parser.add_argument(
        "--model_dir",
        required=True,
        help="directory of a trained system, or its archive (.zip, .tgz), or user/name on the "
        "Hugging Face hub",
    )
    parser.add_argument("--weights", default="model.pth", help="weights file in --model_dir")
    parser.add_argument(
        "--data", required=True, help="data directory to decode, as stage 4 writes it"
    )
    parser.add_argument(
        "--output_dir", required=True, help="folder for text.<output> and the other results"
    )
    parser.add_argument("--config", default=None, help="decoding configuration (YAML)")
    parser.add_argument(
        "--beam_size",
        type=int,
        default=None,
        help="hypotheses per utterance in the search (default: that of --config, else 10)",
    )
    parser.add_argument(
        "--ctc_weight",
        type=float,
        default=None,
        help="weight of CTC, 0 to 1 (default: that of --config, else 0.3)",
    )
    parser.add_argument(
        "--nbest",
        type=int,
        default=None,
        help=f"hypotheses to write (default: that of --config, else 1; {COUPLED_NBEST} with "
        "--coupling)",
    )
    parser.add_argument(
        "--times",
        type=cli.boolean,
        default=None,
        help="also write ctm.<output>: time and confidence of each token",
    )
    parser.add_argument(
        "--precision",
        default="float32",
        help="float32, bfloat16, float16 (GPU), int8 or int8_search (CPU; not in the encoder)",
    )
    parser.add_argument(
        "--coupling",
        metavar="DIR",
        default=None,
        help="re-rank pairs of the two n-best lists by the learners' errors in this (training) set",
    )
    parser.add_argument(
        "--coupling_weight",
        type=float,
        default=None,
        help="weight of the consistency of a pair (default: 0.3)",
    )
    parser.add_argument(
        "--canonical",
        metavar="FILE",
        default=None,
        help="decode the surface with the canonical form of each utterance, if it is known what "
        "the speaker was to say: such as text.canonical of --data; needs --canonical_model. Audio "
        "that --segment_seconds cuts is decoded without it",
    )
    parser.add_argument(
        "--canonical_from",
        metavar="OUTPUT|FILE",
        default=None,
        help="derive the canonical forms from recognised meanings: those of an output of this "
        "system (meaning), which is then decoded first, or of a file such as "
        "DECODE_DIR/text.meaning; needs --canonical_model",
    )
    parser.add_argument(
        "--canonical_model",
        metavar="DIR|FILE",
        default=None,
        help="(training) set with text.canonical and text.surface, from which the learners' "
        "pronunciation errors are estimated, or a file of espnet-ext canonical_model",
    )
    parser.add_argument(
        "--canonical_weight",
        type=float,
        default=None,
        help="weight of the probability of the surface given the canonical form; larger values "
        "report fewer errors (default: that of the file, else 0.3)",
    )
    parser.add_argument(
        "--lexicon",
        default=None,
        help="pronunciations of words for --canonical_from, beside those of the CMU dictionary",
    )
    parser.add_argument(
        "--lm",
        type=cli.words,
        default=[],
        metavar="OUTPUT=DIR",
        help="add the scores of ESPnet language models (shallow fusion); one folder per output, "
        'such as "surface=DIR meaning=DIR"; needs --lm_weight',
    )
    parser.add_argument(
        "--ngram",
        type=cli.words,
        default=[],
        metavar="OUTPUT=FILE",
        help="add the scores of n-gram models (shallow fusion); one ARPA file over the tokens of "
        'each output, such as "surface=FILE meaning=FILE"; needs --ngram_weight',
    )
    parser.add_argument(
        "--lm_weight",
        type=float,
        default=None,
        help="weight of the scores of --lm (default: that of --config, else 0)",
    )
    parser.add_argument(
        "--ngram_weight",
        type=float,
        default=None,
        help="weight of the scores of --ngram, which are logarithms to base 10 (default: that of "
        "--config, else 0)",
    )
    parser.add_argument(
        "--greedy",
        type=cli.boolean,
        default=None,
        help="true: take the most probable token at each step instead of a beam search. Outputs "
        "with CTC take the best CTC path, the others the attention decoder's tokens. Faster, less "
        "accurate, one hypothesis, without language models",
    )
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default=None,
        help='outputs to write, such as "surface", and inline tags to request, such as '
        '"meaning meaning.l1" (default: all)',
    )
    parser.add_argument(
        "--unit_encoder",
        default=None,
        metavar="MODEL",
        help="for a system that reads discrete units: folder or hub name of the network that they "
        "are made with (default: where it was for learn_kmeans)",
    )
    parser.add_argument(
        "--text_input",
        default=None,
        metavar="OUTPUT",
        help="decode the transcripts text.OUTPUT of --data, such as surface, instead of its audio, "
        "into the other outputs; for a system that reads discrete units and was trained on text",
    )
    parser.add_argument(
        "--active",
        default="auto",
        metavar="WAY",
        help="active tasks of a model with task vectors: together (all of --outputs), alone (each "
        "output by itself), auto (the nearest set of tasks that training saw), or names such as "
        '"surface meaning meaning.l1"',
    )
    parser.add_argument(
        "--search_defaults",
        choices=["model", "project"],
        default="model",
        help="search options that are not given: those of the model, which are those of "
        "asr_inference if stock ESPnet trained it; or those of this project's models",
    )
    parser.add_argument(
        "--segment_seconds",
        type=float,
        default=0.0,
        help="cut longer audio at silences into parts of at most this length; 0: never",
    )
    audio_options.add_channel(parser)
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="CPU threads; 0: OMP_NUM_THREADS if it is set, else as many as suit the size of the "
        "model, at most one per core",
    )
    cli.add_overwrite(parser)
    return parser


def parse(arguments: Sequence[str], parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the values of options that do not contradict each other; else exit with 2."""
    args = parser.parse_args(arguments)
    if args.threads < 0:
        parser.error("--threads must be 0 or more")
    if args.coupling_weight is not None and not args.coupling:
        parser.error("--coupling_weight needs --coupling")
    if args.greedy and args.coupling:
        parser.error("--coupling needs n-best lists, and --greedy gives one hypothesis")
    if args.canonical and args.canonical_from:
        parser.error("give --canonical or --canonical_from, not both")
    if (args.canonical or args.canonical_from) and not args.canonical_model:
        parser.error("--canonical and --canonical_from need --canonical_model")
    for name in ("canonical_model", "canonical_weight"):
        if getattr(args, name) is not None and not (args.canonical or args.canonical_from):
            parser.error(f"--{name} needs --canonical or --canonical_from")
    if args.lexicon and not args.canonical_from:
        parser.error("--lexicon needs --canonical_from")
    if args.greedy and (args.canonical or args.canonical_from):
        parser.error("canonical forms need a beam search: leave out --greedy")
    for name in ("coupling", "canonical_model", "times", "segment_seconds"):
        if args.text_input and getattr(args, name):
            parser.error(f"--{name} is for audio: leave it out, or --text_input")
    if args.text_input and args.channel is not None:
        parser.error("--channel is for audio: leave it out, or --text_input")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = parse(arguments, get_parser())
    early_checks.check_decoding(
        args.model_dir, args.data, args.output_dir, reads_audio=args.text_input is None
    )
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)

    from espnet_ext.decoding.canonical_command import CanonicalOptions
    from espnet_ext.decoding.command import decode_directory
    from espnet_ext.decoding.options import read_options
    from espnet_ext.model.load import gpu
    from espnet_ext.provenance import provenance

    if args.threads:
        import torch

        torch.set_num_threads(args.threads)  # if it was loaded before the variable was set
    options = read_options(args.config) if args.config else {}
    for key in ("beam_size", "ctc_weight", "nbest", "times", "greedy", "lm_weight", "ngram_weight"):
        if getattr(args, key) is not None:
            options[key] = getattr(args, key)
    if args.coupling and args.nbest is None:
        options.setdefault("nbest", COUPLED_NBEST)
    canonical = None
    if args.canonical_model:
        canonical = CanonicalOptions(
            args.canonical_model,
            args.canonical,
            args.canonical_from,
            args.canonical_weight,
            args.lexicon,
        )
    facts = decode_directory(
        model_dir=args.model_dir,
        weights=args.weights,
        data=args.data,
        output_dir=args.output_dir,
        options=options,
        lms=_by_output("--lm", args.lm),
        ngrams=_by_output("--ngram", args.ngram),
        segment_seconds=args.segment_seconds,
        device=gpu() if args.ngpu else "cpu",
        precision=args.precision,
        coupling=args.coupling,
        coupling_weight=args.coupling_weight,
        canonical=canonical,
        outputs=args.outputs,
        active=args.active,
        unit_encoder=args.unit_encoder,
        text_input=args.text_input,
        channel=args.channel,
        espnet_defaults=args.search_defaults == "model",
        overwrite=args.overwrite,
        provenance=provenance("decode", arguments, with_gpu=bool(args.ngpu)),
    )
    done = f"{args.output_dir}: {facts['utterances']} utterances, {', '.join(facts['outputs'])}; "
    if args.text_input:
        print(f"{done}text.{args.text_input} in {facts['seconds']:.1f} s")
    else:
        seconds = f"{facts['audio_seconds']:.0f} s of audio in {facts['seconds']:.1f} s"
        print(f"{done}{seconds} (RTF {facts['rtf']:.3f})")
    return 0


def _by_output(option: str, words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            remedy = f"write, e.g., {option} surface=exp/ko/…"
            raise UserError(f"{option} {word}: not OUTPUT=PATH", remedy)
    pairs = [word.split("=", 1) for word in words]
    if len(dict(pairs)) < len(pairs):
        raise UserError(f"{option} {' '.join(words)}: duplicate output", "name each output once")
    return dict(pairs)


def check_options() -> None:
    """Check what `run.sh` will decode with, before its stages; loads no torch.

    Arguments: a decoding configuration, the outputs of all systems as one word, and further options
    (`--inference_args`). It prints a mistake and exits with 1.
    """
    from espnet_ext.arguments import check_arguments
    from espnet_ext.decoding.options import parse_options, read_options

    config, outputs, *words = sys.argv[1:]
    places = [item for name in ("model_dir", "data", "output_dir") for item in (f"--{name}", "-")]
    parser = get_parser()
    try:
        check_arguments(
            "--inference_args", words, lambda words: parse([*places, *words], parser), parser
        )
        parse_options(read_options(config), outputs.split())
    except UserError as error:
        is_named = config in error.message or error.message.startswith("--")
        message = error.message if is_named else f"{config}: {error.message}"
        print(f"error: {UserError(message, error.remedy)}", file=sys.stderr)
        sys.exit(1)


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
