"""Save and restore the state of a training inside an epoch.

A checkpoint inside an epoch has what ESPnet's checkpoint has, and under `WITHIN_EPOCH` the number
of batches that are done, the states of all random number generators, the statistics of these
batches and the counts of skipped steps. Such a checkpoint is written between two updates of the
weights, so no gradients are accumulated. On the CPU, a continued training is equal to an
uninterrupted one bit by bit.
"""

import hashlib
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from espnet_ext.errors import Interrupted
from espnet_ext.model import espnet
from espnet_ext.progress import say
from espnet_ext.training import checkpoints, signals
from espnet_ext.training.health import StepMonitor
from espnet_ext.training.processes import is_first_process
from espnet_ext.training.read_ahead import batches_ahead
from espnet_ext.training.sharding import ShardedModel

WITHIN_EPOCH = "within_epoch"
# A checkpoint that is due by time is written only after this many times the seconds that the last
# one took: checkpoints take at most 0.5 % of the time.
_PAUSE_PER_SECOND = 200.0


@dataclass(frozen=True)
class Position:
    """Where a training stood inside an epoch."""

    epoch: int
    batches: int  # that are done
    order: str  # digest of the utterances of all batches of the epoch; "" if unknown
    random_states: Sequence[Mapping[str, Any]]  # one per process
    statistics: Mapping[str, Any]  # result of `statistics_of`
    monitor: Mapping[str, Any]  # result of `StepMonitor.state`

    @classmethod
    def read(cls, checkpoint: Path) -> "Position | None":
        """Read the position from a checkpoint; None if it was written at the end of an epoch."""
        states = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        within = states.get(WITHIN_EPOCH)
        return cls(**within) if within else None


def random_state() -> dict[str, Any]:
    """Return the states of the random number generators of Python, NumPy and PyTorch."""
    _, keys, index, has_gauss, gauss = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (torch.from_numpy(keys.astype(np.int64)), int(index), int(has_gauss), gauss),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the states that `random_state` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    keys, *remaining = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *remaining))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def statistics_of(reporter: Any) -> dict[str, Any]:
    """Return the statistics of the batches of an epoch, from ESPnet's SubReporter.

    Values and weights are float64 tensors with one element per batch.
    """
    values = {}
    for key, reported in reporter.stats.items():
        weights = None
        if reported and hasattr(reported[0], "weight"):
            weights = torch.tensor([float(item.weight) for item in reported], dtype=torch.float64)
        numbers = [float(item.value) for item in reported]
        values[key] = (torch.tensor(numbers, dtype=torch.float64), weights)
    return {
        "values": values,
        "count": reporter.count,
        "total_count": reporter.total_count,
        "seconds": time.perf_counter() - reporter.start_time,
    }


def set_statistics(reporter: Any, statistics: Mapping[str, Any]) -> None:
    """Restore the statistics that `statistics_of` returned."""
    average, weighted_average = espnet.load("Average"), espnet.load("WeightedAverage")
    for key, (values, weights) in statistics["values"].items():
        if weights is None:
            reporter.stats[key] = [average(value) for value in values.tolist()]
        else:
            pairs = zip(values.tolist(), weights.tolist(), strict=True)
            reporter.stats[key] = [weighted_average(value, weight) for value, weight in pairs]
    reporter.count, reporter.total_count = statistics["count"], statistics["total_count"]
    reporter.start_time -= statistics["seconds"]


@dataclass
class Parts:
    """The parts of a training that change from step to step."""

    model: torch.nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    schedulers: Sequence[Any]
    scaler: Any
    reporter: Any  # ESPnet's SubReporter; its `parent` is the Reporter
    monitor: StepMonitor


@dataclass(frozen=True)
class Saving:
    """When and where checkpoints inside an epoch are written."""

    folder: Path
    minutes: float  # between two checkpoints; 0: none by time
    steps: int  # updates between two checkpoints; 0: none by steps
    accum_grad: int  # batches per update


class ResumableEpoch:
    """Batches of an epoch that can be saved after each update, and started at a saved position.

    Args:
        batches: ESPnet's iterator of the epoch, a DataLoader.
        parts: what is saved. Its reporter and monitor get the statistics of `position`.
        saving: when and where checkpoints are written.
        request: asks the training to stop.
        position: where the epoch starts; None: at its beginning.
        seconds_per_save: of the last checkpoint inside an epoch before; 0: there was none.

    Attributes:
        seconds_per_save: of the last checkpoint inside an epoch.
    """

    def __init__(
        self,
        batches: Any,
        parts: Parts,
        saving: Saving,
        request: signals.StopRequest,
        position: Position | None = None,
        seconds_per_save: float = 0.0,
    ):
        self.seconds_per_save = seconds_per_save
        self.first = position.batches if position else 0
        self._number = self.first  # batches that are done
        self._parts, self._saving, self._request = parts, saving, request
        self._order = _order_of(batches)
        self._random_state: Mapping[str, Any] | None = None
        self._saved_at = time.monotonic()
        signals.keep_workers(batches)
        if position is not None:
            if is_first_process() and position.order != self._order:
                say(
                    f"warning: epoch {position.epoch}: its batches differ from those of the "
                    f"interrupted training; the first {self.first} of the new ones are skipped"
                )
            set_statistics(parts.reporter, position.statistics)
            parts.monitor.set_state(position.monitor)
            self._random_state = _state_of_this_process(position.random_states)
        self._batches = _RemainingBatches(batches, self.first)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._batches)
        if self._random_state is not None:
            # Only now: a DataLoader draws a seed when its iterator is created.
            set_random_state(self._random_state)
        try:
            for item in iterator:
                yield item
                self._number += 1
                self._after_batch()
        finally:
            # The stack trace of `Interrupted` would keep the processes that load data.
            del iterator

    def _after_batch(self) -> None:
        done, is_update = divmod(self._number, self._saving.accum_grad)
        if is_update:  # not yet
            return
        steps = self._saving.steps
        is_due = bool(steps) and done % steps == 0
        pause = max(60 * self._saving.minutes, _PAUSE_PER_SECOND * self.seconds_per_save)
        waited = time.monotonic() - self._saved_at
        is_due = is_due or (bool(self._saving.minutes) and waited >= pause)
        must_stop, is_due = _agree(bool(self._request.signal), is_due)
        if must_stop:
            self.stop()
        if is_due:
            self.save()

    def watch_validation(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of the validation after the epoch; stop if a signal comes.

        Validation changes nothing that a checkpoint contains.
        """
        for batch in batches:
            yield batch
            if _agree(bool(self._request.signal))[0]:
                self.stop()

    def stop(self) -> None:
        """Save, and raise `Interrupted`. The machine may be switched off after this."""
        self.save(flush=True)
        epoch = self._parts.reporter.get_epoch()
        path = self._saving.folder / checkpoints.CHECKPOINT
        raise Interrupted(
            f"{path}: saved after {self._number} batches of epoch {epoch} "
            f"({self._request.name}): run the same command again to continue"
        )

    def save(self, *, flush: bool = False) -> None:
        """Write a checkpoint. All processes of the training call this together.

        Args:
            flush: wait until it is on the disk. Otherwise `checkpoints` decides.
        """
        start = time.monotonic()
        random_states = _gathered(random_state())
        if isinstance(self._parts.model, ShardedModel):
            self._parts.model.gather()
        if is_first_process():
            path = self._saving.folder / checkpoints.CHECKPOINT
            torch.save(self._state(random_states), path)
            if flush:
                checkpoints.flush(path)
        if isinstance(self._parts.model, ShardedModel):
            self._parts.model.forget()
        if _is_distributed():
            dist.barrier()
        self._saved_at = time.monotonic()
        self.seconds_per_save = self._saved_at - start

    def _state(self, random_states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        parts = self._parts
        epoch = parts.reporter.get_epoch()
        earlier = parts.reporter.parent.state_dict()
        finished = {e: stats for e, stats in earlier["stats"].items() if e < epoch}
        return {
            "model": getattr(parts.model, "module", parts.model).state_dict(),
            "reporter": {**earlier, "stats": finished, "epoch": epoch - 1},
            "optimizers": [optimizer.state_dict() for optimizer in parts.optimizers],
            "schedulers": [s.state_dict() if s is not None else None for s in parts.schedulers],
            "scaler": parts.scaler.state_dict() if parts.scaler is not None else None,
            WITHIN_EPOCH: {
                "epoch": epoch,
                "batches": self._number,
                "order": self._order,
                "random_states": list(random_states),
                "statistics": statistics_of(parts.reporter),
                "monitor": parts.monitor.state(),
            },
        }


class _RemainingBatches:
    """The batches of an iterable after the first ones, which a DataLoader does not read."""

    def __init__(self, batches: Any, skipped: int):
        self._batches, self._skipped = batches, skipped
        sampler = getattr(batches, "batch_sampler", None)  # made for this epoch
        if isinstance(sampler, list):
            del sampler[:skipped]
            self._skipped = 0
        elif (skip := getattr(sampler, "skip", None)) is not None:  # of shards
            skip(skipped)
            self._skipped = 0

    def __len__(self) -> int:
        return len(self._batches) - self._skipped

    def __iter__(self) -> Iterator[Any]:
        iterator = batches_ahead(self._batches)
        for _ in range(self._skipped):
            next(iterator, None)
        return iterator


def _order_of(batches: Any) -> str:
    """Return a digest of the utterances of all batches, in order; "" if they are not known."""
    sampler = getattr(batches, "batch_sampler", None)
    if not isinstance(sampler, list):
        return getattr(sampler, "digest", "")
    digest = hashlib.sha256()
    for batch in sampler:
        digest.update(" ".join(map(str, batch)).encode() + b"\n")
    return digest.hexdigest()


def _state_of_this_process(random_states: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the state of this process; None if the number of processes has changed."""
    rank, processes = (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)
    if len(random_states) == processes:
        return random_states[rank]
    if rank == 0:
        say(
            f"warning: the interrupted training had {len(random_states)} processes, this one has "
            f"{processes}: random numbers differ"
        )
    return None


def _agree(*flags: bool) -> list[bool]:
    """Return for each flag whether it is set in any process of the training."""
    if not _is_distributed():
        return list(flags)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    values = torch.tensor([float(flag) for flag in flags], device=device)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [value > 0 for value in values.tolist()]


def _gathered(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the states of all processes of the training, by rank."""
    if not _is_distributed():
        return [state]
    states: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(states, dict(state))
    return states


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
