"""Batches of utterances that are similar in duration and in the lengths of their transcripts.

ESPnet's samplers sort by duration only. Utterances of one duration have transcripts of different
lengths, so a third of what a decoder computes can be padding. `partition` forms the batches.
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
from espnet_ext.model.config import TEXT_PREFIX, check_keys
from espnet_ext.training.partition import Limits, partition

Batches = list[tuple[str, ...]]
BUCKETS = "buckets"


@dataclass(frozen=True)
class BucketOptions:
    """Options of `batching: buckets` (`batching_conf`)."""

    # Length of an utterance, in bins of the input (samples), of which a batch has half as many as
    # `batch_bins` allows: memory of attention grows with the square of the length. 0: unlimited.
    quadratic_bins: float = 0.0
    max_utterances: int = 0  # largest number of utterances in a batch; 0: unlimited

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
    options = BucketOptions.parse(args.batching_conf)
    limits = Limits(
        args.batch_bins, options.quadratic_bins, options.max_utterances, max(1, processes)
    )
    ids, lengths = read_lengths(shape_files)
    order = np.lexsort((np.array(ids), lengths[:, 0]))
    return [tuple(ids[row] for row in order[batch]) for batch in partition(lengths[order], limits)]


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
    return 1 - lengths.sum(0) / padded_sizes(lengths, ends).clip(min=1)


def padded_sizes(lengths: np.ndarray, ends: Sequence[int]) -> np.ndarray:
    """Return the sizes (S,) of batches that end at these rows of lengths (N, S), with padding."""
    longest = np.maximum.reduceat(lengths, np.array([0, *ends[:-1]]))  # (batches, S)
    return (longest * np.diff([0, *ends])[:, None]).sum(0)


def describe_padding(batches: Batches, shape_files: Sequence[str]) -> str:
    """Return a line with the number of batches and their padding, for the log."""
    ids, lengths = read_lengths(shape_files)
    rows = {utt_id: row for row, utt_id in enumerate(ids)}
    chosen = lengths[[rows[utt_id] for batch in batches for utt_id in batch]]
    ends = list(itertools.accumulate(map(len, batches)))
    shares = padding_shares(chosen, ends)
    names = [Path(path).name.removesuffix("_shape") for path in shape_files]
    listed = ", ".join(f"{n} {100 * share:.1f} %" for n, share in zip(names, shares, strict=True))
    texts = [number for number, name in enumerate(names) if name.startswith(TEXT_PREFIX)]
    if len(texts) > 1:
        padded = max(1, padded_sizes(chosen, ends)[texts].sum())
        listed += f", tokens of all outputs {100 * (1 - chosen[:, texts].sum() / padded):.1f} %"
    return f"{len(batches)} batches, padding: {listed}"
