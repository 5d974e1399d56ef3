"""Training steps of our trainer and of stock ESPnet, side by side: same data, weights and order.

    python benchmarks/train.py --data_dir dump/raw/en --token_dir data/en_token_list \
        --stats_dir exp/en/stats --limit 600 --rounds 3 \
        --variant stock "stock so_surface" --variant ours "ours so_surface" \
        --variant ours_fp32 "ours so_surface MALLOC_TRIM_THRESHOLD_=17179869184 --cpu_autocast none"

A variant is `stock` or `ours`, a system of conf/systems, and any number of environment variables
(NAME=VALUE) and training options. Each variant is one process. The processes take turns: one
of them trains on all utterances while the others wait. Seconds are CPU seconds of a process,
which other programs lengthen less than the time on the clock. The first round of a process also
builds kernels, so it is shown apart. Validation, checkpoints and imports are not timed.

Stock ESPnet (`ASRTask`, its trainer, data loader and collate function) starts with the weights of
the system. Without dropout, its losses equal ours step by step up to rounding.

With `--device cuda`, seconds are those of the clock, and memory is PyTorch's peak on the GPU, where
nothing else may run. `--use_amp true` among the words of a variant trains it in mixed precision.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
MARK = "benchmark: "  # begins the lines that a worker writes for the main process
RATE = 16000
VALID_LIMIT = 40  # utterances


def main() -> None:
    options = parse_options()
    if options.worker:
        work(options)
        return
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before any process imports torch
    summary = take_turns(options.variant, options.rounds)
    if options.json:
        report = {"machine": machine(), "options": vars(options), "variants": summary}
        options.json.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


def take_turns(variants: Iterable[tuple[str, str]], rounds: int) -> dict[str, dict[str, Any]]:
    """Train the variants in turn, and print a table of their speeds; return its numbers.

    Args:
        variants: names and words of the variants; the others are compared with the first.
        rounds: epochs of each variant.
    """
    workers = {name: Worker(name, words) for name, words in variants}
    for number, (name, worker) in itertools.product(range(rounds), workers.items()):
        worker.round()
        result = worker.results[-1]
        print(
            f"round {number + 1}: {name}: {result['seconds']:.2f} s, "
            f"{result['audio_seconds'] / result['seconds']:.1f} audio s per s, mean loss "
            f"{statistics.fmean(result['losses']):.4f}, {result['peak_mib']:.0f} MiB",
            flush=True,
        )
    for worker in workers.values():
        worker.close()
    return summarize(workers)


class Worker:
    """A process that trains one epoch per request.

    Attributes:
        results: one mapping per round, as `train_round` returns it.
    """

    def __init__(self, name: str, words: str):
        variables = [word for word in words.split() if "=" in word and word[0].isupper()]
        environment = os.environ | dict(word.split("=", 1) for word in variables)
        self.results: list[dict[str, Any]] = []
        command = [sys.executable, *sys.argv, "--worker", words]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=environment
        )
        if self._read() != "ready":
            raise SystemExit(f"{name}: the process did not start, see its message above")

    def round(self) -> None:
        """Train an epoch and append its result."""
        assert self._process.stdin is not None
        print("round", file=self._process.stdin, flush=True)
        self.results.append(json.loads(self._read()))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _read(self) -> str:
        """Return the next line that is meant for us."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                return line.removeprefix(MARK).strip()
        return "{}"


def summarize(workers: dict[str, Worker]) -> dict[str, dict[str, Any]]:
    """Print a table with one row per variant; return its numbers."""
    summary: dict[str, dict[str, Any]] = {}
    first = next(iter(workers.values()))
    reference = first.results
    print(
        "\n| variant | seconds | first round | audio s per s | ratio | mean loss | largest "
        "difference | padding: frames, tokens | loading | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, worker in workers.items():
        later = worker.results[1:] or worker.results
        seconds = statistics.median(result["seconds"] for result in later)
        speed = later[0]["audio_seconds"] / seconds
        row = {
            "seconds": seconds,
            "first": worker.results[0]["seconds"],
            "speed": speed,
            "ratio": speed / (summary[next(iter(summary))]["speed"] if summary else speed),
            "loss": statistics.fmean(worker.results[-1]["losses"]),
            "difference": difference(reference, worker.results),
            "padding": worker.results[0]["padding"],
            "loading": statistics.median(result["loading"] for result in later),
            "peak_mib": worker.results[-1]["peak_mib"],
        }
        summary[name] = row | {"results": worker.results}
        padding = ", ".join(f"{100 * share:.1f} %" for share in row["padding"].values())
        print(
            f"| {name} | {row['seconds']:.2f} | {row['first']:.2f} | {row['speed']:.1f} | "
            f"{row['ratio']:.2f} | {row['loss']:.4f} | {row['difference']:.1e} | {padding} | "
            f"{100 * row['loading']:.1f} % | {row['peak_mib']:.0f} |"
        )
    return summary


def difference(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> float:
    """Return the largest relative difference of the losses of the first round.

    It is NaN if the numbers of batches differ.
    """
    losses, others = first[0]["losses"], second[0]["losses"]
    if len(losses) != len(others):
        return float("nan")
    return max(abs(a - b) / abs(a) for a, b in zip(losses, others, strict=True))


def work(options: argparse.Namespace, build: "type[Setting] | None" = None) -> None:
    """Build one variant, then train an epoch for each line of standard input.

    Args:
        build: class of the variants; `Setting` unless given.
    """
    import logging

    import torch

    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    kind, system, *words = options.worker.split()
    words = [word for word in words if not ("=" in word and word[0].isupper())]
    with tempfile.TemporaryDirectory() as folder:
        setting = (build or Setting)(options, kind, system, words, Path(folder))
        print(f"{MARK}ready", flush=True)
        for epoch, _ in enumerate(sys.stdin, 1):
            print(MARK + json.dumps(setting.train_round(epoch)), flush=True)


class Setting:
    """A model with its optimizer, data loader and trainer.

    Args:
        options: options of the benchmark.
        kind: "ours" or "stock".
        system: name of a system.
        words: further training options.
        folder: an empty folder.
    """

    def __init__(
        self, options: argparse.Namespace, kind: str, system: str, words: list[str], folder: Path
    ):
        import torch
        from espnet2.tasks.abs_task import scheduler_classes
        from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
        from espnet2.train.distributed_utils import DistributedOption

        from espnet_ext.training import run, speed
        from espnet_ext.training.schedule import total_steps
        from espnet_ext.training.task import DualOutputTask

        data = run.Data(
            options.data_dir,
            "train",
            "valid",
            options.token_dir,
            run.parse_token_types(options.outputs.split()),
            limited_lengths(options, folder),
        )
        config, files = run.add_token_lists(self.read_config(options, system), data)
        config |= {"use_amp": False, "max_epoch": options.rounds}
        run._write_config(folder / "train.yaml", config)
        names = ["speech", *(f"text_{name}" for name in config["outputs"])]
        command = ["--config", str(folder / "train.yaml"), "--output_dir", str(folder), *words]
        args = run._parse([*command, *run._data_options(data, names), *gpus(options)])
        if steps := total_steps(args):
            args.scheduler_conf = {**args.scheduler_conf, "total_steps": steps}
        self.task: Any = DualOutputTask
        set_all_random_seed(0)
        with mock.patch.object(
            speed, "prepare", speed.prepare if kind == "ours" else lambda _: None
        ):
            model = DualOutputTask.build_model(
                args
            )  # stock keeps the defaults of oneDNN and malloc
        if kind == "stock":
            self.task, args, model = self.build_stock(args, config, model, data, folder)
        self.device = options.device
        self.model, self.args = model.to(self.device), args
        self.scaler = torch.amp.GradScaler(self.device) if args.use_amp else None
        self.optimizers = self.task.build_optimizers(args, model)
        schedule = scheduler_classes.get(args.scheduler or "")
        self.schedulers = [
            schedule(optimizer, **args.scheduler_conf) if schedule else None
            for optimizer in self.optimizers
        ]
        self.distributed = DistributedOption()
        self.iterators = self.task.build_iter_factory(args, self.distributed, mode="train")
        self.lengths = {key: lengths_of(data.stats / f"train/{key}_shape") for key in names}

    def read_config(self, options: argparse.Namespace, system: str) -> dict[str, Any]:
        """Return the configuration of a system, without token lists."""
        from espnet_ext.training import run

        overlay = ROOT / "conf/systems" / f"{system}.yaml"
        config = run.merged_config(ROOT / "conf" / options.config, [overlay])
        return run.with_normalization(config, "utterance_mvn")  # needs no statistics

    def stock_config(self, config: dict[str, Any], name: str, output: Any) -> dict[str, Any]:
        """Return stock ESPnet's configuration of the model of one output."""
        from espnet_ext.model.export import stock_config

        return stock_config(config, name, output)

    def build_stock(
        self, args: Any, config: dict[str, Any], model: Any, data: Any, folder: Path
    ) -> tuple[Any, Any, Any]:
        """Return stock ESPnet's task, its arguments, and its model with the weights of ours."""
        from espnet2.tasks.asr import ASRTask

        from espnet_ext.model.export import stock_state
        from espnet_ext.model.outputs import parse_outputs

        ((name, output),) = parse_outputs(config).items()
        stock = self.stock_config(config, name, output)
        args = stock_arguments(args, stock, data, name, folder)
        stock_model = ASRTask.build_model(args)
        # Stock builds a CTC that it may not use, and reads pre-trained weights itself.
        stock_model.load_state_dict(stock_state(model.state_dict(), name, output), strict=False)
        return ASRTask, args, stock_model

    def train_round(self, epoch: int) -> dict[str, Any]:
        """Train an epoch. Return its seconds, audio seconds, losses, padding and memory."""
        from espnet2.torch_utils.set_all_random_seed import set_all_random_seed

        from espnet_ext.training import selection, signals

        reporter = selection.FiniteReporter()
        reporter.set_epoch(epoch)
        set_all_random_seed(epoch)
        watched = Watched(self.iterators.build_iter(epoch), self.device)
        trainer = self.task.trainer
        options = trainer.build_options(self.args)
        begin = seconds_on(self.device)
        with reporter.observe("train") as observed, signals.stop_requests() as request:
            options.stop_request = request  # stock ESPnet ignores it
            trainer.train_one_epoch(
                model=self.model,
                optimizers=self.optimizers,
                schedulers=self.schedulers,
                iterator=watched,
                reporter=observed,
                scaler=self.scaler,
                summary_writer=None,
                options=options,
                distributed_option=self.distributed,
            )
            losses = [float(value.value) for value in observed.stats["loss"]]
            seconds = seconds_on(self.device) - begin
        samples = sum(self.lengths["speech"][i] for batch in watched.batches for i in batch)
        return {
            "seconds": seconds,
            "audio_seconds": samples / RATE,
            "losses": losses,
            "loading": watched.seconds / seconds,
            "padding": {key: watched.padding(key, self.lengths[key]) for key in self.lengths},
            "peak_mib": peak_mib(self.device),
        }


class Watched:
    """Batches of an epoch; remembers their utterances, shapes and the time to load them."""

    def __init__(self, iterator: Any, device: str):
        self._iterator = iterator
        # Waiting for a GPU here would keep its work from being queued ahead.
        self._now = cpu_seconds if device == "cpu" else time.perf_counter
        self.batches: list[list[str]] = []
        self.shapes: list[dict[str, tuple[int, ...]]] = []  # key → shape of the padded tensor
        self.seconds = 0.0  # of loading

    def __len__(self) -> int:
        return len(self._iterator)

    def __iter__(self):
        batches = iter(self._iterator)
        while True:
            begin = self._now()
            batch = next(batches, None)
            self.seconds += self._now() - begin
            if batch is None:
                return
            self.batches.append(batch[0])
            self.shapes.append({key: tuple(value.shape) for key, value in batch[1].items()})
            yield batch

    def padding(self, key: str, lengths: dict[str, int]) -> float:
        """Return the share of padding in the tensors of a key."""
        used = sum(lengths[utt_id] for batch in self.batches for utt_id in batch)
        sizes = [shape.get(key) or shape["text"] for shape in self.shapes]
        return 1 - used / sum(rows * length for rows, length in sizes)


def stock_arguments(args: Any, stock: dict, data: Any, name: str, folder: Path) -> Any:
    """Return the arguments with which stock ESPnet trains the output `name` of a system.

    Args:
        args: training arguments of the system.
        stock: model configuration of stock ESPnet.
        data: `run.Data`.
        folder: folder to write transcripts and the configuration to.
    """
    from espnet2.tasks.asr import ASRTask

    from espnet_ext.data.table import read_table, write_table
    from espnet_ext.model.outputs import parse_outputs
    from espnet_ext.training import run, stock_training

    output = parse_outputs(vars(args))[name]
    words = []
    for kind, dataset in (("train", data.train_set), ("valid", data.valid_set)):
        source, shapes = data.dump / dataset, data.stats / kind
        texts = read_table(source / f"text.{name}")
        if output.token_type == "jamo":  # stock ESPnet splits decomposed Hangul into characters
            texts = {key: unicodedata.normalize("NFD", text) for key, text in texts.items()}
        chosen = {key: texts[key] for key in read_table(shapes / "speech_shape")}
        write_table(folder / f"text.{kind}", chosen)
        words += [f"--{kind}_data_path_and_name_and_type", f"{source / 'wav.scp'},speech,sound"]
        words += [f"--{kind}_data_path_and_name_and_type", f"{folder}/text.{kind},text,text"]
        words += [f"--{kind}_shape_file", str(shapes / "speech_shape")]
        words += [f"--{kind}_shape_file", str(shapes / f"text_{name}_shape")]
    default = stock_training._parse(folder / "train.yaml", folder, [], is_default=True)
    settings, _ = stock_training._trainer_settings(args, default)
    known = stock_training._stock_options()
    settings |= {key: value for key, value in stock.items() if key in known}
    run._write_config(folder / "stock.yaml", settings)
    words = ["--config", str(folder / "stock.yaml"), "--output_dir", str(folder), *words]
    return ASRTask.get_parser().parse_args([*words, "--use_preprocessor", "true", *gpus(args)])


def limited_lengths(options: argparse.Namespace, folder: Path) -> Path:
    """Write the length files of evenly chosen utterances that have all labels; return their folder.

    Args:
        options: options of the benchmark: `stats_dir`, `data_dir`, `outputs` and `limit`.
        folder: where to write the folder.
    """
    from espnet_ext.data.table import read_table, write_table

    for kind, count in (("train", options.limit), ("valid", VALID_LIMIT)):
        texts = [
            options.data_dir / kind / f"text.{w.partition('=')[0]}" for w in options.outputs.split()
        ]
        unlabelled = {i for path in texts for i, text in read_table(path).items() if text == "<na>"}
        for path in sorted((options.stats_dir / kind).glob("*_shape")):
            table = {i: row for i, row in read_table(path).items() if i not in unlabelled}
            step = max(1, len(table) // count)
            chosen = dict(itertools.islice(table.items(), 0, step * count, step))
            write_table(folder / "stats" / kind / path.name, chosen)
    return folder / "stats"


def lengths_of(path: Path) -> dict[str, int]:
    """Return utterance → length, from a file of lengths."""
    from espnet_ext.data.table import read_table

    return {utt_id: int(shape.partition(",")[0]) for utt_id, shape in read_table(path).items()}


def gpus(options: argparse.Namespace) -> list[str]:
    """Return the training option that chooses the device of the benchmark or of a training."""
    uses_gpu = options.ngpu if hasattr(options, "ngpu") else options.device == "cuda"
    return ["--ngpu", str(int(uses_gpu))]


def seconds_on(device: str) -> float:
    """Return the time of a clock: CPU seconds, or with a GPU the time at which its work is done."""
    if device == "cpu":
        return cpu_seconds()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib(device: str) -> float:
    """Return the largest memory since the start, of the process or on the GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    import torch

    return torch.cuda.max_memory_allocated() / 2**20


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def machine() -> dict[str, Any]:
    """Return facts about this machine and the versions of the software."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line for line in lines if "model name" in line), "")
    return {
        "cpu": model.partition(":")[2].strip() or platform.processor(),
        "cpus": os.cpu_count(),
        **{name: metadata.version(name) for name in ("torch", "espnet")},
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
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
    parser.add_argument("--limit", type=int, default=400, help="number of utterances")
    parser.add_argument("--rounds", type=int, default=3, help="epochs over these utterances")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--variant",
        nargs=2,
        action="append",
        metavar=("NAME", "WORDS"),
        default=[],
        help="a variant, see above; the first is what the others are compared with; default: "
        "stock and ours",
    )
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.variant = options.variant or [
        ["stock", "stock so_surface"],
        ["ours", "ours so_surface"],
    ]
    return options


if __name__ == "__main__":
    main()
