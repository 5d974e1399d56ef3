"""Stage 5: write the token list of one output, with its SentencePiece model or tokenizer.json."""

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ext.bin import cli

if TYPE_CHECKING:
    from espnet_ext.text.tokenizers import Tokenizer

LISTED = 10  # transcripts that a warning names


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("--input", required=True, help="data directory of the training set")
    parser.add_argument("--output_name", required=True, help="output, for example surface")
    parser.add_argument(
        "--token_type",
        required=True,
        help="char, jamo, phone, word, bpe, label or hugging_face",
    )
    parser.add_argument("--token_dir", required=True, help="folder to write tokens.txt to")
    parser.add_argument("--vocab_size", type=int, default=500, help="number of tokens, for bpe")
    parser.add_argument(
        "--bpemode",
        default="unigram",
        choices=("unigram", "bpe"),
        help="SentencePiece model, for bpe",
    )
    parser.add_argument(
        "--nlsyms_txt", default=None, help="non-linguistic symbols, one per line: kept whole"
    )
    parser.add_argument(
        "--pretrained",
        default="",
        metavar="MODEL",
        help="pre-trained model whose tokenizer is used, for hugging_face: a folder with "
        "tokenizer.json, or a name on the Hugging Face hub",
    )
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)

    from espnet_ext.corpora.preparation import training_hint
    from espnet_ext.data.directory import read_directory
    from espnet_ext.data.record import NA
    from espnet_ext.data.table import read_table
    from espnet_ext.errors import UserError
    from espnet_ext.files import write_text
    from espnet_ext.overwriting import OutputFolder
    from espnet_ext.text import tokenizers
    from espnet_ext.text.unicode import normalize

    source = Path(args.input) / f"text.{args.output_name}"
    rows = {i: normalize(text) for i, text in read_table(source).items() if text != NA}
    texts = list(rows.values())
    if not texts:
        message = f"{source}: every utterance is unlabelled"
        hint = training_hint(read_directory(args.input))
        remedy = f"add transcripts for '{args.output_name}'"
        raise UserError(message, f"{remedy}; {hint}" if hint else remedy)
    folder = Path(args.token_dir)
    symbols = tokenizers.read_symbols(args.nlsyms_txt) if args.nlsyms_txt else []
    content = ""
    tokenizer: Tokenizer
    if args.token_type == "hugging_face":
        from espnet_ext.model.pretrained.checkpoint import tokenizer_file

        if not args.pretrained:
            raise UserError(
                "token type hugging_face: --pretrained is missing",
                "name the pre-trained model whose tokenizer is used",
            )
        pretrained = tokenizer_file(args.pretrained, None, "--pretrained")
        tokenizer = tokenizers.HuggingFaceTokenizer(pretrained)
        tokens = tokenizer.token_list(texts)
        content = "\n".join(tokens) + "\n"
    elif args.token_type != "bpe":
        tokenizer = tokenizers.build_tokenizer(args.token_type, token_list=symbols)
        tokens = tokenizers.token_list(tokenizer, texts)
        content = "\n".join(tokens) + "\n"
    token_list = folder / "tokens.txt"
    is_unchanged = token_list.is_file() and token_list.read_bytes() == content.encode()
    with OutputFolder(
        folder,
        f"tokens {args.token_type}",
        r"tokens\.txt|bpe\.(?:model|vocab)|tokenizer\.json",
        inputs=[args.input],
        overwrite=args.overwrite or is_unchanged,
    ):
        if args.token_type == "bpe":
            tokens = tokenizers.train_sentencepiece(
                texts, folder / "bpe", args.vocab_size, model_type=args.bpemode, symbols=symbols
            )
            content = "\n".join(tokens) + "\n"
            tokenizer = tokenizers.build_tokenizer("bpe", folder / "bpe.model")
        if args.token_type == "hugging_face":
            assert isinstance(tokenizer, tokenizers.HuggingFaceTokenizer)
            write_text(folder / "tokenizer.json", tokenizer.content)
        write_text(token_list, content)
    if args.token_type != "label":  # a label is one token, which is not decoded
        _warn_of_lossy_texts(source, tokenizer, tokens, rows)
    print(f"{token_list}: {len(tokens)} tokens from {len(texts)} transcripts")
    if args.token_type == "bpe" and len(tokens) < args.vocab_size:
        print(f"note: --vocab_size {args.vocab_size}: the transcripts have no more pieces")
    return 0


def _warn_of_lossy_texts(
    source: Path, tokenizer: "Tokenizer", tokens: Sequence[str], rows: Mapping[str, str]
) -> None:
    """Name the transcripts that cannot be encoded and decoded without a change."""
    from espnet_ext.progress import say
    from espnet_ext.text.tokenizers import lossy_texts

    lossy = lossy_texts(tokenizer, tokens, rows)
    for item in lossy[:LISTED]:
        names = ", ".join(
            f"'{char}' (U+{ord(char):04X} {unicodedata.name(char, '')})" for char in item.characters
        )
        say(
            f"warning: {source}: {item.utt_id}: its tokens are decoded to {item.decoded!r}, "
            f"without {names or 'its order or spaces'}: no model can recognise it"
        )
    if lossy:
        say(
            f"warning: {source}: {len(lossy)} of {len(rows)} transcripts cannot be encoded and "
            "decoded; remedy: remove these characters, or choose another token type"
        )


if __name__ == "__main__":
    sys.exit(cli.run(main))
