"""Run a function in two processes that torch.distributed connects."""

import os
from collections.abc import Callable
from typing import Any

import torch
from child_processes import free_port

RANKS = (0, 1)


def run(worker: Callable, *arguments: Any) -> list:
    """Return the results of `worker(rank, *arguments)` in rank order.

    Args:
        worker: a function of a module, whose result can be pickled without tensors.
    """
    port = free_port()
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=_process, args=(rank, port, queue, worker, arguments))
        for rank in RANKS
    ]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=240) for _ in RANKS)  # a hang is a failure, not a wait
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    return [results[rank] for rank in RANKS]


def _process(rank: int, port: int, queue: Any, worker: Callable, arguments: tuple) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(RANKS))
    queue.put((rank, worker(rank, *arguments)))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
