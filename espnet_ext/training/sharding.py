"""`fsdp`: parameters, gradients and optimizer state are divided over the processes of a training.

It replaces DistributedDataParallel by PyTorch's FSDP2 (Zhao et al., arXiv 2304.11277). Each layer
of the encoder is gathered while it computes, all other parameters during the whole step. Losses,
updates and files are those of DistributedDataParallel: checkpoints contain whole tensors, so
decoding, averaging and trainings with other numbers of processes read them.

The model is sharded when ESPnet would wrap it, so the checkpoint of a continued training is loaded
into the whole model before.
"""

import contextlib
import functools
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist

from espnet_ext.errors import UserError
from espnet_ext.model.layers import encoder_layers

# Optimizers that update each element of a parameter by itself
_OPTIMIZERS = ("adam", "adamw", "sgd")
# Options that read or change gradients, or run the model in one process only
_REFUSED = {
    "use_amp": "gradients are not scaled over the processes",
    "grad_noise": "it adds noise to whole gradients",
    "sharded_ddp": "it is another way of sharding",
    "ddp_comm_hook": "it belongs to DistributedDataParallel",
    "create_graph_in_tensorboard": "it runs the model in one process",
    "num_att_plot": "it runs the model in one process",
    "diagnose_every": "it runs the model in one process",
    "encoder_cache": "the encoder does not run, so nothing is saved",
    "conditioning": "conditioners were not tested with it",
}


def check(args: Namespace, source: str) -> None:
    """Raise `UserError` for options that do not work with `fsdp`.

    Args:
        args: training arguments.
        source: name of the configuration in messages.
    """
    if not args.fsdp:
        return
    for key, reason in _REFUSED.items():
        if value := getattr(args, key):
            _refuse(source, f"{key}: {value}", reason, f"remove {key}")
    if args.optim not in _OPTIMIZERS:
        remedy = f"choose one of {', '.join(_OPTIMIZERS)}"
        _refuse(source, f"optim: {args.optim}", "it was not tested with it", remedy)
    if args.objective != "weighted_sum":
        reason = "it may read gradients of whole parameters"
        _refuse(source, f"objective: {args.objective}", reason, "write objective: weighted_sum")
    if args.grad_clip_type == float("inf"):
        reason = "a maximum over processes may hide a NaN"
        _refuse(source, "grad_clip_type: inf", reason, "write grad_clip_type: 2.0")
    if args.compile != "none":
        _refuse(source, f"compile: {args.compile}", "it was not tested with it", "remove compile")
    for key in ("adapter", "freeze_epochs", "unfreeze_layers_per_epoch"):
        if (args.finetune_conf or {}).get(key):
            reason = "the parameters that are trained must not change, and are saved completely"
            _refuse(source, f"finetune_conf.{key}", reason, f"remove {key}")
    if (args.encoder_conf or {}).get("gradient_checkpointing"):
        reason = "it was not tested with it"
        _refuse(source, "encoder_conf.gradient_checkpointing", reason, "remove it")
    if args.batch_bins == "auto":
        reason = "the memory of the whole model would be measured"
        _refuse(source, "batch_bins: auto", reason, "write a number")
    if str(args.scan_largest_batch).lower() == "true":
        reason = "the memory of the whole model would be measured"
        _refuse(source, "scan_largest_batch: true", reason, "write auto or false")


def _refuse(source: str, option: str, reason: str, remedy: str) -> None:
    raise UserError(f"{source}: fsdp does not work with {option}: {reason}", remedy)


def check_model(model: Any) -> None:
    """Raise `UserError` for layers that are skipped at random, and for scalar parameters."""
    for name, module in model.named_modules():
        for key in ("layer_drop_rate", "stochastic_depth_rate", "layerdrop"):
            config = getattr(module, "config", None)  # of Hugging Face's networks
            rate = getattr(module, key, getattr(config, key, 0))
            if isinstance(rate, float) and rate > 0:
                raise UserError(
                    f"fsdp: {name or 'the model'} skips layers at random ({key}: {rate}), but all "
                    "processes must run the same layers",
                    f"write fsdp: false, or make {key} 0: in encoder_conf or, of a pre-trained "
                    "encoder, in the config.json of a local copy",
                )
    for name, parameter in model.named_parameters():
        if not parameter.dim():
            raise UserError(
                f"fsdp: {name} is a single number, which cannot be divided", "write fsdp: false"
            )


class ShardedModel(torch.nn.Module):
    """What ESPnet's trainer gets in place of DistributedDataParallel.

    Args:
        model: `DualOutputModel`, equal in all processes. Its parameters are replaced by shards.
        optimizers: their parameters and state are replaced likewise.
    """

    def __init__(self, model: Any, optimizers: Sequence[torch.optim.Optimizer]):
        super().__init__()
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        before = dict(model.named_parameters())
        for tensor in [*before.values(), *model.buffers()]:
            dist.broadcast(tensor.data, 0)  # as DistributedDataParallel does
        device = next(iter(before.values())).device.type
        mesh = init_device_mesh(device, (dist.get_world_size(),))
        # Layers of decoders stay with the other parameters: a process whose utterances lack an
        # output does not run its decoder, but reads its parameters.
        for name, layer in encoder_layers(model.encoder).items():
            if name != "embed":
                fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        after = dict(model.named_parameters())
        replaced = {id(parameter): after[name] for name, parameter in before.items()}
        for optimizer in optimizers:
            _replace_parameters(optimizer, replaced)
        self.module = model
        self._optimizers = list(optimizers)
        self._weights: dict[str, Any] | None = None  # whole tensors, on rank 0 after `gather`
        self._states: list[dict[int, Any]] = []  # of the optimizers
        # PyTorch sets an attribute of the hook, which a method does not have.
        model.register_state_dict_post_hook(functools.partial(self._add_weights))
        for number, optimizer in enumerate(optimizers):
            optimizer.register_state_dict_post_hook(functools.partial(self._add_state, number))

    def forward(self, **batch: Any) -> Any:
        return self.module(**batch)

    def train(self, mode: bool = True) -> "ShardedModel":
        """Set the mode. For validation, all processes use the buffers of the first."""
        super().train(mode)
        if not mode:
            for buffer in self.module.buffers():
                dist.broadcast(buffer, 0)
        return self

    @torch.no_grad()
    def gather(self) -> None:
        """Let rank 0 hold the whole weights and optimizer states for `state_dict`.

        All processes call this together, before rank 0 writes a checkpoint.
        """
        self.forget()
        weights = {name: _whole(value) for name, value in self.module.state_dict().items()}
        states = [
            {
                index: {key: _whole(value) for key, value in state.items()}
                for index, state in optimizer.state_dict()["state"].items()
            }
            for optimizer in self._optimizers
        ]
        if dist.get_rank() == 0:
            self._weights, self._states = weights, states

    def forget(self) -> None:
        """Free what `gather` collected."""
        self._weights, self._states = None, []

    def _add_weights(self, _model: Any, state: dict[str, Any], *_: Any) -> None:
        if self._weights is not None:
            state.update(self._weights)

    def _add_state(self, number: int, _optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "state": self._states[number]} if self._states else state


def _whole(value: Any) -> Any:
    """Return a sharded tensor as a whole one in the memory of rank 0; None on other ranks."""
    if hasattr(value, "full_tensor"):
        value = value.full_tensor()
    if dist.get_rank() != 0:
        return None
    return value.cpu() if torch.is_tensor(value) else value


def _replace_parameters(
    optimizer: torch.optim.Optimizer, replaced: Mapping[int, torch.nn.Parameter]
) -> None:
    """Let an optimizer update the sharded parameters, with the shards of its state."""
    states = list(optimizer.state.items())
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["params"] = [replaced[id(parameter)] for parameter in group["params"]]
    for parameter, state in states:
        sharded: Any = replaced[id(parameter)]
        optimizer.state[sharded] = {
            key: _shard(value, sharded)
            if torch.is_tensor(value) and value.shape == parameter.shape
            else value
            for key, value in state.items()
        }


def _shard(value: torch.Tensor, like: Any) -> torch.Tensor:
    """Return the shard of this process of a tensor that all processes have."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


@contextlib.contextmanager
def replaced_data_parallel(
    is_on: bool, optimizers: Sequence[torch.optim.Optimizer]
) -> Iterator[None]:
    """Let ESPnet's trainer shard its model instead of wrapping it, while the context is open.

    Args:
        is_on: otherwise nothing is changed.
        optimizers: optimizers of the trainer.
    """
    if not is_on:
        yield
        return
    originals = torch.nn.parallel.DistributedDataParallel, torch.nn.utils.clip_grad_norm_

    def shard(model: Any, **_: Any) -> ShardedModel:
        check_model(model)
        return ShardedModel(model, optimizers)

    patched: Any = torch.nn
    patched.parallel.DistributedDataParallel, patched.utils.clip_grad_norm_ = shard, _clip
    try:
        yield
    finally:
        patched.parallel.DistributedDataParallel, patched.utils.clip_grad_norm_ = originals


def _clip(parameters: Iterable[Any], max_norm: float, norm_type: float = 2.0) -> torch.Tensor:
    """Clip gradients by the norm over all processes, as `torch.nn.utils.clip_grad_norm_`."""
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm([p.grad for p in parameters], norm_type)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def of_all_processes(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the union of the mappings of all processes."""
    collected: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(collected, dict(values))
    return {key: value for mapping in collected for key, value in mapping.items()}
