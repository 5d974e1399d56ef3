"""`cpu_autocast: auto`: measure whether bfloat16 or float32 trains faster on this CPU.

A CPU may compute in bfloat16 natively and still be slower with it, if the network is small or its
batches have many shapes, since oneDNN compiles kernels for every shape. A few steps with random
input are timed in both formats: of one shape with `fast_layers`, which rounds lengths so that
shapes repeat, else of new shapes. The result is kept in the cache folder of the user, so all
systems of this size use the same format on this machine. ESPnet's config.yaml records it.
"""

import contextlib
import hashlib
import json
import os
import platform
import random
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.files import read_json, read_yaml, write_json
from espnet_ext.model.config import TEXT_PREFIX, sample_rate_of
from espnet_ext.progress import say
from espnet_ext.training import checkpoints

_ROUNDS = 3  # steps per format, after one that is not counted
_LONGER = 0.05  # of the length, by which a new shape is longer than the one before, …
_LEAST_LONGER = 0.08  # … and at least these seconds, so that it has another frame in the encoder
_MAX_SECONDS = 20.0  # of audio in a measured batch
_LEAST_GAIN = 0.95  # ratio of times up to which bfloat16 is worth its rounding
# What the time of a step depends on, besides the outputs.
_PARTS = ("frontend", "preencoder", "encoder", "postencoder", "decoder")


def choose_precision(model: Any, args: Namespace) -> str | None:
    """Return "bfloat16", or None for float32: the faster format for training a model on this CPU.

    A training that is continued keeps its format. The model, the random number generators and the
    results of the training do not change otherwise.

    Args:
        model: `DualOutputModel` on the CPU.
        args: training arguments.
    """
    previous = Path(args.output_dir) / "config.yaml"
    if args.resume and previous.is_file() and checkpoints.exists(Path(args.output_dir)):
        with contextlib.suppress(UserError):  # the training was killed while it wrote the file
            choice = read_yaml(previous).get("cpu_autocast", "auto")
            if choice != "auto":
                return choice
    if model.autocast_dtype is None:  # the CPU does not compute in bfloat16
        return None
    if args.input_size is not None or args.frontend == "units":
        return "bfloat16"  # what `_typical_batch` imitates is audio
    path = cache_file(args)
    kept = _read(path)
    if kept is None:
        seconds = measure(model, args)
        choice = "bfloat16" if seconds["bfloat16"] < _LEAST_GAIN * seconds["float32"] else None
        rounded = {name: round(value, 4) for name, value in seconds.items()}
        kept = _read(path)  # another training may have measured at the same time
        if kept is None:
            kept = {"cpu_autocast": choice, "seconds per step": rounded}
            with contextlib.suppress(UserError):  # the folder may be read-only
                write_json(path, kept)
        say(
            f"cpu_autocast: auto: {kept['cpu_autocast'] or 'float32'}; a step takes "
            f"{seconds['bfloat16']:.3f} s in bfloat16 and {seconds['float32']:.3f} s in float32 "
            f"(kept in {path})"
        )
    return kept["cpu_autocast"]


def choose_for_all_processes(model: Any, args: Namespace) -> str | None:
    """Return the choice of the first process, so that all use the same format."""
    if not (dist.is_available() and dist.is_initialized()):
        return choose_precision(model, args)
    choices = [choose_precision(model, args) if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(choices)
    return choices[0]


def _read(path: Path) -> dict[str, Any] | None:
    """Return a result that was kept; None if there is none, or it cannot be read."""
    try:
        kept = read_json(path)
        return kept if kept["cpu_autocast"] in ("bfloat16", None) else None
    except (UserError, OSError, TypeError, KeyError):
        return None


def cache_file(args: Namespace) -> Path:
    """Return the file with the result for networks of this size on this machine."""
    values = vars(args)
    key = {
        "machine": [platform.processor(), _cpu_model(), torch.__version__, torch.get_num_threads()],
        "network": {part: [values.get(part), values.get(f"{part}_conf")] for part in _PARTS},
        "fast_layers": values.get("fast_layers"),
        "shapes": 1 if values.get("fast_layers") else _ROUNDS,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "espnet_ext" / f"cpu_autocast_{digest[:16]}.json"


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def measure(model: Any, args: Namespace) -> dict[str, float]:
    """Return the CPU seconds of the fastest training step with each number format.

    Without `fast_layers`, the shapes of every step are new, and the seconds include the compilation
    of their kernels.

    Args:
        model: `DualOutputModel`. Its weights, statistics and gradients are as before afterwards.
        args: training arguments; utterances of the median length in the shape files are imitated.
    """
    is_new = not vars(args).get("fast_layers")

    def step(number: int) -> float:
        batch = _typical_batch(model, args, number if is_new else 0)
        begin = time.process_time()
        loss = model(**batch)[0]
        loss.backward()
        return time.process_time() - begin

    seconds: dict[str, list[float]] = {"bfloat16": [], "float32": []}
    with unchanged(model):
        model.train()
        for number in range(1 + _ROUNDS):
            for name, values in seconds.items():
                model.autocast_dtype = torch.bfloat16 if name == "bfloat16" else None
                values.append(step(number))
    return {name: min(values[1:]) for name, values in seconds.items()}


@contextlib.contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """Restore a model and the random number generators when the context ends."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    restore: list[Callable[[], object]] = [_restore(random.setstate, random.getstate())]
    restore.append(_restore(np.random.set_state, np.random.get_state()))
    training, objective, dtype = model.training, model.objective, model.autocast_dtype
    model.objective = None  # some objectives remember the losses
    has_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = [torch.cuda.current_device()] if has_gpu else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        model.objective, model.autocast_dtype = objective, dtype
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        model.train(training)
        for function in restore:
            function()


def _restore(function: Callable[[Any], object], state: Any) -> Callable[[], object]:
    return lambda: function(state)


def _typical_batch(model: Any, args: Namespace, number: int = 0) -> dict[str, torch.Tensor]:
    """Return a batch of noise with random labels, of utterances of about the median length.

    Args:
        number: number of the shape; those with larger numbers are longer.
    """
    lengths = {Path(path).name: _median(Path(path)) for path in args.train_shape_file}
    samples, rate = lengths["speech_shape"], sample_rate_of(vars(args))
    rows = max(1, min(args.batch_bins, int(_MAX_SECONDS * rate)) // samples)
    samples += number * int(max(_LONGER * samples, _LEAST_LONGER * rate))
    sizes = {
        f"{TEXT_PREFIX}{name}": lengths[f"{TEXT_PREFIX}{name}_shape"] + number
        for name in model.heads
    }
    return noise_batch(
        model, {name: [size] * rows for name, size in {"speech": samples, **sizes}.items()}
    )


def noise_batch(model: Any, lengths: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """Return a batch of noise with random labels.

    Args:
        model: `DualOutputModel` that reads audio.
        lengths: part of the batch (`speech`, `text_<output>`) → length for each utterance.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = {name: max(1, *values) for name, values in lengths.items()}
    rows = len(lengths["speech"])
    batch = {"speech": 0.1 * torch.randn(rows, sizes["speech"], generator=generator)}
    for name, head in model.heads.items():
        key, high = TEXT_PREFIX + name, max(2, len(head.tokens) - 1)
        batch[key] = torch.randint(1, high, (rows, sizes[key]), generator=generator)
    for name in list(batch):
        batch[f"{name}_lengths"] = torch.tensor(lengths[name])
    for name in model.conditions:
        batch[name] = torch.zeros(rows, 1, dtype=torch.long)
        batch[f"{name}_lengths"] = torch.ones(rows, dtype=torch.long)
    return batch


def _median(path: Path) -> int:
    """Return the median length in a shape file."""
    rows = read_table(path).values()
    return max(1, sorted(int(row.partition(",")[0]) for row in rows)[len(rows) // 2])
