"""Decode a data directory: every utterance of wav.scp gets a row in every text.<output>."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.audio import load_utterance
from espnet_ext.data.record import NA, Utterance
from espnet_ext.data.table import read_table, write_table
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.search import Hypothesis
from espnet_ext.errors import UserError
from espnet_ext.files import write_json, write_text
from espnet_ext.progress import say, track

CHUNK = 64  # utterances read together; the search batches by length within it


def decode_directory(
    model_dir: str, weights: str, data: str, output_dir: str, options: Mapping[str, Any],
    lms: Mapping[str, str], device: str, precision: str = "float32",
    coupling: str | None = None, coupling_weight: float = 0.3,
) -> dict[str, Any]:  # fmt: skip
    """Write text.<output>, token.<output>, score.<output> and decode.json.

    With more than one hypothesis also nbest.<output>.json, with times also ctm.<output>.

    Returns:
        The facts of decode.json: counts, seconds of audio and of work, real-time factor (RTF).
    """
    sources = read_table(Path(data) / "wav.scp")
    if not sources:
        raise UserError(f"{data}/wav.scp: no utterances", "give a dumped set")
    recognise = DualSpeech2Text.from_pretrained(
        model_dir, weights, device, lms=lms, precision=precision, **dict(options)
    )
    outputs = list(recognise.model.branches)
    if coupling is not None and len(outputs) == 1:
        say(f"{Path(model_dir).name} has {outputs[0]} alone: nothing to couple")
        coupling = None
    elif coupling is not None:
        recognise.couple(_pairs(coupling, outputs), coupling_weight)
    ids = sorted(sources)
    results = {}
    audio_seconds = 0.0
    start = time.monotonic()
    chunks = [ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)]
    for chunk in track(chunks, f"decoding {Path(data).name}", unit="batch"):
        waves = [_load(i, sources[i], recognise.sample_rate) for i in chunk]
        audio_seconds += sum(map(len, waves)) / recognise.sample_rate
        for utt_id, wave in zip(chunk, waves, strict=True):
            if recognise.is_too_short(len(wave)):
                say(f"warning: {utt_id}: too short ({len(wave)} samples): empty transcripts")
        results.update(zip(chunk, recognise.batch(waves), strict=True))
    seconds = time.monotonic() - start
    for name in outputs:
        _write_output(Path(output_dir), name, results)
    facts = {
        "model": Path(model_dir).name, "weights": weights, "outputs": outputs,
        "utterances": len(ids), "audio_seconds": round(audio_seconds, 2),
        "seconds": round(seconds, 2), "rtf": round(seconds / max(audio_seconds, 1e-9), 4),
        "options": {n: vars(o) for n, o in recognise.options.items()}, "device": device,
        "precision": precision, "coupling": coupling,
        "coupling_weight": coupling_weight if coupling is not None else None,
    }  # fmt: skip
    write_json(Path(output_dir) / "decode.json", facts)
    return facts


def _pairs(folder: str, outputs: Sequence[str]) -> dict[str, list[str]]:
    """Transcripts of the utterances of a set that have all outputs."""
    tables = {name: read_table(Path(folder) / f"text.{name}") for name in outputs}
    labelled = [{i for i, text in table.items() if text != NA} for table in tables.values()]
    both = sorted(set.intersection(*labelled))
    if not both:
        raise UserError(f"{folder}: no utterance has all of {', '.join(outputs)}", "give another")
    return {name: [table[i] for i in both] for name, table in tables.items()}


def _load(utt_id: str, source: str, sample_rate: int) -> np.ndarray:
    # Who speaks does not matter here; the record makes errors name the utterance.
    return load_utterance(Utterance(utt_id, speaker="", audio=source, texts={}), sample_rate)[0]


def _write_output(folder: Path, name: str, results) -> None:
    best = {i: result.best[name] for i, result in results.items()}
    write_table(folder / f"text.{name}", {i: h.text for i, h in best.items()})
    write_table(folder / f"token.{name}", {i: " ".join(h.tokens) for i, h in best.items()})
    write_table(folder / f"score.{name}", {i: f"{h.score:.6f}" for i, h in best.items()})
    _write_times(folder / f"ctm.{name}", best)
    nbest = folder / f"nbest.{name}.json"
    nbest.unlink(missing_ok=True)  # of an earlier run
    if any(len(r.nbest[name]) > 1 for r in results.values()):
        write_json(nbest, {
            i: [{"text": h.text, "score": round(h.score, 6)} for h in r.nbest[name]]
            for i, r in sorted(results.items())
        })  # fmt: skip


def _write_times(path: Path, best: Mapping[str, Hypothesis]) -> None:
    """A line a token, `<utterance> 1 <start> <duration> <token> <confidence>` (NIST's CTM)."""
    path.unlink(missing_ok=True)  # of an earlier run
    if all(hypothesis.times is None for hypothesis in best.values()):
        return
    lines = []
    for utt_id, hypothesis in sorted(best.items()):
        if hypothesis.times is None and hypothesis.tokens:
            say(f"warning: {utt_id}: too few frames for its tokens: not in {path.name}")
        rows = zip(hypothesis.tokens, hypothesis.times or (), hypothesis.confidences, strict=False)
        for token, (start, end), sure in rows:
            lines.append(f"{utt_id} 1 {start:.2f} {end - start:.2f} {token} {sure:.3f}\n")
    write_text(path, "".join(lines))
