"""Decode all utterances of a set: in batches, continuing an interrupted decoding, with failures."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from espnet_ext.data.audio import audio_info
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.canonical_command import without_cut
from espnet_ext.decoding.canonical_forms import CanonicalText
from espnet_ext.decoding.finished import FinishedResults
from espnet_ext.decoding.finite import NotFiniteError
from espnet_ext.decoding.search import Result
from espnet_ext.decoding.threads import threads_in_use
from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.files import sha256_of
from espnet_ext.progress import say, track

CHUNK_SIZE = 64  # utterances of similar length that are read together; the API makes the batches


class SetDecoder:
    """Decodes the utterances of a set, and collects results and failures.

    Args:
        recogniser: the recogniser.
        sources: utterance id → audio source.
        max_seconds: cut longer audio at silences; 0: never.
        finished: results of an interrupted decoding, and where new ones are kept.
        conditions: condition that the model reads → utterance id → label.
        forms: utterance id → canonical form.
    """

    def __init__(
        self,
        recogniser: DualSpeech2Text,
        sources: Mapping[str, str],
        max_seconds: float,
        finished: FinishedResults,
        conditions: Mapping[str, Mapping[str, str]],
        forms: Mapping[str, CanonicalText],
    ):
        self.conditions, self.forms, self.sources = conditions, forms, sources
        self.recogniser, self.max_seconds, self.finished = recogniser, max_seconds, finished
        self.results: dict[str, Result] = {}
        self.failures: dict[str, str] = {}  # utterance id → reason
        self.not_finite: tuple[str, NotFiniteError] | None = None  # the first such failure
        self.audio_seconds = 0.0
        self.seconds = finished.seconds  # of decoding
        self.reused = 0  # utterances whose results were there already

    def counts(self) -> dict[str, Any]:
        """Return counts of utterances, seconds, and the real-time factor (`rtf`)."""
        return {
            "utterances": len(self.sources),
            "failed": len(self.failures),
            "reused": self.reused,
            "audio_seconds": round(self.audio_seconds, 2),
            "seconds": round(self.seconds, 2),
            "rtf": round(self.seconds / max(self.audio_seconds, 1e-9), 4),
            "threads": threads_in_use(self.recogniser.num_threads),
        }

    def run(self, label: str, weights: str) -> None:
        """Decode everything, the longest first, so that a lack of memory shows at once.

        Args:
            label: label of the progress.
            weights: the weights file, which an error names if the network computes no numbers.

        Raises:
            UserError: if the network's output is not finite for any of the first utterances, or all
                audio with a canonical form would be cut.
        """
        start = time.monotonic()
        if len(self.finished):
            say(
                f"{label}: continues an interrupted decoding: {len(self.finished)} of "
                f"{len(self.sources)} utterances are decoded already"
            )
        seconds = self._lengths()
        order = sorted(seconds, key=lambda utt_id: (-seconds[utt_id], utt_id))
        long = [i for i in order if self.max_seconds and seconds[i] > self.max_seconds]
        order = order[len(long) :]
        self.forms = without_cut(self.forms, set(long), len(self.sources), self.max_seconds)
        chunks = [[utt_id] for utt_id in long]
        chunks += [order[start : start + CHUNK_SIZE] for start in range(0, len(order), CHUNK_SIZE)]
        for chunk in track(chunks, label, unit="batch"):
            if chunk[0] in long:
                self._decode_long(chunk[0], seconds[chunk[0]])
            else:
                self._decode_chunk(chunk)
            if self.not_finite is not None and not self.results:
                utt_id, error = self.not_finite
                raise UserError(f"{weights}: {utt_id}: {error.message}", error.remedy)
        for utt_id in self.failures:
            self.results[utt_id] = self.recogniser.nothing()
        self.seconds += time.monotonic() - start

    def _lengths(self) -> dict[str, float]:
        """Return the seconds of all utterances that can be read."""
        seconds = {}
        for utt_id, source in self.sources.items():
            with self._record_failure(utt_id):
                seconds[utt_id] = audio_info(source).seconds
        self._note_sample_rate()
        return seconds

    def _note_sample_rate(self) -> None:
        """Print a note if the audio is resampled: a model is best at the rate of its training."""
        rate = self.recogniser.sample_rate
        for utt_id, source in self.sources.items():
            with contextlib.suppress(UserError):
                if (audio_rate := audio_info(source).rate) != rate:
                    say(
                        f"note: {utt_id}: {audio_rate} Hz; the model is for {rate} Hz, so audio is "
                        "resampled"
                    )
            return  # all audio of a dumped set has one rate

    def _decode_long(self, utt_id: str, seconds: float) -> None:
        start = time.monotonic()
        with self._record_failure(utt_id):
            source = self.sources[utt_id]
            digest = self._digest(utt_id, sha256_of(source)) if os.path.isfile(source) else None
            result = self.finished.get(utt_id, digest) if digest else None
            self.reused += result is not None
            if result is None:
                conditions = self._conditions_of(utt_id)
                result = self.recogniser.long(source, self.max_seconds, conditions)
                if digest:
                    elapsed = time.monotonic() - start
                    self.finished.add({utt_id: result}, {utt_id: digest}, elapsed)
            self.results[utt_id] = result
            self.audio_seconds += seconds

    def _decode_chunk(self, utt_ids: Sequence[str]) -> None:
        start = time.monotonic()
        inputs, digests = self._read(utt_ids)
        results: dict[str, Result] = {}
        try:
            results.update(zip(inputs, self._decode(inputs), strict=True))
        except UserError:  # about one utterance, which is found by decoding them one by one
            for utt_id, value in inputs.items():
                with self._record_failure(utt_id):
                    results[utt_id] = self._decode({utt_id: value})[0]
        self.results.update(results)
        if results:
            self.finished.add(results, digests, time.monotonic() - start)

    def _read(self, utt_ids: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the samples that are not decoded yet, and the digests of all, by utterance."""
        sample_rate = self.recogniser.sample_rate
        waves: dict[str, np.ndarray] = {}
        digests: dict[str, str] = {}
        for utt_id in utt_ids:
            with self._record_failure(utt_id):
                wave = self.recogniser.samples(self.sources[utt_id]).numpy()
                self.audio_seconds += len(wave) / sample_rate
                if self.recogniser.is_too_short(len(wave)):
                    say(f"warning: {utt_id}: too short ({len(wave)} samples): empty transcripts")
                    self.results[utt_id] = self.recogniser.nothing()
                    continue
                audio_digest = hashlib.sha256(wave.tobytes()).hexdigest()
                digests[utt_id] = self._digest(utt_id, audio_digest)
                if not self._is_finished(utt_id, digests[utt_id]):
                    waves[utt_id] = wave
        return waves, digests

    def _is_finished(self, utt_id: str, digest: str) -> bool:
        """Return whether an interrupted decoding has the result, and take it if so."""
        result = self.finished.get(utt_id, digest)
        if result is None:
            return False
        self.results[utt_id] = result
        self.reused += 1
        return True

    def _decode(self, inputs: Mapping[str, Any]) -> list[Result]:
        """Return the results of inputs: utterance id → samples."""
        forms = [self.forms.get(utt_id) for utt_id in inputs] if self.forms else None
        return self.recogniser.batch(list(inputs.values()), None, self._labels_of(inputs), forms)

    def _labels_of(self, utt_ids: Iterable[str]) -> dict[str, list[str]]:
        """Return the labels of utterances, by condition."""
        utt_ids = list(utt_ids)
        return {
            name: [labels[utt_id] for utt_id in utt_ids] for name, labels in self.conditions.items()
        }

    def _digest(self, utt_id: str, audio_digest: str) -> str:
        """Return a digest of what a result depends on: audio, labels and canonical form."""
        labels = [labels[utt_id] for labels in self.conditions.values()]
        form = [json.dumps(self.forms[utt_id])] if utt_id in self.forms else []
        return " ".join([audio_digest, *labels, *form])

    def _conditions_of(self, utt_id: str) -> dict[str, str]:
        """Return the labels of an utterance."""
        return {name: of_utterance[utt_id] for name, of_utterance in self.conditions.items()}

    @contextlib.contextmanager
    def _record_failure(self, utt_id: str) -> Iterator[None]:
        """Record why an utterance fails, and continue with the others."""
        try:
            yield
        except UserError as error:
            if isinstance(error, NotFiniteError) and self.not_finite is None:
                self.not_finite = utt_id, error
            message = error.message.removeprefix(f"{utt_id}: ")
            self.failures[utt_id] = f"{message} ({error.remedy})" if error.remedy else message
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.failures[utt_id] = "out of memory (cut the audio, or allow more memory)"
