"""Minibatch CKA against its definition, the held utterances, drift and the decoders' comparison."""

import itertools
import math

import pytest
import torch
from small_models import OUTPUTS, batch, make, output

from espnet_ext.analysis.computation.cka_accumulators import linear_cka
from espnet_ext.errors import UserError
from espnet_ext.model.layers import decoder_layers, encoder_layers
from espnet_ext.model.similarity import minibatch_cka
from espnet_ext.training.similarity import (
    MAX_UTTERANCES,
    HeldUtterances,
    Start,
    compare_decoders,
    drift,
    notes_on,
)


def mixtures(n=40, widths=(5, 7), seed=1):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 4, generator=generator)
    return [
        base @ torch.randn(4, w, generator=generator) + torch.randn(n, w, generator=generator)
        for w in widths
    ]


def hsic_by_sums(x, y):
    """Unbiased HSIC as a U-statistic: means over all tuples of distinct examples.

    Of k_ij m_ij over pairs, k_ij m_iq over triples, k_ij m_qr over quadruples.
    """
    n = len(x)
    k, m = (x @ x.T).tolist(), (y @ y.T).tolist()
    pairs = [k[i][j] * m[i][j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i][j] * m[i][q] for i, j, q in itertools.permutations(range(n), 3)]
    fours = [k[i][j] * m[q][r] for i, j, q, r in itertools.permutations(range(n), 4)]
    mean = [math.fsum(one) / len(one) for one in (pairs, triples, fours)]
    return mean[0] + mean[2] - 2 * mean[1]


@pytest.mark.parametrize("size", [5, 10, 100])
def test_minibatches_are_averaged_before_the_quotient(size):
    x, y = (one.double() for one in mixtures(n=10))
    parts = [slice(0, 5), slice(5, 10)] if size == 5 else [slice(0, 10)]
    both = sum(hsic_by_sums(x[p], y[p]) for p in parts)
    own = [sum(hsic_by_sums(z[p], z[p]) for p in parts) for z in (x, y)]
    expected = both / math.sqrt(own[0] * own[1])
    assert minibatch_cka(x, y, size) == pytest.approx(expected, abs=1e-9)


def test_one_minibatch_of_all_is_the_debiased_cka_of_the_analysis():
    x, y = mixtures(n=200, widths=(5, 9))
    assert minibatch_cka(x, y, 1000) == pytest.approx(linear_cka(x, y, debiased=True), abs=1e-9)
    assert minibatch_cka(x + 1e3, 3 * y, 1000) == pytest.approx(
        linear_cka(x, y, debiased=True), abs=1e-4
    )


def test_minibatches_estimate_what_all_examples_give():
    x, y = mixtures(n=4000, widths=(6, 8))
    assert minibatch_cka(x, y, 64) == pytest.approx(minibatch_cka(x, y, 4000), abs=0.02)


def test_layers_with_nothing_in_common_are_not_alike_though_wide():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(64, 300, generator=generator) for _ in range(2))
    assert linear_cka(x, y) > 0.7 and abs(minibatch_cka(x, y)) < 0.1


def test_undefined_values_are_none():
    x, y = mixtures()
    assert minibatch_cka(x[:3], y[:3]) is None
    assert minibatch_cka(torch.full_like(x, 0.1), y) is None
    assert minibatch_cka(x.index_fill(0, torch.tensor([4]), float("nan")), y) is None
    assert minibatch_cka(x.index_fill(0, torch.tensor([4]), float("inf")), y) is None


def loader(rows, names=OUTPUTS, unlabelled=(), count=2):
    for number in range(count):
        ids = [f"u{number}-{row}" for row in range(rows)]
        yield ids, {**batch(names, unlabelled, rows), "further": None}


def test_at_most_so_many_utterances_are_held():
    held = HeldUtterances(loader(3), limit=4)
    assert held.ids == ["u0-0", "u0-1", "u0-2", "u1-0"]
    states = held.states(make().eval())
    assert all(len(one) == 4 for one in states.labelled.values())
    assert len(HeldUtterances(loader(50)).ids) == MAX_UTTERANCES
    assert HeldUtterances([]).ids == [] and HeldUtterances([]).states(make().eval()).encoder == {}


def test_states_are_those_of_the_layers_and_means_of_the_tokens():
    model = make().eval()
    held = HeldUtterances(loader(5, count=1))
    states = held.states(model)
    assert list(states.encoder) == list(encoder_layers(model.encoder)) == ["embed", "0", "1"]
    assert list(states.decoders) == ["surface", "meaning"]  # the third has CTC alone

    given = batch(OUTPUTS, rows=5)
    seen = []
    block = decoder_layers(model.heads["meaning"].parts["decoder"])["0"]
    handle = block.register_forward_hook(lambda _m, _i, out: seen.append(out[0]))
    model(**given)
    handle.remove()
    expected = seen[0].mean(1)  # four tokens each, and <sos>
    assert torch.allclose(states.decoders["meaning"]["0"], expected, atol=1e-6)


def test_padding_and_company_do_not_matter_to_the_means():
    model = make(rel_pos_type="latest").eval()
    given = batch(OUTPUTS, rows=4)
    given["text_meaning"][0, 2:] = -1
    given["text_meaning_lengths"][0] = 2
    alone = {k: v[:1] for k, v in given.items()} | {"text_meaning": given["text_meaning"][:1, :2]}
    whole = HeldUtterances([(list("abcd"), given)]).states(model)
    single = HeldUtterances([(["a"], alone)]).states(model)
    a, b = whole.decoders["meaning"]["0"][0], single.decoders["meaning"]["0"][0]
    assert torch.allclose(a, b, atol=1e-5)


def test_drift_is_one_until_something_changes_and_less_the_more_it_does():
    model = make().eval()
    held = HeldUtterances(loader(4))
    start = held.states(model).encoder
    assert drift(start, held.states(model)) == pytest.approx(dict.fromkeys(start, 1.0))
    values = []
    for _ in range(2):
        with torch.no_grad():
            for parameter in model.encoder.encoders[1].parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        values.append(drift(start, held.states(model)))
    assert values[0]["embed"] == pytest.approx(1.0) and values[0]["0"] == pytest.approx(1.0)
    assert 1 > values[0]["1"] > values[1]["1"]


def test_twin_decoders_are_alike_and_only_common_utterances_count():
    model = make({"one": output(), "two": output()}).eval()
    twin = model.heads["one"].parts["decoder"].state_dict()
    model.heads["two"].parts["decoder"].load_state_dict(twin)
    given = batch(["one"], rows=8)
    given |= {k.replace("one", "two"): v.clone() for k, v in given.items() if "one" in k}
    given["text_two"][5:] = -1
    given["text_two"][5:, 0] = -2
    given["text_two_lengths"][5:] = 1
    states = HeldUtterances([(list("abcdefgh"), given)]).states(model)
    (found,) = compare_decoders(states)
    assert found["utterances"] == 5
    assert found["layers"] == {"0": pytest.approx(1.0)}


def test_an_output_without_labels_has_none_and_a_reason():
    states = HeldUtterances(loader(4, unlabelled=["meaning"])).states(make().eval())
    (found,) = compare_decoders(states)
    assert found["utterances"] == 0 and found["layers"] == {"0": None}
    assert notes_on(states, [found]) == ["surface and meaning: 0 held utterances have both"]


def test_states_that_are_not_finite_are_none_and_named():
    model = make().eval()
    held = HeldUtterances(loader(4))
    start = held.states(model).encoder
    with torch.no_grad():
        next(model.encoder.encoders[1].parameters()).fill_(float("nan"))
    now = held.states(model)
    found = drift(start, now)
    assert found["1"] is None and found["0"] == pytest.approx(1.0)
    notes = notes_on(now, compare_decoders(now))
    assert "encoder layer 1: not finite" in notes and "encoder layer 0: not finite" not in notes
    assert "surface: decoder layer 0: not finite" in notes


def test_the_start_is_kept_and_a_broken_one_named(tmp_path):
    path = tmp_path / "start.pth"
    assert Start.read(path) is None
    held = HeldUtterances(loader(4))
    now = held.states(make().eval())
    Start(7, held.ids, now.encoder).save(path)
    again = Start.read(path)
    assert again.step == 7 and again.fits(held.ids, now)
    assert not again.fits(held.ids[1:], now)
    path.write_bytes(b"half")
    with pytest.raises(UserError, match="start.pth"):
        Start.read(path)
