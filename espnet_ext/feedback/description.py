"""Describe a comparison for its reader: words and units with times, and named deviations."""

from collections.abc import Iterator

from espnet_ext.feedback.comparison import Comparison, Deviation
from espnet_ext.feedback.evidence import Evidence
from espnet_ext.feedback.expected import KOREAN, spelling_units
from espnet_ext.feedback.judgement import NamedDeviation, Unit, Variant, Word
from espnet_ext.feedback.naming import gloss, name, show_units


def phonology(comparison: Comparison, language: str) -> Iterator[Variant]:
    """Yield the Korean words whose expected pronunciation differs from their spelling."""
    if language != KOREAN:
        return
    pairs = zip(comparison.words, comparison.pronunciations, strict=True)
    for index, (word, units) in enumerate(pairs):
        if units != spelling_units(word):
            yield Variant(index, word, word, show_units(units, KOREAN))


def words(evidence: Evidence, language: str) -> Iterator[Word]:
    """Yield the words of the sentence, with what was recognised for them and when."""
    comparison = evidence.comparison
    for index, word in enumerate(comparison.words):
        units = tuple(
            _unit(evidence, i)
            for i, column in enumerate(comparison.columns)
            if column.word == index
        )
        recognised = tuple(unit.recognised for unit in units if unit.recognised is not None)
        starts = [unit.start for unit in units if unit.start is not None]
        ends = [unit.end for unit in units if unit.end is not None]
        confidences = [unit.confidence for unit in units if unit.confidence is not None]
        yield Word(
            word,
            show_units(comparison.pronunciations[index], language),
            show_units(recognised, language),
            min(starts, default=None),
            max(ends, default=None),
            sum(confidences) / len(confidences) if confidences else None,
            units,
        )


def _unit(evidence: Evidence, index: int) -> Unit:
    column = evidence.comparison.columns[index]
    if column.recognised is None:
        return Unit(column.expected, None, None, None, None)
    token = evidence.transcript.token_of[column.position]
    times, confidences = evidence.surface.times, evidence.surface.confidences
    start, end = times[token] if times is not None else (None, None)
    confidence = float(confidences[token]) if token < len(confidences) else None
    return Unit(column.expected, column.recognised, start, end, confidence)


def named(
    deviation: Deviation, score: float, probability: float, evidence: Evidence, language: str
) -> NamedDeviation:
    """Return a deviation with its name and its time.

    Args:
        score: its log-odds in nats.
        probability: that it is real.
        evidence: evidence of the recording.
    """
    word = evidence.comparison.words[deviation.word]
    text = name(deviation, word, language)
    start, end = _times(deviation, evidence)
    return NamedDeviation(
        kind=deviation.kind,
        text=text,
        gloss=gloss(deviation, word) if language == KOREAN else text,
        word_index=deviation.word,
        word=word,
        expected=show_units(deviation.expected, language),
        recognised=show_units(deviation.recognised, language),
        start=start,
        end=end,
        score=score,
        probability=probability,
    )


def _times(deviation: Deviation, evidence: Evidence) -> tuple[float | None, float | None]:
    """Return start and end of a deviation; of missing units, the gap between their neighbours."""
    times, token_of = evidence.surface.times, evidence.transcript.token_of
    if times is None:
        return None, None
    columns = [evidence.comparison.columns[i] for i in deviation.columns]
    positions = [column.position for column in columns if column.recognised is not None]
    if positions:
        return times[token_of[positions[0]]][0], times[token_of[positions[-1]]][1]
    position = columns[0].position
    start = times[token_of[position - 1]][1] if position else 0.0
    end = times[token_of[position]][0] if position < len(token_of) else evidence.seconds
    return start, max(start, end)
