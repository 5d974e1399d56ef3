"""Combine utterances into a batch.

`collate` returns the same as ESPnet's `CommonCollateFn` (a test compares them) without importing
its module, which takes 1 s or more because it imports all of ESPnet's preprocessors.
"""

from collections.abc import Sequence

import numpy as np
import torch

INT_PADDING = -1  # pads token ids


def collate(
    utterances: Sequence[tuple[str, dict[str, np.ndarray]]],
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Return utterance ids, and padded arrays (B, L, …) with their lengths `<key>_lengths` (B,).

    Integers are padded with −1, other numbers with 0.

    Args:
        utterances: (id, arrays (L, …) by key) per utterance; all have the same keys.
    """
    ids, rows = [utt_id for utt_id, _ in utterances], [arrays for _, arrays in utterances]
    if any(set(row) != set(rows[0]) for row in rows):
        raise ValueError(f"utterances of one batch have different keys: {', '.join(ids)}")
    batch: dict[str, torch.Tensor] = {}
    for key, first in rows[0].items():
        if any(row[key].shape[1:] != first.shape[1:] for row in rows):
            raise ValueError(
                f"utterances of one batch have different sizes of {key}: {', '.join(ids)}"
            )
        lengths = [len(row[key]) for row in rows]
        shape = (len(rows), max(lengths), *first.shape[1:])
        # NumPy, because a thread that computes beside the model must not use all of torch's threads
        padded = np.full(shape, INT_PADDING if first.dtype.kind == "i" else 0, first.dtype)
        for line, row in zip(padded, rows, strict=True):
            line[: len(row[key])] = row[key]
        batch[key] = torch.from_numpy(padded)  # (B, L, …)
        batch[f"{key}_lengths"] = torch.tensor(lengths)
    return ids, batch
