"""Stage 12: decode a data directory.

Every utterance of wav.scp gets a row in every text.<output>, whether or not it can be decoded.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.audio import audio_info, load_utterance
from espnet_ext.data.conditions import read_condition
from espnet_ext.data.directory import read_sources
from espnet_ext.data.record import Utterance
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.canonical_command import (
    CanonicalOptions,
    count_derived,
    read_pairs,
    use_canonical,
    without_cut,
)
from espnet_ext.decoding.canonical_forms import CanonicalText
from espnet_ext.decoding.coupling import DEFAULT_WEIGHT
from espnet_ext.decoding.finished import FinishedResults, decoding_key
from espnet_ext.decoding.finite import NotFiniteError
from espnet_ext.decoding.result_files import remove_old_files, write_output, write_segments
from espnet_ext.decoding.search import Result
from espnet_ext.decoding.segmentation import check_seconds
from espnet_ext.decoding.threads import threads_in_use
from espnet_ext.errors import UserError, is_out_of_memory
from espnet_ext.files import sha256_of, write_json, write_text
from espnet_ext.model import stock
from espnet_ext.model.archive import find_model_dir
from espnet_ext.model.load import load_config
from espnet_ext.model.unit_frontend import unit_files
from espnet_ext.overwriting import OutputFolder
from espnet_ext.progress import say, track

CHUNK_SIZE = 64  # utterances of similar length that are read together; the API makes the batches
MAX_NAMED_FAILURES = 3  # failures that the error message lists; the file lists all of them
FAILED = "failed"
COUPLED_OUTPUTS = ("surface", "meaning")  # what is coupled in a system with more than two outputs


def decode_directory(
    model_dir: str,
    weights: str,
    data: str,
    output_dir: str,
    options: Mapping[str, Any],
    lms: Mapping[str, str],
    device: str,
    precision: str = "float32",
    coupling: str | None = None,
    coupling_weight: float | None = None,
    canonical: CanonicalOptions | None = None,
    ngrams: Mapping[str, str] | None = None,
    segment_seconds: float = 0.0,
    outputs: Sequence[str] | None = None,
    active: str = "auto",
    espnet_defaults: bool = True,
    unit_encoder: str | None = None,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write text.<output>, token.<output>, score.<output> and decode.json.

    With several hypotheses, nbest.<output>.json is written too, with times ctm.<output>, and with
    long audio `segments`. Utterances that cannot be decoded have empty transcripts, and are listed
    in `failed` with the reason. If the decoding is interrupted, the next one continues it (see
    `decoding.finished`).

    Args:
        model_dir: directory of a trained system, or a packed one (see `model.archive`).
        weights: name of the weights file in it.
        data: data directory to decode.
        output_dir: where the files are written.
        options: search options.
        lms: folders of language models, by output.
        device: "cpu" or "cuda".
        precision: see `DualSpeech2Text`.
        coupling: data directory whose transcripts the learner-error model is estimated from, for
            coupled re-ranking; None: no re-ranking.
        coupling_weight: weight of the consistency; None: the default.
        canonical: canonical forms that the surface is decoded with; None: without.
        ngrams: ARPA files, by output.
        segment_seconds: cut longer audio at silences into segments of at most this; 0: never.
        outputs: outputs to decode, and inline tags to expect in them; None: all.
        active: tasks that are active in the encoder, see `DualSpeech2Text`.
        espnet_defaults: whether models that ESPnet trained have its search defaults.
        unit_encoder: see `DualSpeech2Text.from_pretrained`.
        overwrite: replace files in `output_dir` that no earlier decoding wrote.
        provenance: command, commit and machine, for decode.json.

    Returns:
        The contents of decode.json: counts, seconds of audio and of decoding, real-time factor
        (`rtf`) and settings. `coupling`, `coupling_weight` and `canonical` are None without.

    Raises:
        UserError: if `output_dir` cannot be written, or contains other files, such as the
            transcripts of a data directory; if all audio with a canonical form would be cut; or,
            after everything is written, if utterances could not be decoded.
    """
    if segment_seconds:
        check_seconds(segment_seconds, "--segment_seconds")
    sources = read_sources(data)
    if not sources:
        raise UserError(f"{data}/wav.scp: no utterances", "give a dumped set")
    output_folder = _output_folder(output_dir, inputs=[data, model_dir], overwrite=overwrite)
    with output_folder as folder:  # before the model is loaded: an unwritable folder is an error
        model_dir = str(find_model_dir(model_dir))
        lms = _without_other_outputs(lms, model_dir, data)
        ngrams = _without_other_outputs(ngrams or {}, model_dir, data)
        recogniser = DualSpeech2Text.from_pretrained(
            model_dir,
            weights,
            device,
            lms=lms,
            ngrams=ngrams,
            precision=precision,
            only=outputs,
            active=active,
            espnet_defaults=espnet_defaults,
            unit_encoder=unit_encoder,
            **dict(options),
        )
        for name, search in recogniser.describe_search().items():
            say(f"search: {name}: {search}")
        conditions = {
            name: read_condition(data, name, values)
            for name, values in recogniser.model.condition_values.items()
        }
        _check_active(recogniser, active)
        _check_fusion(recogniser)
        if coupling is not None and len(recogniser.outputs) == 1:
            say(f"{Path(model_dir).name} only has the output {recogniser.outputs[0]}: no coupling")
            coupling = None
        if coupling is not None:
            weight = DEFAULT_WEIGHT if coupling_weight is None else coupling_weight
            names = [name for name in recogniser.outputs if name in COUPLED_OUTPUTS]
            names = names if len(recogniser.outputs) > 2 else recogniser.outputs
            texts = read_pairs(coupling, names)
            recogniser.couple(dict(zip(names, texts, strict=True)), weight)
        forms: dict[str, CanonicalText] = {}
        canonical_settings = None
        if canonical is not None:
            forms, canonical_settings = use_canonical(
                recogniser, canonical, list(sources), Path(model_dir)
            )
        settings = {
            "weights": weights,
            "outputs": recogniser.outputs,
            "active": {name: list(tasks) for name, tasks in recogniser.active.items() if tasks},
            "options": {name: vars(values) for name, values in recogniser.options.items()},
            "device": device,
            "lms": lms,
            "ngrams": ngrams,
            "precision": precision,
            "segment_seconds": segment_seconds,
            "coupling": coupling,
            "coupling_weight": recogniser.coupling.weight if recogniser.coupling else None,
            "canonical": canonical_settings,
        }
        key = _key(recogniser, model_dir, weights, {**settings, "conditions": conditions})
        finished = FinishedResults(folder, key)
        decoder = _SetDecoder(recogniser, sources, segment_seconds, finished, conditions, forms)
        decoder.run(f"decoding {Path(data).name}", f"{model_dir}/{weights}")
        facts = {"model": Path(model_dir).name, **settings, **decoder.counts()}
        if canonical_settings is not None:
            source = recogniser.canonical.source if recogniser.canonical else None
            count = count_derived(decoder.results, source) if source else len(decoder.forms)
            facts["canonical"] = {**canonical_settings, "utterances": count}
        facts["provenance"] = dict(provenance or {})
        _write_results(folder, recogniser, decoder, facts)
        finished.remove()
        _report_failures(folder / FAILED, decoder.failures, len(sources))
    return facts


def _key(recogniser: DualSpeech2Text, model_dir: str, weights: str, settings: Any) -> str:
    """Return a digest of what the results depend on besides the audio."""
    folder, config = Path(model_dir), load_config(model_dir)
    name = stock.find_weights(folder, weights) if config.get("stock") else weights
    files = [folder / name, folder / "config.yaml"]
    files += [
        folder / head.options.bpemodel
        for head in recogniser.model.heads.values()
        if head.options.bpemodel
    ]
    stats_file = (config.get("normalize_conf") or {}).get("stats_file")
    files += [folder / stats_file] if stats_file else []
    files += [folder / name for name in unit_files(config, folder)]
    for lm in settings["lms"].values():
        files += [path for path in sorted(Path(lm).iterdir()) if path.suffix in (".pth", ".yaml")]
    files += map(Path, settings["ngrams"].values())
    lexicon = (settings["canonical"] or {}).get("lexicon")
    files += [Path(lexicon)] if lexicon else []
    tables = [recogniser.coupling.errors.table] if recogniser.coupling else []
    tables += [recogniser.canonical.errors.table()] if recogniser.canonical else []
    digests = [hashlib.sha256(table.numpy().tobytes()).hexdigest() for table in tables]
    return decoding_key(files, [settings, digests])


def _write_results(
    folder: Path, recogniser: DualSpeech2Text, decoder: "_SetDecoder", facts: dict[str, Any]
) -> None:
    """Write the files of all outputs, in place of those of an earlier decoding."""
    remove_old_files(folder)
    for name in recogniser.outputs:
        has_ctc = recogniser.model.heads[name].ctc is not None
        with_times = recogniser.options[name].times and has_ctc
        if recogniser.options[name].times and not with_times:
            say(f"{name} has no CTC, which token times need: no ctm.{name}")
        write_output(folder, name, decoder.results, with_times)
    write_segments(folder / "segments", decoder.results)
    write_json(folder / "decode.json", facts)


def _output_folder(output_dir: str, inputs: Sequence[str], overwrite: bool) -> OutputFolder:
    """Return the folder to write; a data directory contains references and is protected."""
    is_data = any((Path(output_dir) / name).exists() for name in ("wav.scp", "utt2spk"))
    return OutputFolder(
        output_dir,
        "decode",
        r"(?:text|token|score|nbest|ctm)\.(?!json$).+|segments|decode\.json|failed|wav\.scp|utt2spk",
        inputs=inputs,
        overwrite=overwrite,
        evidence=() if is_data else ("decode.json",),
    )


def _without_other_outputs(models: Mapping[str, str], model_dir: str, data: str) -> dict[str, str]:
    """Remove language models of outputs that the data has and the system lacks.

    run.sh gives every system the language models of all outputs.
    """
    outputs = load_config(model_dir)["outputs"]
    unused = [
        name for name in models if name not in outputs and (Path(data) / f"text.{name}").is_file()
    ]
    for name in unused:
        say(f"{Path(model_dir).name} has no output {name}: its language model is not used")
    return {name: path for name, path in models.items() if name not in unused}


def _check_active(recogniser: DualSpeech2Text, active: str) -> None:
    """Warn about active tasks that never occurred together in training, or that do nothing."""
    conditioner = recogniser.model.conditioning
    if conditioner is None or not conditioner.uses_active:
        if active != "auto":
            say(f"--active {active} has no effect, because the model has no task vectors")
        return
    for tasks in dict.fromkeys(recogniser.active.values()):
        try:
            warning = conditioner.check_active(tasks)
        except UserError as error:
            raise UserError(f"--active {active}: {error.message}", error.remedy) from None
        if warning:
            say(f"warning: --active {active}: {warning}")


def _check_fusion(recogniser: DualSpeech2Text) -> None:
    """Raise a `UserError` for a language model that would have no effect."""
    for kind, models in (("lm", recogniser.lms), ("ngram", recogniser.ngrams)):
        for name in models:
            options = recogniser.options[name]
            if options.greedy:
                raise UserError(
                    f"--{kind} for {name}: greedy decoding does not use it",
                    f"leave out --{kind}, or --greedy",
                )
            if not getattr(options, f"{kind}_weight"):
                raise UserError(
                    f"--{kind} for {name}, but its {kind}_weight is 0",
                    f"give --config conf/decode_lm.yaml, or --{kind}_weight 0.3",
                )


class _SetDecoder:
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
        self.conditions, self.forms = conditions, forms
        self.recogniser, self.max_seconds, self.finished = recogniser, max_seconds, finished
        # With a record, errors name the utterance; the speaker does not matter here.
        self.utterances = {
            utt_id: Utterance(utt_id, speaker="", audio=source)
            for utt_id, source in sources.items()
        }
        self.results: dict[str, Result] = {}
        self.failures: dict[str, str] = {}  # utterance id → reason
        self.not_finite: tuple[str, NotFiniteError] | None = None  # the first such failure
        self.audio_seconds = 0.0
        self.seconds = finished.seconds  # of decoding
        self.reused = 0  # utterances whose results were there already

    def counts(self) -> dict[str, Any]:
        """Return counts of utterances, seconds, and the real-time factor (`rtf`)."""
        return {
            "utterances": len(self.utterances),
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
            label: of the progress.
            weights: the weights file, which an error names if the network computes no numbers.

        Raises:
            UserError: if the network's output is not finite for any of the first utterances, or all
                audio with a canonical form would be cut.
        """
        start = time.monotonic()
        if len(self.finished):
            say(
                f"{label}: continues an interrupted decoding: {len(self.finished)} of "
                f"{len(self.utterances)} utterances are decoded already"
            )
        seconds = {}
        for utt_id, utterance in self.utterances.items():
            with self._record_failure(utt_id):
                seconds[utt_id] = audio_info(utterance.audio).seconds
        self._note_sample_rate()
        order = sorted(seconds, key=lambda utt_id: (-seconds[utt_id], utt_id))
        long = [i for i in order if self.max_seconds and seconds[i] > self.max_seconds]
        order = order[len(long) :]
        self.forms = without_cut(self.forms, set(long), len(self.utterances), self.max_seconds)
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

    def _note_sample_rate(self) -> None:
        """Print a note if the audio is resampled: a model is best at the rate of its training."""
        rate = self.recogniser.sample_rate
        for utt_id, utterance in self.utterances.items():
            with contextlib.suppress(UserError):
                if (audio_rate := audio_info(utterance.audio).rate) != rate:
                    say(
                        f"note: {utt_id}: {audio_rate} Hz; the model is for {rate} Hz, so audio is "
                        "resampled"
                    )
            return  # all audio of a dumped set has one rate

    def _decode_long(self, utt_id: str, seconds: float) -> None:
        start = time.monotonic()
        with self._record_failure(utt_id):
            source = self.utterances[utt_id].audio
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
        sample_rate = self.recogniser.sample_rate
        waves: dict[str, np.ndarray] = {}
        digests: dict[str, str] = {}
        for utt_id in utt_ids:
            with self._record_failure(utt_id):
                wave = load_utterance(self.utterances[utt_id], sample_rate)[0]
                self.audio_seconds += len(wave) / sample_rate
                if self.recogniser.is_too_short(len(wave)):
                    say(f"warning: {utt_id}: too short ({len(wave)} samples): empty transcripts")
                audio_digest = hashlib.sha256(wave.tobytes()).hexdigest()
                digests[utt_id] = self._digest(utt_id, audio_digest)
                result = self.finished.get(utt_id, digests[utt_id])
                if result is None:
                    waves[utt_id] = wave
                else:
                    self.results[utt_id] = result
                    self.reused += 1
        results: dict[str, Result] = {}
        try:
            labels = {
                name: [of_utterance[utt_id] for utt_id in waves]
                for name, of_utterance in self.conditions.items()
            }
            forms = [self.forms.get(utt_id) for utt_id in waves] if self.forms else None
            decoded = self.recogniser.batch(list(waves.values()), None, labels, forms)
            results.update(zip(waves, decoded, strict=True))
        except UserError:  # about one utterance, which is found by decoding them one by one
            for utt_id, wave in waves.items():
                with self._record_failure(utt_id):
                    labels_of = self._conditions_of(utt_id)
                    form = self.forms.get(utt_id)
                    results[utt_id] = self.recogniser(wave, None, labels_of, form)
        self.results.update(results)
        if results:
            self.finished.add(results, digests, time.monotonic() - start)

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


def _report_failures(path: Path, failures: Mapping[str, str], total: int) -> None:
    """Write the list of failures, and raise a `UserError` if there are any."""
    path.unlink(missing_ok=True)  # of an earlier run
    if not failures:
        return
    lines = [f"{utt_id} {' '.join(why.split())}\n" for utt_id, why in sorted(failures.items())]
    write_text(path, "".join(lines))
    first = "".join(f"\n  {line.rstrip()}" for line in lines[:MAX_NAMED_FAILURES])
    more = f"\n  … all of them in {path}" if len(lines) > MAX_NAMED_FAILURES else ""
    raise UserError(
        f"{path}: {len(lines)} of {total} utterances could not be decoded, their transcripts are "
        f"empty:{first}{more}",
        "repair their audio, or remove them from wav.scp, and decode again",
    )
