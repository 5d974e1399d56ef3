"""wav2vec 2.0 as frontend and encoder, compared with a tiny random model of transformers."""

import contextlib
import re
import shutil
import sys
from pathlib import Path

import numpy
import pytest
import torch
import yaml

from espnet_ext.errors import UserError
from espnet_ext.model import espnet
from espnet_ext.model.build import build_model
from espnet_ext.model.conditioning.fold import fold_vectors
from espnet_ext.model.encoding import EncoderRequest
from espnet_ext.model.export import stock_config
from espnet_ext.model.frames import min_samples
from espnet_ext.model.outputs import parse_outputs

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_encoders  # noqa: E402
import tiny_recipe  # noqa: E402

LETTERS = ["<blank>", "<unk>", "a", "b", "c", "<space>", "d", "<sos/eos>"]
OUTPUT = {
    "branch": "transducer",
    "transducer_weight": 1.0,
    "prediction_conf": {"hidden_size": 8},
    "token_type": "char",
}


def test_missing_package_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError) as caught:
        espnet.resolve("frontend", "wav2vec2")(model="x")
    assert "espnet-ext[pretrained]" in caught.value.remedy


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def checkpoint(transformers, tmp_path_factory):
    """A folder written by `save_pretrained` with a tiny XLS-R, and the network."""
    network = tiny_encoders.build("wav2vec2", do_stable_layer_norm=True, mask_time_length=2)
    folder = tiny_encoders.save(network, tmp_path_factory.mktemp("xlsr"))
    return folder, network


def configuration(folder, **more):
    return {
        "frontend": "pretrained",
        "frontend_conf": {"model": str(folder), "fs": 16000},
        "encoder": "pretrained",
        "encoder_conf": {"model": str(folder)},
        "outputs": {"meaning": {**OUTPUT, "token_list": LETTERS}},
        **more,
    }


def speech():
    samples = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(1)) + 0.02
    lengths = torch.tensor([16000, 9000, 4321])
    for row, length in enumerate(lengths):
        samples[row, length:] = 0
    return samples, lengths


def test_encoder_output_equals_that_of_transformers(transformers, checkpoint):
    folder, network = checkpoint
    model = build_model(configuration(folder)).eval()
    samples, lengths = speech()
    states, frames = model.encode(samples, lengths).shared()
    reader = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    waves = [row[:length].numpy() for row, length in zip(samples, lengths, strict=True)]
    with torch.no_grad():
        for row, wave in enumerate(waves):
            inputs = reader([wave], sampling_rate=16000, return_tensors="pt", padding=True)
            oracle = network(**inputs).last_hidden_state[0]
            assert int(frames[row]) == len(oracle)
            torch.testing.assert_close(states[row, : len(oracle)], oracle, rtol=1e-4, atol=1e-5)


def test_weights_are_those_of_the_checkpoint_and_have_gradients(checkpoint):
    folder, network = checkpoint
    model = build_model(configuration(folder))
    parameters = {
        **dict(model.frontend.named_parameters()),
        **dict(model.encoder.named_parameters()),
    }
    for name, value in network.named_parameters():
        name = name.removeprefix("feature_extractor.")
        ours = parameters.get(f"convolutions.{name}", parameters.get(f"network.{name}"))
        assert torch.equal(ours, value), name
    samples, lengths = speech()
    model.train()
    loss, stats, _ = model(
        samples,
        lengths,
        text_meaning=torch.tensor([[2, 3], [4, -1], [-2, -1]]),
        text_meaning_lengths=torch.tensor([2, 1, 1]),
    )
    loss.backward()
    assert torch.isfinite(loss) and int(stats["labelled_meaning"]) == 2
    for name, parameter in model.named_parameters():
        frozen = name.startswith("frontend.")
        assert parameter.requires_grad != frozen, name
        assert (parameter.grad is None) == frozen, name


def test_features_are_masked_in_training_only(checkpoint):
    folder, _ = checkpoint
    samples, lengths = speech()
    model = build_model(
        configuration(folder, encoder_conf={"model": str(folder), "mask_time_prob": 0.5})
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    still = model.eval().encode(samples, lengths).shared()[0]
    torch.testing.assert_close(model.eval().encode(samples, lengths).shared()[0], still)
    assert not torch.allclose(model.train().encode(samples, lengths).shared()[0], still)


def test_speech_shorter_than_a_frame_is_encoded(checkpoint):
    folder, _ = checkpoint
    model = build_model(configuration(folder)).eval()
    assert min_samples(model.frontend) == 400
    states, frames = model.encode(torch.randn(2, 30), torch.tensor([30, 7])).shared()
    assert states.shape[:2] == (2, 1) and frames.tolist() == [1, 1]


def test_trained_folder_needs_no_checkpoint(transformers, checkpoint, tmp_path):
    from espnet_ext.decoding.api import DualSpeech2Text

    folder = shutil.copytree(checkpoint[0], tmp_path / "xlsr")
    recipe = tiny_recipe.make(tmp_path)
    parts = {key: value for key, value in configuration(folder).items() if key != "outputs"}
    unused = {"decoder": None, "decoder_conf": {}, "normalize": None}
    criterion = [["valid", "loss", "min"]]
    output = {key: value for key, value in OUTPUT.items() if key != "token_type"}
    recipe.train(
        config={**parts, **unused, "best_model_criterion": criterion},
        outputs={"meaning": output},
        options=["--max_epoch", "1"],
    )
    shutil.rmtree(folder)
    written = yaml.safe_load((recipe.root / "exp/config.yaml").read_text())
    assert parse_outputs(written)["meaning"].branch == "transducer"
    recognise = DualSpeech2Text.from_pretrained(recipe.root / "exp", beam_size=2)
    wave = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    together = recognise.batch([wave, wave[:5000]])
    alone = [recognise(wave), recognise(wave[:5000])]
    for one, other in zip(together, alone, strict=True):
        assert one.best["meaning"].token_ids == other.best["meaning"].token_ids
        assert one.best["meaning"].score == pytest.approx(other.best["meaning"].score, abs=1e-3)


WHERE = ("features", "encoder", "both")
SURFACE = {
    "branch": "ctc_attention",
    "ctc_weight": 0.2,
    "attention_weight": 0.5,
    "token_type": "char",
    "token_list": LETTERS,
}


def with_vectors(folder, where=None, **conditioning):
    """Return a model with a transducer and a ctc_attention head, with task vectors or without."""
    parts = configuration(
        folder,
        decoder="transformer",
        decoder_conf={"attention_heads": 2, "linear_units": 16, "num_blocks": 1},
    )
    parts["outputs"] |= {"surface": SURFACE}
    if where is not None:
        parts |= {"conditioning": "vectors", "conditioning_conf": {"where": where, **conditioning}}
    torch.manual_seed(0)
    return build_model(parts)


def batch():
    samples, lengths = speech()
    made = {"speech": samples, "speech_lengths": lengths}
    for name in ("meaning", "surface"):
        made[f"text_{name}"] = torch.tensor([[2, 3], [4, -1], [-2, -1]])
        made[f"text_{name}_lengths"] = torch.tensor([2, 1, 1])
    return made


@pytest.mark.parametrize("mode", ["per_task_sum", "per_combination"])
@pytest.mark.parametrize("where", WHERE)
def test_zero_vectors_equal_the_system_without_vectors(checkpoint, where, mode):
    plain = with_vectors(checkpoint[0]).train()
    model = with_vectors(checkpoint[0], where, mode=mode, init_std=0).train()
    results = []
    for one in (plain, model):
        torch.manual_seed(1)  # dropout and masks
        numpy.random.seed(1)
        loss, _, _ = one(**batch())
        loss.backward()
        results.append((loss.detach(), {n: p.grad for n, p in one.named_parameters()}))
    (loss, gradients), (other, others) = results
    assert torch.equal(loss, other)
    for name, gradient in gradients.items():
        assert (gradient is None and others[name] is None) or torch.equal(gradient, others[name])
    places = ["features", "encoder"] if where == "both" else [where]
    assert others.keys() - gradients.keys() == {f"conditioning.{place}" for place in places}
    assert all(others[f"conditioning.{place}"].any() for place in places)


def test_vectors_are_added_to_the_input_of_the_transformer(transformers, checkpoint):
    """Compare with the network of transformers, run in two halves."""
    folder, network = checkpoint
    model = with_vectors(folder, "both", init_std=1.0).eval()
    samples, _ = speech()
    wave, length = samples[:1], torch.tensor([16000])
    reader = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    inputs = reader([wave[0].numpy()], sampling_rate=16000, return_tensors="pt").input_values
    vectors = model.conditioning
    with torch.no_grad():
        hidden, _ = network.feature_projection(network.feature_extractor(inputs).transpose(1, 2))
        for active in ([1, 0], [0, 1], [1, 1]):
            weights = torch.tensor(active, dtype=torch.float)
            read = hidden + weights @ vectors.features
            expected = network.encoder(read)[0] + weights @ vectors.encoder
            states, _ = model.encode(
                wave, length, EncoderRequest(active=torch.tensor(active).bool())
            ).shared()
            torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_vectors_are_added_after_masking(checkpoint):
    model = with_vectors(checkpoint[0], "features", init_std=1.0).train()
    masked = model.encoder.network.config
    masked.mask_time_prob, masked.feat_proj_dropout = 0.9, 0.0
    read = []
    model.encoder.network.encoder.register_forward_pre_hook(
        lambda _, inputs: read.append(inputs[0])
    )
    samples, lengths = speech()
    for active in ([True, False], [True, True]):
        torch.manual_seed(1)
        numpy.random.seed(1)
        model.encode(samples[:1], lengths[:1], EncoderRequest(active=torch.tensor(active))).shared()
    difference = read[1] - read[0]
    expected = model.conditioning.features[1].expand_as(difference)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("output", ["meaning", "surface"])
def test_folded_vectors_give_the_same_losses(checkpoint, where, output):
    model = with_vectors(checkpoint[0], where, init_std=1.0).double().eval()
    made = batch()
    arguments = made["speech"].double(), made["speech_lengths"]
    text, lengths = made[f"text_{output}"], made[f"text_{output}_lengths"]

    def losses(**further):
        states, frames = model.encode(*arguments, EncoderRequest(**further)).shared()
        head_losses = model.heads[output].losses(
            states, frames, text, lengths, contextlib.nullcontext()
        )
        return [
            float(head_losses.terms[term])
            for term in ("ctc", "att", "transducer")
            if term in head_losses.terms
        ]

    with torch.no_grad():
        before = losses(active=model.conditioning.active_set([output]))
        plain = losses(active=torch.zeros(2, dtype=torch.bool))
        fold_vectors(model, output, [output])
        assert losses() == pytest.approx(before, rel=1e-9)
    assert before != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize(
    ("system", "where"),
    [
        ("do_vectors_sum", "features"),
        ("do_vectors_combination", "features"),
        ("do_vectors_sum", "both"),
        ("do_vectors_combination", "encoder"),
    ],
)
def test_systems_with_vectors_train_and_decode(checkpoint, tmp_path, request, system, where):
    from espnet_ext.decoding.api import DualSpeech2Text
    from espnet_ext.training import run

    conf = request.config.rootpath / "conf"
    base = yaml.safe_load((conf / "train_xlsr_transducer.yaml").read_text())
    base["frontend_conf"]["model"] = base["encoder_conf"]["model"] = str(checkpoint[0])
    base["decoder_conf"] |= {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}
    base |= {
        "accum_grad": 1,
        "use_tensorboard": False,
        "num_workers": 0,
        "use_amp": False,
        "batch_bins": 40000,
    }
    overlay = yaml.safe_load((conf / f"systems/{system}.yaml").read_text())
    overlay["conditioning_conf"]["where"] = where
    recipe = tiny_recipe.make(tmp_path)
    paths = recipe.write_yaml("base", base), recipe.write_yaml("system", overlay)
    run.train(paths[0], [paths[1]], recipe.data, recipe.root / "exp", ["--max_epoch", "1"])
    recognise = DualSpeech2Text.from_pretrained(recipe.root / "exp", beam_size=2)
    wave = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    result = recognise(wave)
    (alone,) = recognise.restricted("surface", ["surface"]).batch([wave])
    assert set(result.best) == {"surface", "meaning"} and set(alone.best) == {"surface"}


def test_frontend_unknown_to_espnet_is_not_exported(checkpoint):
    parts = configuration(checkpoint[0])
    with pytest.raises(UserError, match="frontend: pretrained: ESPnet's ASR task has no such"):
        stock_config(parts, "meaning", parse_outputs(parts)["meaning"])


def test_invalid_configuration_is_refused(transformers, checkpoint, tmp_path):
    folder, _ = checkpoint
    other = tmp_path / "sew"
    transformers.SEWConfig(hidden_size=16, num_hidden_layers=1).save_pretrained(other)
    (other / "model.safetensors").touch()
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(other)
    named = {"model": str(folder)}
    for change, words in (
        ({"frontend_conf": {"model": str(tmp_path / "none")}}, "frontend_conf.model: .*none"),
        ({"frontend_conf": {}}, "frontend_conf: the key 'model' is missing"),
        ({"frontend_conf": {"model": str(other)}}, "is a sew"),
        ({"frontend_conf": {**named, "fs": 8000}}, "frontend_conf.fs: 8000"),
        ({"frontend_conf": {**named, "freze": True}}, "unknown key 'freze'"),
        ({"frontend": "default", "frontend_conf": {"n_mels": 20}}, "reads 8 channels, but gets 20"),
    ):
        with pytest.raises(UserError) as caught:
            build_model(configuration(folder) | change)
        assert re.search(words, caught.value.message), caught.value.message
