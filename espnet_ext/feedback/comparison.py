"""Comparison of recognised units with the expected pronunciation, and the deviations in it.

Of the accepted pronunciations of each word, the one nearest to what was recognised is expected
(`scoring.nearest_pronunciation`). Its units are aligned with the recognised ones.

Symbols: N expected units, M recognised units.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from espnet_ext.feedback.expected import ENGLISH, KOREAN, ExpectedSentence, Units
from espnet_ext.scoring.nearest_pronunciation import nearest_variants
from espnet_ext.text.phones import is_vowel

SUBSTITUTION, DELETION, INSERTION = "substitution", "deletion", "insertion"
MISSING_SYLLABLE, MISSING_WORD = "missing_syllable", "missing_word"
KINDS = (SUBSTITUTION, DELETION, INSERTION, MISSING_SYLLABLE, MISSING_WORD)
# Costs of the alignment. Aligning two consonants costs less than a consonant with a vowel. A
# substitution of units of different classes still costs less than a deletion and an insertion.
_GAP, _SAME_CLASS, _OTHER_CLASS = 10, 10, 17
_OPEN = 1  # of the first of neighbouring gaps, in addition


@dataclass(frozen=True)
class Column:
    """An expected and a recognised unit that are aligned; None is a gap.

    Args:
        expected, recognised: the units.
        word: index of the word; that of an insertion is the word before it.
        syllable: number of the syllable of `expected`, for Korean.
        position: number of recognised units before this column.
    """

    expected: str | None
    recognised: str | None
    word: int
    syllable: int | None
    position: int

    @property
    def is_deviation(self) -> bool:
        return self.expected != self.recognised


@dataclass(frozen=True)
class Deviation:
    """A difference between the expected and the recognised pronunciation.

    Args:
        kind: one of KINDS.
        columns: indices of its columns, which are neighbours.
        word: index of its word.
        expected, recognised: its units; either may be empty.
    """

    kind: str
    columns: tuple[int, ...]
    word: int
    expected: Units
    recognised: Units


@dataclass(frozen=True)
class AcceptedVariant:
    """A word that was pronounced in another accepted way than the preferred one.

    Args:
        word: index of the word.
        preferred, chosen: pronunciations.
    """

    word: int
    preferred: Units
    chosen: Units


@dataclass(frozen=True)
class Comparison:
    """The alignment of a sentence with what was recognised.

    Args:
        words: the words of the sentence.
        pronunciations: the expected pronunciation of each word.
        columns: the alignment.
        deviations: what differs, in order.
        variants: words with another accepted pronunciation.
    """

    words: tuple[str, ...]
    pronunciations: tuple[Units, ...]
    columns: tuple[Column, ...]
    deviations: tuple[Deviation, ...]
    variants: tuple[AcceptedVariant, ...]

    @property
    def expected(self) -> list[str]:
        """The expected units of the sentence."""
        return [unit for units in self.pronunciations for unit in units]

    @property
    def error_rate(self) -> float:
        """Edits per expected unit, 0 or more."""
        edits = sum(column.is_deviation for column in self.columns)
        return edits / max(1, len(self.expected))


def compare(sentence: ExpectedSentence, recognised: Sequence[str]) -> Comparison:
    """Align the recognised units (M) of an utterance with a sentence.

    >>> from espnet_ext.feedback.expected import expect
    >>> compare(expect("I think", "en"), "AY S IH NG K".split()).deviations
    (Deviation(kind='substitution', columns=(1,), word=1, expected=('TH',), recognised=('S',)),)
    """
    lattice = [
        [tuple(itertools.chain.from_iterable(by_word)) for by_word in group.pronunciations]
        for group in sentence.groups
    ]
    words: list[str] = []
    pronunciations: list[Units] = []
    variants: list[AcceptedVariant] = []
    chosen = nearest_variants(lattice, recognised)
    for group, index in zip(sentence.groups, chosen, strict=True):
        for number, word in enumerate(group.words):
            preferred = group.pronunciations[0][number]
            pronunciation = group.pronunciations[index][number]
            if pronunciation != preferred:
                variants.append(AcceptedVariant(len(words), preferred, pronunciation))
            words.append(word.text)
            pronunciations.append(pronunciation)
    columns = _align(pronunciations, recognised, sentence.language)
    deviations = _find_deviations(columns, sentence.language)
    return Comparison(
        tuple(words), tuple(pronunciations), tuple(columns), tuple(deviations), tuple(variants)
    )


def unit_class(unit: str, language: str) -> str:
    """Return "vowel" or "consonant"; for Korean "lead", "vowel", "tail" or "letter".

    >>> unit_class("AE", "en"), unit_class("\\u11a8", "ko")
    ('vowel', 'tail')
    """
    if language == ENGLISH:
        return "vowel" if is_vowel(unit) else "consonant"
    if "\u1100" <= unit <= "\u115f":
        return "lead"
    if "\u1160" <= unit <= "\u11a7":
        return "vowel"
    return "tail" if "\u11a8" <= unit <= "\u11ff" else "letter"


def _align(
    pronunciations: Sequence[Units], recognised: Sequence[str], language: str
) -> list[Column]:
    expected = [unit for units in pronunciations for unit in units]
    word_of = [i for i, units in enumerate(pronunciations) for _ in units]
    classes = {unit: unit_class(unit, language) for unit in {*expected, *recognised}}

    def cost(a: str, b: str) -> int:
        if a == b:
            return 0
        return _SAME_CLASS if classes[a] == classes[b] else _OTHER_CLASS

    pairs = _best_pairs(expected, recognised, cost)
    syllables = _syllables(expected, language)
    columns, position, word = [], 0, 0
    for first, second in pairs:
        word = word if first is None else word_of[first]
        columns.append(
            Column(
                None if first is None else expected[first],
                None if second is None else recognised[second],
                word,
                None if first is None else syllables[first],
                position,
            )
        )
        position += second is not None
    return columns


def _best_pairs(
    expected: Sequence[str], recognised: Sequence[str], cost: Callable[[str, str], int]
) -> list[tuple[int | None, int | None]]:
    """Return the indices of aligned units in order, None for a gap (Gotoh, 1982).

    Neighbouring gaps on one side are cheaper than separate ones, so that a missing word is not
    spread over several words.
    """
    n, m = len(expected), len(recognised)
    infinite, pair = 10**9, 2
    # Cost of the best alignment up to each position, by its last move: deletion, insertion, pair.
    # Of equal alignments, the one whose gaps are later is chosen.
    table = [[[infinite] * 3 for _ in range(m + 1)] for _ in range(n + 1)]
    origin = [[[0] * 3 for _ in range(m + 1)] for _ in range(n + 1)]
    table[0][0][pair] = 0
    steps = ((1, 0), (0, 1), (1, 1))
    for i, j in itertools.product(range(n + 1), range(m + 1)):
        for move, (di, dj) in enumerate(steps):
            if i < di or j < dj:
                continue
            price = cost(expected[i - 1], recognised[j - 1]) if move == pair else _GAP
            before = table[i - di][j - dj]
            totals = [before[k] + _OPEN * (move != pair and k != move) for k in range(3)]
            previous = totals.index(min(totals))
            if totals[previous] < infinite:
                table[i][j][move] = totals[previous] + price
                origin[i][j][move] = previous
    pairs: list[tuple[int | None, int | None]] = []
    i, j = n, m
    move = table[n][m].index(min(table[n][m]))
    while i or j:
        previous = origin[i][j][move]
        di, dj = steps[move]
        i, j = i - di, j - dj
        pairs.append((i if di else None, j if dj else None))
        move = previous
    return pairs[::-1]


def _syllables(expected: Sequence[str], language: str) -> list[int | None]:
    """Return the number of the syllable of each unit, for Korean."""
    if language != KOREAN:
        return [None] * len(expected)
    starts = [unit_class(unit, language) in ("lead", "letter") for unit in expected]
    return list(itertools.accumulate(map(int, starts)))


def _find_deviations(columns: Sequence[Column], language: str) -> list[Deviation]:
    """Return the deviations; a word or syllable that is missing is one deviation.

    Neighbouring insertions are one deviation in Korean, where units are parts of syllables.
    """
    missing_words = _missing(columns, [None if c.expected is None else c.word for c in columns])
    missing_syllables = _missing(columns, [column.syllable for column in columns])

    def key(index: int) -> tuple:
        column = columns[index]
        if column.expected is None:
            return (INSERTION, None if language == KOREAN else index)
        if column.word in missing_words:
            return (MISSING_WORD, column.word)
        if column.syllable in missing_syllables:
            return (MISSING_SYLLABLE, column.syllable)
        return (DELETION if column.recognised is None else SUBSTITUTION, index)

    differing = [i for i, column in enumerate(columns) if column.is_deviation]
    deviations = []
    for (kind, _, _), run in itertools.groupby(
        enumerate(differing), lambda pair: (*key(pair[1]), _run_of(key(pair[1]), pair))
    ):
        indices = tuple(index for _, index in run)
        members = [columns[i] for i in indices]
        deviations.append(
            Deviation(
                kind,
                indices,
                members[0].word,
                tuple(c.expected for c in members if c.expected is not None),
                tuple(c.recognised for c in members if c.recognised is not None),
            )
        )
    return deviations


def _run_of(key: tuple, pair: tuple[int, int]) -> int:
    """Return a number that is equal for neighbouring insertions only, and 0 for other kinds."""
    rank, index = pair
    return index - rank if key[0] == INSERTION else 0


def _missing(columns: Sequence[Column], groups: Sequence[int | None]) -> set[int]:
    """Return the groups of columns in which no unit was recognised."""
    pronounced = {g for g, c in zip(groups, columns, strict=True) if c.recognised is not None}
    return {group for group in groups if group is not None} - pronounced
