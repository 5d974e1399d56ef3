"""ESPnet's Trainer with its resume point made safe and its attention plots made rank-safe."""

import contextlib
import os
from collections.abc import Iterator

import torch

from espnet_ext.model import espnet
from espnet_ext.progress import say


class DualOutputTrainer(espnet.load("Trainer")):
    """As stock, except: checkpoints are renamed into place, one progress line an epoch."""

    @classmethod
    def run(cls, model, *args, **kwargs) -> None:
        with atomic_torch_save():
            super().run(model, *args, **kwargs)

    @classmethod
    def plot_attention(cls, model, *args, **kwargs) -> None:
        model.reduce_stats = False  # only rank 0 plots: a reduction would wait for the others
        try:
            super().plot_attention(model, *args, **kwargs)
        finally:
            model.reduce_stats = True

    @classmethod
    def validate_one_epoch(cls, model, iterator, reporter, options, distributed_option) -> None:
        super().validate_one_epoch(model, iterator, reporter, options, distributed_option)
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            say(_epoch_line(reporter, options.max_epoch))


def _epoch_line(reporter, max_epoch: int) -> str:
    stats = reporter.stats
    parts = []
    for key in stats:
        if key == "loss" or key.startswith("acc_"):
            values = [float(v.value) for v in stats[key]]
            weights = [float(getattr(v, "weight", 1)) for v in stats[key]]
            pairs = [(v, w) for v, w in zip(values, weights, strict=True) if v == v]
            if pairs:
                mean = sum(v * w for v, w in pairs) / max(sum(w for _, w in pairs), 1e-9)
                parts.append(f"{key} {mean:.3f}")
    return f"epoch {reporter.epoch}/{max_epoch}: valid {', '.join(parts)}"


@contextlib.contextmanager
def atomic_torch_save() -> Iterator[None]:
    """While open, `torch.save` to a path writes beside it and renames.

    ESPnet writes `checkpoint.pth` in place: a crash in that moment loses the only resume point.
    """
    stock = torch.save

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, str | os.PathLike):
            return stock(obj, f, *args, **kwargs)
        temporary = f"{os.fspath(f)}.tmp"
        stock(obj, temporary, *args, **kwargs)
        os.replace(temporary, f)
        return None

    torch.save = save
    try:
        yield
    finally:
        torch.save = stock
