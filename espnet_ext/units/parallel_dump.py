"""Write the units of a data directory with several processes, each of which has the encoder.

A process computes the units of a range of rows of wav.scp. The rows of the file have their order.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch

from espnet_ext.data.table import stream_rows
from espnet_ext.errors import UserError
from espnet_ext.units.corpus import BATCH_SECONDS
from espnet_ext.units.dump import DumpedRow, stream_dumped
from espnet_ext.units.extractor import UnitExtractor

PART = 256  # rows that a process computes before it returns them
_QUEUED_PER_PROCESS = 2

_extractor: UnitExtractor | None = None  # of this process


def stream_dumped_in_parallel(
    load: Callable[[], UnitExtractor],
    folder: str | os.PathLike,
    repeats: str,
    nj: int,
    batch_seconds: float = BATCH_SECONDS,
    part: int = PART,
) -> Iterator[DumpedRow]:
    """Yield what `dump.stream_dumped` yields, computed in `nj` processes.

    Args:
        load: makes the extractor, in each process; a function that pickle can write.
        part: rows that a process computes before it returns them.
    """
    count = sum(1 for _ in stream_rows(f"{os.fspath(folder)}/wav.scp"))
    parts = [range(start, min(start + part, count)) for start in range(0, count, part)]
    nj = min(nj, len(parts))
    if nj <= 1:
        yield from stream_dumped(load(), folder, repeats, batch_seconds)
        return
    threads = max(1, torch.get_num_threads() // nj)
    context = get_context("spawn")  # a fork would inherit the locks of PyTorch's threads
    with ProcessPoolExecutor(nj, context) as pool:
        pending: deque = deque()
        try:
            for rows in parts:
                arguments = (load, threads, folder, repeats, batch_seconds, rows)
                pending.append(pool.submit(_dump_part, *arguments))
                if len(pending) >= _QUEUED_PER_PROCESS * nj:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        except BrokenProcessPool:
            message = f"{folder}: a process that computed units ended, perhaps for lack of memory"
            raise UserError(message, "run it again with a smaller --nj") from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _dump_part(
    load: Callable[[], UnitExtractor],
    threads: int,
    folder: str | os.PathLike,
    repeats: str,
    batch_seconds: float,
    rows: range,
) -> list[DumpedRow]:
    global _extractor
    if _extractor is None:
        torch.set_num_threads(threads)
        _extractor = load()
    return list(stream_dumped(_extractor, folder, repeats, batch_seconds, rows))
