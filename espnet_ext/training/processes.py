"""Trainings of several processes: how they find each other, and which of them writes files.

The first process (rank 0) alone prepares the model directory and finishes the training. The others
wait for it: when they join the group of processes, and at a barrier at the end.
"""

import os
from argparse import Namespace
from collections.abc import Mapping, Sequence

from espnet_ext.errors import UserError

_PORTS = range(20000, 50000)
_LAUNCHERS = (
    "start one process per node: run.sh with --cmd slurm does, and so do srun and torchrun. By "
    "hand, set RANK (0, 1, …), WORLD_SIZE (number of nodes), MASTER_ADDR and MASTER_PORT (of rank "
    "0) for each process"
)


def process_options(
    nodes: int, ngpu: int, options: Sequence[str], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return ESPnet's options for a training of `ngpu` GPUs on each of several nodes.

    Without a GPU, each node has one process, and they communicate by gloo.

    Args:
        options: options that the user gave. Those for distributed training are kept.
        environment: variables that a launcher set: slurm's, or RANK, MASTER_ADDR and MASTER_PORT.

    Raises:
        UserError: if no launcher has started this process as one of several.
    """
    if nodes == 1:
        return ["--multiprocessing_distributed", "true"] if ngpu > 1 else []
    added = {"--multiprocessing_distributed": "true", "--dist_world_size": str(nodes)}
    if ngpu == 0:
        added["--dist_backend"] = "gloo"
    if not {"--dist_rank", "--dist_launcher", "--dist_init_method"} & set(options):
        added |= _launcher_options(nodes, environment)
    return [word for name in added if name not in options for word in (name, added[name])]


def is_first_process() -> bool:
    """Return whether this process is the only one of its training, or the first of several."""
    import torch

    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _launcher_options(nodes: int, environment: Mapping[str, str]) -> dict[str, str]:
    if "SLURM_STEP_NUM_NODES" in environment:
        tasks = (environment["SLURM_STEP_NUM_NODES"], environment.get("SLURM_NTASKS"))
        if tasks != (str(nodes), str(nodes)):
            raise UserError(
                f"--num_nodes {nodes}: slurm started {tasks[1]} processes on {tasks[0]} nodes",
                f"start {nodes} processes with srun, one on each node",
            )
        # Jobs on the same nodes need different ports.
        port = _PORTS[int(environment.get("SLURM_JOB_ID", "0")) % len(_PORTS)]
        launcher = {
            "--dist_launcher": "slurm",
            "--dist_master_port": environment.get("MASTER_PORT", str(port)),
        }
        if "MASTER_ADDR" in environment:
            launcher["--dist_master_addr"] = environment["MASTER_ADDR"]
        return launcher
    needed = ("RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if not environment.get(name)]
    if missing:
        raise UserError(
            f"--num_nodes {nodes}: no launcher started this process ({', '.join(missing)} not set)",
            _LAUNCHERS,
        )
    size = environment.get("WORLD_SIZE", str(nodes))
    if size != str(nodes):
        raise UserError(f"--num_nodes {nodes}, but WORLD_SIZE is {size}", _LAUNCHERS)
    if not environment["RANK"].isdecimal() or int(environment["RANK"]) >= nodes:
        raise UserError(
            f"--num_nodes {nodes}: RANK is {environment['RANK']}, not 0 to {nodes - 1}", _LAUNCHERS
        )
    return {}


def node_rank(args: Namespace, environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this node; 0 for the one that writes files, and for a single node.

    Args:
        args: ESPnet's training arguments.
    """
    if (args.dist_world_size or 1) == 1:
        return 0
    if args.dist_rank is not None:
        return args.dist_rank
    name = "SLURM_PROCID" if args.dist_launcher == "slurm" else "RANK"
    return int(environment.get(name, "0"))


def wait_for_all() -> None:
    """Wait until all processes of the training have called this, then leave their group."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
