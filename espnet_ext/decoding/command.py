"""Stage 12: decode a data directory.

Every utterance of wav.scp gets a row in every text.<output>, whether or not it can be decoded.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.audio import audio_info, load_utterance
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.coupling import DEFAULT_WEIGHT
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.decoding.segmentation import check_seconds
from espnet_ext.errors import UserError
from espnet_ext.files import write_json, write_text
from espnet_ext.model.load import load_config
from espnet_ext.outputs import OutputFolder
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
    ngrams: Mapping[str, str] | None = None,
    segment_seconds: float = 0.0,
    outputs: Sequence[str] | None = None,
    active: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write text.<output>, token.<output>, score.<output> and decode.json.

    With several hypotheses, nbest.<output>.json is written too, with times ctm.<output>, and with
    long audio `segments`. Utterances that cannot be decoded have empty transcripts, and are listed
    in `failed` with the reason.

    Args:
        model_dir: directory of a trained system.
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
        ngrams: ARPA files, by output.
        segment_seconds: cut longer audio at silences into segments of at most this; 0: never.
        outputs: outputs to decode, and inline tags to expect in them; None: all.
        active: tasks that are active in the encoder, see `DualSpeech2Text`.
        overwrite: replace files in `output_dir` that no earlier decoding wrote.

    Returns:
        The contents of decode.json: counts, seconds of audio and of decoding, real-time factor
        (`rtf`) and settings.

    Raises:
        UserError: if `output_dir` contains other files, such as the transcripts of a data
            directory; or, after everything is written, if utterances could not be decoded.
    """
    output_folder = _output_folder(output_dir, inputs=[data, model_dir], overwrite=overwrite)
    output_folder.check()
    if segment_seconds:
        check_seconds(segment_seconds, "--segment_seconds")
    sources = read_table(Path(data) / "wav.scp")
    if not sources:
        raise UserError(f"{data}/wav.scp: has no utterances", "give a set that stage 4 has written")
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
        **dict(options),
    )
    outputs = recogniser.outputs
    _check_active(recogniser, active)
    _check_fusion(recogniser)
    if coupling is not None and len(outputs) == 1:
        say(f"--coupling is ignored: {Path(model_dir).name} has only the output {outputs[0]}")
        coupling = None
    elif coupling is not None:
        coupling_weight = DEFAULT_WEIGHT if coupling_weight is None else coupling_weight
        pair = [name for name in outputs if name in COUPLED_OUTPUTS]
        pair = pair if len(outputs) > 2 else outputs
        recogniser.couple(_transcript_pairs(coupling, pair), coupling_weight)
    start = time.monotonic()
    decoder = _SetDecoder(recogniser, sources, segment_seconds)
    decoder.run(f"decoding {Path(data).name}")
    seconds = time.monotonic() - start
    facts = {
        "model": Path(model_dir).name,
        "weights": weights,
        "outputs": outputs,
        "active": {name: list(tasks) for name, tasks in recogniser.active.items() if tasks},
        "utterances": len(sources),
        "failed": len(decoder.failures),
        "audio_seconds": round(decoder.audio_seconds, 2),
        "seconds": round(seconds, 2),
        "rtf": round(seconds / max(decoder.audio_seconds, 1e-9), 4),
        "options": {name: vars(values) for name, values in recogniser.options.items()},
        "device": device,
        "lms": dict(lms),
        "ngrams": dict(ngrams or {}),
        "precision": precision,
        "segment_seconds": segment_seconds,
        "coupling": coupling,
        "coupling_weight": coupling_weight if coupling is not None else None,
    }
    with output_folder as folder:
        _remove_old_files(folder)
        for name in outputs:
            has_ctc = recogniser.model.heads[name].ctc is not None
            with_times = recogniser.options[name].times and has_ctc
            if recogniser.options[name].times and not with_times:
                say(f"ctm.{name} is not written: token times need CTC, which {name} does not have")
            _write_output(folder, name, decoder.results, with_times)
        _write_segments(folder / "segments", decoder.results)
        write_json(folder / "decode.json", facts)
        _report_failures(folder / FAILED, decoder.failures, len(sources))
    return facts


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
    if conditioner is None:
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
    """

    def __init__(self, recogniser: DualSpeech2Text, sources: Mapping[str, str], max_seconds: float):
        self.recogniser, self.max_seconds = recogniser, max_seconds
        # With a record, errors name the utterance; the speaker does not matter here.
        self.utterances = {
            utt_id: Utterance(utt_id, speaker="", audio=source)
            for utt_id, source in sources.items()
        }
        self.results: dict[str, Result] = {}
        self.failures: dict[str, str] = {}  # utterance id → reason
        self.audio_seconds = 0.0

    def run(self, label: str) -> None:
        """Decode everything, the longest first, so that a lack of memory shows at once."""
        seconds = {}
        for utt_id, utterance in self.utterances.items():
            with self._record_failure(utt_id):
                seconds[utt_id] = audio_info(utterance.audio).seconds
        order = sorted(seconds, key=lambda utt_id: (-seconds[utt_id], utt_id))
        long = [i for i in order if self.max_seconds and seconds[i] > self.max_seconds]
        order = order[len(long) :]
        chunks = [[utt_id] for utt_id in long]
        chunks += [order[start : start + CHUNK_SIZE] for start in range(0, len(order), CHUNK_SIZE)]
        for chunk in track(chunks, label, unit="batch"):
            if chunk[0] in long:
                self._decode_long(chunk[0], seconds[chunk[0]])
            else:
                self._decode_chunk(chunk)
        for utt_id in self.failures:
            self.results[utt_id] = self.recogniser.nothing()

    def _decode_long(self, utt_id: str, seconds: float) -> None:
        with self._record_failure(utt_id):
            source = self.utterances[utt_id].audio
            self.results[utt_id] = self.recogniser.long(source, self.max_seconds)
            self.audio_seconds += seconds

    def _decode_chunk(self, utt_ids: Sequence[str]) -> None:
        sample_rate = self.recogniser.sample_rate
        waves: dict[str, np.ndarray] = {}
        for utt_id in utt_ids:
            with self._record_failure(utt_id):
                waves[utt_id] = load_utterance(self.utterances[utt_id], sample_rate)[0]
                count = len(waves[utt_id])
                if self.recogniser.is_too_short(count):
                    say(f"warning: {utt_id}: too short ({count} samples): empty transcripts")
        self.audio_seconds += sum(map(len, waves.values())) / sample_rate
        try:
            results = self.recogniser.batch(list(waves.values()))
            self.results.update(zip(waves, results, strict=True))
        except UserError:  # about one utterance, which is found by decoding them one by one
            for utt_id, wave in waves.items():
                with self._record_failure(utt_id):
                    self.results[utt_id] = self.recogniser(wave)

    @contextlib.contextmanager
    def _record_failure(self, utt_id: str) -> Iterator[None]:
        """Record a `UserError` about an utterance, and continue with the others."""
        try:
            yield
        except UserError as error:
            message = error.message.removeprefix(f"{utt_id}: ")
            self.failures[utt_id] = f"{message} ({error.remedy})" if error.remedy else message


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


def _transcript_pairs(folder: str, outputs: Sequence[str]) -> dict[str, list[str]]:
    """Return the transcripts of the utterances that are labelled for all outputs."""
    tables = {name: read_table(Path(folder) / f"text.{name}") for name in outputs}
    labelled = [
        {utt_id for utt_id, text in table.items() if text != NA} for table in tables.values()
    ]
    utt_ids = sorted(set.intersection(*labelled))
    if not utt_ids:
        raise UserError(
            f"{folder}: no utterance has all of {', '.join(outputs)}", "give another set"
        )
    return {name: [table[utt_id] for utt_id in utt_ids] for name, table in tables.items()}


def _remove_old_files(folder: Path) -> None:
    """Remove the files of an earlier run, which may have had other outputs."""
    for pattern in ("text.*", "token.*", "score.*", "nbest.*", "ctm.*", "segments"):
        for path in folder.glob(pattern):
            if path.name != "score.json":  # written by scoring
                path.unlink()


def _write_segments(path: Path, results: Mapping[str, Result]) -> None:
    """Write the segments of long audio as a Kaldi `segments` file, if there are any."""
    lines = [
        f"{utt_id}-{number:05d} {utt_id} {part.start:.2f} {part.end:.2f}\n"
        for utt_id, result in sorted(results.items())
        for number, part in enumerate(result.parts)
    ]
    if lines:
        write_text(path, "".join(lines))


def _write_output(folder: Path, name: str, results: Mapping[str, Result], with_times: bool) -> None:
    """Write the files of one output."""
    best = {utt_id: result.best[name] for utt_id, result in results.items()}
    write_table(folder / f"text.{name}", {i: h.text for i, h in best.items()})
    write_table(folder / f"token.{name}", {i: " ".join(h.tokens) for i, h in best.items()})
    write_table(folder / f"score.{name}", {i: f"{h.score:.6f}" for i, h in best.items()})
    if with_times:
        _write_ctm(folder / f"ctm.{name}", best)
    if any(len(result.nbest[name]) > 1 for result in results.values()):
        nbest = {
            utt_id: [{"text": h.text, "score": round(h.score, 6)} for h in result.nbest[name]]
            for utt_id, result in sorted(results.items())
        }
        write_json(folder / f"nbest.{name}.json", nbest)


def _write_ctm(path: Path, best: Mapping[str, Hypothesis]) -> None:
    """Write `<utterance> 1 <start> <duration> <token> <confidence>` per token (NIST's CTM)."""
    lines = []
    for utt_id, hypothesis in sorted(best.items()):
        if hypothesis.times is None and hypothesis.tokens:
            say(f"warning: {utt_id}: too few frames for its tokens: not in {path.name}")
        rows = zip(hypothesis.tokens, hypothesis.times or (), hypothesis.confidences, strict=False)
        for token, (start, end), confidence in rows:
            lines.append(f"{utt_id} 1 {start:.2f} {end - start:.2f} {token} {confidence:.3f}\n")
    write_text(path, "".join(lines))
