"""ESPnet's Trainer with atomic checkpoints, one progress line per epoch, optional diagnostics."""

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.progress import say
from espnet_ext.training.diagnostics import Diagnostics
from espnet_ext.training.finetune import FineTuning, FreezeSchedule

TrainerOptions: Any = espnet.load("TrainerOptions")
Trainer: Any = espnet.load("Trainer")


@dataclasses.dataclass
class Options(TrainerOptions):
    """Options of ESPnet's Trainer, and of the diagnostics. They have the names of the arguments."""

    finetune_conf: Mapping[str, Any]  # keys of `finetune.FineTuning`
    diagnose_every: int  # steps between measurements of `diagnostics`; 0: never
    # set by `run`, on rank 0 if `diagnose_every` is not 0
    diagnostics: Diagnostics | None = dataclasses.field(init=False, default=None)
    # set by `run` if `finetune_conf` freezes layers
    freeze_schedule: FreezeSchedule | None = dataclasses.field(init=False, default=None)


class DualOutputTrainer(Trainer):
    """ESPnet's Trainer with five changes.

    A checkpoint is written to a temporary file that is then renamed. One progress line is printed
    per epoch. With `diagnose_every`, some steps are measured (see `diagnostics`). Attention weights
    can be plotted with several processes. With `finetune_conf`, layers are frozen in the first
    epochs.
    """

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> Options:
        names = [field.name for field in dataclasses.fields(Options) if field.init]
        return Options(**{name: getattr(args, name) for name in names})

    @classmethod
    def run(
        cls, model, *, trainer_options, valid_iter_factory, distributed_option, **kwargs
    ) -> None:
        is_first = not distributed_option.distributed or distributed_option.dist_rank == 0
        if trainer_options.diagnose_every and is_first:
            trainer_options.diagnostics = Diagnostics(
                trainer_options.diagnose_every,
                Path(trainer_options.output_dir),
                model,
                lambda: valid_iter_factory.build_iter(1, shuffle=True),  # always the same order
            )
        fine_tuning = FineTuning.parse(trainer_options.finetune_conf)
        if fine_tuning.freezes():
            trainer_options.freeze_schedule = FreezeSchedule(model, fine_tuning)
            trainer_options.unused_parameters = True  # of DistributedDataParallel
        with atomic_torch_save():
            super().run(
                model=model,
                trainer_options=trainer_options,
                valid_iter_factory=valid_iter_factory,
                distributed_option=distributed_option,
                **kwargs,
            )

    @classmethod
    def train_one_epoch(
        cls, model, iterator, reporter, scaler, summary_writer, options, **kwargs
    ) -> bool:
        if options.freeze_schedule is not None:
            line = options.freeze_schedule.begin_epoch(reporter.get_epoch())
            if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
                say(line)
        if options.diagnostics is not None and not options.no_forward_run:
            iterator = options.diagnostics.watch(iterator, reporter, scaler, summary_writer)
        return super().train_one_epoch(
            model=model,
            iterator=iterator,
            reporter=reporter,
            scaler=scaler,
            summary_writer=summary_writer,
            options=options,
            **kwargs,
        )

    @staticmethod
    def resume(checkpoint, model, reporter, *args, **kwargs) -> None:
        try:
            Trainer.resume(checkpoint, model, reporter, *args, **kwargs)
        except Exception as error:  # torch raises many kinds of errors for an invalid file
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{checkpoint}: cannot resume training from this checkpoint: {reason}",
                "the file is damaged or of another configuration: remove the folder to start again",
            ) from error
        _complete_epoch(checkpoint, model, reporter.get_epoch())

    @classmethod
    def plot_attention(cls, model, *args, **kwargs) -> None:
        model.reduce_stats = False  # only rank 0 plots, so a reduction over all ranks would hang
        try:
            super().plot_attention(model, *args, **kwargs)
        finally:
            model.reduce_stats = True

    @classmethod
    def validate_one_epoch(cls, model, iterator, reporter, options, distributed_option) -> None:
        super().validate_one_epoch(model, iterator, reporter, options, distributed_option)
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            say(_epoch_line(reporter, options.max_epoch))


def _complete_epoch(checkpoint: Path, model: torch.nn.Module, epoch: int) -> None:
    """Write `<epoch>epoch.pth` if it is missing.

    ESPnet writes the checkpoint before these weights. If a training is killed in between, they are
    missing, and averaging fails at the end of the training.
    """
    weights = checkpoint.parent / f"{epoch}epoch.pth"
    is_first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    if is_first and not weights.exists():
        torch.save(model.state_dict(), weights)


def _epoch_line(reporter, max_epoch: int) -> str:
    """Return a line with the validation loss and accuracies of an epoch."""
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
    """Make `torch.save` write to a temporary file that is then renamed, while the context is open.

    ESPnet overwrites `checkpoint.pth` directly. A crash while writing would destroy the only
    checkpoint that training can resume from.
    """
    torch_save = torch.save

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, str | os.PathLike):
            return torch_save(obj, f, *args, **kwargs)
        temporary = f"{os.fspath(f)}.tmp"
        try:
            torch_save(obj, temporary, *args, **kwargs)
            os.replace(temporary, f)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return None

    torch.save = save
    try:
        yield
    finally:
        torch.save = torch_save
