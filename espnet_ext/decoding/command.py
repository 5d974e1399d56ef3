"""Decode a data directory: every utterance of wav.scp gets a row in every text.<output>."""

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
from espnet_ext.decoding.coupling import WEIGHT as COUPLING_WEIGHT
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.decoding.segmentation import check_seconds
from espnet_ext.errors import UserError
from espnet_ext.files import write_json, write_text
from espnet_ext.model.load import load_config
from espnet_ext.progress import say, track

CHUNK = 64  # utterances of like length read together; the search cuts them into batches
NAMED = 3  # failures named in the error; all of them stand in FAILED
FAILED = "failed"
COUPLED = ("surface", "meaning")  # of more outputs than two


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
) -> dict[str, Any]:
    """Write text.<output>, token.<output>, score.<output> and decode.json.

    With more than one hypothesis also nbest.<output>.json, with times also ctm.<output>. Audio
    longer than `segment_seconds` is cut at silences. An utterance that cannot be decoded has empty
    transcripts and a line in `failed`; with any of them, a `UserError` follows when all is written.

    Returns:
        The facts of decode.json: counts, seconds of audio and of work, real-time factor (RTF).
    """
    if segment_seconds:
        check_seconds(segment_seconds, "--segment_seconds")
    sources = read_table(Path(data) / "wav.scp")
    if not sources:
        raise UserError(f"{data}/wav.scp: no utterances", "give a dumped set")
    lms = _of_its_outputs(lms, model_dir, data)
    ngrams = _of_its_outputs(ngrams or {}, model_dir, data)
    recognise = DualSpeech2Text.from_pretrained(
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
    outputs = recognise.outputs
    _check_active(recognise, active)
    _check_fusion(recognise)
    if coupling is not None and len(outputs) == 1:
        say(f"{Path(model_dir).name} has {outputs[0]} alone: nothing to couple")
        coupling = None
    elif coupling is not None:
        coupling_weight = COUPLING_WEIGHT if coupling_weight is None else coupling_weight
        pair = [name for name in outputs if name in COUPLED] if len(outputs) > 2 else outputs
        recognise.couple(_pairs(coupling, pair), coupling_weight)
    start = time.monotonic()
    work = _Work(recognise, sources, segment_seconds)
    work.run(f"decoding {Path(data).name}")
    seconds = time.monotonic() - start
    _clear(Path(output_dir))
    for name in outputs:
        has_ctc = recognise.model.heads[name].ctc is not None
        timed = recognise.options[name].times and has_ctc
        if recognise.options[name].times and not timed:
            say(f"{name} has no CTC, which tells times: no ctm.{name}")
        _write_output(Path(output_dir), name, work.results, timed)
    _write_parts(Path(output_dir) / "segments", work.results)
    facts = {
        "model": Path(model_dir).name,
        "weights": weights,
        "outputs": outputs,
        "active": {name: list(names) for name, names in recognise.active.items() if names},
        "utterances": len(sources),
        "failed": len(work.failures),
        "audio_seconds": round(work.audio_seconds, 2),
        "seconds": round(seconds, 2),
        "rtf": round(seconds / max(work.audio_seconds, 1e-9), 4),
        "options": {n: vars(o) for n, o in recognise.options.items()},
        "device": device,
        "lms": dict(lms),
        "ngrams": dict(ngrams or {}),
        "precision": precision,
        "segment_seconds": segment_seconds,
        "coupling": coupling,
        "coupling_weight": coupling_weight if coupling is not None else None,
    }
    write_json(Path(output_dir) / "decode.json", facts)
    _report_failures(Path(output_dir) / FAILED, work.failures, len(sources))
    return facts


def _of_its_outputs(models: Mapping[str, str], model_dir: str, data: str) -> dict[str, str]:
    """Language models without those of outputs that the data has and this system has not."""
    own = load_config(model_dir)["outputs"]
    foreign = [n for n in models if n not in own and (Path(data) / f"text.{n}").is_file()]
    for name in foreign:
        say(f"{Path(model_dir).name} has no {name}: the language model for it has no use")
    return {name: path for name, path in models.items() if name not in foreign}


def _check_active(recognise: DualSpeech2Text, active: str) -> None:
    """Outputs and tags that are asked for in a way in which training never saw them."""
    conditioner = recognise.model.conditioning
    if conditioner is None:
        if active != "auto":
            say(f"--active {active}: the model has no task vectors, so that it changes nothing")
        return
    for names in dict.fromkeys(recognise.active.values()):
        try:
            warning = conditioner.check_active(names)
        except UserError as error:
            raise UserError(f"--active {active}: {error.message}", error.remedy) from None
        if warning:
            say(f"warning: --active {active}: {warning}")


def _check_fusion(recognise: DualSpeech2Text) -> None:
    """A model that would be given for nothing is a mistake."""
    for kind, models in (("lm", recognise.lms), ("ngram", recognise.ngrams)):
        for name in models:
            options = recognise.options[name]
            if options.greedy:
                raise UserError(f"--{kind} for {name}", "greedy decoding has no use for it")
            if not getattr(options, f"{kind}_weight"):
                raise UserError(
                    f"--{kind} for {name}, but its {kind}_weight is 0",
                    f"give --config conf/decode_lm.yaml, or --{kind}_weight 0.3",
                )


class _Work:
    """Utterances on their way: what was recognised, and what could not be and why."""

    def __init__(self, recognise: DualSpeech2Text, sources: Mapping[str, str], longest: float):
        self.recognise, self.longest = recognise, longest
        # Who speaks does not matter here; the record makes errors name the utterance.
        self.utterances = {
            i: Utterance(i, speaker="", audio=source) for i, source in sources.items()
        }
        self.results: dict[str, Result] = {}
        self.failures: dict[str, str] = {}
        self.audio_seconds = 0.0

    def run(self, label: str) -> None:
        """Recognise everything, the longest first: what memory is too small for shows at once."""
        seconds = {}
        for utt_id, utterance in self.utterances.items():
            with self._noting(utt_id):
                seconds[utt_id] = audio_info(utterance.audio).seconds
        order = sorted(seconds, key=lambda i: (-seconds[i], i))
        long = [i for i in order if self.longest and seconds[i] > self.longest]
        order = order[len(long) :]
        chunks = [[i] for i in long]
        chunks += [order[i : i + CHUNK] for i in range(0, len(order), CHUNK)]
        for chunk in track(chunks, label, unit="batch"):
            if chunk[0] in long:
                self._long(chunk[0], seconds[chunk[0]])
            else:
                self._together(chunk)
        for utt_id in self.failures:
            self.results[utt_id] = self.recognise.nothing()

    def _long(self, utt_id: str, seconds: float) -> None:
        with self._noting(utt_id):
            source = self.utterances[utt_id].audio
            self.results[utt_id] = self.recognise.long(source, self.longest)
            self.audio_seconds += seconds

    def _together(self, ids: Sequence[str]) -> None:
        rate = self.recognise.sample_rate
        waves: dict[str, np.ndarray] = {}
        for utt_id in ids:
            with self._noting(utt_id):
                waves[utt_id] = load_utterance(self.utterances[utt_id], rate)[0]
                if self.recognise.is_too_short(len(waves[utt_id])):
                    count = len(waves[utt_id])
                    say(f"warning: {utt_id}: too short ({count} samples): empty transcripts")
        self.audio_seconds += sum(map(len, waves.values())) / rate
        try:
            found = self.recognise.batch(list(waves.values()))
            self.results.update(zip(waves, found, strict=True))
        except UserError:  # of one of them: the others go on
            for utt_id, wave in waves.items():
                with self._noting(utt_id):
                    self.results[utt_id] = self.recognise(wave)

    @contextlib.contextmanager
    def _noting(self, utt_id: str) -> Iterator[None]:
        """What is wrong with one utterance does not keep the others from being recognised."""
        try:
            yield
        except UserError as error:
            message = error.message.removeprefix(f"{utt_id}: ")
            self.failures[utt_id] = f"{message} ({error.remedy})" if error.remedy else message


def _report_failures(path: Path, failures: Mapping[str, str], total: int) -> None:
    path.unlink(missing_ok=True)  # of an earlier run
    if not failures:
        return
    lines = [f"{utt_id} {' '.join(why.split())}\n" for utt_id, why in sorted(failures.items())]
    write_text(path, "".join(lines))
    first = "".join(f"\n  {line.rstrip()}" for line in lines[:NAMED])
    more = f"\n  … all of them in {path}" if len(lines) > NAMED else ""
    raise UserError(
        f"{path}: {len(lines)} of {total} utterances could not be decoded, their transcripts are "
        f"empty:{first}{more}",
        "mend their audio, or remove them from wav.scp, and decode again",
    )


def _pairs(folder: str, outputs: Sequence[str]) -> dict[str, list[str]]:
    """Transcripts of the utterances of a set that have all outputs."""
    tables = {name: read_table(Path(folder) / f"text.{name}") for name in outputs}
    labelled = [{i for i, text in table.items() if text != NA} for table in tables.values()]
    both = sorted(set.intersection(*labelled))
    if not both:
        raise UserError(f"{folder}: no utterance has all of {', '.join(outputs)}", "give another")
    return {name: [table[i] for i in both] for name, table in tables.items()}


def _clear(folder: Path) -> None:
    """Remove what an earlier run left, of outputs that this one may not have too."""
    for kind in ("text.*", "token.*", "score.*", "nbest.*", "ctm.*", "segments"):
        for path in folder.glob(kind):
            if path.name != "score.json":  # scoring's, not ours
                path.unlink()


def _write_parts(path: Path, results: Mapping[str, Result]) -> None:
    """Where long audio was cut, as Kaldi's `segments` has it."""
    lines = [
        f"{utt_id}-{number:05d} {utt_id} {part.start:.2f} {part.end:.2f}\n"
        for utt_id, result in sorted(results.items())
        for number, part in enumerate(result.parts)
    ]
    if lines:
        write_text(path, "".join(lines))


def _write_output(folder: Path, name: str, results, timed: bool) -> None:
    best = {i: result.best[name] for i, result in results.items()}
    write_table(folder / f"text.{name}", {i: h.text for i, h in best.items()})
    write_table(folder / f"token.{name}", {i: " ".join(h.tokens) for i, h in best.items()})
    write_table(folder / f"score.{name}", {i: f"{h.score:.6f}" for i, h in best.items()})
    if timed:
        _write_times(folder / f"ctm.{name}", best)
    nbest = folder / f"nbest.{name}.json"
    if any(len(r.nbest[name]) > 1 for r in results.values()):
        write_json(
            nbest,
            {
                i: [{"text": h.text, "score": round(h.score, 6)} for h in r.nbest[name]]
                for i, r in sorted(results.items())
            },
        )


def _write_times(path: Path, best: Mapping[str, Hypothesis]) -> None:
    """A line a token, `<utterance> 1 <start> <duration> <token> <confidence>` (NIST's CTM)."""
    lines = []
    for utt_id, hypothesis in sorted(best.items()):
        if hypothesis.times is None and hypothesis.tokens:
            say(f"warning: {utt_id}: too few frames for its tokens: not in {path.name}")
        rows = zip(hypothesis.tokens, hypothesis.times or (), hypothesis.confidences, strict=False)
        for token, (start, end), sure in rows:
            lines.append(f"{utt_id} 1 {start:.2f} {end - start:.2f} {token} {sure:.3f}\n")
    write_text(path, "".join(lines))
