"""Alignment of hypotheses with references, edit counts and error rates.

=========  =========================================================================================
CER        character error rate. A space between words is a token, as in ESPnet's `score_cer`.
           `<unk>` is one token, but five in ESPnet.
WER        word error rate, as in ESPnet's `score_wer`
PER        phone error rate. Phones are separated by spaces.
alignment  a string with one letter per column: `=` equal, `s` substitution, `d` deletion,
           `i` insertion
=========  =========================================================================================

An error rate is the edit distance per 100 reference tokens. Substitutions, deletions and insertions
cost 1 each, as in jiwer. sclite instead uses the costs 4, 3 and 3, so its alignments sometimes have
one error more than the minimum, and it ignores case.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

METRICS = ("cer", "wer", "per")
SPACE, UNK = "<space>", "<unk>"

Edit = tuple[str, int, int]  # kind, position in the reference, position in the hypothesis
_LETTERS = {"replace": ord("s"), "delete": ord("d"), "insert": ord("i")}


@dataclass(frozen=True, slots=True)
class Counts:
    """Edit counts of one or more aligned utterances."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    sentences: int = 0
    sentence_errors: int = 0

    @property
    def tokens(self) -> int:
        """Number of reference tokens."""
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Error rate in percent, or None if there is no reference token."""
        return 100.0 * self.errors / self.tokens if self.tokens else None

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.sentences + other.sentences,
            self.sentence_errors + other.sentence_errors,
        )


def tokenize(text: str, metric: str) -> list[str]:
    """Split a text into the tokens of a metric. `<unk>` is one character.

    Raises:
        ValueError: the metric is not one of METRICS.

    >>> tokenize(" 국물  맛", "cer")
    ['국', '물', '<space>', '맛']
    >>> tokenize("DH AH", "per")
    ['DH', 'AH']
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    words = text.split()
    if metric == "cer":
        text = " ".join(words)
        characters = re.findall("<unk>|.", text) if UNK in text else text
        return [SPACE if character == " " else character for character in characters]
    return words


def align(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[str]:
    """Return the alignment of every pair of token sequences.

    If several alignments have the minimum cost, the result is the one that jiwer returns.

    >>> align([["a", "b", "c"]], [["a", "x"]])
    ['=sd']
    """
    from rapidfuzz.distance import Levenshtein

    alignments = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        # iterating over `editops` instead of `as_list` is four times as slow
        edits = cast(list[Edit], Levenshtein.editops(reference, hypothesis).as_list())
        alignments.append(_alignment(len(reference), edits))
    return alignments


def _alignment(length: int, edits: Iterable[Edit]) -> str:
    """Return the alignment of a reference of `length` tokens, from its edits in order."""
    columns = bytearray(b"=") * length
    inserted = 0
    for kind, position, _ in edits:
        if kind == "insert":
            columns.insert(position + inserted, _LETTERS[kind])
            inserted += 1
        else:
            columns[position + inserted] = _LETTERS[kind]
    return columns.decode("ascii")


def edit_distances(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[int]:
    """Return the edit distance of every pair of token sequences.

    >>> edit_distances([["a", "b", "c"]], [["a", "x"]])
    [2]
    """
    from rapidfuzz.distance import Levenshtein

    pairs = zip(references, hypotheses, strict=True)
    return [Levenshtein.distance(reference, hypothesis) for reference, hypothesis in pairs]


def count_edits(alignment: str) -> Counts:
    """Return the edit counts of one utterance.

    >>> count_edits("=sdi").errors, count_edits("=sdi").tokens
    (3, 3)
    """
    return count_all_edits([alignment])


def count_all_edits(alignments: Sequence[str]) -> Counts:
    """Return the summed edit counts of utterances.

    >>> count_all_edits(["=s", "=="]) == count_edits("=s") + count_edits("==")
    True
    """
    columns = "".join(alignments)
    return Counts(
        correct=columns.count("="),
        substitutions=columns.count("s"),
        deletions=columns.count("d"),
        insertions=columns.count("i"),
        sentences=len(alignments),
        sentence_errors=sum(alignment.strip("=") != "" for alignment in alignments),
    )


def align_texts(references: Sequence[str], hypotheses: Sequence[str], metric: str) -> list[str]:
    """Tokenize pairs of texts by a metric and return their alignments.

    >>> align_texts(["국물"], ["궁물"], "cer")
    ['s=']
    """
    return align(
        [tokenize(text, metric) for text in references],
        [tokenize(text, metric) for text in hypotheses],
    )
