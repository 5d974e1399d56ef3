"""K-means: assignment equals brute force, fits are repeatable, samples are uniform."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.errors import UserError
from espnet_ext.units.kmeans import Centroids, fit_kmeans, nearest
from espnet_ext.units.reservoir import Reservoir


def clusters(count=12, size=6, per_cluster=60, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, size)) * 8
    rows = centres.repeat(per_cluster, 0) + random.normal(size=(count * per_cluster, size))
    return random.permutation(rows).astype("float32")


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_nearest_equals_brute_force(offset):
    random = np.random.default_rng(0)
    frames = (random.normal(size=(5000, 8)) + offset).astype("float32")
    centroids = (random.normal(size=(300, 8)) + offset).astype("float32")
    differences = frames[:, None].astype("float64") - centroids[None].astype("float64")
    exact = (differences**2).sum(-1)
    ids, distances = nearest(torch.from_numpy(frames), torch.from_numpy(centroids))
    np.testing.assert_array_equal(ids, exact.argmin(1))
    np.testing.assert_allclose(distances, exact.min(1), rtol=1e-3, atol=1e-3)


def test_nearest_of_no_frames_is_empty():
    ids, distances = nearest(torch.zeros(0, 4), torch.ones(3, 4))
    assert len(ids) == len(distances) == 0


def test_fit_is_repeatable_and_depends_on_the_seed():
    frames = clusters()
    first, again, other = (fit_kmeans(frames, 30, seed=seed).centroids for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_fit_finds_separate_clusters_and_reports_the_inertia():
    frames = clusters()
    result = fit_kmeans(frames, 12)
    distances = ((frames[:, None] - result.centroids) ** 2).sum(-1)
    assert set(np.bincount(distances.argmin(1))) == {60}
    assert result.inertia == pytest.approx(distances.min(1).mean(), rel=1e-4)


def test_converged_inertia_is_within_one_percent_of_scikit_learn():
    from sklearn.cluster import KMeans

    frames = np.random.default_rng(0).normal(size=(6000, 10)).astype("float32")
    seeds = range(3)
    reference = [KMeans(40, n_init=1, random_state=seed).fit(frames).inertia_ for seed in seeds]
    ours = [
        fit_kmeans(frames, 40, seed=seed, tolerance=0.0, max_iterations=200).inertia
        for seed in seeds
    ]
    assert np.mean(ours) * len(frames) < 1.01 * np.mean(reference)


@pytest.mark.parametrize("count", [2, 3, 4095, 4097, 5000])
def test_small_samples_can_be_fitted(count):
    frames = np.random.default_rng(0).normal(size=(count, 2)).astype("float32")
    assert len(fit_kmeans(frames, 2).centroids) == 2


@pytest.mark.parametrize("different", [5, 9])
def test_more_clusters_than_frames_raises_user_error(different):
    frames = np.eye(different, dtype="float32").repeat(1 if different == 9 else 4, 0)
    if different == 9:
        with pytest.raises(UserError, match="10 clusters, but the sample has 9 frames"):
            fit_kmeans(frames, 10)
    else:  # digital silence
        with pytest.raises(UserError, match="only 5 clearly different frames"):
            fit_kmeans(frames, 10)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_sample_does_not_depend_on_blocks(lengths, capacity):
    stream = np.arange(sum(lengths) * 2.0, dtype="float32").reshape(-1, 2)
    whole, divided = Reservoir(capacity, 3), Reservoir(capacity, 3)
    whole.add(stream)
    for block in np.split(stream, np.cumsum(lengths)[:-1]):
        divided.add(block)
    np.testing.assert_array_equal(whole.rows, divided.rows)
    assert len(whole.rows) == min(capacity, len(stream))
    assert {tuple(row) for row in whole.rows} <= {tuple(row) for row in stream}


def test_sample_is_uniform():
    counts = np.zeros(40)
    for seed in range(1500):
        reservoir = Reservoir(10, seed)
        reservoir.add(np.arange(40.0, dtype="float32")[:, None])
        counts[reservoir.rows[:, 0].astype(int)] += 1
    expected = 1500 * 10 / 40
    # χ² with 39 degrees of freedom, thinned by 3/4 because each sample is without replacement
    assert ((counts - expected) ** 2 / expected).sum() / 0.75 < 72.1  # its 99.9 % quantile


def test_kept_centroids_find_the_same_in_blocks():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(50, 6, generator=generator) + 100
    centroids = torch.randn(7, 6, generator=generator) + 100
    expected = ((frames[:, None] - centroids) ** 2).sum(-1).argmin(1)
    kept = Centroids(centroids)
    assert (kept.nearest(frames) == expected).all()
    kept.rows = 3
    assert (kept.nearest(frames) == expected).all()
    assert (kept.nearest_with_distances(frames)[0] == expected).all()
    assert len(kept.nearest(frames[:0])) == 0
