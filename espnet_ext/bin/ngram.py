"""Stage 9: estimate an n-gram language model over the tokens of one output, as an ARPA file."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory of the training set")
    parser.add_argument("--output_name", required=True, help="output, for example surface")
    parser.add_argument("--token_type", required=True, help="char, jamo, phone, word or bpe")
    parser.add_argument("--token_dir", required=True, help="folder of bpe.model, for bpe")
    parser.add_argument("--order", type=int, default=4, help="tokens of the longest n-gram")
    parser.add_argument("--output", required=True, help="ARPA file to write")
    args = parser.parse_args(argv)

    from pathlib import Path

    from espnet_ext.data.record import NA
    from espnet_ext.data.table import read_table
    from espnet_ext.errors import UserError
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.text.ngram import estimate, is_arpa, write_arpa
    from espnet_ext.text.tokenizers import build_tokenizer_from
    from espnet_ext.text.unicode import normalize

    source = Path(args.input) / f"text.{args.output_name}"
    require_result_file(args.output, is_arpa)
    tokenizer = build_tokenizer_from(args.token_dir, args.token_type)
    texts = [tokenizer.encode(normalize(t)) for t in read_table(source).values() if t != NA]
    if not texts:
        message = f"{source}: every utterance is unlabelled"
        raise UserError(message, f"add transcripts for '{args.output_name}', or omit this model")
    model = estimate(texts, args.order)
    write_arpa(args.output, model)
    print(f"{args.output}: {len(model.grams)} n-grams from {len(texts)} transcripts")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
