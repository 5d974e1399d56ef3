"""Transcript ↔ tokens, one tokenizer an output: char, jamo, phone, word, SentencePiece, label.

Each type has a stock ESPnet twin, so that every head can be exported: `jamo` is `char` over
conjoining jamo (NFD), which NFC turns back into syllables; `phone` is `word` over phones.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from espnet_ext.errors import UserError
from espnet_ext.text.tags import TAG, label_token, pieces

BLANK, UNK, SOS_EOS = "<blank>", "<unk>", "<sos/eos>"
SPACE = "<space>"


class Tokenizer(Protocol):
    """Text to tokens and back; `espnet_type` names the stock tokenizer that does the same."""

    espnet_type: str

    def encode(self, text: str) -> list[str]: ...
    def decode(self, tokens: Iterable[str]) -> str: ...


class CharTokenizer:
    """Characters; the space is a token of its own.

    >>> CharTokenizer().encode("물 좀")
    ['물', '<space>', '좀']
    """

    espnet_type = "char"

    def encode(self, text: str) -> list[str]:
        return [SPACE if char == " " else char for char in pieces(text)]

    def decode(self, tokens: Iterable[str]) -> str:
        return "".join(" " if token == SPACE else token for token in tokens)


class JamoTokenizer(CharTokenizer):
    """Conjoining jamo of Hangul syllables; initial and final consonants are different tokens.

    >>> JamoTokenizer().decode(JamoTokenizer().encode("물 좀"))
    '물 좀'
    """

    def encode(self, text: str) -> list[str]:
        return super().encode(unicodedata.normalize("NFD", text))

    def decode(self, tokens: Iterable[str]) -> str:
        return unicodedata.normalize("NFC", super().decode(tokens))


class WordTokenizer:
    """Whatever stands between spaces: words, or phones.

    >>> WordTokenizer().encode("HH AH L OW")
    ['HH', 'AH', 'L', 'OW']
    """

    espnet_type = "word"

    def encode(self, text: str) -> list[str]:
        return text.split()

    def decode(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


class LabelTokenizer(WordTokenizer):
    """A label of the whole utterance, such as its language: one token.

    >>> LabelTokenizer().encode("Mandarin Chinese")
    ['Mandarin_Chinese']
    """

    def encode(self, text: str) -> list[str]:
        return [label_token(text)] if text.strip() else []


class SentencePieceTokenizer:
    """SentencePiece units of a trained model file."""

    espnet_type = "bpe"

    def __init__(self, model: str | Path):
        import sentencepiece  # here, because only this type pays for its import

        if not Path(model).is_file():
            raise UserError(f"{model}: no such SentencePiece model", "run stage 5 to train it")
        self.path = str(model)
        self.processor = sentencepiece.SentencePieceProcessor(model_file=self.path)

    def encode(self, text: str) -> list[str]:
        return self.processor.encode(text, out_type=str)

    def decode(self, tokens: Iterable[str]) -> str:
        return self.processor.decode(list(tokens))

    def __reduce__(self):  # data-loader workers receive the path, not the C++ object
        return SentencePieceTokenizer, (self.path,)


TOKEN_TYPES = ("char", "jamo", "phone", "word", "bpe", "label")


def build_tokenizer(token_type: str, bpemodel: str | Path | None = None) -> Tokenizer:
    """The tokenizer of a type; `bpe` needs its model file.

    >>> build_tokenizer("phone").decode(["K", "AE", "T"])
    'K AE T'
    """
    if token_type == "bpe":
        if bpemodel is None:
            raise UserError("token_type bpe without a bpemodel", "give SentencePiece's model file")
        return SentencePieceTokenizer(bpemodel)
    plain = {
        "char": CharTokenizer,
        "jamo": JamoTokenizer,
        "phone": WordTokenizer,
        "word": WordTokenizer,
        "label": LabelTokenizer,
    }
    if token_type not in plain:
        raise UserError(
            f"unknown token type '{token_type}'", f"use one of: {', '.join(TOKEN_TYPES)}"
        )
    return plain[token_type]()


def token_list(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """ESPnet's token list: blank, unk, tokens by falling frequency (ties by code point), sos/eos.

    >>> token_list(CharTokenizer(), ["abb"])
    ['<blank>', '<unk>', 'b', 'a', '<sos/eos>']
    """
    counts = Counter(token for text in texts for token in tokenizer.encode(text))
    for symbol in (BLANK, UNK, SOS_EOS):
        counts.pop(symbol, None)
    return [BLANK, UNK, *sorted(counts, key=lambda t: (-counts[t], t)), SOS_EOS]


def train_sentencepiece(texts: Sequence[str], prefix: str | Path, vocab_size: int) -> list[str]:
    """Train `<prefix>.model` (unigram, as ESPnet's recipes); returns the token list."""
    import sentencepiece

    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    tags = sorted({match.group() for text in texts for match in TAG.finditer(text)})
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(prefix),
            vocab_size=vocab_size,
            model_type="unigram",
            character_coverage=1.0,
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            unk_id=0,
            minloglevel=2,
            user_defined_symbols=tags,
        )
    except RuntimeError as error:
        raise UserError(
            f"SentencePiece could not train {vocab_size} units: {error}",
            "choose a smaller vocabulary size or give more text",
        ) from None
    pieces = SentencePieceTokenizer(f"{prefix}.model").processor
    units = [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
    return [BLANK, UNK, *(u for u in units if u != "<unk>"), SOS_EOS]


def read_token_list(path: str | Path) -> list[str]:
    """Read tokens.txt, one token a line, and check its reserved symbols."""
    try:
        tokens = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such token list", "run stage 5 to write it") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8", "run stage 5 again") from None
    while tokens and tokens[-1] == "":
        tokens.pop()
    if len(tokens) < 4 or tokens[0] != BLANK or UNK not in tokens or tokens[-1] != SOS_EOS:
        raise UserError(
            f"{path}: not a token list: it must begin with {BLANK}, hold {UNK}, end with {SOS_EOS}",
            "run stage 5 again",
        )
    if len(set(tokens)) != len(tokens):
        twice = next(t for t, n in Counter(tokens).items() if n > 1)
        raise UserError(f"{path}: token '{twice}' stands there twice", "run stage 5 again")
    return tokens
