"""K-means: fit centroids to a sample of frames, and assign frames to centroids.

A mini-batch k-means of scikit-learn (Sculley, WWW 2010) with k-means++ (Arthur & Vassilvitskii,
SODA 2007) finds initial centroids. Lloyd's iterations on the whole sample then improve them.

Symbols: N frames, K centroids, D feature size.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch

from espnet_ext.errors import UserError

_DISTANCES = 1 << 20  # computed at a time; they fit into the cache of a CPU core
_ROWS = 1 << 14  # of frames that are summed at a time


@dataclass(frozen=True)
class KMeansResult:
    centroids: np.ndarray  # (K, D), float32
    inertia: float  # mean squared distance of a frame to its centroid
    iterations: int  # number of Lloyd iterations


def fit_kmeans(
    frames: np.ndarray,
    clusters: int,
    *,
    seed: int = 0,
    max_iterations: int = 20,
    tolerance: float = 2e-3,
    device: str = "cpu",
) -> KMeansResult:
    """Return centroids of frames (N, D); the same for the same seed and number of threads.

    Args:
        clusters: K.
        max_iterations: largest number of Lloyd iterations.
        tolerance: stop when an iteration lowers the inertia by a smaller share.
        device: where Lloyd's iterations run.

    Raises:
        UserError: if there are fewer than K different frames.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if clusters > len(frames):
        raise UserError(
            f"{clusters} clusters, but the sample has {len(frames)} frames",
            "choose fewer clusters (--clusters), or more audio (--portion, --max_frames)",
        )
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    first = MiniBatchKMeans(
        clusters,
        batch_size=max(4096, 2 * clusters),
        max_iter=3,
        init_size=3 * clusters,
        n_init=1,
        random_state=seed,
        compute_labels=False,
    )
    with warnings.catch_warnings():  # fewer different frames than clusters: see below
        warnings.simplefilter("ignore", ConvergenceWarning)
        first.fit(frames)
    data = torch.from_numpy(frames).to(device)
    centroids = torch.from_numpy(first.cluster_centers_.astype(np.float32)).to(device)
    previous, iterations = float("inf"), 0
    while iterations < max_iterations:
        ids, distances = nearest(data, centroids)
        inertia = float(distances.double().mean())
        if inertia >= previous * (1 - tolerance):
            break
        previous = inertia
        centroids = _means(data, ids, distances, clusters)
        iterations += 1
    ids, distances = nearest(data, centroids)
    used = int((torch.bincount(ids, minlength=clusters) > 0).sum())
    if used < clusters:
        raise UserError(
            f"{clusters} clusters, but the sample has only {used} clearly different frames",
            "choose fewer clusters (--clusters), or more audio",
        )
    return KMeansResult(centroids.cpu().numpy(), float(distances.double().mean()), iterations)


def _means(
    frames: torch.Tensor, ids: torch.Tensor, distances: torch.Tensor, clusters: int
) -> torch.Tensor:
    """Return the means (K, D) of clusters; an empty one gets one of the most distant frames."""
    counts = torch.bincount(ids, minlength=clusters)
    sums = torch.zeros(clusters, frames.size(1), dtype=torch.float64, device=frames.device)
    blocks = frames.split(_ROWS), ids.split(_ROWS)
    for rows, clusters_of_rows in zip(*blocks, strict=True):
        sums.index_add_(0, clusters_of_rows, rows.double())
    means = (sums / counts.clamp(min=1)[:, None]).float()
    empty = (counts == 0).nonzero().flatten()
    if len(empty):
        means[empty] = frames[distances.topk(len(empty)).indices]
    return means


class Centroids:
    """Centroids (K, D) with what every search for the nearest one needs, computed once.

    >>> Centroids(torch.tensor([[5.0], [1.0]])).nearest(torch.tensor([[0.0], [4.0]]))
    tensor([1, 0])
    """

    def __init__(self, centroids: torch.Tensor):
        # Differences from the mean keep the digits that features with a large offset would lose.
        self.offset = centroids.mean(0)
        centred = centroids - self.offset  # (K, D)
        self.norms = centred.square().sum(1)  # (K,)
        self.factors = (-2 * centred).T.contiguous()  # (D, K)
        self.rows = max(1, _DISTANCES // len(centroids))  # frames at a time

    def nearest(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the nearest centroid of each frame: (N, D) → (N,)."""
        if len(frames) <= self.rows:
            return _argmin(self._scores(frames - self.offset))
        return torch.cat([self.nearest(block) for block in frames.split(self.rows)])

    def nearest_with_distances(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the nearest centroids, (N,), and the squared distances, (N,)."""
        ids, distances = [], []
        for block in frames.split(self.rows):
            centred = block - self.offset
            scores = self._scores(centred)
            index = _argmin(scores)
            lowest = scores.gather(1, index[:, None])[:, 0]
            ids.append(index)
            distances.append((lowest + centred.square().sum(1)).clamp(min=0))
        if not ids:
            return frames.new_zeros(0, dtype=torch.long), frames.new_zeros(0)
        return torch.cat(ids), torch.cat(distances)

    def _scores(self, centred: torch.Tensor) -> torch.Tensor:
        """Return ‖x−c‖² − ‖x‖² (N, K) of frames minus `offset`, (N, D)."""
        return torch.addmm(self.norms, centred, self.factors)


def nearest(frames: torch.Tensor, centroids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nearest centroid of each frame, (N,), and the squared distances, (N,).

    Args:
        frames: (N, D). centroids: (K, D).

    >>> nearest(torch.tensor([[0.0], [4.0]]), torch.tensor([[5.0], [1.0]]))
    (tensor([1, 0]), tensor([1., 1.]))
    """
    return Centroids(centroids).nearest_with_distances(frames)


def _argmin(scores: torch.Tensor) -> torch.Tensor:
    """Return the first position of the minimum of each row. On CPUs, numpy is four times faster."""
    if scores.device.type == "cpu":
        return torch.from_numpy(scores.numpy().argmin(1))
    return scores.argmin(1)
