"""Judge recordings of learners: transcripts, alignment and named deviations."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli, early_checks
from espnet_ext.errors import UserError

if TYPE_CHECKING:
    from espnet_ext.feedback.recordings import Recordings


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Judge recordings of learners: print what was pronounced and what was meant, both aligned "
        "word by word, and name the deviations from the standard pronunciation. Deviations whose "
        "probability is below the operating point are not listed. The exit code is 0 if every "
        "recording was judged or declined (not judged, with a reason), 1 if one cannot be read."
    )
    parser.add_argument(
        "model",
        help="directory of a trained system with the output surface, or its archive (.zip), or "
        "user/name on the Hugging Face hub",
    )
    parser.add_argument(
        "audio", nargs="+", help="audio files, folders of audio files, or - for standard input"
    )
    parser.add_argument(
        "--prompt", default=None, help="the sentence that was to be read, in every recording"
    )
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        default=None,
        help="lines `name sentence`: the sentence of each recording, by its file name without "
        "suffix, as in text.meaning of a data directory",
    )
    parser.add_argument(
        "--json", type=cli.boolean, default=False, help="print one JSON object per recording"
    )
    parser.add_argument(
        "--schema",
        type=cli.boolean,
        default=False,
        help="print the JSON schema of --json instead of judging",
    )
    parser.add_argument(
        "--uncertain",
        type=cli.boolean,
        default=False,
        help="also list deviations below the operating point, as uncertain (JSON always has them)",
    )
    parser.add_argument(
        "--gloss",
        type=cli.boolean,
        default=False,
        help="add English names to the deviations of Korean",
    )
    audio_options.add_judge(parser)
    audio_options.add_channel(parser)
    parser.add_argument(
        "--max_seconds", type=float, default=30.0, help="longest recording that is judged"
    )
    parser.add_argument(
        "--segments",
        type=cli.boolean,
        default=False,
        help="cut each recording at silences into segments of at most --max_seconds, and judge "
        "each of them; without a prompt",
    )
    parser.add_argument(
        "--ratings",
        metavar="FILE",
        default=None,
        help="human ratings of phones, words and sentences, in the format of speechocean762 "
        "(resource/scores.json): instead of judgements, print their correlation with deviations, "
        "probabilities and the goodness of pronunciation (GOP). The rated phones are expected; the "
        "folder of a recording is its speaker",
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--schema" in arguments or "--schema=true" in arguments:
        return _print_schema()
    args = parser.parse_args(arguments)
    _check(parser, args)

    from espnet_ext.feedback.recordings import Recordings, read_prompts

    # These need no model, so they are checked before PyTorch is imported, which takes seconds.
    recordings = Recordings(args.audio)
    early_checks.require_model(args.model)
    if args.ratings:
        return _correlate(args, recordings)
    prompts = read_prompts(args.prompts, recordings) if args.prompts else {}

    from espnet_ext.feedback.judge import Judge
    from espnet_ext.feedback.streaming import judge_all
    from espnet_ext.model.load import gpu
    from espnet_ext.text.lexicon import read_pronunciations

    judge = Judge.from_pretrained(
        args.model,
        args.calibration,
        threshold=args.threshold,
        precision=args.precision,
        lexicon=read_pronunciations(args.lexicon) if args.lexicon else None,
        max_seconds=args.max_seconds,
        channel=args.channel,
        conditions=dict(args.conditions),
        device=gpu() if args.ngpu else "cpu",
        beam_size=args.beam_size,
        number_format=args.number_format,
    )
    failures = judge_all(
        judge,
        recordings,
        prompts if args.prompts else args.prompt,
        as_json=args.json,
        uncertain=args.uncertain,
        gloss=args.gloss,
        segments=args.segments,
    )
    if failures:
        raise UserError(
            f"{failures} of {len(recordings)} recordings could not be judged (see above)",
            "correct them, or leave them out",
        )
    return 0


def _correlate(args: argparse.Namespace, recordings: "Recordings") -> int:
    """Print the correlations with human ratings."""
    from espnet_ext.feedback import ratings as steps
    from espnet_ext.feedback.judge import Judge
    from espnet_ext.model.load import gpu

    rated = steps.read_ratings(args.ratings)
    judge = Judge.from_pretrained(
        args.model,
        args.calibration,
        channel=args.channel,
        conditions=dict(args.conditions),
        device=gpu() if args.ngpu else "cpu",
        beam_size=args.beam_size,
        number_format=args.number_format,
    )
    results = steps.correlate(steps.rate_all(judge, list(recordings), rated))
    if args.json:
        print(json.dumps({"correlations": results}, ensure_ascii=False))
    else:
        print("\n".join(steps.table(results)))
    return 0


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if args.prompt is not None and args.prompts:
        parser.error("give --prompt or --prompts, not both")
    if args.segments and (args.prompt is not None or args.prompts):
        parser.error("--segments judges without a prompt: leave out --prompt and --prompts")
    if args.ratings and (args.prompt is not None or args.prompts or args.segments):
        parser.error("--ratings has the sentences: leave out --prompt, --prompts and --segments")
    if args.precision is not None and args.threshold is not None:
        parser.error("--precision and --threshold both set the operating point: give one")
    if args.beam_size < 1:
        parser.error("--beam_size must be 1 or more")


def _print_schema() -> int:
    from espnet_ext.feedback.judgement import SCHEMA

    print(SCHEMA.read_text(encoding="utf-8"), end="")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
