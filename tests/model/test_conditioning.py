"""Task vectors: where they are added, and in which cases a system equals one without them."""

import contextlib
import itertools

import pytest
import torch
from vector_models import MODES, WHERE, build, gradients, select, unlabel

from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.model.conditioning.active import active_sets
from espnet_ext.model.conditioning.fold import fold_vectors
from espnet_ext.model.conditioning.vectors import TaskVectors
from espnet_ext.model.encoding import EncoderRequest


def batch(rows=4, seed=0):
    """Return speech (B, S) and transcripts of both outputs for every utterance."""
    generator = torch.Generator().manual_seed(seed)
    speech = torch.randn(rows, 8000, generator=generator, dtype=torch.float64)
    made = {"speech": speech, "speech_lengths": torch.full((rows,), 8000)}
    for name, size in (("surface", 5), ("meaning", 7)):
        made[f"text_{name}"] = torch.randint(2, size, (rows, 4), generator=generator)
        made[f"text_{name}_lengths"] = torch.full((rows,), 4)
    return made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", WHERE)
def test_zero_vectors_and_all_labels_equal_the_system_without_vectors(config, mode, where):
    plain = build(config)
    with_vectors = build(config, {"mode": mode, "where": where, "init_std": 0})
    made = batch()
    loss, expected, _ = gradients(plain, made)
    loss_with_vectors, reached, _ = gradients(with_vectors, made)
    assert loss_with_vectors == loss
    for name, gradient in expected.items():
        assert torch.equal(reached[name], gradient), name
    added = {n: g for n, g in reached.items() if n.startswith("conditioning.")}
    assert set(reached) == {*expected, *added}
    assert len(added) == (2 if where == "both" else 1)


def test_other_weights_start_as_in_the_system_without_vectors(config):
    plain, other = build(config), build(config, {"init_std": 0.5})
    for name, value in plain.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("divide_by", ["utterances", "labelled"])
def test_unlabelled_row_has_no_influence_on_the_gradients_of_its_head(config, divide_by):
    model = build(config, divide_by=divide_by)
    made = batch()
    rows = torch.tensor([0, 2])
    _, masked, _ = gradients(model, unlabel(made, "surface", torch.tensor([1, 3])))
    _, removed, _ = gradients(model, select(made, rows))
    factor = 0.5 if divide_by == "utterances" else 1.0  # 2 of 4 rows
    for name in masked:
        if name.startswith("surface_"):
            assert torch.allclose(masked[name], factor * removed[name], atol=1e-12), name


@pytest.mark.parametrize("mode", [None, *MODES])
@pytest.mark.parametrize("divide_by", ["utterances", "labelled"])
def test_head_without_any_label_has_zero_gradients(config, mode, divide_by):
    model = build(config, mode and {"mode": mode}, divide_by=divide_by)
    _, reached, stats = gradients(model, unlabel(batch(), "surface", torch.arange(4)))
    for name, gradient in reached.items():
        if name.startswith("surface_"):
            assert gradient is not None and not gradient.any(), name
    assert reached["encoder.after_norm.weight"].any()
    assert int(stats["labelled_surface"]) == 0 and int(stats["labelled_meaning"]) == 4
    if mode == "per_task_sum":
        assert not reached["conditioning.features"][0].any()
        assert reached["conditioning.features"][1].any()
    if mode == "per_combination":  # none, surface, meaning, both
        assert [bool(row.any()) for row in reached["conditioning.features"]] == [0, 0, 1, 0]


def test_divide_by_labelled_scales_gradients_by_the_share_of_labels(config):
    made = unlabel(batch(), "surface", torch.tensor([1, 2, 3]))
    per_batch, per_label = build(config), build(config, divide_by="labelled")
    _, by_batch, _ = gradients(per_batch, made)
    _, by_label, _ = gradients(per_label, made)
    for name in by_batch:
        factor = {"surface": 4.0, "meaning": 1.0}.get(name.partition("_")[0])
        if factor:
            assert torch.allclose(by_label[name], factor * by_batch[name], atol=1e-12), name
    complete = batch()
    assert gradients(per_batch, complete)[0] == pytest.approx(gradients(per_label, complete)[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", WHERE)
def test_each_row_of_a_batch_gets_its_own_vectors(config, mode, where):
    model = build(config, {"mode": mode, "where": where, "init_std": 2.0})
    made = batch(3)
    active = torch.tensor([[True, True], [True, False], [False, True]])
    with torch.no_grad():
        states, _ = model.encode(
            made["speech"], made["speech_lengths"], EncoderRequest(active=active)
        ).shared()
        for row in range(3):
            alone, _ = model.encode(
                made["speech"][row : row + 1],
                made["speech_lengths"][:1],
                EncoderRequest(active=active[row]),
            ).shared()
            assert torch.allclose(states[row], alone[0], atol=1e-9)
        same, _ = model.encode(made["speech"], made["speech_lengths"]).shared()
    assert torch.allclose(states[0], same[0], atol=1e-9)  # all tasks are active by default
    assert (states[1] - same[1]).abs().max() > 1e-2
    assert (states[2] - same[2]).abs().max() > 1e-2


def test_vector_is_added_to_the_encoder_output(config):
    plain = build(config)
    model = build(config, {"where": "encoder", "init_std": 1.0})
    made = batch(1)
    arguments = made["speech"], made["speech_lengths"]
    with torch.no_grad():
        before, _ = plain.encode(*arguments).shared()
        surface, meaning = model.conditioning.encoder
        for active, vector in (([1, 0], surface), ([0, 1], meaning), ([1, 1], surface + meaning)):
            after, _ = model.encode(
                *arguments, EncoderRequest(active=torch.tensor(active).bool())
            ).shared()
            assert torch.allclose(after, before + vector, atol=1e-12)


def test_vector_after_subsampling_equals_a_bias_of_the_subsampling(config):
    """The subsampling ends in a linear layer, whose bias the positional encoding scales."""
    plain = build(config)
    model = build(config, {"where": "features", "init_std": 1.0})
    made = batch(1)
    arguments = made["speech"], made["speech_lengths"]
    with torch.no_grad():
        embed = plain.encoder.embed
        assert embed.pos_enc.xscale == 4.0  # √16
        embed.out.bias += model.conditioning.features.sum(0)
        expected, _ = plain.encode(*arguments).shared()
        states, _ = model.encode(*arguments).shared()
    assert torch.allclose(states, expected, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("active", [("surface",), ("surface", "meaning")])
def test_folded_vectors_give_the_same_outputs(config, mode, where, active):
    model = build(config, {"mode": mode, "where": where, "init_std": 1.0})
    made = batch(2)
    arguments = made["speech"], made["speech_lengths"]
    text, lengths = made["text_surface"], made["text_surface_lengths"]

    def read(**further):
        states, frames = model.encode(*arguments, EncoderRequest(**further)).shared()
        parts = model.heads["surface"]
        logits, _ = parts.teacher_forced(states, frames, text, lengths)
        return logits, parts.parts["ctc"].log_softmax(states)

    with torch.no_grad():
        before = read(active=model.conditioning.active_set(active))
        fold_vectors(model, "surface", active)
        assert model.conditioning is None
        for one, other in zip(before, read(), strict=True):
            assert torch.allclose(one, other, atol=1e-9)


def test_added_vectors_equal_a_computation_by_hand():
    sums = TaskVectors(["a", "b", "c"], {"encoder": 2})
    table = TaskVectors(["a", "b", "c"], {"encoder": 2}, "per_combination")
    assert sums.labels == ["a", "b", "c"]
    assert table.labels == ["none", "a", "b", "a+b", "c", "a+c", "b+c", "a+b+c"]
    every = torch.tensor(list(itertools.product([False, True], repeat=3)))
    for row in every:
        expected = sum((v for v, on in zip(sums.encoder, row, strict=True) if on), torch.zeros(2))
        assert torch.allclose(sums.added("encoder", row[None])[0], expected)
        name = "+".join(table.names_of(row)) or "none"
        expected = table.encoder[table.labels.index(name)]
        assert torch.equal(table.added("encoder", row[None])[0], expected)


def test_vectors_are_scaled_or_clipped_to_a_length():
    unit = TaskVectors(["a", "b"], {"encoder": 8}, normalize="unit", scale=3.0)
    assert torch.allclose(unit.vectors("encoder").norm(dim=1), torch.full((2,), 3.0))
    clipped = TaskVectors(["a", "b"], {"encoder": 8}, normalize="clip", scale=3.0)
    with torch.no_grad():
        clipped.encoder[0] *= 1000
    norms = clipped.vectors("encoder").detach().norm(dim=1)
    assert norms[0] == pytest.approx(3.0)
    assert torch.equal(clipped.vectors("encoder")[1], clipped.encoder[1])


def test_dropped_tasks_leave_one_output_per_utterance(config):
    vectors = TaskVectors(["a", "b", "c"], {"encoder": 2}, drop_tasks=0.5)
    torch.manual_seed(0)
    active = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    active = active.repeat(2000, 1)
    kept = vectors.sample(active)
    assert not (kept & ~active).any()
    assert kept[0::3].any(1).all() and kept[1::3].any(1).all() and not kept[2::3].any()
    # of two, one stays if its draw is the larger (1/2), or the smaller and yet above 0.5 (1/8)
    share = kept[1::3, 0].double().mean()
    assert share == pytest.approx(1 / 2 + 1 / 8, abs=0.04)
    model = build(config, {"drop_tasks": 0.99, "init_std": 0.1})
    _, _, stats = gradients(model.train(), batch())
    assert (
        int(stats["labelled_surface"] + stats["labelled_meaning"]) == 4
    )  # one output per utterance
    _, _, stats = gradients(model.eval(), batch())
    assert int(stats["labelled_surface"]) == 4  # nothing is dropped in validation


def test_active_sets_of_outputs():
    both, one, two = ("s", "m"), ("s",), ("m",)
    assert active_sets(both, [both, one]) == {"s": both, "m": both}
    assert active_sets(both, [one, two]) == {"s": one, "m": two}
    assert active_sets(["s"], [both]) == {
        "s": both
    }  # never trained alone: the set that was trained
    assert active_sets(["s"], [both, one]) == {"s": one}
    assert active_sets(both, [both], "alone") == {"s": one, "m": two}
    assert active_sets(["s"], [both], "together") == {"s": one}
    assert active_sets(("s", "m", "l"), [("s", "m"), ("m", "l")]) == {
        "s": ("s", "m"),
        "m": ("s", "m"),
        "l": ("m", "l"),
    }
    with pytest.raises(UserError, match="'m' was never trained"):
        active_sets(both, [one])


@pytest.mark.parametrize(
    ("conf", "named"),
    [
        ({"mode": "per_task"}, "conditioning_conf.mode: unknown 'per_task'"),
        ({"where": "features_"}, "conditioning_conf.where: unknown 'features_'"),
        ({"where": ["features"]}, r"conditioning_conf.where: unknown '\['features'\]'"),
        ({"where": {"features": 1}}, "conditioning_conf.where: "),
        (["features"], "conditioning_conf: .*is not a mapping"),
        ({"mode": ["per_task_sum"]}, "conditioning_conf.mode: "),
        ({"normalize": ["unit"]}, "conditioning_conf.normalize: "),
        ({"init_std": float("nan")}, "conditioning_conf.init_std: nan"),
        ({"drop_tasks": True}, "conditioning_conf.drop_tasks: True"),
        ({"normalize": "l2"}, "conditioning_conf.normalize: unknown 'l2'"),
        ({"drop_tasks": 1}, "conditioning_conf.drop_tasks: 1"),
        ({"init_std": -1}, "conditioning_conf.init_std: -1"),
        ({"scale": 0}, "conditioning_conf.scale"),
        ({"modes": "per_task_sum"}, "unknown key 'modes'"),
        ({"trained": [["surfaces"]]}, "unknown output 'surfaces'"),
    ],
)
def test_invalid_value_of_conditioning_conf_is_named(config, conf, named):
    with pytest.raises(UserError, match=named):
        build(config, conf)


def test_invalid_configuration_is_refused(config):
    with pytest.raises(UserError, match="conditioning_conf without conditioning"):
        build_model({**config, "conditioning_conf": {"mode": MODES[0]}})
    with pytest.raises(UserError, match="conditioning: unknown 'gates'"):
        build_model({**config, "conditioning": "gates"})
    with pytest.raises(UserError, match="model_conf.lsm_weight: nan"):
        build(config, lsm_weight=float("nan"))
    with pytest.raises(UserError, match="unknown encoder"):
        build({**config, "encoder": ["conformer"]})
    with pytest.raises(UserError, match=r"divide_by: unknown '\['labelled'\]'"):
        build(config, divide_by=["labelled"])
    with pytest.raises(UserError, match="divide_by: unknown 'rows'"):
        build(config, divide_by="rows")
    single = {**config, "outputs": {"surface": config["outputs"]["surface"]}}
    with pytest.raises(UserError, match="one output and no tags"):
        build(single, {})
    rnn = {**config, "encoder": "rnn", "encoder_conf": {"hidden_size": 8, "output_size": 8}}
    with pytest.raises(UserError, match="no subsampling"):
        build(rnn, {})
    many = [f"o{i}" for i in range(11)]
    with pytest.raises(UserError, match="2048 vectors"):
        TaskVectors(many, {"encoder": 1}, "per_combination")


@pytest.fixture
def with_transducer(config):
    """A configuration whose surface is a transducer with CTC."""
    surface = {key: config["outputs"]["surface"][key] for key in ("token_type", "token_list")}
    surface |= {"branch": "transducer", "transducer_weight": 0.5, "ctc_weight": 0.2}
    return {**config, "outputs": {**config["outputs"], "surface": surface}}


def test_divide_by_labelled_scales_a_transducer(with_transducer):
    made = unlabel(batch(), "surface", torch.tensor([1, 2, 3]))
    _, by_batch, _ = gradients(build(with_transducer), made)
    _, by_label, _ = gradients(build(with_transducer, divide_by="labelled"), made)
    modules = set()
    for name in by_batch:
        if name.startswith("surface_"):
            modules.add(name.partition(".")[0])
            assert torch.allclose(by_label[name], 4 * by_batch[name], atol=1e-9), name
    assert "surface_joint" in modules and "surface_ctc" in modules


@pytest.mark.parametrize("where", WHERE)
def test_folded_vectors_give_the_same_transducer_losses(with_transducer, where):
    model = build(with_transducer, {"where": where, "init_std": 1.0})
    made = batch(2)
    text, lengths = made["text_surface"], made["text_surface_lengths"]
    nothing = contextlib.nullcontext()

    def losses(**further):
        states, frames = model.encode(
            made["speech"], made["speech_lengths"], EncoderRequest(**further)
        ).shared()
        head_losses = model.heads["surface"].losses(states, frames, text, lengths, nothing)
        return float(head_losses.terms["transducer"]), float(head_losses.terms["ctc"])

    with torch.no_grad():
        before = losses(active=model.conditioning.active_set(["surface"]))
        fold_vectors(model, "surface", ["surface"])
        assert losses() == pytest.approx(before, rel=1e-6)
