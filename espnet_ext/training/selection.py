"""Which epochs are the best, and the average of their weights.

`training` replaces ESPnet's own Reporter and `average_nbest_models` with these while it trains.
They differ in what happens if something is wrong: an epoch without a finite validation result is
never among the best, a missing file of weights is left out of the average with a warning, and a
damaged file is an error. The files, their names and their content are ESPnet's otherwise.
"""

import dataclasses
import logging
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.files import write_link
from espnet_ext.model import checksums, espnet
from espnet_ext.model.dual import ACCURACY, LABELLED
from espnet_ext.model.pretrained.base_weights import BASE
from espnet_ext.progress import say

Reporter: Any = espnet.load("Reporter")


class FiniteReporter(Reporter):
    """ESPnet's Reporter, with epochs whose result is not finite sorted last.

    The mean of a statistic in `counted_by` over an epoch has the weight of its count in each batch,
    where ESPnet has the batch size: an output without labels in some utterances has no part in
    their means. `acc` of an epoch is the mean of the outputs' accuracies.

    Attributes:
        position: where a continued training starts inside an epoch (`resume.Position`), or None.
        counted_by: statistic → the statistic that counts the utterances of a batch that it is a
            mean over, such as `acc_surface` → `labelled_surface`.
    """

    position: Any = None

    def __init__(self, epoch: int = 0):
        super().__init__(epoch)
        self.counted_by: dict[str, str] = {}

    def start_epoch(self, key: str, epoch: int | None = None) -> Any:
        """Return a SubReporter whose attribute `parent` is this reporter.

        It reads the statistics of a batch from the GPU together (`as_numbers`).
        """
        reporter = super().start_epoch(key, epoch)
        reporter.parent = self
        register = reporter.register

        def register_numbers(stats: Mapping[str, Any], weight: Any = None) -> None:
            if torch.is_tensor(weight) and weight.numel() == 1:
                weight = weight.item()  # ESPnet would read it for each statistic
            numbers = as_numbers(stats)
            register(numbers, weight)
            if weight is None:
                return
            for name, count in self.counted_by.items():
                if name in numbers and count in numbers:
                    values = reporter.stats[name]
                    values[-1] = dataclasses.replace(values[-1], weight=numbers[count])

        reporter.register = register_numbers
        return reporter

    def finish_epoch(self, sub_reporter: Any) -> None:
        """Compute the means of an epoch."""
        super().finish_epoch(sub_reporter)
        means = self.stats[sub_reporter.epoch][sub_reporter.key]
        outputs = [count.removeprefix(LABELLED) for count in self.counted_by.values()]
        accuracies = [means.get(f"{ACCURACY}_{name}", math.nan) for name in dict.fromkeys(outputs)]
        accuracies = [value for value in accuracies if math.isfinite(value)]
        # NaN: the epoch is excluded (`health.check_validation`)
        if accuracies and math.isfinite(means.get(ACCURACY, math.nan)):
            means[ACCURACY] = sum(accuracies) / len(accuracies)

    def take_position(self) -> Any:
        """Return the position of the first epoch of a continued training; then None."""
        position, self.position = self.position, None
        return position

    def sort_epochs_and_values(self, key: str, key2: str, mode: str) -> list[tuple[int, float]]:
        """Return (epoch, value) pairs, best first."""
        pairs = sorted(super().sort_epochs_and_values(key, key2, mode))  # by epoch
        finite = [pair for pair in pairs if math.isfinite(pair[1])]
        others = [pair for pair in pairs if not math.isfinite(pair[1])]
        sign = 1 if mode == "min" else -1
        return sorted(finite, key=lambda pair: sign * pair[1]) + others


def as_numbers(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Return statistics with floating-point tensors as numbers.

    All tensors of a device are copied at once: each copy waits for the GPU. Numbers are those of
    `item`.

    >>> as_numbers({"loss": torch.tensor(0.5), "acc": None, "lr": 0.1})
    {'loss': 0.5, 'acc': None, 'lr': 0.1}
    """
    tensors: dict[torch.device, dict[str, torch.Tensor]] = {}
    for name, value in stats.items():
        if torch.is_tensor(value) and value.is_floating_point() and value.numel() == 1:
            tensors.setdefault(value.device, {})[name] = value.detach().reshape(()).double()
    numbers: dict[str, Any] = {}
    for group in tensors.values():
        numbers |= zip(group, torch.stack(list(group.values())).tolist(), strict=True)
    return {name: numbers.get(name, value) for name, value in stats.items()}


def average_best_epochs(
    output_dir: Path,
    reporter: Any,
    best_model_criterion: Sequence[Sequence[str]],
    nbest: Collection[int] | int,
    suffix: str | None = None,
    use_deepspeed: bool = False,
) -> None:
    """Write the average weights of the best epochs, for each criterion and each number of epochs.

    Writes `<phase>.<statistic>.ave_<n>best.pth`, and the link `<phase>.<statistic>.ave.pth` to the
    average of most epochs. The average of one epoch is a link. The parameters are those of ESPnet's
    `average_nbest_models`.

    Raises:
        UserError: if the weights of an epoch are damaged.
    """
    counts = [nbest] if isinstance(nbest, int) else list(nbest) or [1]
    ending = f"{suffix}.pth" if suffix else "pth"
    for phase, statistic, mode in best_model_criterion:
        if not reporter.has(phase, statistic):
            continue
        stem = f"{phase}.{statistic}"
        ranked = reporter.sort_epochs_and_values(phase, statistic, mode)
        epochs = [epoch for epoch, value in ranked if math.isfinite(value)][: max(counts)]
        available = _available(output_dir, epochs, stem)
        if not available:
            continue  # `run` reports that there are no weights
        sizes = [n for n in counts if 0 < n <= len(epochs)] or [1]
        sizes = sorted({min(n, len(available)) for n in sizes})
        for n in sizes:
            target = output_dir / f"{stem}.ave_{n}best.{ending}"
            if n == 1:
                write_link(target, f"{available[0]}epoch.pth")
            else:
                logging.info(f"Averaging epochs {available[:n]} by {stem}: {target}")
                torch.save(_average(output_dir, available[:n]), target)
        write_link(output_dir / f"{stem}.ave.{ending}", f"{stem}.ave_{sizes[-1]}best.{ending}")


def _available(folder: Path, epochs: Sequence[int], stem: str) -> list[int]:
    """Return the epochs whose weights exist; warn about the others."""
    available = [epoch for epoch in epochs if (folder / f"{epoch}epoch.pth").exists()]
    if missing := [f"{epoch}epoch.pth" for epoch in epochs if epoch not in available]:
        say(
            f"warning: {folder}: {', '.join(missing)} of the best epochs by {stem} "
            f"{'is' if len(missing) == 1 else 'are'} missing, so the average is over "
            f"{len(available)} epochs, not {len(epochs)}"
        )
    return available


def _average(folder: Path, epochs: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the mean weights; integers (numbers of batches) are summed, as ESPnet does.

    The two matrices of a LoRA adapter are averaged each, not their product.
    """
    total: dict[str, torch.Tensor] = {}
    base: torch.Tensor | None = None
    for epoch in epochs:
        path = folder / f"{epoch}epoch.pth"
        state = _load(path)
        if epoch != epochs[0] and not _equal(state.get(BASE), base):
            raise UserError(
                f"{path}: its adapter has another base than that of {epochs[0]}epoch.pth",
                "remove the file and run again, to average the other epochs",
            )
        base = state.pop(BASE, None)
        total = {key: total[key] + state[key] for key in total} if total else dict(state)
    mean = {
        key: value if str(value.dtype).startswith("torch.int") else value / len(epochs)
        for key, value in total.items()
    }
    return mean if base is None else {**mean, BASE: base}


def _equal(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first, second)


def _load(path: Path) -> dict[str, torch.Tensor]:
    remedy = "remove the file and run again, to average the other epochs"
    checksums.check(path, remedy)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for an invalid file
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path}: not readable weights: {reason}", remedy) from error
