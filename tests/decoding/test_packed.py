"""Packed linear layers and parallel searches give the results of the plain ones."""

import copy
import pickle

import pytest
import torch

from espnet_ext.decoding import output_search, packed
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.finite import NotFiniteError
from espnet_ext.decoding.packed import PackedLinear, pack_linears

WAVES = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (8000, 9000, 7000)]
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN"
)


def plain_and_packed(trained, monkeypatch, **options):
    """Return two recognisers with the same weights, the second with packed layers of any size."""
    plain = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=3, **options)
    monkeypatch.setattr(packed, "MIN_WEIGHTS", 1)
    return plain, DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=3, **options)


@needs_onednn
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_packed_layer_equals_the_layer(rows):
    linear = torch.nn.Linear(48, 96).requires_grad_(False)
    layer = PackedLinear(linear)
    x = torch.randn(2, rows, 48)
    assert torch.allclose(layer(x), linear(x), atol=1e-5)
    assert layer.packed is not None
    assert torch.equal(layer.to(torch.float64)(x.double()), linear.double()(x.double()))


def test_layer_that_cannot_be_packed_is_not_packed():
    linear = torch.nn.Linear(48, 96).to(torch.bfloat16).requires_grad_(False)
    layer = PackedLinear(linear)
    x = torch.randn(2, 5, 48, dtype=torch.bfloat16)
    assert torch.equal(layer(x), linear(x)) and layer.packed is None


@needs_onednn
def test_modules_that_share_a_layer_keep_it(monkeypatch):
    monkeypatch.setattr(packed, "MIN_WEIGHTS", 1)
    inner = torch.nn.Sequential(torch.nn.Linear(4, 4))
    outer = pack_linears(torch.nn.Sequential(inner, torch.nn.Linear(4, 4)))
    assert type(inner[0]) is torch.nn.Linear
    assert isinstance(outer[0][0], PackedLinear) and isinstance(outer[1], PackedLinear)
    assert outer[0][0].weight is inner[0].weight


@needs_onednn
def test_search_with_packed_layers_gives_the_same_hypotheses(trained, monkeypatch):
    plain, fast = plain_and_packed(trained, monkeypatch, nbest=2)
    scorer = fast.searchers["surface"].scorers["decoder"][0]
    assert isinstance(scorer.output, PackedLinear)
    assert isinstance(scorer.layers[0].feed_forward.w_1, PackedLinear)
    decoder = fast.model.heads["surface"].decoder
    assert not any(isinstance(module, PackedLinear) for module in decoder.modules())
    for expected, result in zip(plain.batch(WAVES), fast.batch(WAVES), strict=True):
        for name in expected.best:
            for a, b in zip(expected.nbest[name], result.nbest[name], strict=True):
                assert a.token_ids == b.token_ids
                assert a.score == pytest.approx(b.score, abs=1e-4)


@needs_onednn
def test_packed_output_layer_that_computes_no_numbers_is_an_error(trained, monkeypatch):
    _, fast = plain_and_packed(trained, monkeypatch)
    with torch.no_grad():
        fast.model.heads["meaning"].decoder.output_layer.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="head of output 'meaning'"):
        fast.batch(WAVES)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_outputs_that_are_searched_at_the_same_time_have_the_same_results(
    trained, monkeypatch, two_threads
):
    recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=3)
    recogniser.num_threads = None  # as for a large model on two cores
    started = []
    executor = output_search.ThreadPoolExecutor

    def counted(workers):
        started.append(workers)
        return executor(workers)

    monkeypatch.setattr(output_search, "ThreadPoolExecutor", counted)
    parallel = recogniser.batch(WAVES)
    assert started and set(started) == {2} and torch.get_num_threads() == 2
    recogniser.num_threads = 1
    started.clear()
    for expected, result in zip(recogniser.batch(WAVES), parallel, strict=True):
        for name in expected.best:
            assert expected.best[name].token_ids == result.best[name].token_ids
            assert expected.best[name].score == pytest.approx(result.best[name].score, abs=1e-5)
    assert not started


def test_error_in_a_parallel_search_is_raised(trained, two_threads):
    recogniser = DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2)
    recogniser.num_threads = None
    with torch.no_grad():
        recogniser.model.heads["meaning"].decoder.output_layer.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="head of output 'meaning'"):
        recogniser.batch(WAVES)


@needs_onednn
def test_packed_layer_can_be_copied_and_pickled():
    linear = torch.nn.Linear(48, 96).requires_grad_(False)
    layer = PackedLinear(linear)
    x = torch.randn(3, 48)
    expected = layer(x)
    assert layer.packed is not None
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert copied.packed is None and torch.equal(copied(x), expected)
