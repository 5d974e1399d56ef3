"""Outcomes of mispronunciation detection (MDD) from pairwise alignments, as published tables count.

Many papers on L2-ARCTIC count with the scripts of Leng et al. and Fu et al. (arXiv 2104.08428),
which read three alignments of Kaldi's `align-text`: canonical–perceived, perceived–hypothesis and
canonical–hypothesis. The outcomes are those of `mdd`:

=============================  =====================================================================
canonical phone that is        from canonical–hypothesis: CD if the hypothesis deletes it too, FA if
deleted in the perceived       the hypothesis is equal to it, ED if the hypothesis substitutes it
perceived phone that is        from perceived–hypothesis: TA if the hypothesis is equal, otherwise
equal to the canonical         FR
perceived phone that is        CD if the hypothesis is equal to the perceived phone, FA if it is
substituted                    equal to the canonical one, otherwise ED
perceived phone that is        CD if the hypothesis is equal, FA if the hypothesis deletes it,
inserted                       otherwise ED
=============================  =====================================================================

Phones that only the hypothesis has are ignored. The alignment of `mdd` counts them as false
rejections, so that its precision is lower if a recogniser inserts phones. It also aligns all
sequences together, whereas three pairwise alignments can contradict each other.
"""

from collections.abc import Sequence

from espnet_ext.scoring.multiple_alignment import GAP, Column, add_sequence


def align_pairs(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[list[Column]]:
    """Return the alignment of every pair as columns (reference, hypothesis).

    Every edit costs 1. Of alignments with the same cost, the result is that of Kaldi's
    `align-text`: from the end, it prefers a match or substitution, then a deletion.

    >>> align_pairs([["S", "T"]], [["S", "IH", "T"]])
    [[('S', 'S'), (None, 'IH'), ('T', 'T')]]
    """
    return add_sequence([[(phone,) for phone in phones] for phones in references], hypotheses)


def judge(
    canonical: Sequence[Sequence[str]],
    perceived: Sequence[Sequence[str]],
    hypotheses: Sequence[Sequence[str]],
) -> list[list[tuple[Column, str]]]:
    """Return ((canonical phone, perceived phone), outcome) for the judged phones per utterance.

    >>> judge([["S", "IH", "T"]], [["S", "IY", "T"]], [["S", "IY", "T", "S"]])
    [[(('S', 'S'), 'TA'), (('IH', 'IY'), 'CD'), (('T', 'T'), 'TA')]]
    """
    return [
        _judge_utterance(*alignments)
        for alignments in zip(
            align_pairs(canonical, perceived),
            align_pairs(perceived, hypotheses),
            align_pairs(canonical, hypotheses),
            strict=True,
        )
    ]


def _judge_utterance(
    canonical_perceived: Sequence[Column],
    perceived_hypothesis: Sequence[Column],
    canonical_hypothesis: Sequence[Column],
) -> list[tuple[Column, str]]:
    # the hypothesis for each perceived phone, and for each canonical phone
    of_perceived = iter([h for p, h in perceived_hypothesis if p is not GAP])
    of_canonical = iter([h for c, h in canonical_hypothesis if c is not GAP])
    judged: list[tuple[Column, str]] = []
    for c, p in canonical_perceived:
        if c is not GAP:
            recognised = next(of_canonical)
        if p is not GAP:
            recognised = next(of_perceived)
        judged.append(((c, p), _outcome(c, p, recognised)))
    return judged


def _outcome(c: str | None, p: str | None, h: str | None) -> str:
    """Return the outcome of a canonical phone, a perceived phone and a hypothesis.

    A gap in the hypothesis is equal to a gap in the others.
    """
    if p == c:
        return "TA" if h == p else "FR"
    if h == p:
        return "CD"
    return "FA" if h == c else "ED"
