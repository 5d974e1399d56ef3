"""A head, a conditioner and objectives that are added by one file and one registration each.

The toys lie beside this file. Each is trained through the training command, loaded and decoded.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_recipe  # noqa: E402
import two_processes  # noqa: E402
from toy_conditioner import OutputBias  # noqa: E402
from toy_head import ClassifierHead  # noqa: E402
from toy_objectives import EqualGradients, SmallStates  # noqa: E402

from espnet_ext.decoding.api import DualSpeech2Text  # noqa: E402
from espnet_ext.decoding.options import read_options  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.conditioning.registry import CONDITIONERS  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.export import export_head  # noqa: E402
from espnet_ext.model.heads.registry import HEADS  # noqa: E402
from espnet_ext.model.layers import parameter_groups  # noqa: E402
from espnet_ext.model.load import load_model  # noqa: E402
from espnet_ext.model.losses import weighted_head_loss  # noqa: E402
from espnet_ext.model.pack import pack_model  # noqa: E402
from espnet_ext.objectives.registry import OBJECTIVES, build_objective  # noqa: E402

TOKENS = {
    "surface": ["<blank>", "<unk>", "K", "AE", "T", "<sos/eos>"],
    "meaning": ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"],
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(HEADS, "classifier", ClassifierHead)
    monkeypatch.setitem(CONDITIONERS, "output_bias", OutputBias)
    monkeypatch.setitem(OBJECTIVES, "small_states", SmallStates)
    monkeypatch.setitem(OBJECTIVES, "equal_gradients", EqualGradients)


@pytest.fixture
def recipe(tmp_path):
    return tiny_recipe.make(tmp_path)


@pytest.fixture
def wave():
    return np.random.default_rng(3).standard_normal(9000).astype(np.float32) * 0.1


def tiny_config(**changes):
    parts = ("frontend", "normalize", "encoder", "decoder")
    config = {k: v for k, v in tiny_recipe.CONFIG.items() if k.startswith(parts)}
    outputs = {
        name: {**options, "token_list": TOKENS[name], "token_type": "word"}
        for name, options in tiny_recipe.OUTPUTS.items()
    }
    return {**config, "outputs": outputs, **changes}


def tiny_model(objective=True, **changes):
    torch.manual_seed(0)
    config = tiny_config(**changes)
    return build_model(config, objective=build_objective(config) if objective else None)


def tiny_batch(rows=3, unlabelled=()):
    generator = torch.Generator().manual_seed(1)
    batch = {
        "speech": torch.randn(rows, 8000, generator=generator),
        "speech_lengths": torch.full((rows,), 8000),
    }
    for name in TOKENS:
        batch[f"text_{name}"] = torch.randint(2, 5, (rows, 3), generator=generator)
        batch[f"text_{name}_lengths"] = torch.full((rows,), 3)
        if name in unlabelled:
            batch[f"text_{name}"] = torch.full((rows, 1), -2)
            batch[f"text_{name}_lengths"] = torch.ones(rows, dtype=torch.long)
    return batch


# -- head


OUTPUTS_WITH_CLASSIFIER = {
    "surface": {"branch": "classifier", "class_weight": 1.0},
    "meaning": tiny_recipe.OUTPUTS["meaning"],
}


@pytest.fixture
def classifier(recipe):
    criterion = {"best_model_criterion": [["valid", "right_surface", "max"]]}
    return recipe.train(config=criterion, outputs=OUTPUTS_WITH_CLASSIFIER)


def test_new_head_trains_decodes_and_packs(classifier, wave, tmp_path):
    model, _ = load_model(classifier)
    assert "surface_classifier.weight" in model.state_dict()
    recognise = DualSpeech2Text.from_pretrained(classifier)
    best = recognise(wave).best
    assert len(best["surface"].tokens) == 1 and set(best) == {"surface", "meaning"}
    assert "surface" in (tmp_path / "exp/train.json").read_text()
    assert "model.safetensors" in " ".join(pack_model(classifier, tmp_path / "packed.zip"))


def test_new_head_reads_its_own_search_options(classifier, wave, tmp_path):
    path = tmp_path / "decode.yaml"
    path.write_text("outputs:\n  surface:\n    head_conf: {candidates: 3}\n")
    nbest = DualSpeech2Text.from_pretrained(classifier, **read_options(path))(wave).nbest
    assert len(nbest["surface"]) == 3
    path.write_text("outputs:\n  surface:\n    head_conf: {candidate: 3}\n")
    with pytest.raises(UserError, match="outputs.surface"):
        DualSpeech2Text.from_pretrained(classifier, **read_options(path))
    path.write_text("outputs:\n  meaning:\n    head_conf: {candidates: 3}\n")
    with pytest.raises(UserError, match="branch 'attention' has no search option 'candidates'"):
        DualSpeech2Text.from_pretrained(classifier, **read_options(path))


def test_head_unknown_to_espnet_is_not_exported(classifier, tmp_path):
    with pytest.raises(UserError, match="no head like branch 'classifier'"):
        export_head(classifier, "surface", tmp_path / "stock")
    export_head(classifier, "meaning", tmp_path / "stock")


def test_configuration_of_new_head_is_checked(recipe):
    outputs = {**OUTPUTS_WITH_CLASSIFIER, "surface": {"branch": "classifier"}}
    with pytest.raises(UserError, match="class_weight 0"):
        recipe.train(outputs=outputs)
    outputs["surface"] = {"branch": "classifier", "class_weight": 1.0, "ctc_weight": 0.3}
    with pytest.raises(UserError, match="does not use ctc_weight"):
        recipe.train(outputs=outputs)
    outputs["surface"] = {"branch": "classifier", "class_weight": 1.0}
    with pytest.raises(UserError, match="computes loss, loss_class_surface, right_surface"):
        recipe.train(
            config={"best_model_criterion": [["valid", "acc_surface", "max"]]}, outputs=outputs
        )


# -- conditioner


def test_conditioner_with_a_pass_per_output_trains_and_decodes(recipe, wave, monkeypatch):
    folder = recipe.train(config={"conditioning": "output_bias", "conditioning_conf": {"start": 2}})
    model, _ = load_model(folder)
    assert not torch.equal(model.conditioning.bias, torch.full_like(model.conditioning.bias, 2))
    recognise = DualSpeech2Text.from_pretrained(folder)
    seen = {}
    for name, search in recognise.searchers.items():
        recognise.searchers[name] = lambda out, n, name=name, search=search: (
            seen.update({name: out}) or search(out, n)
        )
    recognise(wave)  # also measures the frames of the encoder, once
    recognise.model.conditioning.passes_run = 0
    recognise(wave)
    assert recognise.model.conditioning.passes_run == 2
    assert not torch.equal(seen["surface"], seen["meaning"])
    only = DualSpeech2Text.from_pretrained(folder, only=["meaning"])
    only(wave)
    only.model.conditioning.passes_run = 0
    only(wave)
    assert only.model.conditioning.passes_run == 1


def test_pass_per_output_gives_each_output_its_hidden_states_in_training():
    model = tiny_model(conditioning="output_bias").eval()
    with torch.no_grad():
        model.conditioning.bias[1] = 3.0
    batch = tiny_batch()
    loss, stats, _ = model(**batch)
    encoded = model.encode(batch["speech"], batch["speech_lengths"])
    torch.testing.assert_close(encoded.hidden["meaning"], 3 * encoded.hidden["surface"])
    with pytest.raises(UserError, match="separate encoder passes"):
        encoded.shared()
    heads = model.losses(encoded, batch)
    size = (1 + 9) / 2  # mean over the two passes
    expected = sum(weighted_head_loss(head) for head in heads.values()) + 0.5 * size
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert float(stats["loss_aux_size"]) == size and float(stats["bias_mean"]) == 2
    request = EncoderRequest(outputs=["meaning"], keep_layers=True)
    alone = model.encode(batch["speech"], batch["speech_lengths"], request)
    assert set(alone.hidden) == set(alone.layers) == {"meaning"}
    torch.testing.assert_close(alone.hidden["meaning"], encoded.hidden["meaning"])


def test_outputs_of_one_pass_share_the_same_tensor():
    model, batch = tiny_model().eval(), tiny_batch()
    encoded = model.encode(batch["speech"], batch["speech_lengths"])
    assert encoded.hidden["surface"] is encoded.hidden["meaning"]


def test_conditioner_that_cannot_become_biases_is_not_exported(recipe, tmp_path):
    folder = recipe.train(config={"conditioning": "output_bias"}, options=["--max_epoch", "1"])
    with pytest.raises(UserError, match="OutputBias: a stock ESPnet model cannot express"):
        export_head(folder, "meaning", tmp_path / "stock")


def test_unknown_conditioner_lists_the_known_ones():
    with pytest.raises(UserError, match="conditioning: unknown 'vektors'") as caught:
        tiny_model(conditioning="vektors")
    assert "vectors" in caught.value.remedy


# -- auxiliary losses


class Balanced(torch.nn.Module):
    """An encoder with an auxiliary loss, as a mixture of experts has."""

    def __init__(self, encoder):
        super().__init__()
        self.inner = encoder
        self.gate = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, feats, lengths):
        states, lengths, _ = self.inner(feats, lengths)
        return states, lengths, {"balance": self.gate.square()}


@pytest.mark.parametrize(("conf", "weight"), [({}, 0.0), ({"balance": 0.5}, 0.5)])
def test_auxiliary_loss_of_the_encoder_is_weighted_by_configuration(conf, weight):
    plain = tiny_model().eval()
    model = tiny_model(objective_conf={"auxiliary_weights": conf}).eval()
    model.encoder = Balanced(model.encoder)
    loss, stats, _ = model(**tiny_batch())
    loss.backward()
    assert float(stats["loss_aux_balance"]) == 4.0
    assert float((loss - plain(**tiny_batch())[0]).detach()) == pytest.approx(
        weight * 4.0, abs=1e-5
    )
    # with the weight 0 too it is in the graph
    assert float(model.encoder.gate.grad) == pytest.approx(weight * 4.0)


def test_encoder_can_declare_the_weight_of_its_auxiliary_loss():
    model = tiny_model(objective=False).eval()
    model.encoder = Balanced(model.encoder)
    model.encoder.auxiliary_weights = {"balance": 0.25}
    model(**tiny_batch())[0].backward()
    assert float(model.encoder.gate.grad) == pytest.approx(0.25 * 4.0)


# -- objectives


def test_objective_with_parameters_trains_resumes_and_is_not_needed_to_decode(recipe, wave):
    conf = {"objective": "small_states", "objective_conf": {"strength": 0.01}}
    folder = recipe.train(config=conf)
    state = torch.load(folder / "model.pth", weights_only=True)
    assert state["objective.log_weights"].any()  # was trained
    model, _ = load_model(folder)
    assert not any(key.startswith("objective") for key in model.state_dict())
    assert set(DualSpeech2Text.from_pretrained(folder)(wave).best) == {"surface", "meaning"}
    recipe.train(config=conf, options=["--max_epoch", "3"])
    later = torch.load(folder / "3epoch.pth", weights_only=True)
    assert not torch.equal(later["objective.log_weights"], state["objective.log_weights"])


def test_objective_reads_hidden_states_with_gradients():
    conf = {"strength": 0.1}
    config = tiny_config(objective="small_states", objective_conf=conf)
    torch.manual_seed(0)
    model = build_model(config, objective=build_objective(config)).eval()
    nothing = tiny_batch(unlabelled=("surface", "meaning"))
    loss, stats, _ = model(**nothing)
    loss.backward()
    # all that is left of the loss is the penalty on the hidden states, which reaches the encoder
    assert float(loss.detach()) > 0 and float(stats["weight_surface"]) == 1.0
    assert any(p.grad.any() for p in model.encoder.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "smal_states"}, "objective: unknown 'smal_states'"),
        ({"objective_conf": {"strengh": 1}}, "objective_conf: unknown key 'strengh'"),
        ({"objective_conf": [1]}, "objective_conf: .*not a mapping"),
        ({"objective_conf": {"auxiliary_weights": {"a": -1}}}, "auxiliary_weights.a: -1"),
    ],
)
def test_wrong_objective_is_a_user_error(changes, message):
    with pytest.raises(UserError, match=message):
        build_objective(tiny_config(**changes))


def equal_gradients_model():
    config = tiny_config(objective="equal_gradients")
    torch.manual_seed(0)
    return build_model(config, objective=build_objective(config)).eval()


def expected_gradients(model, batch):
    """Per shared parameter, the sum of the outputs' gradients of length 1; by separate passes."""
    shared = parameter_groups(model).shared["all"]
    summed = [torch.zeros_like(p) for p in shared]
    for name in model.heads:
        encoded = model.encode(batch["speech"], batch["speech_lengths"])
        loss = weighted_head_loss(model.losses(encoded, batch)[name])
        gradients = torch.autograd.grad(loss, shared, allow_unused=True)
        gradients = [
            torch.zeros_like(p) if g is None else g for p, g in zip(shared, gradients, strict=True)
        ]
        norm = torch.stack([g.norm() for g in gradients]).norm()
        summed = [s + g / norm for s, g in zip(summed, gradients, strict=True)]
    return dict(zip(map(id, shared), summed, strict=True))


def test_objective_that_owns_the_backward_pass_sets_the_gradients():
    model, batch = equal_gradients_model(), tiny_batch()
    plain = tiny_model().eval()
    expected = expected_gradients(model, batch)
    loss, _, _ = model(**batch)
    value, _, _ = plain(**batch)
    assert float(loss.detach()) == pytest.approx(float(value.detach()))  # the logged value
    value.backward()
    scale = 8.0  # of mixed precision, and of gradient accumulation
    (loss * scale).backward()
    by_name = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        gradient = expected.get(id(parameter), by_name[name].grad)
        torch.testing.assert_close(parameter.grad, gradient * scale, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        assert float(model(**batch)[0]) == pytest.approx(float(value.detach()))


def test_objective_that_owns_the_backward_pass_trains_with_accumulation(recipe, wave):
    folder = recipe.train(config={"objective": "equal_gradients", "accum_grad": 2})
    assert set(DualSpeech2Text.from_pretrained(folder)(wave).best) == {"surface", "meaning"}


def _gradients_of_rank(rank):
    OBJECTIVES["equal_gradients"] = EqualGradients
    model = equal_gradients_model()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    unlabelled = ("meaning",) if rank else ()  # rank 1 has no labels of it
    parallel(**tiny_batch(2 + rank, unlabelled))[0].backward()
    return {k: p.grad.numpy().copy() for k, p in model.named_parameters()}


def test_objective_that_owns_the_backward_pass_averages_over_processes():
    results = two_processes.run(_gradients_of_rank)
    alone = []
    for rank in (0, 1):
        model = equal_gradients_model()
        model(**tiny_batch(2 + rank, ("meaning",) if rank else ()))[0].backward()
        alone.append({k: p.grad.numpy() for k, p in model.named_parameters()})
    for name in alone[0]:
        mean = (alone[0][name] + alone[1][name]) / 2
        for rank in (0, 1):
            np.testing.assert_allclose(results[rank][name], mean, rtol=1e-3, atol=1e-5)
