"""Stage 6: write the transcripts of one output as tokens, for training a language model.

One line per utterance, `<id> <tokens>`. The tokens are those of the output's own tokenizer, so that
stock `espnet2.bin.lm_train --token_type word` counts exactly the model's tokens. Unlabelled and
empty transcripts are left out.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser("Write the transcripts of one output as tokens, for a language model.")
    parser.add_argument("--input", required=True, help="table of transcripts: text.<output>")
    parser.add_argument("--token_type", required=True, help="char, jamo, phone, word or bpe")
    parser.add_argument("--token_dir", required=True, help="folder with tokens.txt, of stage 5")
    parser.add_argument("--output", required=True, help="table to write")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    import re
    from pathlib import Path

    from espnet_ext.data.record import NA
    from espnet_ext.data.table import read_table, write_table
    from espnet_ext.errors import UserError
    from espnet_ext.overwriting import OutputFolder, require_no_input
    from espnet_ext.text.tokenizers import build_tokenizer_from
    from espnet_ext.text.unicode import normalize

    output = Path(args.output)
    require_no_input(output, [args.input, Path(args.token_dir) / "tokens.txt"])
    if output.is_dir():
        raise UserError(f"{output}: is a folder", "name a file")
    if (output.parent / "wav.scp").exists():
        message = f"{output.parent}: is a data directory; its tables would be mixed up"
        raise UserError(message, "write the token texts to another folder")
    target = OutputFolder(
        output.parent, f"lm_text {output.name}", re.escape(output.name), overwrite=args.overwrite
    )
    target.check()
    tokenizer = build_tokenizer_from(args.token_dir, args.token_type)
    rows = {}
    for utt_id, text in read_table(args.input).items():
        if text != NA and (tokens := tokenizer.encode(normalize(text))):
            rows[utt_id] = " ".join(tokens)
    if not rows:
        raise UserError(f"{args.input}: every utterance is unlabelled", "leave out this LM")
    with target:
        write_table(output, rows)
    print(f"{output}: {len(rows)} transcripts")
    return 0


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
