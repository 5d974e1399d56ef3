"""Streamed CKA against the definition over Gram matrices, and what it must not depend on."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from espnet_ext.analysis.cka import CkaGrid, GramGrid, linear_cka  # noqa: E402
from espnet_ext.analysis.hsic import cka_of  # noqa: E402


def gram_cka(x, y):
    """HSIC-normalised similarity over N×N Gram matrices, as Kornblith et al. define it."""
    n = len(x)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k = centre @ (x.double() @ x.double().T) @ centre
    m = centre @ (y.double() @ y.double().T) @ centre
    return float((k * m).sum() / ((k * k).sum().sqrt() * (m * m).sum().sqrt()))


def data(seed, n=200, widths=(5, 9, 7)):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 4, generator=generator)
    layers = []
    for width in widths:
        mix = torch.randn(4, width, generator=generator)
        noise = torch.randn(n, width, generator=generator)
        layers.append(base @ mix + noise + 100 * torch.rand(width, generator=generator))
    return layers


def streamed(layers, tracked=(), groups=1):
    """In batches of unequal size; batch k is of group k modulo `groups`."""
    grid = CkaGrid(tracked, groups)
    for number, start in enumerate(range(0, len(layers[0]), 33)):
        grid.update([x[start : start + 33] for x in layers], number % groups)
    return grid


def test_every_pair_of_layers_is_the_definition():
    layers = data(1)
    grid = streamed(layers)
    values = grid.values()
    for (i, x), (j, y) in itertools.product(enumerate(layers), enumerate(layers)):
        assert values[i][j] == pytest.approx(gram_cka(x, y), abs=1e-6)
    assert values[1][1] == pytest.approx(1.0, abs=1e-12)  # a layer with itself
    assert grid.rows == 200


def test_large_means_do_not_cancel():
    x, y = data(2)[:2]
    shifted = x.double() + 1e6
    assert linear_cka(shifted, y) == pytest.approx(gram_cka(x, y), abs=1e-6)


def test_rotation_and_scale_do_not_matter_but_mixing_does():
    x, y, _ = data(3)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    same = linear_cka(x.double() @ rotation * 3, y)
    assert same == pytest.approx(linear_cka(x, y), abs=1e-9)
    assert linear_cka(x[torch.randperm(len(x))], y) < linear_cka(x, y) / 2


def test_a_constant_layer_is_undefined_and_frames_must_agree():
    grid = CkaGrid()
    grid.update([torch.ones(10, 2), torch.randn(10, 3)])
    value = grid.values()[0][1]
    assert value != value
    with pytest.raises(ValueError, match="same rows"):
        grid.update([torch.ones(3, 2), torch.ones(4, 3)])


def unbiased_hsic(k, m):
    """Song et al. (2012), equation 5, over Gram matrices with zero diagonals."""
    n = len(k)
    k, m = k - torch.diag(torch.diag(k)), m - torch.diag(torch.diag(m))
    one = torch.ones(n, dtype=torch.float64)
    trace = (k @ m).trace()
    whole = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (trace + whole - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def unbiased_cka(x, y):
    k, m = (z.double() @ z.double().T for z in (x, y))
    return float(unbiased_hsic(k, m) / (unbiased_hsic(k, k) * unbiased_hsic(m, m)).sqrt())


def test_debiased_is_the_definition_for_every_pair():
    layers = data(5)
    values = streamed(layers).values(debiased=True)
    for (i, x), (j, y) in itertools.product(enumerate(layers), enumerate(layers)):
        # the means are large here: Gram matrices of shifted frames have the digits for it
        shifted = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
        assert values[i][j] == pytest.approx(unbiased_cka(*shifted), abs=1e-6)
    assert values[1][1] == pytest.approx(1.0, abs=1e-9)


def test_layers_with_nothing_in_common():
    """Few frames beside the widths: the plain measure calls them alike, the debiased does not."""
    generator = torch.Generator().manual_seed(6)
    plain, debiased = [], []
    for _ in range(20):
        x, y = (torch.randn(60, 40, generator=generator) for _ in range(2))
        plain.append(linear_cka(x, y))
        debiased.append(linear_cka(x, y, debiased=True))
    assert sum(plain) / 20 > 0.35
    assert abs(sum(debiased) / 20) < 0.03


def test_three_frames_are_too_few_to_be_unbiased():
    x = torch.randn(3, 2)
    grid = CkaGrid()
    grid.update([x])
    assert grid.values(debiased=True)[0][0] != grid.values(debiased=True)[0][0]  # NaN
    assert grid.values()[0][0] == pytest.approx(1.0)


def test_gram_matrices_give_what_moments_give():
    layers = data(7)
    owners = [start // 33 % 3 for start in range(200)]
    grid, held = streamed(layers, [(0, 2)], 3), GramGrid(layers, owners, 3)
    for debiased in (False, True):
        for row, other in zip(grid.values(debiased), held.values(debiased), strict=True):
            assert row == pytest.approx(other, abs=1e-9)


def drawn_cka(x, y, weights):
    """Debiased CKA over weighted pairs of different rows, by loops over the definition."""
    x, y = (z.double() - z.double().mean(0) for z in (x, y))

    def hsic(a, b):
        k, m = a @ a.T, b @ b.T
        k, m = k - torch.diag(torch.diag(k)), m - torch.diag(torch.diag(m))
        n = weights.sum()
        trace = sum(
            weights[i] * weights[j] * k[i, j] * m[i, j]
            for i, j in itertools.product(range(len(k)), repeat=2)
        )
        whole = (weights @ k @ weights) * (weights @ m @ weights) / ((n - 1) * (n - 2))
        middle = sum(weights[i] * (k[i] @ weights) * (m[i] @ weights) for i in range(len(k)))
        return trace + whole - 2 / (n - 2) * middle

    return float(hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt())


def test_resampled_speakers_are_weighted_rows():
    layers = [x[:60] for x in data(8)]
    owners = [start // 33 % 2 for start in range(60)]
    grid, held = streamed(layers, [(0, 2)], 2), GramGrid(layers, owners, 2)
    drawn = [[1, 1], [2, 0], [0, 2], [3, 1]]
    parts = [[one.grouped(*pair) for pair in ((0, 2), (0, 0), (2, 2))] for one in (grid, held)]
    streamed_values, held_values = (cka_of(*part, drawn) for part in parts)
    for weights, value in zip(drawn, held_values, strict=True):
        each = torch.tensor([float(weights[owner]) for owner in owners], dtype=torch.float64)
        assert value == pytest.approx(drawn_cka(layers[0], layers[2], each), abs=1e-9)
    assert streamed_values[0] == pytest.approx(grid.values(debiased=True)[0][2], abs=1e-9)
    # moments are about the first batch's mean, which weights do not cancel wholly
    assert streamed_values == pytest.approx(held_values, abs=2e-3)


def test_a_speaker_drawn_twice_does_not_make_layers_alike():
    """Plain copies of rows would: each row's copy is near it in both systems."""
    generator = torch.Generator().manual_seed(9)
    inflated, weighted = [], []
    for _ in range(20):
        x, y = (torch.randn(40, 30, generator=generator) for _ in range(2))
        twice = torch.cat([torch.arange(20), torch.arange(20)])
        inflated.append(linear_cka(x[twice], y[twice], debiased=True))
        held = GramGrid([x, y], [0] * 20 + [1] * 20, 2)
        weighted.append(cka_of(*(held.grouped(*p) for p in ((0, 1), (0, 0), (1, 1))), [[2, 0]])[0])
    assert sum(inflated) / 20 > 0.2
    assert abs(sum(weighted) / 20) < 0.05


def test_memory_does_not_grow_with_rows():
    def kept(batches):
        grid = CkaGrid([(0, 1)], 2)
        for number in range(batches):
            grid.update([x[:50] for x in data(number)], number % 2)
        tensors = [v for v in vars(grid).values() if isinstance(v, torch.Tensor)]
        return sum(t.numel() for t in [*tensors, *grid._part.values()])

    assert kept(2) == kept(40)
