"""Stage 12: transcribe a dumped set, every output in one pass over the audio."""

import os
import sys
from collections.abc import Sequence

from espnet_ext.bin import cli
from espnet_ext.errors import UserError

COUPLED = 10  # hypotheses of each output that are ranked in pairs, unless --nbest says how many


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser("Decode a data directory into text.<output> files.")
    parser.add_argument("--model_dir", required=True, help="directory of a trained system")
    parser.add_argument("--weights", default="model.pth", help="weights file in it")
    parser.add_argument("--data", required=True, help="dumped set to decode")
    parser.add_argument("--output_dir", required=True, help="where text.<output> go")
    parser.add_argument("--config", default=None, help="decoding configuration (YAML)")
    parser.add_argument("--beam_size", type=int, default=None, help="overrides the configuration")
    parser.add_argument("--ctc_weight", type=float, default=None, help="overrides it too")
    parser.add_argument("--nbest", type=int, default=None, help="hypotheses written, overrides it")
    parser.add_argument(
        "--times",
        type=cli.boolean,
        default=None,
        metavar="BOOL",
        help="also write ctm.<output>: when each token was said, and how sure",
    )
    parser.add_argument(
        "--precision", default="float32", help="float32, bfloat16, float16 (GPU) or int8 (CPU)"
    )
    parser.add_argument(
        "--coupling",
        metavar="DIR",
        default=None,
        help="rank the n best of both outputs in pairs, by the errors of this set",
    )
    parser.add_argument(
        "--coupling_weight",
        type=float,
        default=None,
        help="of a pair's consistency beside its scores, if not the usual one",
    )
    parser.add_argument("--lm", type=cli.words, default=[], help='"surface=DIR meaning=DIR"')
    parser.add_argument("--ngram", type=cli.words, default=[], help='"surface=FILE", ARPA files')
    parser.add_argument("--lm_weight", type=float, default=None, help="overrides it too")
    parser.add_argument("--ngram_weight", type=float, default=None, help="overrides it too")
    parser.add_argument(
        "--greedy",
        type=cli.boolean,
        default=None,
        metavar="BOOL",
        help="no search: the best path of CTC; overrides the configuration",
    )
    parser.add_argument(
        "--outputs",
        type=cli.words,
        default=None,
        help='those to write, as in "surface", and inline tags to expect in them, '
        'as in "meaning meaning.l1"; all unless given',
    )
    parser.add_argument(
        "--active",
        default="auto",
        metavar="WAY",
        help="what a model with task vectors is told is asked for: --outputs "
        "together, each output alone, or (auto) what training saw nearest to "
        'that; or names themselves, as in "surface meaning meaning.l1"',
    )
    parser.add_argument(
        "--segment_seconds",
        type=float,
        default=0.0,
        help="cut longer audio at silences into parts of at most this; 0: never",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0 for all")
    args = parser.parse_args(argv)
    if args.threads < 0:
        parser.error("--threads must be 0 or more")
    if args.coupling_weight is not None and not args.coupling:
        parser.error("--coupling_weight needs --coupling")
    if args.greedy and args.coupling:
        parser.error("--greedy finds one hypothesis: nothing to couple")
    if args.threads:
        os.environ["OMP_NUM_THREADS"] = str(args.threads)

    from espnet_ext.decoding.command import decode_directory
    from espnet_ext.decoding.options import read_options

    options = read_options(args.config) if args.config else {}
    for key in ("beam_size", "ctc_weight", "nbest", "times", "greedy", "lm_weight", "ngram_weight"):
        if getattr(args, key) is not None:
            options[key] = getattr(args, key)
    if args.coupling and args.nbest is None:
        options.setdefault("nbest", COUPLED)
    facts = decode_directory(
        model_dir=args.model_dir,
        weights=args.weights,
        data=args.data,
        output_dir=args.output_dir,
        options=options,
        lms=_by_output("--lm", args.lm),
        ngrams=_by_output("--ngram", args.ngram),
        segment_seconds=args.segment_seconds,
        device="cuda" if args.ngpu else "cpu",
        precision=args.precision,
        coupling=args.coupling,
        coupling_weight=args.coupling_weight,
        outputs=args.outputs,
        active=args.active,
    )
    print(
        f"{args.output_dir}: {facts['utterances']} utterances, {', '.join(facts['outputs'])}; "
        f"{facts['audio_seconds']:.0f} s of audio in {facts['seconds']:.1f} s "
        f"(RTF {facts['rtf']:.3f})"
    )
    return 0


def _by_output(option: str, words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            remedy = f"write, e.g., {option} surface=exp/ko/…"
            raise UserError(f"{option} {word}: not OUTPUT=PATH", remedy)
    pairs = [word.split("=", 1) for word in words]
    if len(dict(pairs)) < len(pairs):
        raise UserError(f"{option} {' '.join(words)}: an output twice", "name each once")
    return dict(pairs)


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
