"""Write one output's transcripts as an LM corpus: `<id> <tokens>`, one line an utterance.

Tokens are those of the output's own tokenizer, so that stock `espnet2.bin.lm_train` with
`--token_type word` counts exactly the model's units. Unlabelled and empty transcripts are left out.
usage: python lm_text.py --input DATA_DIR/text.surface --token_dir DIR --token_type phone --output F
"""

import sys
from pathlib import Path

from espnet_ext.bin import cli
from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table, write_table
from espnet_ext.errors import UserError
from espnet_ext.text.tokenizers import build_tokenizer
from espnet_ext.text.unicode import normalize


def main(argv=None) -> int:
    parser = cli.parser(__doc__.splitlines()[0])
    parser.add_argument("--input", required=True, help="table of transcripts of one output")
    parser.add_argument("--token_type", required=True, help="char, jamo, phone, word or bpe")
    parser.add_argument("--token_dir", required=True, help="holds bpe.model where one is needed")
    parser.add_argument("--output", required=True, help="table to write")
    args = parser.parse_args(argv)
    tokenizer = build_tokenizer(args.token_type, Path(args.token_dir) / "bpe.model")
    rows = {}
    for utt_id, text in read_table(args.input).items():
        if text != NA and (tokens := tokenizer.encode(normalize(text))):
            rows[utt_id] = " ".join(tokens)
    if not rows:
        raise UserError(f"{args.input}: every utterance is unlabelled", "leave out this LM")
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_table(args.output, rows)
    print(f"{args.output}: {len(rows)} transcripts")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
