"""Minibatch CKA against its definition; utterance samples, drift and comparison of decoders."""

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
    StartStates,
    UtteranceSample,
    compare_decoders,
    drift,
    undefined_notes,
)


def mixtures(n=40, widths=(5, 7), seed=1):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 4, generator=generator)
    return [
        base @ torch.randn(4, w, generator=generator) + torch.randn(n, w, generator=generator)
        for w in widths
    ]


def hsic_by_sums(x, y):
    """Return unbiased HSIC as a U-statistic: means over all tuples of distinct examples.

    The terms are k_ij m_ij of pairs, k_ij m_iq of triples and k_ij m_qr of quadruples.
    """
    n = len(x)
    k, m = (x @ x.T).tolist(), (y @ y.T).tolist()
    pairs = [k[i][j] * m[i][j] for i, j in itertools.permutations(range(n), 2)]
    triples = [k[i][j] * m[i][q] for i, j, q in itertools.permutations(range(n), 3)]
    fours = [k[i][j] * m[q][r] for i, j, q, r in itertools.permutations(range(n), 4)]
    mean = [math.fsum(terms) / len(terms) for terms in (pairs, triples, fours)]
    return mean[0] + mean[2] - 2 * mean[1]


@pytest.mark.parametrize("size", [5, 10, 100])
def test_minibatches_are_averaged_before_the_quotient(size):
    x, y = (layer.double() for layer in mixtures(n=10))
    parts = [slice(0, 5), slice(5, 10)] if size == 5 else [slice(0, 10)]
    cross = sum(hsic_by_sums(x[p], y[p]) for p in parts)
    norms = [sum(hsic_by_sums(z[p], z[p]) for p in parts) for z in (x, y)]
    expected = cross / math.sqrt(norms[0] * norms[1])
    assert minibatch_cka(x, y, size) == pytest.approx(expected, abs=1e-9)


def test_single_minibatch_equals_the_debiased_cka_of_the_analysis():
    x, y = mixtures(n=200, widths=(5, 9))
    assert minibatch_cka(x, y, 1000) == pytest.approx(linear_cka(x, y, debiased=True), abs=1e-9)
    assert minibatch_cka(x + 1e3, 3 * y, 1000) == pytest.approx(
        linear_cka(x, y, debiased=True), abs=1e-4
    )


def test_minibatch_estimate_is_close_to_that_of_all_examples():
    x, y = mixtures(n=4000, widths=(6, 8))
    assert minibatch_cka(x, y, 64) == pytest.approx(minibatch_cka(x, y, 4000), abs=0.02)


def test_cka_of_independent_wide_layers_is_near_zero():
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


def test_sample_has_at_most_the_requested_utterances():
    sample = UtteranceSample(loader(3), size=4)
    assert sample.ids == ["u0-0", "u0-1", "u0-2", "u1-0"]
    states = sample.states(make().eval())
    assert all(len(rows) == 4 for rows in states.labelled.values())
    assert len(UtteranceSample(loader(50)).ids) == MAX_UTTERANCES
    assert UtteranceSample([]).ids == [] and UtteranceSample([]).states(make().eval()).encoder == {}


def test_states_equal_layer_outputs_averaged_over_tokens():
    model = make().eval()
    sample = UtteranceSample(loader(5, count=1))
    states = sample.states(model)
    assert list(states.encoder) == list(encoder_layers(model.encoder)) == ["embed", "0", "1"]
    assert list(states.decoders) == ["surface", "meaning"]  # the third output has only CTC

    data = batch(OUTPUTS, rows=5)
    seen = []
    block = decoder_layers(model.heads["meaning"].parts["decoder"])["0"]
    handle = block.register_forward_hook(lambda _m, _i, out: seen.append(out[0]))
    model(**data)
    handle.remove()
    expected = seen[0].mean(1)  # four tokens and <sos> per utterance
    assert torch.allclose(states.decoders["meaning"]["0"], expected, atol=1e-6)


def test_means_do_not_depend_on_padding_and_batch_composition():
    model = make(rel_pos_type="latest").eval()
    data = batch(OUTPUTS, rows=4)
    data["text_meaning"][0, 2:] = -1
    data["text_meaning_lengths"][0] = 2
    alone = {k: v[:1] for k, v in data.items()} | {"text_meaning": data["text_meaning"][:1, :2]}
    whole = UtteranceSample([(list("abcd"), data)]).states(model)
    single = UtteranceSample([(["a"], alone)]).states(model)
    a, b = whole.decoders["meaning"]["0"][0], single.decoders["meaning"]["0"][0]
    assert torch.allclose(a, b, atol=1e-5)


def test_drift_is_one_without_change_and_falls_with_larger_changes():
    model = make().eval()
    sample = UtteranceSample(loader(4))
    start = sample.states(model).encoder
    assert drift(start, sample.states(model)) == pytest.approx(dict.fromkeys(start, 1.0))
    values = []
    for _ in range(2):
        with torch.no_grad():
            for parameter in model.encoder.encoders[1].parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        values.append(drift(start, sample.states(model)))
    assert values[0]["embed"] == pytest.approx(1.0) and values[0]["0"] == pytest.approx(1.0)
    assert 1 > values[0]["1"] > values[1]["1"]


def test_equal_decoders_have_cka_one_on_utterances_with_both_labels():
    model = make({"one": output(), "two": output()}).eval()
    twin = model.heads["one"].parts["decoder"].state_dict()
    model.heads["two"].parts["decoder"].load_state_dict(twin)
    data = batch(["one"], rows=8)
    data |= {k.replace("one", "two"): v.clone() for k, v in data.items() if "one" in k}
    data["text_two"][5:] = -1
    data["text_two"][5:, 0] = -2
    data["text_two_lengths"][5:] = 1
    states = UtteranceSample([(list("abcdefgh"), data)]).states(model)
    (result,) = compare_decoders(states)
    assert result["utterances"] == 5
    assert result["layers"] == {"0": pytest.approx(1.0)}


def test_cka_of_unlabelled_output_is_none_with_a_reason():
    states = UtteranceSample(loader(4, unlabelled=["meaning"])).states(make().eval())
    (result,) = compare_decoders(states)
    assert result["utterances"] == 0 and result["layers"] == {"0": None}
    assert undefined_notes(states, [result]) == [
        "surface and meaning: too few sampled utterances have labels for both (0, needed: 4)"
    ]


def test_cka_of_non_finite_states_is_none_and_the_layer_is_named():
    model = make().eval()
    sample = UtteranceSample(loader(4))
    start = sample.states(model).encoder
    with torch.no_grad():
        next(model.encoder.encoders[1].parameters()).fill_(float("nan"))
    now = sample.states(model)
    result = drift(start, now)
    assert result["1"] is None and result["0"] == pytest.approx(1.0)
    notes = undefined_notes(now, compare_decoders(now))
    assert "encoder layer 1: not finite" in notes and "encoder layer 0: not finite" not in notes
    assert "surface: decoder layer 0: not finite" in notes


def test_start_states_are_saved_and_a_damaged_file_raises_user_error(tmp_path):
    path = tmp_path / "start.pth"
    assert StartStates.read(path) is None
    sample = UtteranceSample(loader(4))
    now = sample.states(make().eval())
    StartStates(7, sample.ids, now.encoder).save(path)
    loaded = StartStates.read(path)
    assert loaded.step == 7 and loaded.matches(sample.ids, now)
    assert not loaded.matches(sample.ids[1:], now)
    path.write_bytes(b"half")
    with pytest.raises(UserError, match="start.pth"):
        StartStates.read(path)
