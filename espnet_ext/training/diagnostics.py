"""Diagnoses while training, every so many steps: do the outputs agree on the encoder, and what
becomes of its layers? Nothing of the training changes by it: a test holds all of its files, with
and without, bit against bit.

A step is one batch, counted from 0 over all epochs. Step s is diagnosed before its batch is trained
on, with the weights that s batches have made: gradients on that very batch (`gradients`), CKA on
utterances held from the validation set (`similarity`). Of several processes only the first
diagnoses, on its own share of the batch: their batches may run out at different times, so that
one could wait for ever for what another does not send.

Written are a line a step to `diagnostics.jsonl`, scalars to ESPnet's TensorBoard log, and once the
states from which drift counts, to `diagnostics_start.pth`. A training that goes on from its last
checkpoint goes on with these files; lines of steps that it makes again are made again.
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
    """Everything between the option and the files.

    Args:
        every: steps from one diagnosis to the next, at least 1.
        folder: the model directory.
        model: the model itself, not what distributes it.
        held: gives (ids, batch) of the validation set, in an order that is always the same.
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
        self._held: HeldUtterances | None = None  # until the first batch says where it goes on
        self._start: Start | None = None

    def watch(
        self, iterator: Iterable, reporter, scaler=None, writer=None
    ) -> "Iterable[tuple[list[str], dict[str, torch.Tensor]]]":
        """The same batches; those of diagnosed steps are diagnosed on their way.

        Args:
            reporter: ESPnet's SubReporter, which counts the batches trained on.
            scaler: of ESPnet's mixed precision, None without.
            writer: TensorBoard's, None without.
        """
        return _Watched(iterator, lambda batch: self._pass(batch, reporter, scaler, writer))

    def _pass(self, batch: Mapping[str, Any], reporter, scaler, writer) -> None:
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
        """Go on with the files of a training that goes on at `step`."""
        path = self.folder / FILE
        kept = [
            one for one in (read_json_lines(path) if path.exists() else ()) if one["step"] < step
        ]
        write_text(path, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in kept))
        with undisturbed(self.model):
            self._held = HeldUtterances(self._make_held())
        start = Start.read(self.folder / START_FILE)
        self._start = start if start and start.step < step else None
        if len(self.model.heads) == 1:
            say("diagnose_every: one output has no gradients to compare: drift of the encoder only")
        if not encoder_layers(self.model.encoder):
            kind = type(self.model.encoder).__name__
            say(f"diagnose_every: {kind} has no list of layers: it is diagnosed as a whole")

    def diagnose(self, batch: Mapping[str, Any], scaler=None, step: int = 0) -> dict:
        """`gradients` (None with one output), `cka` and `notes`, why anything is None."""
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
                cka, further = self._similarities(device, step)
                notes += further
            except torch.OutOfMemoryError:
                cka = None
                notes.append("CKA: out of memory")
        return {"gradients": gradients, "cka": cka, "notes": notes}

    def _similarities(self, device: torch.device, step: int) -> tuple[dict, list[str]]:
        now = self._held.states(self.model, device)
        notes = []
        if self._start is not None and not self._start.fits(self._held.ids, now):
            notes.append(
                "drift: the validation set or the layers are others than at "
                f"step {self._start.step}: it counts from here"
            )
            self._start = None
        if self._start is None:
            self._start = Start(step, self._held.ids, now.encoder)
            self._start.save(self.folder / START_FILE)
        decoders = compare_decoders(now)
        frames = len(next(iter(now.encoder.values()), ()))
        cka = {
            "utterances": len(self._held.ids),
            "frames": frames,
            "since": self._start.step,
            "drift": drift(self._start.layers, now),
            "decoders": decoders,
        }
        return cka, notes + notes_on(now, decoders)


class _Watched:
    """An iterable of batches that shows each to a function before it hands it on."""

    def __init__(self, iterator: Iterable, show: Callable[[Mapping[str, Any]], None]):
        self._iterator = iterator
        self._show = show

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator:
        for ids, batch in self._iterator:
            self._show(batch)
            yield ids, batch


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Put back, at the end, what a forward pass changes: random states, buffers (the statistics of
    batch norm), and which modules are in training mode."""
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
    """The autocast of ESPnet's training step, whose gradients are asked for."""
    if scaler is None or device.type != "cuda":
        return contextlib.nullcontext()
    kind = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.autocast("cuda", dtype=kind)


def scalars(record: Mapping) -> Iterator[tuple[str, float]]:
    """(TensorBoard tag, value) of every value of a record that is defined."""
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
