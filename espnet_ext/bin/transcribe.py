"""Print the transcripts of recordings, in all outputs of a model."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli, early_checks
from espnet_ext.errors import UserError
from espnet_ext.progress import say

if TYPE_CHECKING:
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.decoding.search import Result
    from espnet_ext.feedback.recordings import Recording


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Print the transcripts of recordings, in all outputs of a model. A recording that cannot "
        "be read is an error; the others are printed, and the exit code is 1."
    )
    parser.add_argument(
        "model",
        help="directory of a trained system, or its archive (.zip, .tgz), or user/name on the "
        "Hugging Face hub",
    )
    parser.add_argument(
        "audio", nargs="+", help="audio files, folders of audio files, or - for standard input"
    )
    parser.add_argument(
        "--json", type=cli.boolean, default=False, help="print one JSON object per recording"
    )
    parser.add_argument(
        "--outputs", type=cli.words, default=None, help="outputs to print (default: all)"
    )
    audio_options.add_channel(parser)
    audio_options.add_conditions(parser)
    parser.add_argument("--beam_size", type=audio_options.count, default=10, help="of the search")
    parser.add_argument(
        "--segment_seconds",
        type=audio_options.seconds,
        default=None,
        help="cut every recording at silences into parts of at most this length (default: do not)",
    )
    parser.add_argument("--ngpu", type=int, default=0, help="1 decodes on a GPU")
    args = parser.parse_args(argv)

    from espnet_ext.feedback.recordings import Recordings

    recordings = Recordings(args.audio)  # these two need no PyTorch, which takes seconds to import
    early_checks.require_model(args.model)

    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.model.load import gpu

    recogniser = DualSpeech2Text.from_pretrained(
        args.model,
        device=gpu() if args.ngpu else "cpu",
        only=args.outputs,
        channel=args.channel,
        conditions=dict(args.conditions),
        beam_size=args.beam_size,
    )
    failures = 0
    for recording in recordings:
        try:
            _print(recording, _recognise(recogniser, recording, args), args.json)
        except UserError as error:
            failures += 1
            where = "" if recording.name in error.message else f"{recording.name}: "
            say(f"error: {where}{error}")
        if getattr(sys.stdout, "has_ended", False):  # the reader of the output
            break
    if failures:
        raise UserError(
            f"{failures} of {len(recordings)} recordings have no transcripts (see above)",
            "correct them, or leave them out",
        )
    return 0


def _recognise(
    recogniser: "DualSpeech2Text", recording: "Recording", args: argparse.Namespace
) -> "Result":
    from espnet_ext.feedback.recordings import file_of

    with file_of(recording) as path:
        if args.segment_seconds is not None:
            return recogniser.long(path, args.segment_seconds)
        return recogniser(path)


def _print(recording: "Recording", result: "Result", as_json: bool) -> None:
    texts = {name: hypothesis.text for name, hypothesis in result.best.items()}
    if as_json:
        row = {"audio": recording.name, "transcripts": texts}
        print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    width = max(map(len, texts))
    rows = [f"  {name:<{width}}  {text}".rstrip() for name, text in texts.items()]
    print("\n".join([recording.name, *rows]), flush=True)


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
