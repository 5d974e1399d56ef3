"""Streamed CKA against the definition over Gram matrices, and what it must not depend on."""

import itertools

import pytest

torch = pytest.importorskip("torch")

from espnet_ext.analysis.cka import CkaGrid, linear_cka  # noqa: E402


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


def test_every_pair_of_layers_is_the_definition():
    layers = data(1)
    first, second = layers[:2], layers[1:]
    grid = CkaGrid()
    for start in range(0, 200, 33):  # batches of unequal size
        part = slice(start, start + 33)
        grid.update([x[part] for x in first], [y[part] for y in second])
    values = grid.values()
    for (i, x), (j, y) in itertools.product(enumerate(first), enumerate(second)):
        assert values[i][j] == pytest.approx(gram_cka(x, y), abs=1e-6)
    assert values[1][0] == pytest.approx(1.0, abs=1e-12)  # a layer with itself
    assert grid.frames == 200


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
    grid.update([torch.ones(10, 2)], [torch.randn(10, 3)])
    value = grid.values()[0][0]
    assert value != value
    with pytest.raises(ValueError, match="same frames"):
        grid.update([torch.ones(3, 2)], [torch.ones(4, 3)])


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
    first, second = layers[:2], layers[1:]
    grid = CkaGrid()
    for start in range(0, 200, 33):
        part = slice(start, start + 33)
        grid.update([x[part] for x in first], [y[part] for y in second])
    values = grid.values(debiased=True)
    for (i, x), (j, y) in itertools.product(enumerate(first), enumerate(second)):
        # the means are large here: Gram matrices of shifted frames have the digits for it
        shifted = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
        assert values[i][j] == pytest.approx(unbiased_cka(*shifted), abs=1e-6)
    assert values[1][0] == pytest.approx(1.0, abs=1e-9)


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
    grid.update([x], [x])
    assert grid.values(debiased=True)[0][0] != grid.values(debiased=True)[0][0]  # NaN
    assert grid.values()[0][0] == pytest.approx(1.0)
