"""Mispronunciation detection and diagnosis from what a recogniser wrote.

Every place is judged twice. The annotation says whether the perceived phone P is the canonical one
C; the system says so by its hypothesis H and the canonical phone K that it goes by: K is C where it
was given a prompt, and comes from the recognised meaning where it was not.

=====  ==============================  =========================================
TA     true acceptance                 P = C, and the system agrees (H = K)
FR     false rejection                 P = C, but it reports an error (H ≠ K)
FA     false acceptance                P ≠ C, and it reports none
TR     true rejection                  P ≠ C, and it reports one: CD or ED
CD     correct diagnosis               … and H = P
ED     diagnosis error                 … and H ≠ P
=====  ==============================  =========================================

Places are the columns of an alignment (`scoring.columns`): P to C first, then K, then H to both.
Columns of a phone that nobody was meant to say (insertions) count like all others, except in
`without_insertions`. Rates after Qian, Soong & Meng (2010): FRR = FR/(TA+FR), FAR = FA/(FA+TR),
DER = ED/(CD+ED).
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from espnet_ext.scoring import bootstrap
from espnet_ext.scoring.columns import GAP, Column, join
from espnet_ext.scoring.counts import align, total_of

NAMES = ("TA", "FR", "FA", "CD", "ED")
WITH, WITHOUT = "with_insertions", "without_insertions"
# Three figures go by the name of F1 in the field.
DETECTION, DIAGNOSIS, CANONICAL = "detection", "diagnosis", "detection_without_insertions"
C, P, K, H = range(4)  # fields of a column


@dataclass
class Judgements:
    """Counts over some utterances."""

    counts: dict[str, Counter] = field(
        default_factory=lambda: {WITH: Counter(), WITHOUT: Counter()}
    )

    def add(self, column: Column, name: str) -> None:
        self.counts[WITH][name] += 1
        if column[C] is not GAP:
            self.counts[WITHOUT][name] += 1


def columns_of(
    canonical: Sequence[Sequence[str]],
    perceived: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
    prompts: Sequence[Sequence[str]] | None = None,
) -> list[list[Column]]:
    """Columns (C, P, K, H) of every utterance; K is C unless the system had other prompts."""
    pairs = join([[(phone,) for phone in phones] for phones in canonical], perceived)
    if prompts is None:
        triples = [[(c, p, c) for c, p in own] for own in pairs]
    else:
        triples = join(pairs, prompts, beside=[C], width=2)
    return join(triples, hypotheses, beside=[P, K], width=3)


def judge(column: Column) -> str | None:
    """Which of NAMES a place is; None where nobody says or expects anything.

    >>> judge(("AH", "AA", "AH", "AA")), judge((None, None, "T", "T"))
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


def measures(counts: Mapping[str, int]) -> dict[str, float | None]:
    """Rates (percent) of the counts; None where there is nothing to divide by."""
    ta, fr, fa, cd, ed = (counts.get(name, 0) for name in NAMES)
    tr = cd + ed
    return {
        "FRR": _share(fr, ta + fr),
        "FAR": _share(fa, fa + tr),
        "DER": _share(ed, tr),
        **_f1("", tr, tr + fr, tr + fa),
        **_f1("diagnosis_", cd, tr + fr, tr + fa),
    }


def _f1(prefix: str, hits: int, reported: int, wrong: int) -> dict[str, float | None]:
    # F1 = 2 hits / (reported + wrong), also where one of precision and recall has no value
    return {
        f"{prefix}precision": _share(hits, reported),
        f"{prefix}recall": _share(hits, wrong),
        f"{prefix}F1": _share(2 * hits, reported + wrong),
    }


def _share(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def evaluate(
    canonical: Mapping[str, str],
    perceived: Mapping[str, str],
    hypotheses: Mapping[str, str],
    prompts: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    speakers: Mapping[str, str] | None = None,
) -> dict:
    """Judge all utterances that have every text (phones separated by spaces).

    Args:
        prompts: canonical phones that the system went by, if not `canonical`.
        groups: utterance → what to list apart, e.g. first language.
        speakers: utterance → speaker, for intervals.
    Returns:
        `counts` and `measures` with and without insertions, `F1` by its three definitions, `PER`
        of hypotheses against perceived phones, `phones` (canonical phone → counts), `confusions`
        (group → canonical phone → perceived phone → how often, and how often diagnosed so),
        `groups` (the same measures of each).
    """
    texts = [canonical, perceived, hypotheses] + ([] if prompts is None else [prompts])
    ids = sorted(set.intersection(*(set(table) for table in texts)))
    rows = [[table[i].split() for i in ids] for table in texts]
    columns = columns_of(*rows)
    total = Judgements()
    of_group: defaultdict[str, Judgements] = defaultdict(Judgements)
    phones: defaultdict[str, Counter] = defaultdict(Counter)
    confusions: defaultdict[str, defaultdict] = defaultdict(lambda: defaultdict(Counter))
    per_utterance = {}
    for utt_id, own in zip(ids, columns, strict=True):
        group = (groups or {}).get(utt_id, "")
        alone = per_utterance[utt_id] = Judgements()
        for column in own:
            name = judge(column)
            if name is None:
                continue
            for judgements in (total, of_group[group], alone):
                judgements.add(column, name)
            phones[column[C] or ""][name] += 1
            if column[C] != column[P]:
                said = confusions[group][column[C] or ""]
                said[column[P] or ""] += 1
    errors = total_of(align(rows[1], rows[2]))
    return {
        "utterances": len(ids),
        **_summary(total),
        "intervals": _intervals(per_utterance, speakers) if speakers else None,
        "PER": errors.rate,
        "groups": {name: _summary(own) for name, own in sorted(of_group.items())},
        "phones": {phone: dict(own) for phone, own in sorted(phones.items())},
        "confusions": {
            group: {phone: dict(said.most_common()) for phone, said in sorted(own.items())}
            for group, own in sorted(confusions.items())
        },
    }


def _intervals(
    judgements: Mapping[str, Judgements], speakers: Mapping[str, str]
) -> dict[str, tuple[float, float] | None]:
    """95 % intervals of F1 by its three definitions, from a bootstrap over speakers."""
    parts = {
        DETECTION: (WITH, ("CD", "ED")),
        DIAGNOSIS: (WITH, ("CD",)),
        CANONICAL: (WITHOUT, ("CD", "ED")),
    }
    found = {}
    for name, (kind, hits) in parts.items():
        sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
        for utt_id, own in judgements.items():
            counts = own.counts[kind]
            rejected = counts["CD"] + counts["ED"]
            both = sums[speakers[utt_id]]
            both[0] += 2 * sum(counts[hit] for hit in hits)
            both[1] += 2 * rejected + counts["FR"] + counts["FA"]
        found[name] = bootstrap.interval(*zip(*sums.values(), strict=True)) if sums else None
    return found


def _summary(judgements: Judgements) -> dict:
    both = {kind: measures(counts) for kind, counts in judgements.counts.items()}
    return {
        "counts": {
            kind: {name: counts[name] for name in NAMES}
            for kind, counts in judgements.counts.items()
        },
        "measures": both,
        "F1": {
            DETECTION: both[WITH]["F1"],
            DIAGNOSIS: both[WITH]["diagnosis_F1"],
            CANONICAL: both[WITHOUT]["F1"],
        },
    }
