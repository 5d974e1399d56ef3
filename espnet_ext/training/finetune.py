"""Fine-tuning of a pre-trained encoder: learning rates per layer, layers frozen at first, adapters.

The layers of an encoder are ordered from the bottom: its parameters outside of the blocks and
before them (convolutions, `embed`), the blocks, then the parameters after the blocks.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys
from espnet_ext.model.layers import encoder_layers
from espnet_ext.model.pretrained.adapters import AdapterOptions

KEYS = (
    "encoder_lr",
    "decoder_lr",
    "layer_decay",
    "freeze_epochs",
    "unfreeze_layers_per_epoch",
    "adapter",
)
_RATE = ("a number above 0 and up to 1", lambda rate: 0 < rate <= 1)  # allowed values, and a check


@dataclass(frozen=True)
class FineTuning:
    """Keys of `finetune_conf`. The defaults train everything with one learning rate."""

    encoder_lr: float = 1.0  # learning rate of frontend and encoder, relative to that of the heads
    # The same for pre-trained decoders: one number, or one per output. Outputs that a system lacks
    # may be named, so that several systems can share a configuration.
    decoder_lr: float | Mapping[str, float] = 1.0
    # Factor of the learning rate from each encoder layer to the one below (Clark et al., ELECTRA,
    # arXiv 2003.10555, app. A).
    layer_decay: float = 1.0
    freeze_epochs: int = 0  # first epochs, in which frontend and encoder are not trained
    # Afterwards, this many more encoder layers are trained in each epoch, from the top (Howard &
    # Ruder, arXiv 1801.06146, sec. 3.3). 0: all layers at once.
    unfreeze_layers_per_epoch: int = 0
    adapter: AdapterOptions | None = None  # LoRA or DoRA; the weights that they adapt are frozen

    @classmethod
    def parse(cls, conf: Mapping[str, Any]) -> "FineTuning":
        """Check the values of `finetune_conf`."""
        check_keys(conf, KEYS, "finetune_conf")
        options = cls(**{**conf, "adapter": AdapterOptions.parse(conf.get("adapter"))})
        for key in ("encoder_lr", "decoder_lr", "layer_decay"):
            if key == "decoder_lr" and isinstance(conf.get(key), Mapping):
                for output in conf[key]:
                    _check(conf[key], output, float, *_RATE, where="finetune_conf.decoder_lr")
            else:
                _check(conf, key, float, *_RATE)
        for key in ("freeze_epochs", "unfreeze_layers_per_epoch"):
            _check(conf, key, int, "a whole number, 0 or more", lambda x: x >= 0)
        return options

    def has_learning_rates(self) -> bool:
        """Whether parameters differ in their learning rates."""
        return (self.encoder_lr, self.decoder_lr, self.layer_decay) != (1, 1, 1)

    def decoder_rate(self, output: str) -> float:
        """Return the relative learning rate of an output's pre-trained decoder."""
        if isinstance(self.decoder_lr, Mapping):
            return self.decoder_lr[output]
        return self.decoder_lr

    def freezes(self) -> bool:
        """Whether parameters are frozen in some epochs."""
        return self.freeze_epochs > 0 or self.unfreeze_layers_per_epoch > 0

    def trained_layers(self, epoch: int, layers: int) -> int:
        """Return how many encoder layers, from the top, are trained in an epoch (from 1)."""
        if epoch <= self.freeze_epochs:
            return 0
        if self.unfreeze_layers_per_epoch == 0:
            return layers
        return min(layers, (epoch - self.freeze_epochs) * self.unfreeze_layers_per_epoch)


def _check(
    conf: Mapping[str, Any],
    key: str,
    kind: type,
    allowed: str,
    is_valid: Any,
    where: str = "finetune_conf",
) -> None:
    value = conf.get(key)
    if value is None and key not in conf:
        return
    is_number = isinstance(value, int | kind) and not isinstance(value, bool)
    if not is_number or not is_valid(value):
        raise UserError(f"{where}.{key}: {value!r}", f"write {allowed}")


def encoder_stack(model: Any) -> list[list[torch.nn.Parameter]]:
    """Return the parameters of frontend and encoder by layer, from the bottom.

    Raises:
        UserError: if the encoder has no list of blocks.
    """
    blocks = [m for name, m in encoder_layers(model.encoder).items() if name != "embed"]
    if not blocks:
        raise UserError(
            f"finetune_conf: {type(model.encoder).__name__} has no list of layers",
            "remove finetune_conf, or choose another encoder",
        )
    layers = [list(block.parameters()) for block in blocks]
    in_blocks = {id(p) for layer in layers for p in layer}
    after = {
        id(p)
        for name in ("layer_norm", "after_norm", "layer_sum")
        for p in getattr(getattr(model.encoder, name, None), "parameters", list)()
    }
    # All other parameters are before the blocks: convolutions, projections, positions.
    outside = [p for p in model.encoder.parameters() if id(p) not in in_blocks]
    below = [p for p in outside if id(p) not in after]
    if model.frontend is not None:
        below = [*model.frontend.parameters(), *below]
    return [below, *layers, [p for p in outside if id(p) in after]]


def parameter_groups(model: Any, options: FineTuning, lr: float) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups, each with its learning rate.

    Embeddings of tokens that a pre-trained decoder's checkpoint lacks have the heads' rate.

    Args:
        lr: learning rate of the heads.
    """
    stack = encoder_stack(model)
    decoders = _pretrained_decoders(model)
    if isinstance(options.decoder_lr, Mapping):
        for output in decoders:
            if output not in options.decoder_lr:
                raise UserError(
                    f"finetune_conf.decoder_lr: no learning rate for '{output}'",
                    f"add '{output}' to {', '.join(options.decoder_lr) or 'the mapping'}",
                )
    slower = {id(p) for layer in [*stack, *decoders.values()] for p in layer}
    heads = [p for p in model.parameters() if id(p) not in slower]
    groups = [{"params": heads, "lr": lr}] if heads else []
    for output, parameters in decoders.items():
        groups.append({"params": parameters, "lr": lr * options.decoder_rate(output)})
    for depth, layer in enumerate(reversed(stack)):
        if layer:
            groups.append(
                {"params": layer, "lr": lr * options.encoder_lr * options.layer_decay**depth}
            )
    return groups


def _pretrained_decoders(model: Any) -> dict[str, list[torch.nn.Parameter]]:
    """Return the parameters of pre-trained decoders by output, without new embeddings."""
    decoders = {}
    for output, head in getattr(model, "heads", {}).items():
        if getattr(head.decoder, "pretrained", False):
            new = {id(p) for p in head.decoder.new_parameters()}
            decoders[output] = [p for p in head.decoder.parameters() if id(p) not in new]
    return decoders


def build_optimizer(
    build: Any, model: Any, options: FineTuning, args: argparse.Namespace
) -> torch.optim.Optimizer:
    """Return an optimizer with a learning rate per layer.

    The maximum of a one-cycle schedule in `args.scheduler_conf` becomes a list, one per group.

    Args:
        build: class of the optimizer.
        args: ESPnet's training arguments.
    """
    if args.exclude_weight_decay:
        raise UserError(
            "exclude_weight_decay cannot be used with encoder_lr or layer_decay of finetune_conf",
            "remove one of them",
        )
    lr = args.optim_conf.get("lr")
    if lr is None:
        raise UserError("finetune_conf needs optim_conf.lr", "set the learning rate of the heads")
    optimizer = build(parameter_groups(model, options, lr), **args.optim_conf)
    maximum = args.scheduler_conf.get("max_lr")
    if maximum is not None:
        rates = [maximum * group["lr"] / lr for group in optimizer.param_groups]
        args.scheduler_conf = {**args.scheduler_conf, "max_lr": rates}
    return optimizer


class FreezeSchedule:
    """Freezes and unfreezes the layers of the encoder at the start of each epoch.

    Parameters that do not require a gradient at construction stay frozen.
    """

    def __init__(self, model: Any, options: FineTuning):
        self.options = options
        stack = encoder_stack(model)
        self._stack = [[p for p in layer if p.requires_grad] for layer in stack]
        self._model = model

    def begin_epoch(self, epoch: int) -> str:
        """Set `requires_grad` for an epoch (from 1). Return a line that says what is trained."""
        trained = self.options.trained_layers(epoch, len(self._stack))
        frozen = len(self._stack) - trained
        for number, layer in enumerate(self._stack):
            for parameter in layer:
                parameter.requires_grad_(number >= frozen)
        return f"epoch {epoch}: {trained_share(self._model)}"


def trained_share(model: torch.nn.Module) -> str:
    """Return the number and share of the parameters that require a gradient, as text.

    >>> trained_share(torch.nn.Linear(3, 1))
    'trains 4 of 4 parameters (100.0 %)'
    """
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return f"trains {trained:,} of {total:,} parameters ({100 * trained / max(total, 1):.1f} %)"
