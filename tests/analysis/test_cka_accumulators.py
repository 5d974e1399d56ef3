"""Streamed CKA against the definition over Gram matrices, and what it must not depend on."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from espnet_ext.analysis.computation.cka_accumulators import GramCka, StreamedCka, linear_cka  # noqa: E402
from espnet_ext.analysis.computation.jackknife import jackknife  # noqa: E402
from espnet_ext.model.similarity import cka_of  # noqa: E402


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
    grid = StreamedCka(tracked, groups)
    for number, start in enumerate(range(0, len(layers[0]), 33)):
        grid.update([x[start : start + 33] for x in layers], number % groups)
    return grid


def test_every_pair_of_layers_matches_the_definition():
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


def test_rotation_and_scale_do_not_matter_but_shuffling_does():
    x, y, _ = data(3)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    same = linear_cka(x.double() @ rotation * 3, y)
    assert same == pytest.approx(linear_cka(x, y), abs=1e-9)
    assert linear_cka(x[torch.randperm(len(x))], y) < linear_cka(x, y) / 2


def test_constant_layer_is_undefined_and_rows_must_match():
    grid = StreamedCka()
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


def test_debiased_values_match_the_definition():
    layers = data(5)
    values = streamed(layers).values(debiased=True)
    for (i, x), (j, y) in itertools.product(enumerate(layers), enumerate(layers)):
        # the means are large here: Gram matrices of shifted frames have the digits for it
        shifted = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
        assert values[i][j] == pytest.approx(unbiased_cka(*shifted), abs=1e-6)
    assert values[1][1] == pytest.approx(1.0, abs=1e-9)


def test_unrelated_layers_look_similar_only_without_debiasing():
    """Few frames beside the widths: the plain measure is high, the debiased one is near zero."""
    generator = torch.Generator().manual_seed(6)
    plain, debiased = [], []
    for _ in range(20):
        x, y = (torch.randn(60, 40, generator=generator) for _ in range(2))
        plain.append(linear_cka(x, y))
        debiased.append(linear_cka(x, y, debiased=True))
    assert sum(plain) / 20 > 0.35
    assert abs(sum(debiased) / 20) < 0.03


def test_three_rows_have_no_debiased_value():
    x = torch.randn(3, 2)
    grid = StreamedCka()
    grid.update([x])
    assert grid.values(debiased=True)[0][0] != grid.values(debiased=True)[0][0]  # NaN
    assert grid.values()[0][0] == pytest.approx(1.0)


def test_gram_matrices_and_moments_agree():
    layers = data(7)
    owners = [start // 33 % 3 for start in range(200)]
    grid, held = streamed(layers, [(0, 2)], 3), GramCka(layers, owners, 3)
    for debiased in (False, True):
        for row, other in zip(grid.values(debiased), held.values(debiased), strict=True):
            assert row == pytest.approx(other, abs=1e-9)


def test_leaving_out_groups_gives_the_estimate_of_the_others():
    layers = data(8)
    owners = torch.tensor([start // 33 % 4 for start in range(200)])
    grid, held = streamed(layers, [(0, 2)], 4), GramCka(layers, owners, 4)
    kept = [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 0, 1], [0, 1, 0, 1]]
    for one in (grid, held):
        estimates = cka_of(*(one.grouped(*pair) for pair in ((0, 2), (0, 0), (2, 2))), kept)
        for weights, value in zip(kept, estimates, strict=True):
            rows = torch.tensor(weights).bool()[owners]
            x, y = (layers[i][rows].double() for i in (0, 2))
            assert value == pytest.approx(unbiased_cka(x - x.mean(0), y - y.mean(0)), abs=1e-7)


def test_interval_contains_the_estimate_if_both_layers_encode_the_speaker():
    """There a bootstrap would not: a speaker drawn twice weighs its own pairs four times."""
    generator = torch.Generator().manual_seed(9)
    for _ in range(10):
        owners = torch.arange(200) // 10
        speaker = torch.randn(20, 3, generator=generator)[owners]
        x, y = (torch.cat([speaker, torch.randn(200, 5, generator=generator)], 1) for _ in "ab")
        held = GramCka([x, y], owners, 20)
        value = held.values(debiased=True)[0][1]
        parts = [held.grouped(*pair) for pair in ((0, 1), (0, 0), (1, 1))]
        low, high = jackknife(value, cka_of(*parts, 1 - torch.eye(20).numpy()))
        assert low < value < high


def test_jackknife_of_a_mean_is_the_t_interval():
    """Of a mean it is the textbook interval: mean ± t · s/√n."""
    values = torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 10
    left_out = [float((values.sum() - value) / 8) for value in values]
    reach = 2.306004135 * float(values.std()) / 3
    expected = float(values.mean()) - reach, float(values.mean()) + reach
    assert jackknife(float(values.mean()), left_out) == pytest.approx(expected)
    assert jackknife(0.5, left_out[:2]) is None
    assert jackknife(0.5, [*left_out, math.nan]) is None


def test_memory_does_not_grow_with_rows():
    def kept(batches):
        grid = StreamedCka([(0, 1)], 2)
        for number in range(batches):
            grid.update([x[:50] for x in data(number)], number % 2)
        tensors = [v for v in vars(grid).values() if isinstance(v, torch.Tensor)]
        return sum(t.numel() for t in [*tensors, *grid._part.values()])

    assert kept(2) == kept(40)
