"""Tokenizers (char, jamo, phone, word, SentencePiece, label) and token lists.

Each output has one tokenizer. Each type has an equivalent tokenizer in stock ESPnet, so that every
head can be exported. `jamo` is ESPnet's `char` applied to conjoining jamo (NFD), and NFC restores
the syllables. `phone` is ESPnet's `word` applied to phones.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.text.merges import restore_merges
from espnet_ext.text.tags import TAG, label_token, split_characters

BLANK, UNK, SOS_EOS = "<blank>", "<unk>", "<sos/eos>"
SPACE = "<space>"
_REPORTED: set[str] = set()  # tokenizer files whose repair was printed


class Tokenizer(Protocol):
    """Converts text to tokens and back. `espnet_type` names the equivalent ESPnet tokenizer."""

    espnet_type: str

    def encode(self, text: str) -> list[str]: ...
    def decode(self, tokens: Iterable[str]) -> str: ...


class CharTokenizer:
    """Splits text into characters. A space becomes the token `<space>`.

    Args:
        symbols: non-linguistic symbols such as `<noise>`, each of which is one token.

    >>> CharTokenizer().encode("물 좀"), CharTokenizer(["<noise>"]).encode("a<noise>")
    (['물', '<space>', '좀'], ['a', '<noise>'])
    """

    espnet_type = "char"

    def __init__(self, symbols: Iterable[str] = ()):
        longest_first = sorted(symbols, key=len, reverse=True)
        pattern = "|".join(map(re.escape, longest_first))
        self.symbols = re.compile(f"({pattern})") if pattern else None

    def encode(self, text: str) -> list[str]:
        if self.symbols is None:
            tokens = split_characters(text)
        else:
            tokens = []
            for i, part in enumerate(self.symbols.split(text)):  # odd parts are symbols
                tokens += [part] if i % 2 else split_characters(part)
        return [SPACE if token == " " else token for token in tokens]

    def decode(self, tokens: Iterable[str]) -> str:
        return "".join(" " if token == SPACE else token for token in tokens)


class JamoTokenizer(CharTokenizer):
    """Splits Hangul syllables into conjoining jamo. Leads and tails are different tokens.

    >>> JamoTokenizer().decode(JamoTokenizer().encode("물 좀"))
    '물 좀'
    """

    def __init__(self, symbols: Iterable[str] = ()):
        super().__init__(unicodedata.normalize("NFD", symbol) for symbol in symbols)

    def encode(self, text: str) -> list[str]:
        return super().encode(unicodedata.normalize("NFD", text))

    def decode(self, tokens: Iterable[str]) -> str:
        return unicodedata.normalize("NFC", super().decode(tokens))


class WordTokenizer:
    """Splits text at white space, into words or phones.

    >>> WordTokenizer().encode("HH AH L OW")
    ['HH', 'AH', 'L', 'OW']
    """

    espnet_type = "word"

    def encode(self, text: str) -> list[str]:
        return text.split()

    def decode(self, tokens: Iterable[str]) -> str:
        return " ".join(tokens)


class LabelTokenizer(WordTokenizer):
    """Makes one token of an utterance label, such as the language.

    >>> LabelTokenizer().encode("Mandarin Chinese")
    ['Mandarin_Chinese']
    """

    def encode(self, text: str) -> list[str]:
        return [label_token(text)] if text.strip() else []


class SentencePieceTokenizer:
    """Splits text into SentencePiece units with a trained model file."""

    espnet_type = "bpe"

    def __init__(self, model: str | Path):
        import sentencepiece  # here, so that only this type imports it

        if not Path(model).is_file():
            raise UserError(f"{model}: no such SentencePiece model", "run stage 5 to train it")
        self.path = str(model)
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_file=self.path)
        except (RuntimeError, OSError) as error:
            raise UserError(
                f"{model}: not a SentencePiece model: {' '.join(str(error).split())}",
                "name the .model file that stage 5 writes, or restore it",
            ) from None

    def encode(self, text: str) -> list[str]:
        return self.processor.encode(text, out_type=str)

    def decode(self, tokens: Iterable[str]) -> str:
        return self.processor.decode(list(tokens))

    def __reduce__(self) -> tuple:  # pickle the path for data-loader workers, not the C++ object
        return SentencePieceTokenizer, (self.path,)


class HuggingFaceTokenizer:
    """Splits text into the tokens of a pre-trained model, with its tokenizer.json.

    The text is encoded after a space: Whisper and other models with byte-level tokens have other
    tokens for words that begin a text, and write a space first. Merges that the file has lost are
    restored, with a note (`text.merges`).
    """

    espnet_type = "hugging_face"

    def __init__(self, model: str | Path):
        from tokenizers import Tokenizer as Reader  # here, so that only this type imports it

        if not Path(model).is_file():
            raise UserError(f"{model}: no such tokenizer", "run stage 5 to write it")
        self.path = str(model)
        try:
            self.content = Path(model).read_text(encoding="utf-8")
            self.tokenizer = Reader.from_str(self.content)
        except Exception as error:  # tokenizers raises plain Exception
            raise UserError(
                f"{model}: not a tokenizer.json: {error}", "run stage 5 to write it again"
            ) from None
        repair = restore_merges(json.loads(self.content))
        if repair is not None:
            if self.path not in _REPORTED:
                say(repair.message(self.path))
                _REPORTED.add(self.path)
            self.content = json.dumps(repair.settings, ensure_ascii=False)
            self.tokenizer = Reader.from_str(self.content)
        self.tokenizer.encode_special_tokens = True

    def encode(self, text: str) -> list[str]:
        return self.tokenizer.encode(f" {text}", add_special_tokens=False).tokens

    def decode(self, tokens: Iterable[str]) -> str:
        ids = [self.tokenizer.token_to_id(token) for token in tokens]
        return self.tokenizer.decode([i for i in ids if i is not None]).strip()

    def token_list(self, texts: Iterable[str]) -> list[str]:
        """Return blank, unk, the tokens that texts of the same alphabet can have, and sos/eos.

        These are the tokens whose characters (bytes, in a byte-level tokenizer) all occur in the
        texts, in the order of their ids. Without the others, a model for one language is smaller
        and faster.
        """
        alphabet = {char for text in texts for token in self.encode(text) for char in token}
        special = {t.content for t in self.tokenizer.get_added_tokens_decoder().values()}
        vocabulary = self.tokenizer.get_vocab()
        possible = [token for token in vocabulary if token and set(token) <= alphabet]
        tokens = sorted(set(possible) - special, key=vocabulary.__getitem__)
        return [BLANK, UNK, *tokens, SOS_EOS]

    def __reduce__(self) -> tuple:
        return HuggingFaceTokenizer, (self.path,)


TOKEN_TYPES = ("char", "jamo", "phone", "word", "bpe", "hugging_face", "label")
# Token types whose tokenizer is a file of the model, and its name in the folder of the token list.
TOKENIZER_FILES = {"bpe": "bpe.model", "hugging_face": "tokenizer.json"}


def build_tokenizer(
    token_type: str, bpemodel: str | Path | None = None, token_list: Iterable[str] = ()
) -> Tokenizer:
    """Return a tokenizer of one of TOKEN_TYPES.

    Args:
        bpemodel: the file that the types `bpe` and `hugging_face` need: a SentencePiece model or a
            tokenizer.json.
        token_list: the tokens of a model. Its non-linguistic symbols are kept whole by the types
            `char` and `jamo`; the other types do not need them.

    Raises:
        UserError: the type is unknown, or the model file is missing.

    >>> build_tokenizer("phone").decode(["K", "AE", "T"])
    'K AE T'
    """
    if token_type == "bpe":
        if bpemodel is None:
            raise UserError("token_type bpe needs a bpemodel", "give the SentencePiece model file")
        return SentencePieceTokenizer(bpemodel)
    if token_type == "hugging_face":
        if bpemodel is None:
            raise UserError(
                "token_type hugging_face needs a bpemodel", "give the tokenizer.json of the model"
            )
        return HuggingFaceTokenizer(bpemodel)
    if token_type in ("char", "jamo"):
        symbols = non_linguistic_symbols(token_list)
        return JamoTokenizer(symbols) if token_type == "jamo" else CharTokenizer(symbols)
    tokenizers: dict[str, type[Tokenizer]] = {
        "phone": WordTokenizer,
        "word": WordTokenizer,
        "label": LabelTokenizer,
    }
    if token_type not in tokenizers:
        raise UserError(
            f"unknown token type '{token_type}'", f"use one of: {', '.join(TOKEN_TYPES)}"
        )
    return tokenizers[token_type]()


def build_tokenizer_from(token_dir: str | Path, token_type: str) -> Tokenizer:
    """Return the tokenizer of a folder that stage 5 wrote: with its token list, and its bpe.model.

    Raises:
        UserError: as `build_tokenizer` and `read_token_list`.
    """
    tokens = read_token_list(Path(token_dir) / "tokens.txt")
    file = TOKENIZER_FILES.get(token_type)
    return build_tokenizer(token_type, Path(token_dir) / file if file else None, tokens)


def non_linguistic_symbols(token_list: Iterable[str]) -> list[str]:
    """Return the symbols in a token list of type char or jamo: tokens of several characters.

    >>> non_linguistic_symbols(["<blank>", "<unk>", "a", "<space>", "<l1:Thai>", "[laugh]"])
    ['[laugh]']
    """
    reserved = (BLANK, UNK, SOS_EOS, SPACE)
    return [
        token
        for token in token_list
        if len(token) > 1 and token not in reserved and not TAG.fullmatch(token)
    ]


def read_symbols(path: str | Path) -> list[str]:
    """Read non-linguistic symbols, one per line (ESPnet's `nlsyms.txt`).

    Raises:
        UserError: the file is missing, or a line is not one symbol of several characters.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "check the path of --nlsyms_txt") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8", "save it as UTF-8") from None
    symbols = [line.strip() for line in lines if line.strip()]
    for symbol in symbols:
        if len(symbol) < 2 or " " in symbol or symbol in (BLANK, UNK, SOS_EOS, SPACE):
            raise UserError(
                f"{path}: '{symbol}' cannot be a non-linguistic symbol",
                "write one symbol per line, for example <noise>",
            )
    return symbols


def token_list(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return a token list in ESPnet's order: blank, unk, the tokens of the texts, sos/eos.

    The tokens of the texts are sorted by decreasing frequency, ties by code point.

    >>> token_list(CharTokenizer(), ["abb"])
    ['<blank>', '<unk>', 'b', 'a', '<sos/eos>']
    """
    counts = Counter(token for text in texts for token in tokenizer.encode(text))
    for symbol in (BLANK, UNK, SOS_EOS):
        counts.pop(symbol, None)
    return [BLANK, UNK, *sorted(counts, key=lambda token: (-counts[token], token)), SOS_EOS]


def train_sentencepiece(
    texts: Sequence[str],
    prefix: str | Path,
    vocab_size: int,
    *,
    model_type: str = "unigram",
    symbols: Sequence[str] = (),
) -> list[str]:
    """Train a SentencePiece model `<prefix>.model` and return its token list.

    The model does not normalise texts, and every character of the texts is a unit.

    Args:
        model_type: `unigram` or `bpe`.
        symbols: non-linguistic symbols, each of which is one unit.

    Raises:
        UserError: SentencePiece cannot train a vocabulary of this size on these texts.
    """
    import sentencepiece

    Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    tags = sorted({match.group() for text in texts for match in TAG.finditer(text)})
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(prefix),
            vocab_size=vocab_size,
            model_type=model_type,
            character_coverage=1.0,
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            unk_id=0,
            minloglevel=2,
            user_defined_symbols=[*tags, *symbols],
            # Texts are in their normal form (`unicode.normalize`). SentencePiece's default, NFKC,
            # would change them: it merges the lone letters ㄱㅏ into 가, and ½ becomes 1⁄2.
            normalization_rule_name="identity",
            # SentencePiece silently ignores longer texts (in bytes), and with them their characters
            max_sentence_length=max([4192, *(len(text.encode()) + 1 for text in texts)]),
        )
    except RuntimeError as error:
        if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", str(error)):
            raise UserError(
                f"{vocab_size} SentencePiece units are fewer than the {needed[1]} characters and "
                "special symbols of the text",
                f"choose a vocabulary size of at least {needed[1]}",
            ) from None
        raise UserError(
            f"SentencePiece could not train {vocab_size} units: {error}",
            "choose a smaller vocabulary size or give more text",
        ) from None
    processor = SentencePieceTokenizer(f"{prefix}.model").processor
    units = [processor.id_to_piece(i) for i in range(processor.get_piece_size())]
    return [BLANK, UNK, *(unit for unit in units if unit != UNK), SOS_EOS]


@dataclass(frozen=True)
class LossyText:
    """A transcript that its tokens do not determine."""

    utt_id: str
    text: str
    decoded: str  # what the tokens of the text are decoded to
    characters: str  # characters that are lost, or that no token has


def lossy_texts(
    tokenizer: Tokenizer, tokens: Iterable[str], texts: Mapping[str, str]
) -> list[LossyText]:
    """Return the transcripts that change if they are encoded and decoded.

    A model can never produce such a transcript.

    Args:
        tokens: the token list.
        texts: normalised transcripts by utterance.

    >>> lossy_texts(CharTokenizer(), ["a", "b"], {"u1": "ab", "u2": "abc"})[0].characters
    'c'
    """
    known = set(tokens)
    lossy = []
    for utt_id, text in texts.items():
        encoded = tokenizer.encode(text)
        unknown = "".join(token for token in encoded if token not in known)
        decoded = tokenizer.decode(encoded)
        if unknown or decoded != text:
            lost = [*(Counter(text) - Counter(decoded)), *unknown.replace("▁", "")]
            characters = "".join(dict.fromkeys(char for char in lost if char != " "))
            lossy.append(LossyText(utt_id, text, decoded, characters))
    return lossy


def read_token_list(path: str | Path) -> list[str]:
    """Read a token list (`tokens.txt`, one token per line) and check its reserved symbols.

    Raises:
        UserError: the file is missing or is not a valid token list.
    """
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
            f"{path}: not a token list: it must begin with {BLANK}, contain {UNK} and end with "
            f"{SOS_EOS}",
            "run stage 5 again",
        )
    if len(set(tokens)) != len(tokens):
        repeated = next(token for token, count in Counter(tokens).items() if count > 1)
        raise UserError(f"{path}: token '{repeated}' is listed twice", "run stage 5 again")
    return tokens
