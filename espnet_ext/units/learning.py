"""Learn k-means from a sample of the frames of data directories.

Symbols: M sampled frames, D feature size, K clusters.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from espnet_ext.errors import UserError
from espnet_ext.model.load import search_device
from espnet_ext.progress import say, track
from espnet_ext.units.corpus import BATCH_SECONDS, stream_features, stream_waves
from espnet_ext.units.features import FeatureExtractor
from espnet_ext.units.files import UnitModel, check_count_of_units
from espnet_ext.units.kmeans import fit_kmeans, nearest
from espnet_ext.units.reservoir import Reservoir

FRAMES_PER_CLUSTER = 256  # of the sample, unless its size is given


@dataclass(frozen=True)
class LearningOptions:
    clusters: int  # K
    residual_clusters: int = 0  # clusters of a second codebook; 0: there is none
    seed: int = 0
    portion: float = 1.0  # share of the utterances that are read
    max_frames: int = 0  # M, at most; 0: FRAMES_PER_CLUSTER per cluster

    def check(self, where: str) -> None:
        """Raise `UserError` for values that are not possible."""
        if self.clusters < 1 or self.residual_clusters < 0 or self.max_frames < 0:
            message = f"{where}: clusters and frames must be positive numbers"
            raise UserError(message, "correct --clusters, --residual_clusters or --max_frames")
        if self.seed < 0:
            raise UserError(f"{where}: seed {self.seed} is negative", "choose a seed from 0")
        if not 0 < self.portion <= 1:
            message = f"{where}: portion {self.portion}"
            raise UserError(message, "choose a share of the utterances, from above 0 to 1")
        if 0 < self.max_frames < max(self.clusters, self.residual_clusters):
            raise UserError(
                f"{where}: {max(self.clusters, self.residual_clusters)} clusters from "
                f"{self.max_frames} frames at most",
                "raise --max_frames, or choose fewer clusters",
            )
        check_count_of_units(self.clusters + self.residual_clusters, where)

    @property
    def capacity(self) -> int:
        """M, the frames of the sample at most."""
        default = FRAMES_PER_CLUSTER * max(self.clusters, self.residual_clusters)
        return self.max_frames or default


def learn(
    extractor: FeatureExtractor,
    folders: Sequence[str | os.PathLike],
    options: LearningOptions,
    batch_seconds: float = BATCH_SECONDS,
) -> UnitModel:
    """Return the codebooks that are learned from the frames of data directories.

    Memory holds one window of audio, the sample and the centroids. It does not grow with the data.

    Args:
        batch_seconds: seconds of audio in a batch of the encoder, with padding.

    Raises:
        UserError: if there are fewer frames than clusters, or an utterance cannot be read.
    """
    names = " ".join(map(str, folders))
    options.check(names)
    sample = Reservoir(options.capacity, options.seed)
    utterances = 0
    for folder in folders:
        waves = stream_waves(
            folder, extractor.sample_rate, portion=options.portion, seed=options.seed
        )
        stream = stream_features(extractor, waves, f"{folder}/wav.scp", batch_seconds)
        for _, frames in track(stream, f"features of {folder}"):
            if len(frames):
                sample.add(frames.cpu().numpy())
            utterances += 1
    if not utterances:
        raise UserError(f"{names}: no utterance was drawn", "raise --portion, or add utterances")
    device = str(search_device(extractor.device()))  # Apple's GPUs have no 64-bit numbers
    say(f"k-means: {len(sample.rows)} of {sample.seen} frames, {options.clusters} clusters")
    codebooks: list[np.ndarray] = []
    rows, inertias = sample.rows, []
    for clusters in filter(None, (options.clusters, options.residual_clusters)):
        which = "residual codebook: " if codebooks else ""
        try:
            result = fit_kmeans(rows, clusters, seed=options.seed, device=device)
        except UserError as error:
            raise UserError(f"{names}: {which}{error.message}", error.remedy) from None
        codebooks.append(result.centroids)
        inertias.append(result.inertia)
        if len(codebooks) == 1 and options.residual_clusters:
            rows = _residuals(rows, result.centroids, device)
    training = {
        **asdict(options),
        "utterances": utterances,
        "frames": sample.seen,
        "sampled_frames": len(sample.rows),
        "inertia": inertias,
    }
    return UnitModel(codebooks, asdict(extractor.options), extractor.digest(), training)


def _residuals(rows: np.ndarray, centroids: np.ndarray, device: str) -> np.ndarray:
    """Return what centroids leave of frames (M, D): frame − centroid. Overwrites the frames."""
    codebook = torch.from_numpy(centroids).to(device)
    for block in np.array_split(rows, max(1, len(rows) // 65536)):
        ids, _ = nearest(torch.from_numpy(block).to(device), codebook)
        block -= centroids[ids.cpu().numpy()]
    return rows
