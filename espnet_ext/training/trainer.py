"""ESPnet's Trainer with safe checkpoints, checks for divergence and optional diagnostics."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import checksums, espnet
from espnet_ext.model.layers import ALL, parameter_groups
from espnet_ext.progress import say
from espnet_ext.training import (
    adaptation,
    checkpoints,
    encoder_cache,
    health,
    largest_batch,
    resume,
    schedule,
    selection,
    sharding,
    signals,
)
from espnet_ext.training.checkpoints import REMEDY, atomic_torch_save
from espnet_ext.training.diagnostics import Diagnostics
from espnet_ext.training.finetune import FineTuning, FreezeSchedule
from espnet_ext.training.processes import is_first_process
from espnet_ext.training.read_ahead import batches_ahead
from espnet_ext.training.step_progress import StepProgress

TrainerOptions: Any = espnet.load("TrainerOptions")
Trainer: Any = espnet.load("Trainer")


@dataclasses.dataclass
class Options(TrainerOptions):
    """Options of ESPnet's Trainer, and ours. They have the names of the arguments."""

    finetune_conf: Mapping[str, Any]  # keys of `finetune.FineTuning`
    max_invalid_steps: int  # steps in a row without finite gradients after which training ends
    encoder_cache: str | None  # folder of `encoder_cache`
    diagnose_every: int  # steps between measurements of `diagnostics`; 0: never
    save_interval_minutes: float  # between checkpoints inside an epoch; 0: none by time
    save_interval_steps: int  # updates between checkpoints inside an epoch; 0: none by steps
    scan_largest_batch: str  # run the largest batches first: `auto`, `true` or `false`
    fsdp: bool  # shard parameters, gradients and optimizer state
    # set by `run`, on rank 0 if `diagnose_every` is not 0
    diagnostics: Diagnostics | None = dataclasses.field(init=False, default=None)
    # set by `run` if `finetune_conf` freezes layers
    freeze_schedule: FreezeSchedule | None = dataclasses.field(init=False, default=None)
    # set by `run`
    stop_request: signals.StopRequest = dataclasses.field(
        init=False, default_factory=signals.StopRequest
    )
    # the epoch that is trained or validated, set by `train_one_epoch`
    epoch: resume.ResumableEpoch | None = dataclasses.field(init=False, default=None)
    # the configuration of the model, set by `build_options`
    configuration: Mapping[str, Any] = dataclasses.field(init=False, default_factory=dict)


class DualOutputTrainer(Trainer):
    """ESPnet's Trainer with these changes.

    - The largest batches can be run first (`largest_batch`).
    - A crash or a full disk leaves a good checkpoint (`checkpoints`).
    - Checkpoints are also written inside epochs (`resume`), and when a signal ends the training
      (`signals`).
    - Gradients of batches that are too few for an update at the end of an epoch are dropped.
    - A training that has diverged ends with an error (`health`), and epochs without a finite result
      are never selected (`selection`).
    - A one-cycle schedule can be continued for more epochs (`schedule.OneCycle`).
    - A progress line is printed per epoch, and more within long epochs (`step_progress`).
    - With `diagnose_every`, some steps are measured (`diagnostics`).
    - Attention weights can be plotted with several processes.
    - With `fsdp`, the model is divided over the processes (`sharding`).
    - With `finetune_conf`, layers are frozen in the first epochs.
    - With an adapter, checkpoints may contain the trained weights only (`adaptation`).
    """

    max_epoch = 0  # set by `run`, for `resume`
    accum_grad = 1  # set by `run`, for `resume`
    cached_encoder = ""  # digest of the encoder whose output is cached; set by `run`

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> Options:
        names = [field.name for field in dataclasses.fields(Options) if field.init]
        options = Options(**{name: getattr(args, name) for name in names})
        options.configuration = vars(args)
        return options

    @classmethod
    def run(
        cls,
        model,
        *,
        trainer_options,
        train_iter_factory,
        valid_iter_factory,
        distributed_option,
        **kwargs,
    ) -> None:
        cls.max_epoch, cls.accum_grad = trainer_options.max_epoch, trainer_options.accum_grad
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
        _check_objective(model, trainer_options)
        if trainer_options.encoder_cache:
            cls._use_cache(model, [train_iter_factory, valid_iter_factory], trainer_options)
        is_sharded = trainer_options.fsdp and distributed_option.distributed
        if trainer_options.fsdp and not is_sharded:
            say("note: fsdp: there is one process, so nothing is divided")
        scans = largest_batch.is_enabled(trainer_options.scan_largest_batch, trainer_options.ngpu)
        if scans and not is_sharded:
            if trainer_options.freeze_schedule is not None:  # the last epoch trains most layers
                trainer_options.freeze_schedule.begin_epoch(trainer_options.max_epoch)
            largest_batch.run_largest_batches(
                model, kwargs["optimizers"], train_iter_factory, trainer_options
            )
        with (
            adaptation.checkpoints(model, trainer_options.configuration, is_first),
            replaced_selection(),
            atomic_torch_save(Path(trainer_options.output_dir)),
            signals.stop_requests() as trainer_options.stop_request,
            sharding.replaced_data_parallel(is_sharded, kwargs["optimizers"]),
        ):
            if trainer_options.resume:
                _recover(Path(trainer_options.output_dir), is_first)
            super().run(
                model=model,
                trainer_options=trainer_options,
                train_iter_factory=train_iter_factory,
                valid_iter_factory=valid_iter_factory,
                distributed_option=distributed_option,
                **kwargs,
            )

    @classmethod
    def _use_cache(cls, model, factories, options) -> None:
        """Read the encoder output from `encoder_cache` instead of running the encoder."""
        if options.diagnose_every:
            raise UserError(
                "encoder_cache: diagnose_every measures the encoder, which does not run",
                "write diagnose_every: 0, or remove encoder_cache",
            )
        if FineTuning.parse(options.finetune_conf).freeze_epochs < options.max_epoch:
            encoder_cache.check_frozen(model)
        settings = encoder_cache.settings_of(options.configuration)
        encoder_cache.use_cache(options.encoder_cache, model, factories, settings)
        cls.cached_encoder = encoder_cache.encoder_digest(model)

    @classmethod
    def train_one_epoch(
        cls,
        model,
        optimizers,
        schedulers,
        iterator,
        reporter,
        scaler,
        summary_writer,
        options,
        **kwargs,
    ) -> bool:
        parent = _parent_of(reporter, model)
        position = parent.take_position() if parent is not None else None
        if isinstance(model, sharding.ShardedModel):
            model.forget()
        if options.freeze_schedule is not None:
            line = options.freeze_schedule.begin_epoch(reporter.get_epoch())
            if is_first_process():
                say(line)
        if getattr(model, "reads_encoder_output", False):
            encoder_cache.check_frozen(model)
        objective = getattr(getattr(model, "module", model), "objective", None)
        if objective is not None:
            objective.loss_scale = scaler.get_scale if scaler is not None else lambda: 1.0
            if position is None:
                objective.begin_epoch()
        for optimizer in optimizers:
            optimizer.zero_grad()
        if options.no_forward_run:
            monitor = None
        else:
            folder = Path(options.output_dir)
            monitor = health.StepMonitor(
                reporter, options.max_invalid_steps, options.accum_grad, folder
            )
            if parent is not None:
                iterator = options.epoch = resume.ResumableEpoch(
                    iterator,
                    resume.Parts(model, optimizers, schedulers, scaler, reporter, monitor),
                    resume.Saving(
                        folder,
                        options.save_interval_minutes,
                        options.save_interval_steps,
                        options.accum_grad,
                    ),
                    options.stop_request,
                    position,
                    options.epoch.seconds_per_save if options.epoch else 0.0,
                )
            if options.diagnostics is not None:
                iterator = options.diagnostics.watch(iterator, reporter, scaler, summary_writer)
            iterator = monitor.watch(iterator)
            if is_first_process():
                iterator = StepProgress(
                    iterator,
                    reporter,
                    options.max_epoch,
                    options.epoch.first if options.epoch else 0,
                )
        nothing_updated = super().train_one_epoch(
            model=model,
            optimizers=optimizers,
            schedulers=schedulers,
            iterator=iterator,
            reporter=reporter,
            scaler=scaler,
            summary_writer=summary_writer,
            options=options,
            **kwargs,
        )
        if monitor is not None:
            nothing_updated = nothing_updated and not monitor.has_updated
            monitor.finish(nothing_updated)
        if not nothing_updated and is_first_process():
            adaptation.warn_untrained(getattr(model, "module", model), reporter.get_epoch())
        return nothing_updated

    @classmethod
    def resume(cls, checkpoint, model, schedulers, reporter, **kwargs) -> None:
        if problem := checkpoints.problem_of(checkpoint):
            raise UserError(f"{checkpoint}: {problem}", REMEDY)
        position = resume.Position.read(checkpoint)
        cycles = schedule.one_cycles(schedulers)
        try:
            super().resume(
                checkpoint=checkpoint,
                model=model,
                schedulers=schedulers,
                reporter=reporter,
                **kwargs,
            )
        except UserError as error:  # another base of an adapter
            raise UserError(f"{checkpoint}: {error.message}", error.remedy) from error
        except Exception as error:  # torch raises many kinds of errors for an invalid file
            reason = str(error).strip().partition("\n")[0]
            message = f"{checkpoint}: cannot resume training from this checkpoint: {reason}"
            raise UserError(message, REMEDY) from error
        health.check_weights(model, str(checkpoint), remedy=REMEDY)
        is_cached = getattr(model, "reads_encoder_output", False)
        if is_cached and encoder_cache.encoder_digest(model) != cls.cached_encoder:
            raise UserError(
                f"{checkpoint}: encoder_cache: this training has changed its encoder, so the "
                "cached output is not that of the encoder",
                "remove encoder_cache, or train in another folder",
            )
        reporter.position = position
        for cycle in cycles:
            batches = position.batches if position else 0
            note = cycle.fit(reporter.get_epoch(), cls.max_epoch, batches // cls.accum_grad)
            if note and is_first_process():
                say(note)
        if is_first_process():
            if position is None:
                _complete_epoch(checkpoint, model, reporter.get_epoch())
            else:
                say(
                    f"note: training continues in epoch {position.epoch} after "
                    f"{position.batches} batches"
                )

    @classmethod
    def plot_attention(cls, model, *args, **kwargs) -> None:
        model.reduce_stats = False  # only rank 0 plots, so a reduction over all ranks would hang
        try:
            super().plot_attention(model, *args, **kwargs)
        finally:
            model.reduce_stats = True

    @classmethod
    def validate_one_epoch(cls, model, iterator, reporter, options, distributed_option) -> None:
        batches: list[list[str]] = []
        _parent_of(reporter, model)
        signals.keep_workers(iterator)
        iterator = health.record_ids(batches_ahead(iterator), batches)
        if options.epoch is not None:
            iterator = options.epoch.watch_validation(iterator)
        super().validate_one_epoch(model, iterator, reporter, options, distributed_option)
        if not options.no_forward_run:
            health.check_validation(reporter, batches, options.best_model_criterion)
            health.check_weights(model, f"epoch {reporter.get_epoch()}")
        if isinstance(model, sharding.ShardedModel):
            model.gather()  # for the checkpoint, which rank 0 writes now
        if not distributed_option.distributed or distributed_option.dist_rank == 0:
            say(_epoch_line(reporter, options.max_epoch))


def _parent_of(reporter: Any, model: Any) -> Any:
    """Return the Reporter of a SubReporter, which learns what the model's statistics count.

    None: the SubReporter was made without `DualOutputTrainer.run`.
    """
    parent = getattr(reporter, "parent", None)
    if parent is not None:
        parent.counted_by = getattr(getattr(model, "module", model), "counted_by", {})
    return parent


def _recover(folder: Path, is_first: bool) -> None:
    """Let the first process repair the checkpoints; the others wait for it."""
    if is_first:
        checkpoints.recover(folder)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _check_objective(model: Any, options: Options) -> None:
    """Raise `UserError` if an objective changes shared gradients, but nothing shared is trained."""
    objective = getattr(model, "objective", None)
    if objective is None or not objective.changes_shared_gradients:
        return
    trained = parameter_groups(model).shared[ALL]
    never = FineTuning.parse(options.finetune_conf).freeze_epochs >= options.max_epoch
    if not trained or options.encoder_cache or never:
        raise UserError(
            f"objective: {objective.name} changes the gradients of the encoder, which is frozen in "
            "this training",
            "remove objective, or train the encoder",
        )


def _complete_epoch(checkpoint: Path, model: torch.nn.Module, epoch: int) -> None:
    """Write `<epoch>epoch.pth` if it is missing or damaged.

    ESPnet writes the checkpoint before these weights. If a training is killed in between, they are
    missing at the end of the training.
    """
    weights = checkpoint.parent / f"{epoch}epoch.pth"
    if not (weights.exists() and checksums.matches(weights)):
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
def replaced_selection() -> Iterator[None]:
    """Make ESPnet's Trainer use `selection` while the context is open."""
    module: Any = sys.modules[Trainer.__module__]
    original = module.Reporter, module.average_nbest_models
    module.Reporter = selection.FiniteReporter
    module.average_nbest_models = selection.average_best_epochs
    try:
        yield
    finally:
        module.Reporter, module.average_nbest_models = original
