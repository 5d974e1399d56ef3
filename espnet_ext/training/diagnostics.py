"""Diagnoses during training: gradients of the outputs and CKA of hidden states, every n steps.

They do not change the training: a test compares all files of a training with and without them, bit
by bit.

A step is one batch, counted from 0 over all epochs. Step s is diagnosed before it is trained, with
the weights after s batches: gradients on the same batch (`gradients`), and CKA on utterances of the
validation set (`similarity`). With several processes only the first one diagnoses, on its share of
the batch. The processes could not cooperate, because their batches may end at different times.

`diagnostics.jsonl` has one line per diagnosed step, ESPnet's TensorBoard log the same as scalars,
and `diagnostics_start.pth` the states that drift is measured from. A resumed training continues
these files, and replaces the lines of steps that it repeats.
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
    HeldUtterances,
    Start,
    compare_decoders,
    drift,
    notes_on,
)

FILE = "diagnostics.jsonl"
START_FILE = "diagnostics_start.pth"
CKA_TAGS = "diagnostics_cka"  # in TensorBoard


class Diagnostics:
    """Diagnoses every n-th step of a training and writes the results.

    Args:
        every: steps between diagnoses, at least 1.
        folder: the model directory.
        model: the model, not its DistributedDataParallel wrapper.
        held: returns (ids, batch) of the validation set, always in the same order.
    """

    def __init__(
        self,
        every: int,
        folder: Path,
        model: DualOutputModel,
        held: Callable[[], Iterable[tuple[list[str], Mapping[str, torch.Tensor]]]],
    ):
        self.every = every
        self.folder = folder
        self.model = model
        self._make_held = held
        self._held: HeldUtterances | None = None  # until the first batch
        self._start: Start | None = None

    def watch(
        self, iterator: Iterable, reporter, scaler=None, writer=None
    ) -> "Iterable[tuple[list[str], dict[str, torch.Tensor]]]":
        """Return the same batches, and diagnose those of every n-th step before they are used.

        Args:
            reporter: ESPnet's SubReporter, which counts the trained batches.
            scaler: gradient scaler of mixed precision, or None.
            writer: TensorBoard's, or None.
        """
        return _Observed(iterator, lambda batch: self._visit(batch, reporter, scaler, writer))

    def _visit(self, batch: Mapping[str, Any], reporter, scaler, writer) -> None:
        step = reporter.get_total_count()
        if self._held is None:
            self._prepare(step)
        if step % self.every:
            return
        record = {"step": step, "epoch": reporter.get_epoch(), **self.diagnose(batch, scaler, step)}
        with open(self.folder / FILE, "a", encoding="utf-8", newline="\n") as handle:
            handle.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        for note in record["notes"]:
            say(f"step {step}, not diagnosed: {note}")
        if writer is not None:
            for tag, value in scalars(record):
                writer.add_scalar(tag, value, step)

    def _prepare(self, step: int) -> None:
        """Read the files of an earlier run and drop what belongs to later steps than `step`."""
        path = self.folder / FILE
        records = read_json_lines(path) if path.exists() else []
        kept = [record for record in records if record["step"] < step]
        write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in kept))
        with undisturbed(self.model):
            self._held = HeldUtterances(self._make_held())
        start = Start.read(self.folder / START_FILE)
        self._start = start if start and start.step < step else None
        if len(self.model.heads) == 1:
            say("diagnose_every: with one output only the drift of the encoder is measured")
        if not encoder_layers(self.model.encoder):
            kind = type(self.model.encoder).__name__
            say(f"diagnose_every: {kind} has no list of layers, so it is treated as one layer")

    def diagnose(self, batch: Mapping[str, Any], scaler=None, step: int = 0) -> dict:
        """Return `gradients` (None with one output), `cka`, and `notes` that explain None."""
        gradients, notes = None, []
        device = next(self.model.parameters()).device
        with undisturbed(self.model):
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
        assert self._held is not None
        now = self._held.states(self.model, device)
        notes = []
        if self._start is not None and not self._start.fits(self._held.ids, now):
            notes.append(
                "drift: the validation set or the layers differ from those at step "
                f"{self._start.step}: it is measured from here on"
            )
            self._start = None
        if self._start is None:
            self._start = Start(step, self._held.ids, now.encoder)
            self._start.save(self.folder / START_FILE)
        decoders = compare_decoders(now)
        frames = next((len(states) for states in now.encoder.values()), 0)
        cka = {
            "utterances": len(self._held.ids),
            "frames": frames,
            "since": self._start.step,
            "drift": drift(self._start.layers, now),
            "decoders": decoders,
        }
        return cka, notes + notes_on(now, decoders)


class _Observed:
    """An iterable of batches that calls a function with each batch before it yields it."""

    def __init__(self, iterator: Any, visit: Callable[[Mapping[str, Any]], None]):
        self._iterator = iterator
        self._visit = visit

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator:
        for ids, batch in self._iterator:
            self._visit(batch)
            yield ids, batch


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Restore what a forward pass changes when the context closes.

    These are random states, buffers (the statistics of batch normalisation), and the training mode
    of each module.
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
    """Return the autocast context of ESPnet's training step."""
    if scaler is None or device.type != "cuda":
        return contextlib.nullcontext()
    kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=kind)


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
