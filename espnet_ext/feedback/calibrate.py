"""Learn a calibration from validation data, and measure it on other data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ext.data.audio import audio_info, load_audio
from espnet_ext.data.directory import read_sources
from espnet_ext.data.record import NA
from espnet_ext.data.table import read_table
from espnet_ext.decoding.canonical_command import read_pairs
from espnet_ext.decoding.canonical_forms import SURFACE
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.decoding.search import Result
from espnet_ext.errors import UserError
from espnet_ext.feedback import calibration as calibrations
from espnet_ext.feedback.calibration import Calibration, fit
from espnet_ext.feedback.calibration_measures import BINS
from espnet_ext.feedback.comparison import compare
from espnet_ext.feedback.examples import Example, choose_mismatch, label, measure
from espnet_ext.feedback.expected import ENGLISH, Units, expect, split_units
from espnet_ext.feedback.features import ErrorPrior, features
from espnet_ext.feedback.judge import MEANING, Judge
from espnet_ext.feedback.judgement import PROMPT
from espnet_ext.feedback.transcript import SYMBOL, Transcript
from espnet_ext.files import sha256_of
from espnet_ext.progress import say, track
from espnet_ext.scoring.word_variants import WordVariants, nearest_phones
from espnet_ext.text.tags import split_tags
from espnet_ext.text.tokenizers import UNK

SOURCES = (PROMPT, MEANING)


@dataclass(frozen=True)
class Annotated:
    """An annotated recording of a data directory, decoded.

    Args:
        utt_id, speaker: of the recording.
        sentence: text.meaning.
        canonical, perceived: units of text.canonical and text.surface. Of several accepted
            pronunciations, the canonical one is that nearest to what was perceived.
        result: what was recognised.
        seconds: duration.
    """

    utt_id: str
    speaker: str
    sentence: str
    canonical: Sequence[str]
    perceived: Sequence[str]
    result: Result
    seconds: float


def read_annotations(
    folder: str, language: str, lexicon: Mapping[str, Sequence[str]] | None = None
) -> dict[str, tuple[str, str, list[str], list[str]]]:
    """Return utterance → speaker, sentence, canonical and perceived units.

    Args:
        folder: data directory with text.surface, text.canonical and text.meaning.
        language: language of the surface.
        lexicon: see `feedback.expected.expect`.

    Raises:
        UserError: no utterance has all three.
    """
    names = ("surface", "canonical", "meaning")
    tables = {name: read_table(Path(folder) / f"text.{name}", empty_ok=True) for name in names}
    speakers = read_table(Path(folder) / "utt2spk")
    utt_ids = [
        utt_id
        for utt_id in tables["canonical"]
        if all(table.get(utt_id, NA) != NA for table in tables.values())
        and tables["canonical"][utt_id].strip()
    ]
    if not utt_ids:
        raise UserError(
            f"{folder}: no utterance has text.surface, text.canonical and text.meaning",
            "give annotated validation data of learners",
        )
    perceived, canonical = (
        {i: " ".join(_units(tables[name][i], language)) for i in utt_ids}
        for name in ("surface", "canonical")
    )
    sentences = {i: split_tags(tables["meaning"][i])[0] for i in utt_ids}
    if language == ENGLISH:
        variants = WordVariants(f"{folder}/text.meaning", lexicon)
        variants.read(sentences, canonical)
        canonical |= nearest_phones(variants.lattices, perceived)
    return {
        i: (speakers[i], sentences[i], canonical[i].split(), perceived[i].split()) for i in utt_ids
    }


def _units(text: str, language: str) -> Units:
    """Return the units of an annotated transcript; inline tags and symbols have none."""
    tokens = split_tags(text)[0]
    if language == ENGLISH:  # an unknown phone is a unit, as in a hypothesis
        words = [word for word in tokens.split() if word == UNK or not SYMBOL.fullmatch(word)]
        return split_units(" ".join(words), language)
    return split_units(SYMBOL.sub(" ", tokens), language)


def decode_annotated(judge: Judge, folder: str) -> list[Annotated]:
    """Decode the annotated recordings of a data directory.

    Recordings that are too short, or in which nothing is recognised, are left out with a note:
    `judge` does not judge them, so the deviations in them are never reported.

    Raises:
        UserError: no recording is left.
    """
    rows = read_annotations(folder, judge.language, judge.lexicon)
    sources = read_sources(folder)
    decoded: list[Annotated] = []
    too_short, without_speech = [], []
    for utt_id, row in track(list(rows.items()), f"decoding {folder}", unit="utterance"):
        samples, _ = load_audio(sources[utt_id], judge.recogniser.sample_rate)
        if judge.recogniser.is_too_short(len(samples)):
            too_short.append(utt_id)
            continue
        result = judge.decode(samples, audio_info(sources[utt_id]).rate)
        if not Transcript(result.best[SURFACE].tokens, judge.language).units:
            without_speech.append(utt_id)
            continue
        seconds = len(samples) / judge.recogniser.sample_rate
        decoded.append(Annotated(utt_id, *row, result, seconds))
    _say_left_out(folder, too_short, len(rows), "are too short for the model")
    _say_left_out(folder, without_speech, len(rows), "have no recognised speech")
    if not decoded:
        raise UserError(
            f"{folder}: no speech is recognised in any of {len(rows)} annotated recordings",
            "give a model that is trained for this speech, or check the recordings",
        )
    return decoded


def _say_left_out(where: str, utt_ids: Sequence[str], total: int, reason: str) -> None:
    if utt_ids:
        say(
            f"note: {where}: {len(utt_ids)} of {total} recordings are left out, as they {reason} "
            f"(the first is {utt_ids[0]})"
        )


def examples_of(
    judge: Judge, annotated: Sequence[Annotated], source: str, prior: ErrorPrior
) -> list[Example]:
    """Return the deviations of decoded recordings.

    Recordings whose sentence has no pronunciation are left out, with a note.

    Args:
        source: PROMPT: the sentence is known; MEANING: the recognised meaning is expected.
    """
    examples = []
    unpronounceable = []
    for row in annotated:
        text = row.sentence if source == PROMPT else row.result.best[MEANING].text
        try:
            sentence = expect(text, judge.language, judge.lexicon)
        except UserError:
            unpronounceable.append(row.utt_id)
            continue
        evidence = judge.evidence(row.result, sentence, row.seconds)
        comparison = evidence.comparison
        examples.append(
            Example(
                row.utt_id,
                row.speaker,
                row.canonical,
                row.perceived,
                comparison,
                features(comparison, evidence.scores, prior, evidence.peaks, judge.language),
                label(comparison, row.canonical, row.perceived),
            )
        )
    reason = "have no sentence with a pronunciation"
    _say_left_out(f"with the {source}", unpronounceable, len(annotated), reason)
    return examples


def mismatch_rates(judge: Judge, annotated: Sequence[Annotated]) -> tuple[list[float], list[float]]:
    """Return the error rates of recordings against their own and against another sentence.

    The other sentence is the next different one of the set.
    """
    matched: list[float] = []
    mismatched: list[float] = []
    for number, row in enumerate(annotated):
        units = Transcript(row.result.best[SURFACE].tokens, judge.language).units
        following = [*annotated[number + 1 :], *annotated[:number]]
        other = next((r.sentence for r in following if r.sentence != row.sentence), None)
        for text, rates in ((row.sentence, matched), (other, mismatched)):
            if text is None:
                continue
            try:
                sentence = expect(text, judge.language, judge.lexicon)
            except UserError:
                continue
            rates.append(compare(sentence, units).error_rate)
    return matched, mismatched


def estimate_errors(path: str, language: str) -> Mapping[str, Any]:
    """Return the JSON values of the pronunciation errors of a training set, in units.

    Args:
        path: data directory with text.canonical and text.surface.
    """
    canonical, surface = (
        [_units(text, language) for text in texts]
        for texts in read_pairs(path, ["canonical", "surface"])
    )
    errors = PronunciationErrors.estimate(canonical, surface)
    return errors.to_json({"data": path, "utterances": len(canonical)})


def learn(
    judge: Judge,
    annotated: Sequence[Annotated],
    errors: Mapping[str, Any] | None = None,
    method: str = calibrations.AUTO,
    precision: float = calibrations.DEFAULT_PRECISION,
    facts: Mapping[str, Any] | None = None,
) -> Calibration:
    """Return the calibration of decoded validation data, with and without a prompt.

    Args:
        errors: pronunciation errors of the learners, by `estimate_errors`.
        method: one of `calibration.METHODS`.
        precision: precision of the operating point.
        facts: facts that the file records.
    """
    prior = ErrorPrior(errors)
    speakers = {row.speaker for row in annotated}
    functions = {}
    for source in SOURCES:
        if source == MEANING and MEANING not in judge.recogniser.outputs:
            continue
        examples = examples_of(judge, annotated, source, prior)
        values = [row for example in examples for row in example.features]
        is_real = [real for example in examples for real in example.is_real]
        groups = [
            example.speaker if len(speakers) > 1 else example.utt_id
            for example in examples
            for _ in example.features
        ]
        try:
            functions[source] = fit(values, is_real, groups, method, precision)
        except UserError as error:
            if source == PROMPT:
                raise
            say(f"warning: not calibrated without a prompt: {error.message}")
    mismatch = choose_mismatch(*mismatch_rates(judge, annotated))
    return Calibration(
        functions, mismatch["threshold"], errors, {**(facts or {}), "mismatch": mismatch}
    )


def data_facts(folder: str, annotated: Sequence[Annotated]) -> dict[str, Any]:
    """Return which data a calibration is learnt from, with digests of its transcripts."""
    names = ("surface", "canonical", "meaning")
    return {
        "data": folder,
        "utterances": len(annotated),
        "speakers": len({row.speaker for row in annotated}),
        "sha256": {f"text.{n}": sha256_of(Path(folder) / f"text.{n}") for n in names},
    }


def warn_about_training(annotated: Sequence[Annotated], train: str, folder: str) -> dict[str, int]:
    """Return how many speakers and sentences are in the training set too; print a warning if any.

    Probabilities of speakers or sentences that the model was trained with are too sure.
    """
    texts = read_table(Path(train) / "text.meaning", empty_ok=True).values()
    sentences = {split_tags(text)[0] for text in texts}
    speakers = set(read_table(Path(train) / "utt2spk").values())
    shared = {
        "speakers": len({row.speaker for row in annotated} & speakers),
        "sentences": len({row.sentence for row in annotated} & sentences),
    }
    if any(shared.values()):
        say(
            f"warning: {folder}: {shared['speakers']} speakers and {shared['sentences']} sentences "
            f"are in {train} too: for other speakers, the probabilities may be too large"
        )
    return shared


def report_lines(calibration: Calibration) -> Iterator[str]:
    """Yield what was learnt, as text."""
    for source, function in calibration.sources.items():
        facts = function.facts
        point = facts["operating_point"]
        yield (
            f"{source}: {facts['deviations']} deviations, {facts['real']} of them real; "
            f"{facts['method']}; held out: {_error_text(facts)}, log loss "
            f"{facts['log_loss'][facts['method']]:.3f}"
        )
        reached = "" if point["reached"] else f" (precision {point['wanted']:g} was not reached)"
        yield (
            f"  operating point: probability {point['threshold']:.2f}, precision "
            f"{point['precision']:.2f}, recall {point['recall']:.2f} of the recognised ones"
            f"{reached}"
        )
        yield "  reliability (probability, share that is real, number; = is the share, | perfect):"
        for row in facts["reliability"]:
            bar = reliability_bar(row["probability"], row["real"])
            yield f"    {row['probability']:.2f}  {row['real']:.2f}  {row['count']:5}  {bar}"
    mismatch = calibration.facts.get("mismatch", {})
    yield (
        f"mismatch: from {100 * calibration.mismatch:.0f} % of different sounds on; "
        f"{100 * mismatch.get('rejected', 0):.0f} % of the recordings rejected with their own "
        f"sentence, {100 * mismatch.get('accepted', 0):.0f} % accepted with another"
    )


def _error_text(values: Mapping[str, Any]) -> str:
    """Return the calibration error with its interval, and that of exactly right probabilities."""
    if not values["deviations"]:
        return "ECE – (no deviations)"
    text = f"ECE {100 * values['ece']:.1f} %"
    if interval := values.get("ece_interval"):
        text += f" [{100 * interval[0]:.1f}–{100 * interval[1]:.1f}]"
    if chance := values.get("ece_by_chance"):
        text += f" ({BINS} bins; exact probabilities: {100 * chance['mean']:.1f} %)"
    return text


def reliability_bar(probability: float, real: float, width: int = 40) -> str:
    """Return one row of a reliability diagram: the real share as a bar, the probability as a mark.

    >>> reliability_bar(0.5, 0.25, 8), reliability_bar(0.25, 0.5, 8)
    ('==  |', '==|=')
    """
    characters = list("=" * round(real * width))
    mark = round(probability * width)
    characters += " " * (mark + 1 - len(characters))
    characters[mark] = "|"
    return "".join(characters)


def measure_set(
    judge: Judge, calibration: Calibration, annotated: Sequence[Annotated]
) -> dict[str, dict[str, Any]]:
    """Return the measures of a calibration on decoded data, by source."""
    prior = ErrorPrior(calibration.errors)
    return {
        source: measure(examples_of(judge, annotated, source, prior), function)
        for source, function in calibration.sources.items()
    }


def measure_lines(folder: str, measures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield measures as text."""
    for source, values in measures.items():
        parts = []
        for name in ("precision", "recall", "F1"):
            value, interval = values[name], values["intervals"][name]
            text = "–" if value is None else f"{value:.1f} %"
            if interval:
                text += f" [{interval[0]:.1f}–{interval[1]:.1f}]"
            parts.append(f"{name} {text}")
        yield (
            f"{folder}, {source}: {', '.join(parts)}; {_error_text(values)}; "
            f"{values['utterances']} utterances of {values['speakers']} speakers"
        )
