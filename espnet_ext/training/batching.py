"""Batches of utterances that are similar in duration and in the lengths of their transcripts.

ESPnet's samplers sort by duration only. Utterances of one duration have transcripts of different
lengths, so a third of what a decoder computes can be padding. Here, consecutive batches in order
of duration form a group, whose utterances are sorted by the length of their transcripts. The larger
the groups, the less padding of tokens and the more of frames; the best size is searched.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from espnet_ext.data.table import read_table
from espnet_ext.errors import UserError
from espnet_ext.model.config import check_keys

Batches = list[tuple[str, ...]]
BUCKETS = "buckets"
_GROUP_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)  # batches
_FRAME_SHARE = 0.7  # of the time of a step that grows with the frames; the rest grows with tokens
_WINDOWS, _WINDOW = 20, 2000  # what the search reads of a large set, in order of duration


@dataclass(frozen=True)
class BucketOptions:
    """Options of `batching: buckets` (`batching_conf`)."""

    # Length of an utterance, in bins of the input (samples), of which a batch has half as many as
    # `batch_bins` allows: memory of attention grows with the square of the length. 0: unlimited.
    quadratic_bins: float = 0.0
    max_utterances: int = 0  # of a batch; 0: unlimited

    @classmethod
    def parse(cls, conf: Mapping[str, Any]) -> "BucketOptions":
        """Return the options of `batching_conf`; `UserError` for unknown keys and values."""
        check_keys(conf, list(cls.__dataclass_fields__), "batching_conf")
        for key, value in conf.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise UserError(
                    f"batching_conf.{key}: {value!r} is not a number of at least 0",
                    "write a number, or 0 (unlimited)",
                )
        return cls(**conf)


def bucket_batches(
    args: argparse.Namespace, shape_files: Sequence[str], processes: int = 1
) -> Batches:
    """Return batches of at most `batch_bins` bins of the first shape file, padding included.

    Args:
        args: training arguments: `batch_bins`, `batching_conf`.
        shape_files: lengths of the input, then of the transcripts.
        processes: number of processes that share a batch; no batch has fewer utterances.
    """
    limits = _Limits(args.batch_bins, BucketOptions.parse(args.batching_conf), processes)
    ids, lengths = read_lengths(shape_files)
    order = np.lexsort((np.array(ids), lengths[:, 0]))
    lengths = lengths[order]
    sample = _sample(lengths)
    costs = []
    for size in _GROUP_SIZES:
        chosen, ends = _grouped(sample, size, limits)
        costs.append(_stream_weights(sample.shape[1]) @ padding_shares(sample[chosen], ends))
    chosen, ends = _grouped(lengths, _GROUP_SIZES[int(np.argmin(costs))], limits)
    sorted_ids = [ids[i] for i in order[chosen]]
    return [tuple(sorted_ids[start:end]) for start, end in itertools.pairwise([0, *ends])]


def read_lengths(shape_files: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the utterance ids (N), and their lengths (N, S) in each of S shape files."""
    tables = [read_table(path) for path in shape_files]
    ids = list(tables[0])
    columns = [[int(table[i].partition(",")[0]) for i in ids] for table in tables]
    return ids, np.array(columns, dtype=np.int64).T


def padding_shares(lengths: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """Return the share of padding (S,) in the batches that end at these rows of lengths (N, S).

    >>> padding_shares(np.array([[10, 4], [10, 2], [5, 3]]), [2, 3]).tolist()
    [0.0, 0.18181818181818177]
    """
    starts = np.array([0, *ends[:-1]])
    longest = np.maximum.reduceat(lengths, starts)  # (batches, S)
    sizes = np.diff([0, *ends])[:, None]
    return 1 - lengths.sum(0) / (longest * sizes).sum(0).clip(min=1)


def describe_padding(batches: Batches, shape_files: Sequence[str]) -> str:
    """Return a line with the number of batches and their padding, for the log."""
    ids, lengths = read_lengths(shape_files)
    rows = {utt_id: row for row, utt_id in enumerate(ids)}
    chosen = [rows[utt_id] for batch in batches for utt_id in batch]
    shares = padding_shares(lengths[chosen], list(itertools.accumulate(map(len, batches))))
    names = [Path(path).name.removesuffix("_shape") for path in shape_files]
    listed = ", ".join(f"{n} {100 * share:.1f} %" for n, share in zip(names, shares, strict=True))
    return f"{len(batches)} batches, padding: {listed}"


@dataclass(frozen=True)
class _Limits:
    """What a batch may contain."""

    bins: int
    options: BucketOptions
    processes: int

    def ends(self, durations: np.ndarray) -> list[int]:
        """Return where batches end if utterances (N,) are put into batches in this order."""
        ends: list[int] = []
        start, longest = 0, 0
        quadratic, most = self.options.quadratic_bins, self.options.max_utterances
        for row, duration in enumerate(durations.tolist()):
            count, longest = row - start + 1, max(longest, duration)
            bins = count * longest * (1 + longest / quadratic if quadratic else 1)
            is_full = bins > self.bins or (most and count > most)
            if is_full and count - 1 >= max(1, self.processes):
                ends.append(row)
                start, longest = row, duration
        if ends and len(durations) - start < self.processes:
            ends.pop()  # the last batch is too small
        return [*ends, len(durations)]


def _grouped(lengths: np.ndarray, size: int, limits: _Limits) -> tuple[np.ndarray, list[int]]:
    """Return an order (N,) of utterances that are sorted by duration, and where batches end.

    Args:
        lengths: (N, S).
        size: number of batches in a group, whose utterances are sorted by their transcripts. The
            direction alternates, so that neighbouring groups fit together.
    """
    ends = limits.ends(lengths[:, 0])
    borders = [0, *ends[size - 1 :: size]]
    if borders[-1] != len(lengths):
        borders.append(len(lengths))
    tokens = lengths[:, 1:].sum(1)
    parts = []
    for number, (start, end) in enumerate(itertools.pairwise(borders)):
        part = start + np.argsort(tokens[start:end], kind="stable")
        parts.append(part[::-1] if number % 2 else part)
    order = np.concatenate(parts)
    return order, limits.ends(lengths[order, 0])


def _stream_weights(streams: int) -> np.ndarray:
    """Return the weights (S,) of the padding of each stream."""
    others = max(1, streams - 1)
    return np.array([_FRAME_SHARE] + [(1 - _FRAME_SHARE) / others] * (streams - 1))


def _sample(lengths: np.ndarray) -> np.ndarray:
    """Return windows of lengths (N, S) in order of duration; all of a small set."""
    if len(lengths) <= _WINDOWS * _WINDOW:
        return lengths
    starts = np.linspace(0, len(lengths) - _WINDOW, _WINDOWS).astype(int)
    return np.concatenate([lengths[start : start + _WINDOW] for start in starts])
