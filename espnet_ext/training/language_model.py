"""Train ESPnet's language models with the safeguards of the training of systems (stage 7).

The model, its options and its files are ESPnet's. `DualOutputTrainer` ends a training that
diverges and writes checkpoints that a crash cannot damage; the folder records what the model is
trained with.
"""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model import checksums, espnet
from espnet_ext.progress import say
from espnet_ext.training import failures, largest_batch, processes, signals, speed, trained_with
from espnet_ext.training.checks import check_optimization
from espnet_ext.training.exponents import read_exponents
from espnet_ext.training.finish import final_weights, is_complete, record_end, record_start
from espnet_ext.training.lock import FolderLock
from espnet_ext.training.schedule import process_count, total_steps
from espnet_ext.training.task import add_saving_arguments, parse_step_limit
from espnet_ext.training.trainer import DualOutputTrainer

CRITERION = ("valid", "loss", "min")  # selects the weights that decoding uses

LMTask: Any = espnet.load("LMTask")


class LanguageModelTask(LMTask):
    """ESPnet's task for language models with our trainer."""

    trainer = DualOutputTrainer

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        with signals.exit_code_of_subprocess(), signals.interruptible():
            super().main_worker(args)

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """Return ESPnet's parser with our options; `--optim_conf lr=1e-3` works."""
        return read_exponents(super().get_parser())

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        super().add_task_arguments(parser)
        parser.add_argument(
            "--max_invalid_steps",
            type=parse_step_limit,
            default=50,
            help="end the training with an error after this many steps in a row whose gradients "
            "are not finite; such steps do not update the model",
        )
        add_saving_arguments(parser)
        # Options of our trainer for systems: a language model has no encoder and no outputs.
        parser.set_defaults(
            finetune_conf={},
            diagnose_every=0,
            encoder_cache=None,
            repeat_power=0.0,
            text_ratio=None,
            balance={},
            scan_largest_batch=largest_batch.OFF,  # its data has no shapes of speech
            fsdp=False,
        )
        return parser


def train(
    options: Sequence[str],
    *,
    resume_changed: bool = False,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Train a language model. A training that was interrupted or is shorter is continued.

    Args:
        options: options of ESPnet's `lm_train`; `--output_dir` is the folder of the model.
        resume_changed: continue a training that began with another configuration or other data.
        overwrite: rename the folder of such a training, and train from scratch.
        provenance: command, commit and machine, for train.json.

    Raises:
        UserError: if the folder has a training that began differently, the training diverges, or
            the machine fails.
    """
    command = ["--resume", "true", *options]
    args = _parse(command)
    _check(args)
    exp_dir = Path(args.output_dir)
    steps = total_steps(args)
    is_first = processes.node_rank(args) == 0
    description = trained_with.describe(args, {})
    with FolderLock(exp_dir, is_first) as lock:
        start = trained_with.continue_or_start(
            exp_dir,
            description,
            resume_changed=resume_changed,
            overwrite=overwrite,
            is_first=is_first,
            elsewhere="--output_dir; of run.sh: --expdir",
        )
        if start.is_continued and is_complete(exp_dir, args):
            return
        if steps is not None:
            command += ["--scheduler_conf", f"total_steps={steps}"]
        args = _parse(command)
        with start.folder_restored_on_failure():
            if is_first:
                lock.acquire()
                trained_with.write(exp_dir, description)
                record_start(exp_dir, provenance or {}, start.is_continued)
            with failures.as_user_errors(exp_dir, process_count(args)):
                line = f"python -m espnet_ext.bin.lm_train -- {shlex.join(command)}"
                say(line)
                is_parent = args.multiprocessing_distributed and args.ngpu > 1
                with signals.interruption_of_subprocesses(is_parent):
                    LanguageModelTask.main(args=args)
                if is_first:
                    chosen = final_weights(exp_dir, f"{CRITERION[0]}.{CRITERION[1]}")
                    model = _load(exp_dir, chosen)
                    record_end(exp_dir, chosen, model, vars(args), line, {"lm": args.lm})
                processes.wait_for_all()


def _parse(command: Sequence[str]) -> argparse.Namespace:
    return LanguageModelTask.get_parser().parse_args(list(command))


def _check(args: argparse.Namespace) -> None:
    """Raise `UserError` for missing options and files, and for a selection that decoding lacks."""
    if not args.output_dir:
        raise UserError("no folder for the language model", "give --output_dir")
    files = [
        *(args.train_shape_file or ()),
        *(args.valid_shape_file or ()),
        *(path for path, *_ in args.train_data_path_and_name_and_type),
        *(path for path, *_ in args.valid_data_path_and_name_and_type),
        *([args.token_list] if isinstance(args.token_list, str) else []),
    ]
    for path in files:
        if not Path(path).is_file():
            raise UserError(f"{path}: no such file", "run stages 5 and 6")
    source = args.config or "the options"
    check_optimization(vars(args), source)
    speed.check_tf32(args, source)
    if list(CRITERION) not in [list(criterion) for criterion in args.best_model_criterion]:
        raise UserError(
            f"{source}: best_model_criterion lacks {list(CRITERION)}, which selects the weights "
            "for decoding",
            f"add {list(CRITERION)} to best_model_criterion",
        )


def _load(folder: Path, weights: Path) -> torch.nn.Module:
    """Return the language model of a folder, with weights that are verified."""
    checksums.check(weights, "restore the file, or train in another folder")
    return LMTask.build_model_from_file(folder / "config.yaml", weights, "cpu")[0]
