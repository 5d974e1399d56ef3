"""Correlation of what `judge` measures with human ratings of phones, words and sentences.

The ratings are in the format of speechocean762 (`resource/scores.json`): name of the recording →
`words`, each with `text`, `phones` and `phones-accuracy`; words and sentences may have further
numbers (`accuracy`, `total`, …). The rated phones are the expected pronunciation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext import files
from espnet_ext.data.audio import audio_info
from espnet_ext.decoding.canonical_forms import SURFACE
from espnet_ext.errors import UserError
from espnet_ext.feedback.expected import (
    ENGLISH,
    ExpectedGroup,
    ExpectedSentence,
    ExpectedWord,
    Units,
)
from espnet_ext.feedback.features import features
from espnet_ext.feedback.goodness import goodness
from espnet_ext.feedback.judge import Judge
from espnet_ext.feedback.judgement import PROMPT
from espnet_ext.feedback.recordings import Recording
from espnet_ext.feedback.transcript import Transcript
from espnet_ext.progress import say, track
from espnet_ext.scoring.human_ratings import MIN_UTTERANCES, correlations
from espnet_ext.text.phones import PHONES

LEVELS = PHONE, WORD, SENTENCE = "phone", "word", "sentence"
PHONE_MEAN = "phones"  # the score of a word or sentence that is the mean of its phones'
DEVIATIONS, PROBABILITY, GOODNESS = "deviations", "probability", "goodness"
MEASURES = {
    DEVIATIONS: "recognised deviations per expected phone",
    PROBABILITY: "mean probability of a deviation",
    GOODNESS: "mean goodness of pronunciation (GOP)",
}


@dataclass(frozen=True)
class RatedWord:
    """A word with the ratings of its phones, and its own by name."""

    text: str
    phones: Units
    phone_scores: tuple[float, ...]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class RatedSentence:
    """A sentence with ratings of its words, and its own by name."""

    words: tuple[RatedWord, ...]
    scores: Mapping[str, float]

    def expected(self) -> ExpectedSentence:
        """Return the sentence with the rated phones as its only pronunciation."""
        groups = [
            ExpectedGroup((ExpectedWord(word.text, (word.phones,)),), ((word.phones,),))
            for word in self.words
        ]
        return ExpectedSentence(" ".join(w.text for w in self.words), ENGLISH, tuple(groups))


@dataclass(frozen=True)
class Row:
    """A rated phone, word or sentence.

    Args:
        level: one of LEVELS.
        speaker: speaker of the recording.
        scores: human scores by name.
        measures: `MEASURES` by name.
    """

    level: str
    speaker: str
    scores: Mapping[str, float]
    measures: Mapping[str, float]


def read_ratings(path: str | Path) -> dict[str, RatedSentence]:
    """Return the rated sentences by the name of the recording.

    Raises:
        UserError: the file has another format. The message names the recording.
    """
    try:
        content = files.read_json(path)
    except UserError as error:
        raise UserError(error.message, _FORMAT) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}", _FORMAT) from None
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: not an object of recordings", _FORMAT)
    ratings = {}
    for name, entry in content.items():
        try:
            ratings[name] = RatedSentence(tuple(map(_word, entry["words"])), _numbers(entry))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path}: {name}: wrong entry: {error}", _FORMAT) from None
    return ratings


_FORMAT = (
    'give a file such as resource/scores.json of speechocean762: {"name": {"words": [{"text": '
    '"so", "phones": ["S", "OW1"], "phones-accuracy": [2, 1.6]}]}}'
)


def _word(entry: Mapping[str, Any]) -> RatedWord:
    labels = entry["phones"]
    labels = labels.split() if isinstance(labels, str) else labels
    phones = tuple(label.rstrip("012").upper() for label in labels)
    scores = tuple(float(score) for score in entry["phones-accuracy"])
    if unknown := [phone for phone in phones if phone not in PHONES]:
        raise ValueError(f"'{unknown[0]}' is not a phone")
    if not phones or len(phones) != len(scores) or not all(map(math.isfinite, scores)):
        raise ValueError(f"'{entry['text']}': {len(phones)} phones, {len(scores)} scores")
    return RatedWord(str(entry["text"]).lower(), phones, scores, _numbers(entry))


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def rate_all(
    judge: Judge, recordings: Sequence[Recording], ratings: Mapping[str, RatedSentence]
) -> list[Row]:
    """Return the rows of all recordings that have ratings.

    The speaker of a recording is the name of its folder. Recordings that are too short or in which
    nothing is recognised are left out, with a note.

    Raises:
        UserError: the model does not recognise phones, or no recording has ratings.
    """
    if judge.language != ENGLISH:
        raise UserError(
            "the surface of the model does not consist of phones, as the ratings do",
            "give a model of English, or leave out judge --ratings",
        )
    rated = [one for one in recordings if one.path is not None and one.key in ratings]
    if not rated:
        raise UserError(
            f"none of {len(recordings)} recordings has ratings",
            "the names in the ratings must be those of the files without suffix",
        )
    if len(rated) < len(recordings):
        say(f"note: {len(recordings) - len(rated)} of {len(recordings)} recordings have no ratings")
    rows: list[Row] = []
    left_out = []
    for recording in track(rated, "rating", unit="recording"):
        assert recording.path is not None
        new = list(_rate(judge, recording.path, ratings[recording.key]))
        rows += new
        if not new:
            left_out.append(recording.name)
    if left_out:
        say(f"note: nothing is recognised in {len(left_out)} recordings (first: {left_out[0]})")
    return rows


def _rate(judge: Judge, path: Path, rated: RatedSentence) -> Iterator[Row]:
    samples = judge.recogniser.samples(path).numpy()
    if judge.recogniser.is_too_short(len(samples)):
        return
    result = judge.decode(samples, audio_info(str(path)).rate)
    if not Transcript(result.best[SURFACE].tokens, judge.language).units:
        return
    seconds = len(samples) / judge.recogniser.sample_rate
    evidence = judge.evidence(result, rated.expected(), seconds)
    comparison = evidence.comparison
    values = features(comparison, evidence.scores, judge.prior, evidence.peaks, judge.language)
    probabilities = judge.calibration.probability(PROMPT)(values).tolist() if values else []
    # Edits and probabilities by expected phone; an insertion counts for the phone before it.
    edits = [0.0] * len(comparison.expected)
    probable = [0.0] * len(comparison.expected)
    index_of = []
    index = -1
    for column in comparison.columns:
        index += column.expected is not None
        index_of.append(max(0, index))
        edits[index_of[-1]] += column.is_deviation
    for deviation, probability in zip(comparison.deviations, probabilities, strict=True):
        for number in deviation.columns:
            place = index_of[number]
            probable[place] = max(probable[place], probability)
    ids = [judge.recogniser.token_ids(SURFACE, phone) for phone in sorted(PHONES)]
    alternatives = [one[0] for one in ids if len(one) == 1 and one[0] != judge.unknown]
    expected = [
        i for unit in comparison.expected for i in judge.recogniser.token_ids(SURFACE, unit)
    ]
    good = goodness(result.log_probs[SURFACE], expected, alternatives)
    yield from _rows(rated, path.parent.name, edits, probable, good)


def _rows(
    rated: RatedSentence,
    speaker: str,
    edits: Sequence[float],
    probable: Sequence[float],
    good: Sequence[float],
) -> Iterator[Row]:
    """Yield the rows of a sentence from the values of its phones."""

    def row(level: str, start: int, end: int, scores: Mapping[str, float]) -> Row:
        measures = {
            name: sum(values[start:end]) / (end - start)
            for name, values in ((DEVIATIONS, edits), (PROBABILITY, probable), (GOODNESS, good))
        }
        return Row(level, speaker, scores, measures)

    start = 0
    for word in rated.words:
        for offset, score in enumerate(word.phone_scores):
            yield row(PHONE, start + offset, start + offset + 1, {"accuracy": score})
        end = start + len(word.phones)
        mean = sum(word.phone_scores) / len(word.phones)
        yield row(WORD, start, end, {PHONE_MEAN: mean, **word.scores})
        start = end
    total = sum(sum(word.phone_scores) for word in rated.words)
    yield row(SENTENCE, 0, start, {PHONE_MEAN: total / start, **rated.scores})


def correlate(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the correlations of every measure with every human score, by level.

    Returns:
        Rows with `level`, `score`, `measure`, `count`, `speakers`, `pearson`, `spearman`, and their
        95 % `intervals` of a bootstrap over speakers.
    """
    results = []
    for level in LEVELS:
        of_level = [row for row in rows if row.level == level]
        names = dict.fromkeys(name for row in of_level for name in row.scores)
        for score in names:
            for measure in MEASURES:
                chosen = [
                    row
                    for row in of_level
                    if score in row.scores and math.isfinite(row.measures[measure])
                ]
                if len(chosen) < MIN_UTTERANCES:
                    continue
                results.append(
                    {
                        "level": level,
                        "score": score,
                        "measure": measure,
                        "count": len(chosen),
                        "speakers": len({row.speaker for row in chosen}),
                        **correlations(
                            [row.measures[measure] for row in chosen],
                            [row.scores[score] for row in chosen],
                            [row.speaker for row in chosen],
                        ),
                    }
                )
    return results


def table(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield correlations as lines of text."""
    if not results:
        yield f"fewer than {MIN_UTTERANCES} ratings of each kind: no correlation"
    for row in results:
        values = []
        for name in ("pearson", "spearman"):
            interval = row["intervals"][name]
            text = "–" if row[name] is None else f"{row[name]:.2f}"
            values.append(f"{text} [{interval[0]:.2f} to {interval[1]:.2f}]" if interval else text)
        yield (
            f"{row['level']:8}  {row['score']:12}  {row['measure']:11}  Pearson {values[0]}, "
            f"Spearman {values[1]}  ({row['count']} of {row['speakers']} speakers)"
        )
