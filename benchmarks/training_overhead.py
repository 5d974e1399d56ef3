"""Shares of a training's time in which it waits for data and writes checkpoints.

    python benchmarks/training_overhead.py --data_dir dump/raw/en --token_dir data/en_token_list \
        --stats_dir exp/en/stats --config train_small.yaml --system so_surface --epochs 3

This runs `espnet-ext train` in this process, with the options of the configuration: audio is read
ahead, or by `num_workers` processes, as in any training. `--training batch_bins=800000` adds an
option of the training. Seconds are those of the clock, so other programs lengthen them.

Waiting for data is the time in which the training asks for a batch until it has it, and in which
the batches of an epoch are made. It is less than `iter_time` in ESPnet's log, which also has what
happens between two batches: checkpoints, checks and, with several processes, waiting for others.
The column "work" is the part of it that does not depend on other programs: CPU seconds of the
training's thread for tokens, augmentation and padding, divided by all CPU seconds of the epoch.

Checkpoints inside an epoch are due after `save_interval_minutes`, but not before 200 times the
seconds of the last one have passed. With `--training save_interval_minutes=0.1`, they are as
frequent as this allows. Checkpoints at the end of an epoch include its weights.

An epoch lasts from the making of its batches to that of the next one. Building the model, measuring
batches and number formats, and averaging weights after the last epoch belong to no epoch.
"""

import argparse
import contextlib
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.train import limited_lengths, machine  # noqa: E402

TRAINING, VALIDATION = "data of training", "data of validation"
INSIDE, AT_END = "checkpoints inside epochs", "checkpoints at the end of epochs"
PARTS = (TRAINING, VALIDATION, INSIDE, AT_END)


@dataclass
class Epoch:
    """Seconds of an epoch, and of its parts."""

    begin: float  # on `time.perf_counter`, as `end`
    cpu_begin: float  # on `time.process_time`, as `cpu_end`
    end: float = 0.0
    cpu_end: float = 0.0
    work: float = 0.0  # CPU seconds of the training's thread while it waits for data
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 0.0))
    checkpoints: int = 0  # inside the epoch


class Clock:
    """Times the trainings that run in this process.

    Attributes:
        epochs: those that have begun.
    """

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self._is_saving = False

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Time the trainings that run while the context is open."""
        from espnet_ext.training import checkpoints, resume, selection, trainer

        run = trainer.DualOutputTrainer.run
        ahead, save, write = (
            resume.batches_ahead,
            resume.ResumableEpoch.save,
            checkpoints._Writer.write,
        )
        average = selection.average_best_epochs

        def timed_run(*arguments: Any, **keywords: Any) -> None:
            for part, name in ((TRAINING, "train"), (VALIDATION, "valid")):
                factory = keywords[f"{name}_iter_factory"]
                factory.build_iter = functools.partial(self._build, factory.build_iter, part)
            run(*arguments, **keywords)

        def timed_save(*arguments: Any, **keywords: Any) -> None:
            self.epochs[-1].checkpoints += 1
            with self._measure(INSIDE):
                self._is_saving = True
                try:
                    save(*arguments, **keywords)
                finally:
                    self._is_saving = False

        def timed_write(*arguments: Any, **keywords: Any) -> None:
            with contextlib.nullcontext() if self._is_saving else self._measure(AT_END):
                write(*arguments, **keywords)

        def ended(*arguments: Any, **keywords: Any) -> None:
            self._end()
            average(*arguments, **keywords)

        with (
            mock.patch.object(trainer.DualOutputTrainer, "run", timed_run),
            mock.patch.object(resume, "batches_ahead", lambda b: self._batches(ahead(b), TRAINING)),
            mock.patch.object(
                trainer, "batches_ahead", lambda b: self._batches(ahead(b), VALIDATION)
            ),
            mock.patch.object(resume.ResumableEpoch, "save", timed_save),
            mock.patch.object(checkpoints._Writer, "write", timed_write),
            mock.patch.object(selection, "average_best_epochs", ended),
        ):
            yield

    def _build(self, build: Callable[..., Any], part: str, *arguments: Any, **keywords: Any) -> Any:
        """Return the batches of an epoch, which begins with those of its training."""
        if part == TRAINING:
            if self.epochs:
                self._end()
            self.epochs.append(Epoch(time.perf_counter(), time.process_time()))
        with self._measure(part):
            return build(*arguments, **keywords)

    def _end(self) -> None:
        self.epochs[-1].end, self.epochs[-1].cpu_end = time.perf_counter(), time.process_time()

    def _batches(self, batches: Iterator[Any], part: str) -> Iterator[Any]:
        """Yield batches; the time until each of them is there is counted."""
        end = object()
        while True:
            with self._measure(part):
                batch = next(batches, end)
            if batch is end:
                return
            yield batch
            del batch

    @contextlib.contextmanager
    def _measure(self, part: str) -> Iterator[None]:
        """Count the seconds in which the context is open, if an epoch has begun and not ended."""
        begin, cpu_begin = time.perf_counter(), time.thread_time()
        yield
        if self.epochs and not self.epochs[-1].end:
            self.epochs[-1].parts[part] += time.perf_counter() - begin
            if part in (TRAINING, VALIDATION):
                self.epochs[-1].work += time.thread_time() - cpu_begin


def main() -> None:
    options = parse_options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported
    clock = Clock()
    with tempfile.TemporaryDirectory() as temporary:
        train(options, clock, Path(temporary))
    report = {"machine": machine(), "options": vars(options), **summarize(clock.epochs)}
    print(report["machine"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


def train(options: argparse.Namespace, clock: Clock, folder: Path) -> None:
    """Run the training command.

    Args:
        options: options of the benchmark.
        folder: an empty folder.
    """
    from espnet_ext.bin import cli
    from espnet_ext.bin import train as command

    stats = limited_lengths(options, folder) if options.limit else options.stats_dir
    words = [
        *("--config", ROOT / "conf" / options.config),
        *("--system", ROOT / "conf/systems" / f"{options.system}.yaml"),
        *("--data_dir", options.data_dir, "--token_dir", options.token_dir),
        *("--outputs", options.outputs, "--stats_dir", stats),
        *("--feats_normalize", "utterance_mvn"),  # needs no statistics of the features
        *("--exp_dir", options.exp_dir or folder / "exp", "--threads", options.threads),
        *("--ngpu", int(options.device == "cuda"), "--", "--max_epoch", options.epochs),
        *(word for name, value in options.training for word in (f"--{name}", value)),
    ]
    with clock.watch():
        if code := cli.run(command.main, [str(word) for word in words]):
            raise SystemExit(code)
    if not clock.epochs:
        raise SystemExit(f"{options.exp_dir}: this training was complete: choose a new folder")


def summarize(epochs: list[Epoch]) -> dict[str, Any]:
    """Print a table of the epochs, and of all of them together; return its numbers."""
    rows = [
        {
            "seconds": epoch.end - epoch.begin,
            "cpu": epoch.cpu_end - epoch.cpu_begin,
            "work": epoch.work,
            **epoch.parts,
            "number": epoch.checkpoints,
        }
        for epoch in epochs
    ]
    total = {key: sum(row[key] for row in rows) for key in rows[0]}
    print(
        "\n| epoch | seconds | waits for data: training, validation | together | work | "
        "checkpoints: inside (number), at the end | together |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in (*enumerate(rows, 1), ("all", total)):
        shares = {part: 100 * row[part] / row["seconds"] for part in PARTS}
        print(
            f"| {name} | {row['seconds']:.1f} | "
            f"{shares[TRAINING]:.2f} %, {shares[VALIDATION]:.2f} % | "
            f"{shares[TRAINING] + shares[VALIDATION]:.2f} % | "
            f"{100 * row['work'] / row['cpu']:.2f} % | "
            f"{shares[INSIDE]:.2f} % ({row['number']:.0f}), {shares[AT_END]:.2f} % | "
            f"{shares[INSIDE] + shares[AT_END]:.2f} % |"
        )
    return {
        "epochs": rows,
        "waiting": (total[TRAINING] + total[VALIDATION]) / total["seconds"],
        "work": total["work"] / total["cpu"],
        "checkpoints": (total[INSIDE] + total[AT_END]) / total["seconds"],
    }


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="dumped sets train and valid")
    parser.add_argument(
        "--token_dir", type=Path, required=True, help="folder with <output>_<type>/tokens.txt"
    )
    parser.add_argument("--stats_dir", type=Path, required=True, help="result of stage 10")
    parser.add_argument("--outputs", default="surface=phone meaning=char", help="token types")
    parser.add_argument("--config", default="train_small.yaml", help="in conf/")
    parser.add_argument("--system", default="so_surface", help="in conf/systems/, without .yaml")
    parser.add_argument("--limit", type=int, default=0, help="number of utterances; 0: all")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--exp_dir", type=Path, help="new folder of the model, on the disk that is measured"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument(
        "--training",
        type=lambda text: [word.split("=", 1) for word in text.split()],
        default=[],
        metavar="NAME=VALUE…",
        help="further options of the training",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
