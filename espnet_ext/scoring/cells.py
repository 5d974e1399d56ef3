"""Which hypothesis kind is compared with which reference kind, in what alphabet, by what metric.

A *cell* is one hypothesis kind scored against one reference kind. Texts of one alphabet are
compared as they stand. Where one side is phones and the other is written words, like is compared
with like by bringing the written side to phones:

- a written *reference* becomes `text.canonical`, the pronunciation that it should have had; an
  utterance without one counts as unlabelled in this cell;
- a written *hypothesis* is pronounced word by word with a lexicon; an utterance with a word that
  the lexicon does not know is *not comparable*: left out of the cell, and counted there. The cell
  then leans towards utterances that were recognised well: read its rate with that count.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from espnet_ext.errors import UserError

CANONICAL = "canonical"
BY_CANONICAL = "reference as canonical phones"
BY_LEXICON = "hypothesis as phones by lexicon"

_METRICS = {"phone": ("per",), "word": ("wer", "cer"), "label": ("wer",)}
_WRITTEN = ("cer", "wer")


@dataclass(frozen=True)
class Cell:
    """One hypothesis kind against one reference kind."""

    hypothesis: str
    reference: str
    metrics: tuple[str, ...]  # the first one is the cell's own metric
    conversion: str | None  # BY_CANONICAL, BY_LEXICON, or None

    @property
    def name(self) -> str:
        return f"{self.hypothesis}-{self.reference}"

    @property
    def own(self) -> bool:
        return self.hypothesis == self.reference


@dataclass(frozen=True)
class Pair:
    """The two texts that are compared for one utterance in one cell."""

    utt_id: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class Paired:
    """What a cell compares, and the utterances that it leaves out, by reason."""

    pairs: list[Pair]
    unlabelled: list[str]
    not_comparable: list[str]


def metrics_of(token_type: str) -> tuple[str, ...]:
    """The metrics of a kind of text, its own one first.

    >>> metrics_of("phone"), metrics_of("bpe")
    (('per',), ('cer', 'wer'))
    """
    return _METRICS.get(token_type, _WRITTEN)


def plan(
    hypotheses: Sequence[str], references: Sequence[str], token_types: Mapping[str, str]
) -> list[Cell]:
    """All cells, in the order given; UserError for a kind whose token type is not known.

    A label of the whole utterance is compared with labels of its own kind alone.

    >>> [c.name for c in plan(["surface"], ["surface", "meaning"],
    ...                       {"surface": "char", "meaning": "bpe"})]
    ['surface-surface', 'surface-meaning']
    """
    from espnet_ext.text.tokenizers import TOKEN_TYPES

    for kind, token_type in token_types.items():
        if token_type not in TOKEN_TYPES:
            raise UserError(
                f"'{token_type}' is no token type (given for '{kind}')",
                f"use one of {', '.join(TOKEN_TYPES)}",
            )
    for kind in [*hypotheses, *references]:
        if kind not in token_types:
            raise UserError(
                f"no token type is given for '{kind}'",
                f'add it, as in --token_types "{kind}=char"',
            )
    return [
        _cell(h, r, token_types)
        for h in hypotheses
        for r in references
        if h == r or "label" not in (token_types[h], token_types[r])
    ]


def _cell(hypothesis: str, reference: str, token_types: Mapping[str, str]) -> Cell:
    hypothesis_phones = token_types[hypothesis] == "phone"
    reference_phones = token_types[reference] == "phone"
    if hypothesis_phones == reference_phones:
        return Cell(hypothesis, reference, metrics_of(token_types[reference]), None)
    conversion = BY_CANONICAL if hypothesis_phones else BY_LEXICON
    return Cell(hypothesis, reference, metrics_of("phone"), conversion)


def pair(
    cell: Cell,
    texts: Mapping[str, Mapping[str, str]],
    hypotheses: Mapping[str, str],
    pronounce: Callable[[str], str | None],
) -> Paired:
    """Bring the texts of a cell together.

    `texts` holds the labelled references of every utterance, by id and kind; a hypothesis that is
    missing counts as an empty one. `pronounce` gives a written text's phones, or None.
    """
    label = CANONICAL if cell.conversion == BY_CANONICAL else cell.reference
    result = Paired([], [], [])
    for utt_id, labels in texts.items():
        # The canonical form stands in for the reference only where the reference itself exists.
        if cell.reference not in labels or label not in labels:
            result.unlabelled.append(utt_id)
            continue
        hypothesis = hypotheses.get(utt_id, "")
        if cell.conversion == BY_LEXICON:
            phones = pronounce(hypothesis) if hypothesis else ""
            if phones is None:
                result.not_comparable.append(utt_id)
                continue
            hypothesis = phones
        result.pairs.append(Pair(utt_id, labels[label], hypothesis))
    return result
