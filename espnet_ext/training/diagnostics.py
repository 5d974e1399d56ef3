"""Measure, every N training steps, whether the outputs' gradients agree and how layers change.

The measurements do not change the training: a test compares all files of a training with and
without them bit by bit.

A step is one batch, counted from 0 over all epochs. Step s is measured before the model is trained
on its batch, that is with the weights after s batches: gradients on this batch (see `gradients`),
CKA on fixed utterances of the validation set (see `similarity`). With several processes, only rank
0 measures, on its share of the batch. Ranks may run out of batches at different times, so a
collective operation could hang.

Results are one line per measured step in `diagnostics.jsonl` and scalars in ESPnet's TensorBoard
log. `diagnostics_start.pth` holds the hidden states that drift is measured against. A resumed
training appends to these files; lines of repeated steps are replaced.
"""

import contextlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espnet_ext.files import read_json_lines, write_text
from espnet_ext.model.dual import DualOutputModel
from espnet_ext.model.layers import encoder_layers
from espnet_ext.progress import say
from espnet_ext.training.gradients import compare_gradients
from espnet_ext.training.similarity import (
    StartStates,
    UtteranceSample,
    compare_decoders,
    drift,
    undefined_notes,
)

FILE = "diagnostics.jsonl"
START_FILE = "diagnostics_start.pth"
CKA_TAGS = "diagnostics_cka"  # prefix of TensorBoard tags


class Diagnostics:
    """Measures a model while it is trained, and writes the results.

    Args:
        every: steps between measurements, at least 1.
        folder: model directory.
        model: the model, not wrapped by DistributedDataParallel.
        make_batches: returns the (ids, batch) pairs of the validation set, always in the same
            order.
    """

    def __init__(
        self,
        every: int,
        folder: Path,
        model: DualOutputModel,
        make_batches: Callable[[], Iterable[tuple[list[str], Mapping[str, torch.Tensor]]]],
    ):
        self.every = every
        self.folder = folder
        self.model = model
        self._make_batches = make_batches
        self._sample: UtteranceSample | None = None  # set at the first step of this process
        self._start: StartStates | None = None

    def watch(
        self, iterator: Iterable, reporter, scaler=None, writer=None
    ) -> "Iterable[tuple[list[str], dict[str, torch.Tensor]]]":
        """Return an iterable of the same batches that measures the model before some of them.

        Args:
            reporter: ESPnet's SubReporter, which counts the batches that the model was trained on.
            scaler: gradient scaler of ESPnet's mixed precision, or None.
            writer: TensorBoard writer, or None.
        """
        return _Watched(iterator, lambda batch: self._on_batch(batch, reporter, scaler, writer))

    def _on_batch(self, batch: Mapping[str, Any], reporter, scaler, writer) -> None:
        step = reporter.get_total_count()
        if self._sample is None:
            self._prepare(step)
        if step % self.every:
            return
        record = {"step": step, "epoch": reporter.get_epoch(), **self.diagnose(batch, scaler, step)}
        with open(self.folder / FILE, "a", encoding="utf-8", newline="\n") as handle:
            handle.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        for note in record["notes"]:
            say(f"diagnose_every: step {step}: {note}")
        if writer is not None:
            for tag, value in scalars(record):
                writer.add_scalar(tag, value, step)

    def _prepare(self, step: int) -> None:
        """Prepare the files for a training that starts or resumes at `step`.

        Delete later lines, and load the states that drift is measured against.
        """
        path = self.folder / FILE
        records = read_json_lines(path) if path.exists() else ()
        kept = [record for record in records if record["step"] < step]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))
        with preserve_state(self.model):
            self._sample = UtteranceSample(self._make_batches())
        start = StartStates.read(self.folder / START_FILE)
        self._start = start if start and start.step < step else None
        if len(self.model.heads) == 1:
            say(
                "diagnose_every: the system has one output and no gradients to compare: measuring "
                "only the drift of the encoder"
            )
        if not encoder_layers(self.model.encoder):
            kind = type(self.model.encoder).__name__
            say(
                f"diagnose_every: the encoder {kind} has no list of layers: measuring the "
                "encoder as a whole"
            )

    def diagnose(self, batch: Mapping[str, Any], scaler=None, step: int = 0) -> dict:
        """Compare the outputs' gradients and the layers' states at the current weights.

        Args:
            batch: the batch to compute the gradients on.
            scaler: gradient scaler of ESPnet's mixed precision, or None.
            step: the number of the current step.

        Returns:
            `gradients` (None for a system with one output), `cka`, and `notes`: the reasons for
            values that are None.
        """
        gradients, notes = None, []
        device = next(self.model.parameters()).device
        with preserve_state(self.model):
            if len(self.model.heads) > 1:
                moved = {k: v.to(device) for k, v in batch.items() if isinstance(v, torch.Tensor)}
                try:
                    with _precision(scaler, device):
                        scale = scaler.get_scale() if scaler is not None else 1.0
                        gradients = compare_gradients(self.model, moved, scale)
                        notes += gradients.pop("notes")
                except torch.OutOfMemoryError:
                    notes.append("gradients: out of memory")
            self.model.eval()
            try:
                cka, cka_notes = self._similarities(device, step)
                notes += cka_notes
            except torch.OutOfMemoryError:
                cka = None
                notes.append("CKA: out of memory")
        return {"gradients": gradients, "cka": cka, "notes": notes}

    def _similarities(self, device: torch.device, step: int) -> tuple[dict, list[str]]:
        """Return the record `cka`, and notes."""
        assert self._sample is not None
        now = self._sample.states(self.model, device)
        notes = []
        if self._start is not None and not self._start.matches(self._sample.ids, now):
            notes.append(
                "drift: the validation set or the layers have changed since step "
                f"{self._start.step}: drift is now measured from step {step}"
            )
            self._start = None
        if self._start is None:
            self._start = StartStates(step, self._sample.ids, now.encoder)
            self._start.save(self.folder / START_FILE)
        decoders = compare_decoders(now)
        frames = next((len(states) for states in now.encoder.values()), 0)
        cka = {
            "utterances": len(self._sample.ids),
            "frames": frames,
            "since": self._start.step,
            "drift": drift(self._start.layers, now),
            "decoders": decoders,
        }
        return cka, notes + undefined_notes(now, decoders)


class _Watched:
    """An iterable of batches that calls a function with each batch before yielding the batch."""

    def __init__(self, iterator: Any, on_batch: Callable[[Mapping[str, Any]], None]):
        self._iterator = iterator
        self._on_batch = on_batch

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator:
        for ids, batch in self._iterator:
            self._on_batch(batch)
            yield ids, batch


@contextlib.contextmanager
def preserve_state(model: torch.nn.Module) -> Iterator[None]:
    """Restore, when the context ends, the states that a forward pass may change.

    These are random states, buffers (the statistics of batch norm) and the training mode of every
    module.
    """
    python, numpy = random.getstate(), np.random.get_state()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    devices = [d for d in {p.device for p in model.parameters()} if d.type == "cuda"]
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
            for module, mode in modes:
                module.training = mode


def _precision(scaler, device: torch.device):
    """Return the autocast context that ESPnet's training step uses."""
    if scaler is None or device.type != "cuda":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=dtype)


def scalars(record: Mapping) -> Iterator[tuple[str, float]]:
    """Yield (TensorBoard tag, value) for every value of a record that is not None."""
    groups: dict[str, Mapping[str, float | None]] = {}
    gradients, cka = record["gradients"] or {}, record["cka"] or {}
    for pair in gradients.get("pairs", ()):
        groups[f"diagnostics_cosine_{pair['a']}_{pair['b']}"] = pair["cosine"]
    for output, norms in gradients.get("norms", {}).items():
        groups[f"diagnostics_norm_{output}"] = norms
    groups[f"{CKA_TAGS}_drift"] = cka.get("drift", {})
    for pair in cka.get("decoders", ()):
        groups[f"{CKA_TAGS}_decoders_{pair['a']}_{pair['b']}"] = pair["layers"]
    for tag, layers in groups.items():
        yield from ((f"{tag}/{name}", value) for name, value in layers.items() if value is not None)
