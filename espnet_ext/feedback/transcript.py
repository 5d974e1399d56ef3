"""A recognised surface as units: which token each unit belongs to, and how to replace units."""

import re
import unicodedata
from collections.abc import Sequence

from espnet_ext.feedback.comparison import Comparison, Deviation
from espnet_ext.feedback.expected import ENGLISH
from espnet_ext.text import hangul
from espnet_ext.text.tokenizers import SPACE, UNK

# Inline tags and non-linguistic symbols (`--nlsyms_txt`), such as <l1:Hindi> and <noise>
SYMBOL = re.compile(r"<[^<>\s]+>")
WORD_START = "▁"  # of SentencePiece


class Transcript:
    """The tokens of a recognised surface in units.

    Inline tags and non-linguistic symbols have none; an unknown token is a unit.

    Args:
        tokens: the tokens of the hypothesis.
        language: `expected.ENGLISH` or `KOREAN`.

    >>> transcript = Transcript(["한", "<space>", "글"], "ko")
    >>> len(transcript.units), transcript.token_of
    (6, [0, 0, 0, 2, 2, 2])
    """

    def __init__(self, tokens: Sequence[str], language: str):
        self.language = language
        self.pieces: list[str] = []  # units, and spaces between words
        self.token_of: list[int] = []  # index of the token of each unit
        for index, token in enumerate(tokens):
            is_symbol = SYMBOL.fullmatch(token) and token not in (SPACE, UNK)
            pieces = [] if is_symbol else _pieces(token, language)
            self.pieces += pieces
            self.token_of += [index for piece in pieces if piece != " "]
        self.places = [i for i, piece in enumerate(self.pieces) if piece != " "]

    @property
    def units(self) -> list[str]:
        """The units without spaces."""
        return [self.pieces[i] for i in self.places]

    def text(self, pieces: Sequence[str] | None = None) -> str:
        """Return the transcript, or other pieces, as a text for the tokenizer of the surface."""
        pieces = self.pieces if pieces is None else pieces
        if self.language == ENGLISH:
            return " ".join(pieces)
        return " ".join(hangul.from_jamo("".join(pieces)).split())

    def undo(self, comparison: Comparison, deviation: Deviation) -> str:
        """Return the text with the expected units in place of one deviation."""
        pieces = list(self.pieces)
        for index in reversed(deviation.columns):
            column = comparison.columns[index]
            place = self._place(column.position)
            has_unit = column.recognised is not None
            pieces[place : place + has_unit] = [] if column.expected is None else [column.expected]
        return self.text(pieces)

    def _place(self, position: int) -> int:
        """Return the piece of a unit; beyond the last unit, the place after it."""
        if position < len(self.places):
            return self.places[position]
        return self.places[-1] + 1 if self.places else 0


def _pieces(token: str, language: str) -> list[str]:
    """Return the units of a token, with " " for a space."""
    if token == SPACE:
        return [" "]
    if language == ENGLISH or token == UNK:
        return [token]
    pieces = [" "] if token.startswith(WORD_START) else []
    return pieces + list(unicodedata.normalize("NFD", token.removeprefix(WORD_START)))
