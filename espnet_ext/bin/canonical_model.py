"""Estimate the learners' pronunciation errors, for decoding with canonical forms."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.bin import cli
from espnet_ext.errors import UserError

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # default of --weights
CRITERIA = ("f1", "per")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Estimate the learners' pronunciation errors, P(surface | canonical), which decode "
        "--canonical_model reads. With --tune, also choose their weight on a validation set."
    )
    parser.add_argument(
        "--data",
        type=cli.words,
        required=True,
        metavar="DIR …",
        help="training sets with text.canonical and text.surface",
    )
    parser.add_argument("--output", required=True, help="JSON file to write the model to")
    parser.add_argument(
        "--token_type",
        default="phone",
        help="token type of the surface, if not that of --model_dir",
    )
    parser.add_argument(
        "--tune",
        metavar="DIR",
        default=None,
        help="validation set, as stage 4 writes it, to choose the weight on; needs --model_dir. "
        "The test sets must not be used for this",
    )
    parser.add_argument("--model_dir", default=None, help="directory of the system that decodes")
    parser.add_argument("--config", default=None, help="its decoding configuration (YAML)")
    parser.add_argument(
        "--weights",
        type=cli.words,
        default=[f"{weight:g}" for weight in WEIGHTS],
        help=f"weights to try (default: {' '.join(f'{weight:g}' for weight in WEIGHTS)})",
    )
    parser.add_argument(
        "--criterion",
        choices=CRITERIA,
        default="f1",
        help="f1: the weight with the best F1 of mispronunciation detection; per: with the lowest "
        "error rate of the surface (default: f1)",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    if args.tune and not args.model_dir:
        parser.error("--tune needs --model_dir")
    try:
        weights = [float(weight) for weight in args.weights]
    except ValueError:
        parser.error(f"--weights {' '.join(args.weights)}: not numbers")

    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.decoding.canonical_command import CANONICAL, read_pairs
    from espnet_ext.decoding.canonical_forms import SURFACE
    from espnet_ext.decoding.options import read_options
    from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
    from espnet_ext.overwriting import require_new_file
    from espnet_ext.text.tokenizers import build_tokenizer

    require_new_file(args.output, inputs=args.data, overwrite=args.overwrite)
    recogniser = None
    if args.model_dir:
        options = read_options(args.config) if args.config else {}
        recogniser = DualSpeech2Text.from_pretrained(args.model_dir, only=[SURFACE], **options)
        tokenizer = recogniser.tokenizers[SURFACE]
    else:
        tokenizer = build_tokenizer(args.token_type, None, ())
    canonical: list[list[str]] = []
    surface: list[list[str]] = []
    for folder in args.data:
        canonical_texts, surface_texts = read_pairs(folder, [CANONICAL, SURFACE])
        canonical += map(tokenizer.encode, canonical_texts)
        surface += map(tokenizer.encode, surface_texts)
    errors = PronunciationErrors.estimate(canonical, surface)
    facts: dict[str, Any] = {"data": args.data, "utterances": len(canonical)}
    if args.tune:
        assert recogniser is not None

        def decode(waves: Sequence[Any], forms: Sequence[str], weight: float) -> list[list[str]]:
            recogniser.use_canonical(errors, weight)
            results = recogniser.batch(waves, canonical=forms)
            return [list(result.best[SURFACE].tokens) for result in results]

        rows = _tune(args.tune, weights, recogniser.sample_rate, tokenizer.encode, decode)
        key = {"f1": lambda row: row["F1"] or 0.0, "per": lambda row: -row["error rate"]}
        best = max(rows, key=key[args.criterion])
        facts |= {"weight": best["weight"], "tuned_on": args.tune, "tuning": rows}
        print(f"{args.tune}: weight {best['weight']:g} has the best {args.criterion}")
    errors.save(args.output, facts)
    print(
        f"{args.output}: errors of {len(canonical)} utterances: {100 * errors.match:.1f} % of the "
        f"tokens as they should be, {100 * errors.deletion:.1f} % deleted"
    )
    return 0


def _tune(
    folder: str,
    weights: Sequence[float],
    sample_rate: int,
    encode: Callable[[str], list[str]],
    decode: Callable[[Sequence[Any], Sequence[str], float], list[list[str]]],
) -> list[Mapping[str, Any]]:
    """Return the error rate and the measures of detection on a validation set, for each weight.

    Args:
        folder: the validation set.
        weights: the weights.
        sample_rate: sample rate of the samples that `decode` takes, in Hz.
        encode: tokenizer of the surface.
        decode: samples and canonical forms of all utterances, and the weight → surface tokens.
    """
    from espnet_ext.data.audio import load_utterance
    from espnet_ext.data.directory import read_sources
    from espnet_ext.data.record import NA, Utterance
    from espnet_ext.data.table import read_table
    from espnet_ext.scoring.mdd import WITH_INSERTIONS, evaluate

    tables = [read_table(Path(folder) / f"text.{name}") for name in ("canonical", "surface")]
    sources = read_sources(folder)
    utt_ids = [i for i in sources if all(table.get(i, NA) != NA for table in tables)]
    if not utt_ids:
        raise UserError(
            f"{folder}: no utterance has both text.canonical and text.surface", "give another set"
        )
    canonical, surface = ({i: table[i] for i in utt_ids} for table in tables)
    waves = [
        load_utterance(Utterance(i, speaker="", audio=sources[i]), sample_rate)[0] for i in utt_ids
    ]
    references, annotations = (
        {i: " ".join(encode(text)) for i, text in table.items()} for table in (canonical, surface)
    )
    rows: list[Mapping[str, Any]] = []
    for weight in weights:
        tokens = decode(waves, [canonical[i] for i in utt_ids], weight)
        hypotheses = {i: " ".join(row) for i, row in zip(utt_ids, tokens, strict=True)}
        result = evaluate(references, annotations, hypotheses)
        measures = result["measures"][WITH_INSERTIONS]
        row = {"weight": weight, "error rate": result["PER"]}
        row |= {name: measures[name] for name in ("F1", "FAR", "FRR")}
        rows.append(row)
        values = ", ".join(
            f"{name} {'–' if value is None else format(value, '.1f')}"
            for name, value in list(row.items())[1:]
        )
        print(f"weight {weight:g}: {values}", flush=True)
    return rows


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
