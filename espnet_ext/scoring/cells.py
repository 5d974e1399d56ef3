"""Cells: which hypotheses are compared with which references, in which alphabet.

==============  ====================================================================================
cell            one kind of hypothesis (such as surface) scored against one kind of reference
own cell        a cell whose hypothesis and reference are of the same kind
conversion      how a cell is brought to phones, if one side is phones and the other is words
not comparable  an utterance whose hypothesis cannot be converted. It is left out of the cell and
                counted.
unlabelled      an utterance that lacks the reference of the cell. It is left out and counted.
no hypothesis   an utterance without a hypothesis. It counts as an empty hypothesis, or is left out
                and counted, as the caller chooses.
==============  ====================================================================================

Texts in the same alphabet are compared unchanged. If exactly one side is phones, the written side
is converted:

- A written *reference* is replaced by `text.canonical`, the pronunciation that it should have had.
  An utterance without `text.canonical` counts as unlabelled in this cell.
- A written *hypothesis* is converted word by word with a lexicon. An utterance with a word that is
  not in the lexicon is not comparable. Such a cell favours utterances that were recognised well, so
  read its error rate together with the number of utterances that are not comparable.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from espnet_ext.errors import UserError
from espnet_ext.scoring.normal_form import CANONICAL

BY_CANONICAL = "reference as canonical phones"
BY_LEXICON = "hypothesis as phones by lexicon"

_METRICS = {"phone": ("per",), "word": ("wer", "cer"), "label": ("wer",)}
_METRICS_OF_WRITTEN_TEXT = ("cer", "wer")


@dataclass(frozen=True)
class Cell:
    """One kind of hypothesis against one kind of reference."""

    hypothesis: str
    reference: str
    metrics: tuple[str, ...]  # the first one is the cell's main metric
    conversion: str | None  # BY_CANONICAL, BY_LEXICON, or None

    @property
    def name(self) -> str:
        return f"{self.hypothesis}-{self.reference}"

    @property
    def is_own(self) -> bool:
        return self.hypothesis == self.reference


@dataclass(frozen=True)
class TextPair:
    """The two texts that are compared for one utterance in one cell."""

    utt_id: str
    reference: str
    hypothesis: str


@dataclass(frozen=True)
class CellTexts:
    """The texts that a cell compares, and the ids of the utterances that it leaves out."""

    pairs: list[TextPair]
    unlabelled: list[str]
    not_comparable: list[str]
    no_hypothesis: list[str]


def metrics_of(token_type: str) -> tuple[str, ...]:
    """Return the metrics for texts of a token type, the main metric first.

    >>> metrics_of("phone"), metrics_of("bpe")
    (('per',), ('cer', 'wer'))
    """
    return _METRICS.get(token_type, _METRICS_OF_WRITTEN_TEXT)


def plan_cells(
    hypotheses: Sequence[str],
    references: Sequence[str],
    token_types: Mapping[str, str],
    languages: Mapping[str, str] | None = None,
) -> list[Cell]:
    """Return all cells of hypotheses × references.

    A label of the whole utterance is only compared with labels of the same kind, and a translation
    only with texts of its language.

    Args:
        hypotheses, references: kinds of text.
        token_types: kind → token type.
        languages: kind → language, for translations (`utt2lang_<output>`).

    Raises:
        UserError: the token type of a kind is missing or unknown.

    >>> [cell.name for cell in plan_cells(["surface"], ["surface", "meaning"],
    ...                                   {"surface": "char", "meaning": "bpe"})]
    ['surface-surface', 'surface-meaning']
    """
    from espnet_ext.text.tokenizers import TOKEN_TYPES

    languages = languages or {}
    for kind, token_type in token_types.items():
        if token_type not in TOKEN_TYPES:
            raise UserError(
                f"unknown token type '{token_type}' of '{kind}'",
                f"use one of {', '.join(TOKEN_TYPES)}",
            )
    for kind in [*hypotheses, *references]:
        if kind not in token_types:
            raise UserError(
                f"'{kind}' has no token type", f'add it, as in --token_types "{kind}=char"'
            )
    return [
        _cell(hypothesis, reference, token_types)
        for hypothesis in hypotheses
        for reference in references
        if hypothesis == reference
        or (
            "label" not in (token_types[hypothesis], token_types[reference])
            and languages.get(hypothesis) == languages.get(reference)
        )
    ]


def _cell(hypothesis: str, reference: str, token_types: Mapping[str, str]) -> Cell:
    hypothesis_is_phones = token_types[hypothesis] == "phone"
    reference_is_phones = token_types[reference] == "phone"
    if hypothesis_is_phones == reference_is_phones:
        return Cell(hypothesis, reference, metrics_of(token_types[reference]), None)
    conversion = BY_CANONICAL if hypothesis_is_phones else BY_LEXICON
    return Cell(hypothesis, reference, metrics_of("phone"), conversion)


def pair_texts(
    cell: Cell,
    references: Mapping[str, Mapping[str, str]],
    hypotheses: Mapping[str, str],
    pronounce: Callable[[str], str | None],
    leave_out_missing: bool = False,
) -> CellTexts:
    """Collect the texts that a cell compares.

    Args:
        references: utterance → kind → labelled reference.
        hypotheses: utterance → hypothesis.
        pronounce: returns the phones of a written text, or None if they are not known.
        leave_out_missing: leave out utterances without a hypothesis, instead of counting it as
            empty.
    """
    label = CANONICAL if cell.conversion == BY_CANONICAL else cell.reference
    result = CellTexts([], [], [], [])
    for utt_id, labels in references.items():
        # canonical replaces the reference only if the reference itself exists
        if cell.reference not in labels or label not in labels:
            result.unlabelled.append(utt_id)
            continue
        if leave_out_missing and utt_id not in hypotheses:
            result.no_hypothesis.append(utt_id)
            continue
        hypothesis = hypotheses.get(utt_id, "")
        if cell.conversion == BY_LEXICON:
            phones = pronounce(hypothesis) if hypothesis else ""
            if phones is None:
                result.not_comparable.append(utt_id)
                continue
            hypothesis = phones
        result.pairs.append(TextPair(utt_id, labels[label], hypothesis))
    return result
