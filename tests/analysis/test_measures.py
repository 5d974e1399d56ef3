"""Each measure against another library's parts, its invariances, and brute force."""

import itertools

import numpy as np
import pytest

from espnet_ext.analysis.computation.measures import MEASURES, compare_layers, shifts, similarity

ROWS, WIDTH = 60, 5


def data(seed, noise=0.7):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((ROWS, WIDTH))
    mixed = x @ generator.standard_normal((WIDTH, WIDTH + 2))
    return x, mixed + noise * generator.standard_normal(mixed.shape) + 3.0


def rotation(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


@pytest.mark.parametrize("name", MEASURES)
def test_rotated_and_scaled_copy_has_similarity_one(name):
    x, y = data(1)
    # dissimilarity by correlation of a row's values, not of its direction: a scale only
    turned = x * 3 if name == "rsa" else 3 * x @ rotation(WIDTH) + 2
    assert similarity(name, x, turned) == pytest.approx(1.0, abs=1e-9)
    assert similarity(name, x, y) < 0.99
    assert similarity(name, x, y) == pytest.approx(similarity(name, y, x), abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_few_rows_and_constant_layers_are_undefined(name):
    x, y = data(2)
    assert np.isnan(similarity(name, x[:3], y[:3]))
    if name != "mutual_knn":  # which finds neighbours among equals
        assert np.isnan(similarity(name, np.ones_like(x), y))
    with pytest.raises(ValueError, match="same rows"):
        similarity(name, x, y[:10])


def test_rsa_matches_scipy():
    spatial = pytest.importorskip("scipy.spatial.distance")
    from scipy.stats import spearmanr

    x, y = data(3)
    dissimilarities = [spatial.pdist(z - z.mean(0), "correlation") for z in (x, y)]
    expected = spearmanr(*dissimilarities).statistic
    assert similarity("rsa", x, y) == pytest.approx(expected, abs=1e-9)


def test_procrustes_matches_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    x, y = data(4)
    y = y[:, :WIDTH]
    a, b = (z - z.mean(0) for z in (x, y))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    turned = a @ linalg.orthogonal_procrustes(a, b)[0]
    assert similarity("procrustes", x, y) == pytest.approx(
        1 - np.square(turned - b).sum() / 2, abs=1e-9
    )


def test_neighbours_match_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = data(5)
    near = [
        neighbors.NearestNeighbors(n_neighbors=10).fit(z).kneighbors(return_distance=False)
        for z in (x, y)
    ]
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)]
    assert similarity("mutual_knn", x, y) == pytest.approx(np.mean(shared), abs=1e-12)


def test_canonical_correlations_solve_the_eigenvalue_problem():
    x, y = data(6)
    a, b = (z - z.mean(0) for z in (x, y))
    inverse = np.linalg.inv(a.T @ a) @ a.T @ b @ np.linalg.inv(b.T @ b) @ b.T @ a
    correlations = np.sqrt(np.sort(np.linalg.eigvals(inverse).real)[::-1])
    # with 99 % of the variance in all five directions, SVCCA is plain CCA
    assert similarity("svcca", x, y[:, :7]) == pytest.approx(correlations.mean(), abs=2e-2)
    whole = similarity("pwcca", x, y)
    assert correlations.min() < whole < correlations.max()


def test_pwcca_weights_directions_by_their_use():
    generator = np.random.default_rng(7)
    x = generator.standard_normal((500, 2)) * [10.0, 0.1]
    kept = np.c_[x[:, 0], generator.standard_normal(500)]  # the strong direction survives
    lost = np.c_[generator.standard_normal(500), x[:, 1]]
    assert similarity("pwcca", x, kept) > similarity("svcca", x, lost)
    assert similarity("pwcca", x, kept) > similarity("pwcca", x, lost) + 0.1


def test_rbf_cka_is_unbiased_hsic():
    x, y = data(8)

    def gram(z):
        squares = np.square(z[:, None] - z[None]).sum(-1)
        median = np.median(squares[np.triu_indices(ROWS, 1)])
        k = np.exp(-squares / (2 * 0.4**2 * median))
        return k - np.diag(np.diag(k))

    def hsic(k, m):  # Song et al., 2012, equation 5
        one = np.ones(ROWS)
        whole = (one @ k @ one) * (one @ m @ one) / ((ROWS - 1) * (ROWS - 2))
        return np.trace(k @ m) + whole - 2 / (ROWS - 2) * one @ k @ m @ one

    k, m = gram(x), gram(y)
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert similarity("rbf_cka", x, y) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_many_pairs_equal_single_pairs(name):
    x, y = data(9)
    groups = np.arange(ROWS) % 4
    layers, pairs = [x, y, y[:, :3]], [(0, 1), (1, 2)]
    similarities = compare_layers(name, layers, groups, pairs, permutations=7, seed=3)
    orders = shifts(groups, 7, 3)
    for i, j in pairs:
        a, b = layers[i], layers[j]
        one, whole = similarities[i, j], similarity(name, a, b)
        assert one.value == pytest.approx(whole, abs=1e-9)
        left_out = [similarity(name, a[groups != g], b[groups != g]) for g in range(4)]
        error = np.sqrt(3 / 4 * np.square(left_out - np.mean(left_out)).sum())
        bounds = whole - 3.1824463 * error, min(1.0, whole + 3.1824463 * error)
        assert one.interval == pytest.approx(bounds)
        null = [similarity(name, a, b[order]) for order in orders]
        assert one.null["mean"] == pytest.approx(np.mean(null), abs=1e-9)
        assert one.null["highest"] == pytest.approx(max(null), abs=1e-9)
        assert one.null["p_value"] == (1 + sum(value >= whole for value in null)) / 8


def test_interval_needs_three_groups():
    x, y = data(10)
    for name, groups in itertools.product(("rsa", "procrustes"), ([0] * ROWS, [0, 1] * 30)):
        one = compare_layers(name, [x, y], groups, [(0, 1)], permutations=0)[0, 1]
        assert one.interval is None and one.null is None
        assert one.value == pytest.approx(similarity(name, x, y))


def test_null_is_lower_than_the_true_pairing():
    generator = np.random.default_rng(11)
    x, y = generator.standard_normal((2, 300, 4))
    for name in ("cka", "rbf_cka", "rsa"):
        one = compare_layers(name, [x, y], [0] * 300, [(0, 1)])[0, 1]
        assert abs(one.value) < 0.05 and abs(one.null["mean"]) < 0.05


def test_shift_moves_every_row_within_its_speaker():
    groups = np.repeat([3, 5, 9], [4, 1, 7])
    for order in shifts(groups, 20, 0):
        assert sorted(order) == list(range(12)) and (groups[order] == groups).all()
        assert (order != np.arange(12))[groups != 5].all()


@pytest.mark.parametrize("name", ["cka", "rsa", "mutual_knn", "procrustes"])
def test_null_includes_what_both_layers_encode_of_the_speaker(name):
    """Two layers that share the speaker and nothing else: as often below 5 % as chance has it."""
    below = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(5), 12)
        x, y = (
            4 * generator.standard_normal((5, 3))[groups] + generator.standard_normal((60, 3))
            for _ in range(2)
        )
        one = compare_layers(name, [x, y], groups, [(0, 1)], permutations=19)[0, 1]
        below += one.null["p_value"] <= 0.05
    assert below <= 4


def test_more_directions_than_rows_are_undefined():
    generator = np.random.default_rng(12)
    x, y = generator.standard_normal((30, 20)), generator.standard_normal((30, 20))
    for name in ("svcca", "pwcca"):
        one = compare_layers(name, [x, y], [0] * 30, [(0, 1)])[0, 1]
        assert np.isnan(one.value) and one.null is None
