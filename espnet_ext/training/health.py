"""Detect a training that has diverged: gradients, losses or weights that are not finite.

A step whose gradients are not finite does not update the model (ESPnet skips it). `StepMonitor`
counts such steps and ends the training after too many in a row. The weights are checked after each
epoch, before a checkpoint is written, so a checkpoint never contains weights that are not finite.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.progress import say
from espnet_ext.training import sharding
from espnet_ext.training.processes import is_first_process

MAX_WEIGHT = 1e6  # weights of trained networks stay below 1e3
REMEDY = (
    "lower the learning rate (optim_conf.lr, or max_lr of the scheduler), use warm-up or "
    "grad_clip, and listen to these utterances"
)
INVALID_BATCH = "invalid_batch.pt"
_NAMED = 5  # utterances in a message
# Attributes of a StepMonitor between two steps
_STATE = ("steps", "invalid", "in_a_row", "first_invalid", "first_of_epoch")


class StepMonitor:
    """Counts the steps of an epoch whose gradients were not finite.

    Args:
        reporter: ESPnet's SubReporter of the epoch. It has a gradient norm for each update.
        limit: number of such steps in a row that ends the training.
        accum_grad: batches per step.
        folder: model directory, to which the step that ends the training is written.
    """

    def __init__(self, reporter: Any, limit: int, accum_grad: int = 1, folder: Path | None = None):
        self.folder = folder
        self.reporter = reporter
        self.limit = limit
        self.accum_grad = accum_grad
        self.steps = 0
        self.invalid = 0
        self.in_a_row = 0
        self.first_invalid: list[str] = []  # utterances of the first step of the current row
        self.first_of_epoch: list[str] = []
        self.batches: list[tuple[Sequence[str], Mapping[str, Any]]] = []  # of the present step

    def watch(self, iterator: Iterable) -> "_Watched":
        """Return an iterable of the same batches that examines each step after it was made."""
        return _Watched(iterator, self)

    @property
    def has_updated(self) -> bool:
        """Whether a step of the epoch updated the model."""
        return self.steps > self.invalid

    def state(self) -> dict[str, Any]:
        """Return the counts of the epoch so far, for a checkpoint."""
        return {name: getattr(self, name) for name in _STATE}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore the counts that `state` returned."""
        for name in _STATE:
            setattr(self, name, state[name])

    def after_batch(
        self, number: int, utterances: Sequence[str], batch: Mapping[str, Any] | None = None
    ) -> None:
        """Examine the step that a batch completed.

        Args:
            number: number of the batch since the epoch started or was continued, from 1.
            batch: its tensors.

        Raises:
            UserError: after `limit` invalid steps in a row.
        """
        self.batches.append((utterances, batch or {}))
        if number % self.accum_grad:
            return
        self.steps += 1
        if math.isfinite(_latest(self.reporter, "grad_norm")):
            self.in_a_row = 0
            self.first_invalid = []
        else:
            self.invalid += 1
            self.in_a_row += 1
            of_step = [utt_id for ids, _ in self.batches for utt_id in ids]
            self.first_invalid = self.first_invalid or of_step
            self.first_of_epoch = self.first_of_epoch or of_step
        if self.in_a_row >= self.limit:
            saved = self._save_step()
            raise UserError(
                f"epoch {self.reporter.get_epoch()}, step {self.steps}: the gradients of "
                f"{self.in_a_row} steps in a row are not finite (loss "
                f"{_latest(self.reporter, 'loss'):g}); utterances of the first of them: "
                f"{_listed(self.first_invalid)}{saved}",
                f"{REMEDY}; --max_invalid_steps sets the limit",
            )
        self.batches = []

    def _save_step(self) -> str:
        """Write the latest step to `INVALID_BATCH`; return the end of a message that names it."""
        if self.folder is None or not is_first_process():
            return ""
        batches = [
            {
                "utterances": list(ids),
                "batch": {key: value for key, value in batch.items() if torch.is_tensor(value)},
            }
            for ids, batch in self.batches
        ]
        path = self.folder / INVALID_BATCH
        position = {"epoch": self.reporter.get_epoch(), "step": self.steps}
        torch.save({**position, "batches": batches}, path)
        what = "the batch" if len(batches) == 1 else f"the {len(batches)} batches"
        return f"; {what} of the last of them: {path} (read it with torch.load)"

    def finish(self, nothing_updated: bool) -> None:
        """Report the skipped steps of an epoch.

        Args:
            nothing_updated: no step of the epoch updated the model.

        Raises:
            UserError: if so.
        """
        epoch = self.reporter.get_epoch()
        if nothing_updated and not self.steps:
            raise UserError(
                f"epoch {epoch}: it has fewer batches than accum_grad {self.accum_grad}, so the "
                "model was not updated",
                "lower accum_grad or batch_bins, or raise num_iters_per_epoch",
            )
        if nothing_updated:
            raise UserError(
                f"epoch {epoch}: the gradients of all {self.steps} steps are not finite (loss "
                f"{_latest(self.reporter, 'loss'):g}), so the model was not updated; first "
                f"utterances: {_listed(self.first_of_epoch)}",
                REMEDY,
            )
        if self.invalid:
            say(
                f"warning: epoch {epoch}: {self.invalid} of {self.steps} steps were skipped, as "
                f"their gradients are not finite; first utterances: {_listed(self.first_of_epoch)}"
            )


class _Watched:
    """Batches of an epoch; the monitor sees each one after the model was trained on it."""

    def __init__(self, iterator: Any, monitor: StepMonitor):
        self._iterator = iterator
        self._monitor = monitor

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self) -> Iterator[tuple[list[str], dict[str, torch.Tensor]]]:
        for number, (ids, batch) in enumerate(self._iterator, 1):
            yield ids, batch
            self._monitor.after_batch(number, ids, batch)


def record_ids(iterator: Iterable, ids: list[list[str]]) -> Iterator:
    """Yield the batches of an iterator, and append the utterance ids of each to `ids`."""
    for batch_ids, batch in iterator:
        ids.append(list(batch_ids))
        yield batch_ids, batch


def check_validation(reporter: Any, batches: Sequence[Sequence[str]], criteria: Sequence) -> None:
    """Exclude an epoch from the selection if validation losses are not finite.

    ESPnet's mean leaves such batches out, so the epoch would be compared by fewer utterances.

    Args:
        reporter: ESPnet's SubReporter of the validation.
        batches: utterance ids per batch.
        criteria: `best_model_criterion` of the configuration.

    Raises:
        UserError: if no loss is finite, or if some are not in the first epoch.
    """
    losses = [float(value.value) for value in reporter.stats.get("loss", ())]
    invalid = [ids for ids, loss in zip(batches, losses, strict=False) if not math.isfinite(loss)]
    if not invalid:
        return
    epoch = reporter.get_epoch()
    utterances = [utt for ids in invalid for utt in ids]
    what = (
        f"epoch {epoch}: the validation losses of {len(invalid)} of {len(losses)} batches are not "
        f"finite; first utterances: {_listed(utterances)}"
    )
    if len(invalid) == len(losses) or epoch == 1:
        raise UserError(what, REMEDY)
    say(f"warning: {what}. This epoch is not used for the final weights")
    for phase, statistic, _ in criteria:
        values = reporter.stats.get(statistic, ()) if phase == "valid" else ()
        if values:
            kind = type(values[0])
            weight = (0.0,) if hasattr(values[0], "weight") else ()
            reporter.stats[statistic] = [kind(math.nan, *weight) for _ in values]


def check_weights(
    model: torch.nn.Module, where: str, utterances: Sequence[str] = (), remedy: str = REMEDY
) -> None:
    """Raise `UserError` if parameters or buffers are not finite, or parameters above `MAX_WEIGHT`.

    Args:
        where: beginning of the message: the file, or the epoch.
        utterances: the first of these are named.
    """
    problems = {
        name: problem
        for name, tensor in _floating(model)
        if (problem := _problem(tensor, is_parameter=isinstance(tensor, torch.nn.Parameter)))
    }
    if isinstance(model, sharding.ShardedModel):
        problems = sharding.of_all_processes(problems)
    if problems:
        name, problem = next(iter(problems.items()))
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        named = f"; first utterances: {_listed(utterances)}" if utterances else ""
        raise UserError(f"{where}: {problem} in {name}{more}: the training diverged{named}", remedy)


def _floating(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield parameters, and the buffers that are saved with them."""
    yield from model.named_parameters()
    saved = model.state_dict(keep_vars=True)
    parameters = {name for name, _ in model.named_parameters()}
    for name, tensor in saved.items():
        if name not in parameters and torch.is_tensor(tensor) and tensor.is_floating_point():
            yield name, tensor


@torch.no_grad()
def _problem(tensor: torch.Tensor, *, is_parameter: bool) -> str:
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()  # a shard: the others have the remainder
    if not tensor.numel():
        return ""
    largest = float(torch.linalg.vector_norm(tensor, math.inf))  # NaN if a value is NaN
    if not math.isfinite(largest):
        return "values that are not finite"
    if is_parameter and tensor.requires_grad and largest > MAX_WEIGHT:
        return f"a weight of {largest:.1g}"
    return ""


def _latest(reporter: Any, key: str) -> float:
    """Return a statistic of the latest batch; NaN if it was never computed."""
    values = reporter.stats.get(key)
    return float(values[-1].value) if values else math.nan


def _listed(utterances: Sequence[str]) -> str:
    more = f" and {len(utterances) - _NAMED} more" if len(utterances) > _NAMED else ""
    return ", ".join(utterances[:_NAMED]) + more
