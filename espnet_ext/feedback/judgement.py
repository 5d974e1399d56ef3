"""The judgement of one recording, as data, as JSON and as readable text.

`judgement.schema.json` is the JSON schema of `Judgement.to_json`. Its version rises if a field
changes its meaning or is removed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

VERSION = 1
SCHEMA = Path(__file__).with_name("judgement.schema.json")
JUDGED, NOT_JUDGED = "judged", "not_judged"
# Reasons why a recording is not judged
SILENCE, TOO_SHORT, TOO_LONG, NO_SPEECH = "silence", "too_short", "too_long", "no_speech"
PROMPT_MISMATCH, TRANSCRIPTS_DISAGREE = "prompt_mismatch", "transcripts_disagree"
UNPRONOUNCEABLE = "unpronounceable_meaning"
REASONS = (
    *(SILENCE, TOO_SHORT, TOO_LONG, NO_SPEECH),
    *(PROMPT_MISMATCH, TRANSCRIPTS_DISAGREE, UNPRONOUNCEABLE),
)
PROMPT, MEANING = "prompt", "meaning"  # sources of the expected pronunciation


@dataclass(frozen=True)
class Unit:
    """An expected and a recognised unit: a phone, or a Korean letter.

    Args:
        expected, recognised: None if there is none.
        start, end: in seconds; None if it was not recognised, or times are not known.
        confidence: confidence of the recognised token, 0 to 1, as the recogniser gives it.
    """

    expected: str | None
    recognised: str | None
    start: float | None
    end: float | None
    confidence: float | None


@dataclass(frozen=True)
class Word:
    """A word with its expected and recognised pronunciation.

    Args:
        word: as it is read.
        expected, recognised: pronunciations.
        start, end: in seconds; None if no unit of it was recognised.
        confidence: mean of its units.
        units: its units in order.
    """

    word: str
    expected: str
    recognised: str
    start: float | None
    end: float | None
    confidence: float | None
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class NamedDeviation:
    """A deviation and how probable it is.

    Args:
        kind: one of `comparison.KINDS`.
        text: its name.
        gloss: the name in English.
        word_index, word: the word.
        expected, recognised: pronunciations of the units that differ; "" if there are none.
        start, end: in seconds; of what is missing, the place where it was to be.
        score: log-odds in nats (`evidence`).
        probability: that the deviation is real.
    """

    kind: str
    text: str
    gloss: str
    word_index: int
    word: str
    expected: str
    recognised: str
    start: float | None
    end: float | None
    score: float
    probability: float


@dataclass(frozen=True)
class Variant:
    """A word that may be pronounced in several ways, or unlike its spelling.

    Args:
        word_index, word: the word.
        usual: preferred pronunciation; of regular phonology, the spelling.
        pronounced: the pronunciation.
    """

    word_index: int
    word: str
    usual: str
    pronounced: str


@dataclass(frozen=True)
class Judgement:
    """What a learner pronounced in one recording, and how it differs from what was expected.

    Args:
        audio: name of the recording.
        status: JUDGED or NOT_JUDGED.
        reason: one of REASONS if it is not judged, else None.
        message: the reason in words, or a note; "" if there is none.
        seconds: duration.
        language: "en" or "ko".
        prompt: the sentence that was to be read, or None.
        transcripts: output → recognised text.
        source: PROMPT or MEANING, which gave the expected pronunciation.
        expected: the expected pronunciation.
        error_rate: edits from the expected to the recognised units, per expected unit.
        words: the alignment.
        deviations: those with a probability of `threshold` or more.
        uncertain: the others.
        accepted_variants: words with another accepted pronunciation than the usual one.
        regular_phonology: words whose standard pronunciation differs from the spelling (Korean).
        guessed_words: words that no dictionary has.
        threshold: probability from which a deviation is reported.
        calibrated: whether probabilities are calibrated on validation data.
        offset: start in seconds, of a segment of a longer recording.
    """

    audio: str
    status: str
    reason: str | None
    message: str
    seconds: float
    language: str
    prompt: str | None
    transcripts: dict[str, str]
    source: str | None
    expected: str
    error_rate: float | None
    words: tuple[Word, ...]
    deviations: tuple[NamedDeviation, ...]
    uncertain: tuple[NamedDeviation, ...]
    accepted_variants: tuple[Variant, ...]
    regular_phonology: tuple[Variant, ...]
    guessed_words: tuple[str, ...]
    threshold: float
    calibrated: bool
    offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the judgement as JSON values that `judgement.schema.json` describes."""
        return {"schema": "espnet-ext/judgement", "version": VERSION, **_rounded(asdict(self))}


def schema() -> dict[str, Any]:
    """Return the JSON schema of a judgement."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def to_text(judgement: Judgement, uncertain: bool = False, gloss: bool = False) -> str:
    """Return a judgement as readable text.

    Args:
        uncertain: also list deviations below the threshold.
        gloss: add an English name to Korean deviations.
    """
    end = judgement.offset + judgement.seconds
    span = f"{judgement.offset:.2f}–{end:.2f} s" if judgement.offset else f"{end:.2f} s"
    lines = [f"{judgement.audio} ({span})"]
    for name, text in judgement.transcripts.items():
        lines.append(f"  {name:9} {text}")
    if judgement.status == NOT_JUDGED:
        return "\n".join([*lines, f"  not judged: {judgement.message}"])
    if judgement.prompt is not None:
        lines.append(f"  {'prompt':9} {judgement.prompt}")
    lines.append(f"  {'expected':9} {judgement.expected}  (of the {judgement.source})")
    width = max((len(word.word) for word in judgement.words), default=0)
    for word in judgement.words:
        times = "" if word.start is None else f"{word.start:.2f}–{word.end:.2f} s"
        confidence = "" if word.confidence is None else f"{word.confidence:.2f}"
        pair = word.expected
        if word.recognised != word.expected:
            pair += f"  pronounced {word.recognised or '–'}"
        lines.append(f"    {word.word:{width}}  {times:13}  {confidence:4}  {pair}")
    kind = "probability" if judgement.calibrated else "uncalibrated probability"
    if not judgement.deviations:
        lines.append(f"  no deviation with a {kind} of {judgement.threshold:.2f} or more")
    for deviation in judgement.deviations:
        lines.append("  " + _deviation_line(deviation, kind, gloss))
    if uncertain:
        lines += [
            f"  uncertain: {_deviation_line(deviation, kind, gloss)}"
            for deviation in judgement.uncertain
        ]
    elif judgement.uncertain:
        lines.append(f"  {len(judgement.uncertain)} uncertain, not shown (judge --uncertain true)")
    for label, variants in (
        ("accepted variant", judgement.accepted_variants),
        ("regular phonology", judgement.regular_phonology),
    ):
        if variants:
            listed = ", ".join(f"{v.word} [{v.pronounced}]" for v in variants)
            lines.append(f"  {label}: {listed}")
    if judgement.guessed_words:
        guessed = ", ".join(judgement.guessed_words)
        lines.append(f"  pronunciation guessed, in no dictionary: {guessed}")
    if judgement.message:
        lines.append(f"  note: {judgement.message}")
    return "\n".join(lines)


def _deviation_line(deviation: NamedDeviation, kind: str, gloss: bool) -> str:
    times = "" if deviation.start is None else f"{deviation.start:.2f}–{deviation.end:.2f} s  "
    text = deviation.text
    if gloss and deviation.gloss != text:
        text += f" ({deviation.gloss})"
    return f"{times}{text}  ({kind} {deviation.probability:.2f})"


def _rounded(value: Any) -> Any:
    """Return JSON values with floats rounded to 4 digits, and lists for tuples."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
