"""Stream the features of a data directory, in the order of its ids, with bounded memory.

Utterances are read in windows of a fixed duration. Within a window, those of similar length form
batches, which are bounded by their samples with padding.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from espnet_ext.data.audio import load_audio, resolve_source
from espnet_ext.data.checks.findings import ERROR, Finding
from espnet_ext.data.directory import require_directory
from espnet_ext.data.table import stream_table
from espnet_ext.errors import UserError
from espnet_ext.units.extractor import compute_features
from espnet_ext.units.features import FeatureExtractor

BATCH_SECONDS = 30.0  # of audio in a batch, with padding
_WINDOW = 8  # batches in a window


def stream_waves(
    folder: str | os.PathLike,
    rate: int,
    *,
    portion: float = 1.0,
    seed: int = 0,
    rows: range | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the ids and samples (S,) at `rate` Hz of the utterances of a data directory.

    Args:
        portion: share of the utterances, drawn at random with `seed`.
        rows: positions of the rows of wav.scp that are read; None: all.

    Raises:
        UserError: if wav.scp is not valid or not sorted, or a recording cannot be read.
    """
    path = Path(require_directory(folder)) / "wav.scp"
    random = np.random.default_rng(seed)
    findings: list[Finding] = []
    position = -1
    for block in stream_table(path, findings):
        _require_no_error(findings)
        for line, utt_id, source in block.rows():
            position += 1
            if rows is not None and position >= rows.stop:
                return
            if rows is not None and position < rows.start:
                continue
            if portion < 1 and random.random() >= portion:
                continue
            try:
                if not source:
                    raise UserError("has no audio", "add the path, or remove the row")
                samples, _ = load_audio(resolve_source(source, folder), rate)
            except UserError as error:
                raise UserError(f"{path}:{line}: {utt_id}: {error.message}", error.remedy) from None
            yield utt_id, samples
    _require_no_error(findings)


def _require_no_error(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.severity == ERROR:
            raise finding.as_error()


def stream_features(
    extractor: FeatureExtractor,
    waves: Iterator[tuple[str, np.ndarray]],
    where: str,
    batch_seconds: float = BATCH_SECONDS,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the ids and features (T, D) of utterances, in their order.

    Args:
        waves: ids and samples, see `stream_waves`.
        where: names the utterances in errors.
        batch_seconds: seconds of audio in a batch, with padding. A longer utterance is one batch.
    """
    limit = int(batch_seconds * extractor.sample_rate)
    window: list[tuple[str, np.ndarray]] = []
    samples = 0
    for item in waves:
        window.append(item)
        samples += len(item[1])
        if samples >= _WINDOW * limit:
            yield from _features_of(extractor, window, where, limit)
            window, samples = [], 0
    yield from _features_of(extractor, window, where, limit)


def _features_of(
    extractor: FeatureExtractor, window: Sequence[tuple[str, np.ndarray]], where: str, limit: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the ids and features of the utterances of a window, in their order."""
    features: dict[int, torch.Tensor] = {}
    for batch in batches_of([len(wave) for _, wave in window], limit):
        rows = _compute(extractor, [window[i] for i in batch], where)
        features |= dict(zip(batch, rows, strict=True))
    for i, (utt_id, _) in enumerate(window):
        yield utt_id, features[i]


def batches_of(lengths: Sequence[int], limit: int) -> list[list[int]]:
    """Return positions in batches of similar length, of `limit` samples at most with padding.

    >>> batches_of([4, 1, 2, 9], 6)
    [[1, 2], [0], [3]]
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[i] <= limit:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _compute(
    extractor: FeatureExtractor, batch: Sequence[tuple[str, np.ndarray]], where: str
) -> list[torch.Tensor]:
    """Return the features of a batch; errors name the utterance that causes them."""
    try:
        features = compute_features(extractor, [wave for _, wave in batch])
    except UserError as error:
        if len(batch) > 1:
            return [_compute(extractor, [item], where)[0] for item in batch]
        raise UserError(f"{where}: {batch[0][0]}: {error.message}", error.remedy) from None
    for (utt_id, _), rows in zip(batch, features, strict=True):
        if not torch.isfinite(rows).all():
            raise UserError(
                f"{where}: {utt_id}: its features are not finite",
                "remove the utterance, or use another encoder",
            )
    return features
