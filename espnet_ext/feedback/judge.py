"""Judge one recording: what was pronounced, and how it differs from what was expected.

>>> judge = Judge.from_pretrained("exp/en/do_small")                    # doctest: +SKIP
>>> judge("utterance.wav", prompt="i think so").deviations[0].text      # doctest: +SKIP
'TH → S in "think"'
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from espnet_ext.data.audio import audio_info
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.narrowband import band_of
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.canonical_forms import SURFACE
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.decoding.segmentation import check_seconds, group_spans, speech_spans
from espnet_ext.decoding.waveform import Audio, audio_path
from espnet_ext.errors import UserError
from espnet_ext.feedback import calibration as calibrations
from espnet_ext.feedback import description
from espnet_ext.feedback import judgement as judgements
from espnet_ext.feedback.calibration import Calibration, uncalibrated
from espnet_ext.feedback.comparison import Comparison, Deviation, compare
from espnet_ext.feedback.evidence import Evidence, log_odds, peaks
from espnet_ext.feedback.expected import (
    KOREAN,
    ExpectedSentence,
    expect,
    language_of,
)
from espnet_ext.feedback.features import ErrorPrior, features
from espnet_ext.feedback.judgement import Judgement, Variant
from espnet_ext.feedback.naming import show_units
from espnet_ext.feedback.transcript import Transcript
from espnet_ext.model.archive import find_model_dir
from espnet_ext.text.tags import split_tags
from espnet_ext.text.tokenizers import UNK

MEANING = "meaning"
BEAM_SIZE = 5
MAX_SECONDS = 30.0  # of a recording that is judged as a whole
SILENCE_DB = -60.0  # root mean square below this level, relative to full scale, is silence


class Judge:
    """Judges recordings with one model.

    Args:
        recogniser: recogniser with the output `surface`; without a prompt also with `meaning`.
        calibration: calibration of the probabilities; None: they are not calibrated.
        threshold: probability from which a deviation is reported; None: that of the calibration.
        precision: or the precision of the operating point on the validation data.
        lexicon: English word → phone strings, beside the CMU dictionary.
        max_seconds: longest recording that is judged as a whole.

    Raises:
        UserError: the model has no surface, or its surface has no CTC.
    """

    def __init__(
        self,
        recogniser: DualSpeech2Text,
        calibration: Calibration | None = None,
        threshold: float | None = None,
        precision: float | None = None,
        lexicon: Mapping[str, Sequence[str]] | None = None,
        max_seconds: float = MAX_SECONDS,
    ):
        if SURFACE not in recogniser.outputs:
            raise UserError(
                f"the model has no output {SURFACE}, only {', '.join(recogniser.outputs)}: it does "
                "not recognise what was pronounced",
                "give a model with a surface, such as the systems do and so_surface",
            )
        head = recogniser.model.heads[SURFACE]
        if head.ctc is None:
            raise UserError(
                f"the output {SURFACE} of the model has no CTC, which gives times and evidence",
                "give a model whose surface has a head with CTC (ctc_attention, ctc)",
            )
        check_seconds(max_seconds, "max_seconds")
        self.recogniser = recogniser.with_options(times=True)
        self.recogniser.log_probs_of = (SURFACE,)
        self.language = language_of(head.options.token_type)
        self.unknown = list(head.tokens).index(UNK)
        self.is_calibrated = calibration is not None
        self.calibration = calibration or uncalibrated()
        self.prior = ErrorPrior(self.calibration.errors)
        self.thresholds = {}
        for source in (judgements.PROMPT, judgements.MEANING):
            function = self.calibration.probability(source)
            if threshold is not None:
                self.thresholds[source] = threshold
            elif precision is not None:
                self.thresholds[source] = function.threshold_for(precision)
            else:
                self.thresholds[source] = function.threshold
        self.lexicon = lexicon
        self.max_seconds = max_seconds

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        calibration: str | Path | None = None,
        *,
        threshold: float | None = None,
        precision: float | None = None,
        lexicon: Mapping[str, Sequence[str]] | None = None,
        max_seconds: float = MAX_SECONDS,
        uncalibrated: bool = False,
        number_format: str = "float32",
        device: str = "cpu",
        channel: int | str | None = None,
        conditions: Mapping[str, str] | None = None,
        **options,
    ) -> "Judge":
        """Load a model and its calibration.

        Args:
            model: model directory, packed model, or name on the Hugging Face hub.
            calibration: file of `espnet-ext calibrate`; None: `calibration.json` beside the model,
                if there is one.
            threshold, precision, lexicon, max_seconds: see the class.
            uncalibrated: do not read a calibration.
            number_format: a key of `decoding.precision.PRECISIONS`; "int8_search" is faster on
                CPUs, and recognises slightly different transcripts.
            device: "cpu", "cuda" or "mps".
            channel: which of several channels of audio files to take: a number from 0, or "mix".
            conditions: labels of all recordings, for a model that reads any: {"l1": "ko"}.
            options: search options; `beam_size` is 5 by default.

        Raises:
            UserError: the calibration is of other weights, or the model cannot be used.
        """
        folder = find_model_dir(model)
        path = Path(calibration) if calibration else Path(folder) / calibrations.FILE
        is_read = not uncalibrated and (calibration is not None or path.is_file())
        loaded = Calibration.load(path) if is_read else None
        if loaded is not None:
            loaded.require_model(Path(folder) / "model.pth", path)
        if precision is not None and loaded is None:
            raise UserError(
                f"{folder}: no {calibrations.FILE}, so no threshold is known for a precision",
                "write it with espnet-ext calibrate, or give a threshold",
            )
        recogniser = DualSpeech2Text.from_pretrained(
            folder,
            device=device,
            precision=number_format,
            channel=channel,
            conditions=conditions,
            **{"beam_size": BEAM_SIZE, **options},
        )
        return cls(recogniser, loaded, threshold, precision, lexicon, max_seconds)

    def __call__(
        self,
        audio: Audio,
        prompt: str | None = None,
        sample_rate: int | None = None,
        name: str | None = None,
    ) -> Judgement:
        """Judge one recording.

        Args:
            audio: path of an audio file, or samples (S,) as floats from −1 to 1.
            prompt: the sentence that was to be read; None: the recognised meaning is expected.
            sample_rate: sample rate of samples, in Hz; default: the model's.
            name: name of the recording, for the result; default: its path.

        Raises:
            UserError: the audio cannot be read, a word of the prompt cannot be pronounced, or
                both a prompt and the output `meaning` are missing.
        """
        label = name or (str(audio) if isinstance(audio, str | Path) else "samples")
        sentence = self._expect(prompt)
        rate = sample_rate
        if isinstance(audio, str | Path):
            info = audio_info(audio_path(audio))
            rate = info.rate
            if info.has_length and info.seconds > self.max_seconds:
                return self.too_long(label, info.seconds, prompt)
        samples = self.recogniser.samples(audio, sample_rate).numpy()
        return self._judge_samples(label, samples, rate, prompt, sentence)

    def segments(self, path: str | Path, name: str | None = None) -> Iterator[Judgement]:
        """Judge a recording of any length in segments, without a prompt.

        It is cut at silences (needs the `vad` extra) into segments of at most `max_seconds`.
        Times count from the start of a segment, whose `offset` is its start in the recording.
        """
        self._expect(None)
        rate = self.recogniser.sample_rate
        with contextlib.closing(LongAudio(audio_path(path), self.recogniser.channel)) as audio:
            for spans in group_spans(speech_spans(audio, self.max_seconds)):
                for start, end in spans:
                    samples = audio.part(start, end, rate)
                    result = self._judge_samples(name or str(path), samples, audio.rate, None, None)
                    yield replace(result, offset=start)

    def evidence(self, result: Result, sentence: ExpectedSentence, seconds: float) -> Evidence:
        """Compare a decoded recording with a sentence, and score the deviations.

        A deviation whose correction the vocabulary cannot express is scored by the confidence of
        the recogniser.
        """
        surface = result.best[SURFACE]
        transcript = Transcript(surface.tokens, self.language)
        comparison = compare(sentence, transcript.units)
        odds = log_odds(
            result.log_probs[SURFACE],
            transcript,
            comparison,
            lambda text: self.recogniser.token_ids(SURFACE, text),
            self.unknown,
        )
        scores = tuple(
            self._confidence_odds(surface, transcript, comparison, deviation)
            if score is None
            else score
            for score, deviation in zip(odds, comparison.deviations, strict=True)
        )
        highest = peaks(result.log_probs[SURFACE], transcript, surface.token_ids)
        return Evidence(comparison, scores, highest, surface, transcript, seconds)

    def _confidence_odds(
        self,
        surface: Hypothesis,
        transcript: Transcript,
        comparison: Comparison,
        deviation: Deviation,
    ) -> float:
        position = comparison.columns[deviation.columns[0]].position
        values = surface.confidences[slice(*_token_range(transcript, position))]
        confidence = min(0.999, max(0.001, values[0] if values else 0.5))
        return math.log(confidence / (1.0 - confidence))

    def _expect(self, prompt: str | None) -> ExpectedSentence | None:
        if prompt is not None:
            return expect(prompt, self.language, self.lexicon)
        if MEANING not in self.recogniser.outputs:
            raise UserError(
                f"no prompt, and the model has no output {MEANING} from which to derive it",
                "give the sentence that was to be read (judge --prompt), or a model with both "
                "outputs",
            )
        return None

    def decode(self, samples: np.ndarray, rate: int | None = None) -> Result:
        """Recognise samples (S,) at the model's sample rate.

        Args:
            rate: sample rate of the original recording in Hz, for a model that reads its band.
        """
        conditions = {}
        reads_band = "band" in self.recogniser.model.condition_values
        if reads_band and "band" not in self.recogniser.conditions:
            conditions["band"] = band_of(rate or self.recogniser.sample_rate)
        return self.recogniser(samples, conditions=conditions)

    def _judge_samples(
        self,
        label: str,
        samples: np.ndarray,
        rate: int | None,
        prompt: str | None,
        sentence: ExpectedSentence | None,
    ) -> Judgement:
        seconds = len(samples) / self.recogniser.sample_rate
        if seconds > self.max_seconds:
            return self.too_long(label, seconds, prompt)
        if self.recogniser.is_too_short(len(samples)):
            message = f"{seconds:.2f} s of audio are too short for the model: record it again"
            return self._not_judged(label, seconds, prompt, judgements.TOO_SHORT, message)
        level = 20.0 * math.log10(max(1e-9, float(np.sqrt(np.mean(np.square(samples))))))
        if level < SILENCE_DB:
            message = f"the recording is silent ({level:.0f} dB): check the microphone"
            return self._not_judged(label, seconds, prompt, judgements.SILENCE, message)
        result = self.decode(samples, rate)
        transcripts = {output: hypothesis.text for output, hypothesis in result.best.items()}
        if not Transcript(result.best[SURFACE].tokens, self.language).units:
            message = "no speech was recognised: check the recording"
            return self._not_judged(
                label, seconds, prompt, judgements.NO_SPEECH, message, transcripts
            )
        source = judgements.PROMPT if sentence is not None else judgements.MEANING
        if sentence is None:
            meaning = split_tags(result.best[MEANING].text)[0]
            try:
                sentence = expect(meaning, self.language, self.lexicon)
            except UserError as error:
                problem = error.message.partition(": ")[2] or error.message
                message = f"the recognised meaning '{meaning}' has no pronunciation ({problem})"
                return self._not_judged(
                    label,
                    seconds,
                    prompt,
                    judgements.UNPRONOUNCEABLE,
                    f"{message}: give the sentence as the prompt",
                    transcripts,
                )
        evidence = self.evidence(result, sentence, seconds)
        rate_of_errors = evidence.comparison.error_rate
        if rate_of_errors >= self.calibration.mismatch:
            reason, message = _mismatch(source, rate_of_errors)
            unjudged = self._not_judged(label, seconds, prompt, reason, message, transcripts)
            return replace(unjudged, error_rate=rate_of_errors)
        return self._judged(label, prompt, source, transcripts, sentence, evidence)

    def _judged(
        self,
        label: str,
        prompt: str | None,
        source: str,
        transcripts: dict[str, str],
        sentence: ExpectedSentence,
        evidence: Evidence,
    ) -> Judgement:
        comparison = evidence.comparison
        values = features(comparison, evidence.scores, self.prior, evidence.peaks, self.language)
        probabilities = self.calibration.probability(source)(values).tolist()
        threshold = self.thresholds[source]
        named = [
            description.named(deviation, score, probability, evidence, self.language)
            for deviation, score, probability in zip(
                comparison.deviations, evidence.scores, probabilities, strict=True
            )
        ]
        pronounced = [show_units(units, self.language) for units in comparison.pronunciations]
        separator = "  " if self.language != KOREAN else " "
        return Judgement(
            audio=label,
            status=judgements.JUDGED,
            reason=None,
            message="",
            seconds=evidence.seconds,
            language=self.language,
            prompt=prompt,
            transcripts=transcripts,
            source=source,
            expected=separator.join(pronounced),
            error_rate=comparison.error_rate,
            words=tuple(description.words(evidence, self.language)),
            deviations=tuple(d for d in named if d.probability >= threshold),
            uncertain=tuple(d for d in named if d.probability < threshold),
            accepted_variants=tuple(
                Variant(
                    variant.word,
                    comparison.words[variant.word],
                    show_units(variant.preferred, self.language),
                    show_units(variant.chosen, self.language),
                )
                for variant in comparison.variants
            ),
            regular_phonology=tuple(description.phonology(comparison, self.language)),
            guessed_words=tuple(dict.fromkeys(sentence.guessed_words)),
            threshold=threshold,
            calibrated=self.is_calibrated,
        )

    def too_long(self, label: str, seconds: float, prompt: str | None) -> Judgement:
        """Return the judgement of a recording that is longer than `max_seconds`."""
        limit = f"more than {self.max_seconds:g} s"
        is_close = seconds < self.max_seconds + 1.0
        amount = f"{limit} of audio" if is_close else f"{seconds:.0f} s of audio, {limit}"
        message = (
            f"{amount} (judge --max_seconds): "
            "cut it into sentences, or into segments by judge --segments true"
        )
        return self._not_judged(label, seconds, prompt, judgements.TOO_LONG, message)

    def _not_judged(
        self,
        label: str,
        seconds: float,
        prompt: str | None,
        reason: str,
        message: str,
        transcripts: dict[str, str] | None = None,
    ) -> Judgement:
        return Judgement(
            audio=label,
            status=judgements.NOT_JUDGED,
            reason=reason,
            message=message,
            seconds=seconds,
            language=self.language,
            prompt=prompt,
            transcripts=transcripts or {},
            source=None,
            expected="",
            error_rate=None,
            words=(),
            deviations=(),
            uncertain=(),
            accepted_variants=(),
            regular_phonology=(),
            guessed_words=(),
            threshold=self.thresholds[judgements.MEANING if prompt is None else judgements.PROMPT],
            calibrated=self.is_calibrated,
        )


def _mismatch(source: str, error_rate: float) -> tuple[str, str]:
    """Return reason and message for a recording that does not match its sentence."""
    detail = f"{100 * error_rate:.0f} % of the expected sounds differ"
    if source == judgements.PROMPT:
        message = f"the recording does not seem to be this sentence ({detail}): check the prompt"
        return judgements.PROMPT_MISMATCH, message
    message = (
        f"the recognised surface and meaning disagree ({detail}), as for noise or another "
        "language: record it again, or give the sentence as the prompt"
    )
    return judgements.TRANSCRIPTS_DISAGREE, message


def _token_range(transcript: Transcript, position: int) -> tuple[int, int]:
    """Return the slice of tokens with the unit at a position; empty at the end."""
    if position >= len(transcript.token_of):
        return 0, 0
    token = transcript.token_of[position]
    return token, token + 1
