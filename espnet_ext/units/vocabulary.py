"""The joint input vocabulary of units and text (arXiv 2309.15826, section 3.1).

Ids in order: `<blank>`, `<unk>`, `<mask>`, further symbols, tokens of units, tokens of text,
`<sos/eos>`. The ids of units and text are two ranges, so that no id means both. A token of units is
written as `<u>` and its characters; no token of text may begin with `<u>`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.errors import UserError
from espnet_ext.files import sha256_of, write_json, write_text
from espnet_ext.text import tokenizers
from espnet_ext.text.tokenizers import BLANK, SOS_EOS, UNK, Tokenizer
from espnet_ext.units.files import read_manifest
from espnet_ext.units.sequences import text_to_units, units_to_text

MASK = "<mask>"
UNIT_PREFIX = "<u>"
UNIT, BPE = "unit", "bpe"  # token types of units
TEXT_TYPES = ("char", "jamo", "phone", "word", "bpe")
TOKENS, MANIFEST = "tokens.txt", "vocabulary.json"
# regular expression for the names of the files that `build` writes
NAMES = r"tokens\.txt|vocabulary\.json|(?:units|text)\.(?:model|vocab)"
FORMAT = 1
UNKNOWN_ID = 1  # of <unk>
_BUILD = "make the vocabulary again: espnet-ext unit_tokens"


@dataclass(frozen=True)
class UnitSource:
    """Which units a vocabulary is for: what the manifest of a dump records."""

    units_sha256: str  # digest of features and codebooks
    codebooks: Sequence[int]  # number of clusters of each
    repeats: str  # "remove" or "keep"

    @property
    def count(self) -> int:
        """The number of different units."""
        return sum(self.codebooks)

    @classmethod
    def of(cls, manifest: Mapping[str, Any], where: str) -> "UnitSource":
        sizes, repeats = manifest["codebooks"], manifest["repeats"]
        is_list = isinstance(sizes, list) and sizes and all(type(size) is int for size in sizes)
        if not is_list or repeats not in ("remove", "keep"):
            raise UserError(f"{where}: not a valid manifest", "write it again")
        return cls(str(manifest["units_sha256"]), tuple(sizes), repeats)


@dataclass
class JointVocabulary:
    """Maps units and text to input ids. Read it with `read`, make it with `build`.

    >>> vocabulary = JointVocabulary.read("data/joint_tokens")  # doctest: +SKIP
    >>> vocabulary.unit_ids([12, 40]), vocabulary.text_ids("cat")  # doctest: +SKIP
    ([15, 43], [2005, 2003, 2022])
    """

    source: UnitSource
    tokens: Sequence[str]
    symbols: Sequence[str]  # such as guiding tokens: "<to:meaning>"
    unit_tokens: int  # number of tokens of units
    unit_type: str  # "unit" or "bpe"
    text_type: str  # one of TEXT_TYPES
    unit_tokenizer: Tokenizer
    text_tokenizer: Tokenizer
    digest: str = ""  # a SHA-256 of all of it
    _ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def mask_id(self) -> int:
        return self._ids[MASK]

    @property
    def unit_range(self) -> range:
        """The ids of units."""
        first = 3 + len(self.symbols)
        return range(first, first + self.unit_tokens)

    @property
    def text_range(self) -> range:
        """The ids of text."""
        return range(self.unit_range.stop, len(self.tokens) - 1)

    def symbol_id(self, symbol: str) -> int:
        """Return the id of one of the symbols."""
        if symbol not in self.symbols:
            known = ", ".join(self.symbols) or "none"
            message = f"the joint vocabulary has no symbol '{symbol}'"
            raise UserError(
                message,
                f"symbols: {known}; make the vocabulary again: espnet-ext unit_tokens --symbols",
            )
        return self._ids[symbol]

    def unit_ids(self, units: Sequence[int] | np.ndarray, where: str = "units") -> list[int]:
        """Return the input ids of units.

        Args:
            where: names the units in errors: file and utterance.

        Raises:
            UserError: if there are none, or one is out of range.
        """
        wrong = [int(unit) for unit in units if not 0 <= unit < self.source.count]
        if wrong:
            message = f"{where}: unit {wrong[0]} is not one of the {self.source.count} units"
            raise UserError(message, "extract the units with the k-means of the vocabulary")
        return self.unit_text_ids(units_to_text(units), where)

    def unit_text_ids(self, text: str, where: str = "units") -> list[int]:
        """Return the input ids of units that are written as text, as in `text.rm.units`."""
        text_to_units(text, self.source.count, where)  # checks them
        return [self._ids[UNIT_PREFIX + token] for token in self.unit_tokenizer.encode(text)]

    def text_ids(self, text: str) -> list[int]:
        """Return the input ids of a text; `<unk>` for tokens that are not in the vocabulary.

        A token in the text that is written like a unit or a symbol is `<unk>`, too.
        """
        first, last = self.text_range.start, self.text_range.stop
        ids = (self._ids.get(token, UNKNOWN_ID) for token in self.text_tokenizer.encode(text))
        return [i if first <= i < last else UNKNOWN_ID for i in ids]

    def require_units(self, source: UnitSource, where: str) -> None:
        """Raise `UserError` unless units come from the k-means that the vocabulary is for.

        Args:
            where: names the units: a file or a folder.
        """
        if source.units_sha256 != self.source.units_sha256:
            raise UserError(
                f"{where}: its units are of another k-means than those of the vocabulary "
                f"(SHA-256 {source.units_sha256[:12]}, not {self.source.units_sha256[:12]})",
                f"dump the units with the k-means of the vocabulary, or {_BUILD}",
            )
        if source.repeats != self.source.repeats:
            raise UserError(
                f"{where}: repeats: {source.repeats}, but the vocabulary is for units with "
                f"repeats: {self.source.repeats}",
                f"espnet-ext dump_units --repeats {self.source.repeats}, or {_BUILD}",
            )

    @classmethod
    def read(cls, folder: str | Path) -> "JointVocabulary":
        """Read a vocabulary that `build` wrote.

        Raises:
            UserError: if a file is missing, or is not the one that the manifest records.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise UserError(f"{path}: no such file", _BUILD)
        keys = ("units_sha256", "codebooks", "repeats", "unit_type", "text_type", "files")
        manifest = read_manifest(path, FORMAT, (*keys, "symbols", "unit_tokens", "sha256"))
        if _digest(manifest) != manifest["sha256"]:
            raise UserError(f"{path}: was changed after it was written", _BUILD)
        for name, digest in manifest["files"].items():
            if Path(name).name != name:
                raise UserError(f"{path}: '{name}' is not the name of a file", _BUILD)
            if not (folder / name).is_file():
                raise UserError(f"{folder / name}: no such file", _BUILD)
            if sha256_of(folder / name) != digest:
                message = f"{folder / name}: is not the file that {path} was written with"
                raise UserError(message, f"restore both files, or {_BUILD}")
        tokens = tokenizers.read_token_list(folder / TOKENS)
        unit_type, text_type = manifest["unit_type"], manifest["text_type"]
        return cls(
            UnitSource.of(manifest, str(path)),
            tokens,
            tuple(manifest["symbols"]),
            int(manifest["unit_tokens"]),
            unit_type,
            text_type,
            _unit_tokenizer(folder, unit_type),
            _text_tokenizer(folder, text_type, tokens[3 + manifest["unit_tokens"] :]),
            manifest["sha256"],
        )


def build(
    folder: str | Path,
    source: UnitSource,
    unit_texts: Iterable[str],
    texts: Sequence[str],
    *,
    unit_type: str = BPE,
    unit_size: int = 4000,
    text_type: str = BPE,
    text_size: int = 4000,
    bpemode: str = "unigram",
    symbols: Sequence[str] = (),
) -> JointVocabulary:
    """Train the tokenizers, write the files of a vocabulary, and return it.

    Every unit is a token, also if no text contains it.

    Args:
        source: source of the units.
        unit_texts: units as text, one per utterance. Not read for the token type "unit".
        texts: normalised transcripts.
        unit_type: "unit": each unit is one token; "bpe": SentencePiece.
        unit_size, text_size: number of tokens, for the type "bpe".
        bpemode: kind of SentencePiece model, "unigram" or "bpe".
        symbols: further tokens, such as guiding tokens.

    Raises:
        UserError: if the options are not possible, or a token would have two meanings.
    """
    folder = Path(folder)
    if unit_type not in (UNIT, BPE) or text_type not in TEXT_TYPES:
        raise UserError(
            f"token types '{unit_type}' of units and '{text_type}' of text",
            f"units: {UNIT} or {BPE}; text: {', '.join(TEXT_TYPES)}",
        )
    every_unit = units_to_text(range(source.count))
    if unit_type == BPE:
        rows = [*unit_texts, every_unit]
        unit_list = _train_sentencepiece(
            rows, folder / "units", unit_size, bpemode, "unit_vocab_size"
        )
    else:
        unit_list = [BLANK, UNK, *every_unit, SOS_EOS]
    if text_type == BPE:
        text_list = _train_sentencepiece(
            texts, folder / "text", text_size, bpemode, "text_vocab_size"
        )
    else:
        text_list = tokenizers.token_list(tokenizers.build_tokenizer(text_type), texts)
    unit_tokens = [UNIT_PREFIX + token for token in unit_list[2:-1]]
    text_tokens = text_list[2:-1]
    reserved = {BLANK, UNK, MASK, SOS_EOS, *symbols}
    for token in text_tokens:
        if token.startswith(UNIT_PREFIX) or token in reserved:
            raise UserError(
                f"the token '{token}' of the text has another meaning in the joint vocabulary",
                "remove it from the texts, or rename the symbol",
            )
    tokens = [BLANK, UNK, MASK, *symbols, *unit_tokens, *text_tokens, SOS_EOS]
    if len(set(tokens)) < len(tokens):
        raise UserError(f"symbols {' '.join(symbols)}: not unique", "rename them")
    write_text(folder / TOKENS, "\n".join(tokens) + "\n")
    names = [TOKENS]
    names += ["units.model"] if unit_type == BPE else []
    names += ["text.model"] if text_type == BPE else []
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "units_sha256": source.units_sha256,
        "codebooks": list(source.codebooks),
        "repeats": source.repeats,
        "unit_type": unit_type,
        "text_type": text_type,
        "symbols": list(symbols),
        "unit_tokens": len(unit_tokens),
        "text_tokens": len(text_tokens),
        "files": {name: sha256_of(folder / name) for name in names},
    }
    write_json(folder / MANIFEST, {**manifest, "sha256": _digest(manifest)})
    return JointVocabulary.read(folder)


def _train_sentencepiece(
    texts: Sequence[str], prefix: Path, size: int, bpemode: str, option: str
) -> list[str]:
    """Train SentencePiece; errors name the option that sets the number of tokens."""
    try:
        return tokenizers.train_sentencepiece(texts, prefix, size, model_type=bpemode)
    except UserError as error:
        message = f"{prefix}.model: {error.message}"
        raise UserError(message, f"{error.remedy}: unit_tokens --{option}") from None


def _digest(manifest: Mapping[str, Any]) -> str:
    """Return a SHA-256 of a manifest, which contains the digests of the files and of the units."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unit_tokenizer(folder: Path, kind: str) -> Tokenizer:
    if kind == BPE:
        return tokenizers.SentencePieceTokenizer(folder / "units.model")
    return tokenizers.CharTokenizer()


def _text_tokenizer(folder: Path, kind: str, tokens: Iterable[str]) -> Tokenizer:
    if kind == BPE:
        return tokenizers.SentencePieceTokenizer(folder / "text.model")
    symbols = [token for token in tokens if not token.startswith(UNIT_PREFIX)]
    return tokenizers.build_tokenizer(kind, token_list=symbols)
