"""Mispronunciation detection and diagnosis (MDD) from the output of a recogniser.

The columns of an alignment (`multiple_alignment`) hold four phones or gaps:

===  ===============================================================================================
C    canonical phone: what should have been pronounced
P    perceived phone: what was pronounced, by annotation
K    canonical phone that the system assumes: C if it has the prompt, otherwise the pronunciation of
     the meaning that it recognised
H    hypothesis: the recognised phone. The system reports an error where H ≠ K.
===  ===============================================================================================

Every column has one outcome:

===  ==================  ===========================================================================
TA   true acceptance     P = C and H = K: correct, and no error reported
FR   false rejection     P = C and H ≠ K: correct, but an error reported
FA   false acceptance    P ≠ C and H = K: mispronounced, but no error reported
TR   true rejection      P ≠ C and H ≠ K: mispronounced, and an error reported. TR = CD + ED.
CD   correct diagnosis   a true rejection with H = P
ED   diagnosis error     a true rejection with H ≠ P
===  ==================  ===========================================================================

Measures after Qian, Soong & Meng (2010), in percent:

====================  ==============================================================================
FRR                   FR / (TA + FR)
FAR                   FA / (FA + TR)
DER                   ED / (CD + ED)
precision, recall     TR / (TR + FR), TR / (TR + FA)
diagnosis_precision,  CD / (TR + FR), CD / (TR + FA)
diagnosis_recall
F1                    harmonic mean of precision and recall
====================  ==============================================================================

First P is aligned with C, then K with C, then H with P and K. Insertions are columns in which C is
a gap. They count like other columns, except in `without_insertions`. `pairwise_mdd` is another
convention, with which published tables were counted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espnet_ext.errors import UserError
from espnet_ext.scoring import bootstrap, pairwise_mdd
from espnet_ext.scoring.counts import align, count_all_edits
from espnet_ext.scoring.multiple_alignment import GAP, Column, add_sequence

OUTCOMES = ("TA", "FR", "FA", "CD", "ED")
WITH_INSERTIONS, WITHOUT_INSERTIONS = "with_insertions", "without_insertions"
# The literature has three definitions of F1.
DETECTION = "detection"  # F1
DIAGNOSIS = "diagnosis"  # F1 of diagnosis_precision and diagnosis_recall
DETECTION_WITHOUT_INSERTIONS = "detection_without_insertions"  # F1 without insertions
C, P, K, H = range(4)  # fields of a column
# Conventions of counting: the columns of one alignment, or pairwise alignments (`pairwise_mdd`)
COLUMNS, LENG = "columns", "leng"
CONVENTIONS = (COLUMNS, LENG)


@dataclass
class OutcomeCounts:
    """Outcomes of the columns of some utterances, with and without insertions."""

    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {WITH_INSERTIONS: Counter(), WITHOUT_INSERTIONS: Counter()}
    )

    def add(self, column: Column, outcome: str) -> None:
        self.counts[WITH_INSERTIONS][outcome] += 1
        if column[C] is not GAP:
            self.counts[WITHOUT_INSERTIONS][outcome] += 1


def align_phones(
    canonical: Sequence[Sequence[str]],
    perceived: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
    prompts: Sequence[Sequence[str]] | None = None,
) -> list[list[Column]]:
    """Return the columns (C, P, K, H) of every utterance.

    Args:
        prompts: phones that the system assumes. None: the canonical phones.
    """
    columns: list[list[Column]] = [[(phone,) for phone in phones] for phones in canonical]
    columns = add_sequence(columns, perceived)
    if prompts is None:
        columns = [[(*column, column[C]) for column in rows] for rows in columns]
    else:
        columns = add_sequence(columns, prompts, compare_with=[C], width=2)
    return add_sequence(columns, hypotheses, compare_with=[P, K], width=3)


def outcome_of(column: Column) -> str | None:
    """Return the outcome of a column, or None if it has no C and P and the system reports nothing.

    >>> outcome_of(("AH", "AA", "AH", "AA")), outcome_of((None, None, "T", "T"))
    ('CD', None)
    """
    c, p, k, h = column
    if c is GAP and p is GAP and h == k:
        return None
    if p == c:
        return "TA" if h == k else "FR"
    if h == k:
        return "FA"
    return "CD" if h == p else "ED"


def _judge_columns(*phones: Sequence[Sequence[str]]) -> list[list[tuple[Column, str]]]:
    """Return (column, outcome) for the columns of every utterance that have an outcome."""
    return [
        [(column, outcome) for column in columns if (outcome := outcome_of(column)) is not None]
        for columns in align_phones(*phones)
    ]


def measures(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Return the measures in percent, with None where the denominator is zero."""
    ta, fr, fa, cd, ed = (counts.get(outcome, 0) for outcome in OUTCOMES)
    tr = cd + ed
    return {
        "FRR": _percent(fr, ta + fr),
        "FAR": _percent(fa, fa + tr),
        "DER": _percent(ed, tr),
        **_f1("", tr, tr + fr, tr + fa),
        **_f1("diagnosis_", cd, tr + fr, tr + fa),
    }


def _f1(prefix: str, hits: int, reported: int, mispronounced: int) -> dict[str, float | None]:
    # F1 = 2 hits / (reported + mispronounced) is also defined if only one of the two is zero
    return {
        f"{prefix}precision": _percent(hits, reported),
        f"{prefix}recall": _percent(hits, mispronounced),
        f"{prefix}F1": _percent(2 * hits, reported + mispronounced),
    }


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def evaluate(
    canonical: Mapping[str, str],
    perceived: Mapping[str, str],
    hypotheses: Mapping[str, str],
    prompts: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    speakers: Mapping[str, str] | None = None,
    convention: str = COLUMNS,
) -> dict:
    """Evaluate all utterances that have every text. Texts are phones separated by spaces.

    Args:
        prompts: utterance → canonical phones that the system assumes, if not `canonical`.
        groups: utterance → group for separate results, for example the first language.
        speakers: utterance → speaker, for intervals.
        convention: one of CONVENTIONS; LENG does not support `prompts`.

    Returns: `counts` and `measures`, each with and without insertions; `F1` by its three
        definitions and its `intervals`; `PER` of hypotheses against perceived phones; `groups` (the
        same per group); `phones` (canonical phone → counts of outcomes); `confusions` (group →
        canonical phone → perceived phone → number).

    Raises: UserError: the convention is unknown or does not support `prompts`.
    """
    if convention not in CONVENTIONS:
        raise UserError(
            f"unknown convention '{convention}'", f"use one of {', '.join(CONVENTIONS)}"
        )
    if convention == LENG and prompts is not None:
        raise UserError(
            "the convention leng uses only canonical phones: it supports no prompt, recognised "
            "meaning or words",
            "leave these out, or use the convention columns",
        )
    texts = [canonical, perceived, hypotheses] + ([] if prompts is None else [prompts])
    ids = sorted(set.intersection(*(set(table) for table in texts)))
    phones = [[table[utt_id].split() for utt_id in ids] for table in texts]
    total = OutcomeCounts()
    by_group: defaultdict[str, OutcomeCounts] = defaultdict(OutcomeCounts)
    by_phone: defaultdict[str, Counter[str]] = defaultdict(Counter)
    confusions: defaultdict[str, defaultdict[str, Counter[str]]]
    confusions = defaultdict(lambda: defaultdict(Counter))
    by_utterance = {}
    judge = pairwise_mdd.judge if convention == LENG else _judge_columns
    for utt_id, judged in zip(ids, judge(*phones), strict=True):
        group = (groups or {}).get(utt_id, "")
        by_utterance[utt_id] = OutcomeCounts()
        for column, outcome in judged:
            for counts in (total, by_group[group], by_utterance[utt_id]):
                counts.add(column, outcome)
            by_phone[column[C] or ""][outcome] += 1
            if column[C] != column[P]:
                confusions[group][column[C] or ""][column[P] or ""] += 1
    return {
        "utterances": len(ids),
        "convention": convention,
        **_summary(total),
        "intervals": _intervals(by_utterance, speakers) if speakers else None,
        "PER": count_all_edits(align(phones[1], phones[2])).rate,
        "groups": {group: _summary(counts) for group, counts in sorted(by_group.items())},
        "phones": {phone: dict(counts) for phone, counts in sorted(by_phone.items())},
        "confusions": {
            group: {phone: dict(counts.most_common()) for phone, counts in sorted(rows.items())}
            for group, rows in sorted(confusions.items())
        },
    }


def _intervals(
    by_utterance: Mapping[str, OutcomeCounts], speakers: Mapping[str, str]
) -> dict[str, tuple[float, float] | None]:
    """Return 95 % intervals of the three F1 definitions, from a bootstrap over speakers."""
    definitions = {
        DETECTION: (WITH_INSERTIONS, ("CD", "ED")),
        DIAGNOSIS: (WITH_INSERTIONS, ("CD",)),
        DETECTION_WITHOUT_INSERTIONS: (WITHOUT_INSERTIONS, ("CD", "ED")),
    }
    intervals = {}
    for name, (kind, hits) in definitions.items():
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for utt_id, outcomes in by_utterance.items():
            counts = outcomes.counts[kind]
            true_rejections = counts["CD"] + counts["ED"]
            fraction = sums[speakers[utt_id]]  # numerator and denominator of F1
            fraction[0] += 2 * sum(counts[hit] for hit in hits)
            fraction[1] += 2 * true_rejections + counts["FR"] + counts["FA"]
        numerators = [numerator for numerator, _ in sums.values()]
        denominators = [denominator for _, denominator in sums.values()]
        intervals[name] = bootstrap.interval(numerators, denominators)
    return intervals


def _summary(outcomes: OutcomeCounts) -> dict:
    results = {kind: measures(counts) for kind, counts in outcomes.counts.items()}
    return {
        "counts": {
            kind: {outcome: counts[outcome] for outcome in OUTCOMES}
            for kind, counts in outcomes.counts.items()
        },
        "measures": results,
        "F1": {
            DETECTION: results[WITH_INSERTIONS]["F1"],
            DIAGNOSIS: results[WITH_INSERTIONS]["diagnosis_F1"],
            DETECTION_WITHOUT_INSERTIONS: results[WITHOUT_INSERTIONS]["F1"],
        },
    }
