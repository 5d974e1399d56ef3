"""Write the training set of a model that reads discrete units, and optionally text."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import audio_options, cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "Write a set for systems that read discrete units (frontend: units): the input ids of each "
        "utterance and its transcripts. With --text_input, transcripts become further utterances "
        "without audio: surface text is then mapped to meaning text by the same model."
    )
    parser.add_argument(
        "--input", required=True, metavar="DIR", help="data directory with transcripts"
    )
    parser.add_argument(
        "--units_dir",
        default=None,
        metavar="DIR",
        help="folder with text.rm.units, as dump_units writes it (default: that of --input)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--joint_token_dir", required=True, metavar="DIR", help="folder that unit_tokens wrote"
    )
    parser.add_argument(
        "--outputs", type=cli.words, required=True, help='outputs to train: "surface meaning"'
    )
    parser.add_argument(
        "--text_input",
        default="",
        metavar="OUTPUT",
        help="output whose transcripts are inputs too, such as surface (default: none)",
    )
    parser.add_argument(
        "--text_data",
        nargs="*",
        default=[],
        metavar="DIR",
        help="further data directories, without audio, whose transcripts are inputs",
    )
    parser.add_argument(
        "--upsample",
        type=audio_options.count,
        default=4,
        help="how often each token of a text is repeated (default: 4, as in arXiv 2309.15826)",
    )
    parser.add_argument(
        "--max_length",
        type=audio_options.count,
        default=2000,
        help="most ids of an input; longer utterances are removed and listed in removed.tsv",
    )
    parser.add_argument("--name", default="units", help="last part of the name of the units' file")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.data.directory import require_directory
    from espnet_ext.overwriting import OutputFolder
    from espnet_ext.progress import say
    from espnet_ext.units import input_set
    from espnet_ext.units.vocabulary import JointVocabulary

    source = require_directory(args.input)
    vocabulary = JointVocabulary.read(args.joint_token_dir)
    options = input_set.InputOptions(
        args.outputs, args.text_input, args.upsample, args.max_length, args.name, args.units_dir
    )
    with OutputFolder(
        args.output,
        "unit_inputs",
        input_set.NAMES,
        inputs=[
            args.input,
            args.joint_token_dir,
            *args.text_data,
            *filter(None, [args.units_dir]),
        ],
        overwrite=args.overwrite,
    ) as folder:
        done = input_set.write_input_set(vocabulary, source, folder, options, args.text_data)
    removed = len(done.removed)
    listed = f"; {removed} removed (listed in {folder / input_set.REMOVED})" if removed else ""
    print(
        f"{folder}: {done.speech} utterances of speech ({done.speech_ids} ids), {done.text} of "
        f"text ({done.text_ids} ids){listed}"
    )
    labelled = ", ".join(f"{name} {count}" for name, count in done.labelled.items())
    print(f"{folder}: with a transcript: {labelled}")
    if done.unknown_tokens:
        say(
            f"warning: {folder}: {done.unknown_tokens} of {done.text_tokens} tokens of the text "
            "input are not in the vocabulary"
        )
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
