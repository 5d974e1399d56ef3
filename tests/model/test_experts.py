"""Experts per output and band, and private top layers: when a system equals one without them."""

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
import tiny_encoders  # noqa: E402
import tiny_whisper  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.build import build_model  # noqa: E402
from espnet_ext.model.conditioning.routing import Routed  # noqa: E402
from espnet_ext.model.encoding import EncoderRequest  # noqa: E402
from espnet_ext.model.espnet import load  # noqa: E402
from espnet_ext.model.load import load_weights  # noqa: E402
from espnet_ext.training.checks import check_init_param  # noqa: E402

BANDS = {"band": ["narrow", "wide"]}


def batch(rows=4, bands=(0, 1, 1, 0), seed=0):
    """Return speech (B, S) of different lengths, transcripts and bands."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 8000 - 900 * torch.arange(rows)
    speech = torch.randn(rows, 8000, generator=generator, dtype=torch.float64)
    made = {"speech": speech * (torch.arange(8000) < lengths[:, None]), "speech_lengths": lengths}
    for name, size in (("surface", 5), ("meaning", 7)):
        made[f"text_{name}"] = torch.randint(2, size, (rows, 3), generator=generator)
        made[f"text_{name}_lengths"] = torch.full((rows,), 3)
    if bands:
        made["band"] = torch.tensor(bands[:rows])[:, None]
    return made


@pytest.fixture
def config(config):
    """Three Conformer layers with macaron style, without dropout."""
    rates = ("dropout_rate", "positional_dropout_rate", "attention_dropout_rate")
    config["encoder_conf"] |= {"num_blocks": 3, "macaron_style": True, **dict.fromkeys(rates, 0.0)}
    decoder = ("dropout_rate", "positional_dropout_rate")
    attention = ("self_attention_dropout_rate", "src_attention_dropout_rate")
    config["decoder_conf"] = config["decoder_conf"] | dict.fromkeys((*decoder, *attention), 0.0)
    return config


def build(config, kind=None, conf=None, seed=0):
    torch.manual_seed(seed)
    if kind is not None:
        conditions = BANDS if (conf or {}).get("encoder_band") else {}
        config = config | {
            "conditioning": kind,
            "conditioning_conf": conf or {},
            "conditions": conditions,
        }
    return build_model(config).double()


def untie(model, scale=0.1):
    """Make experts different from each other."""
    torch.manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".experts." in name:
                parameter.add_(scale * torch.randn_like(parameter))
    return model


def loss_and_gradients(model, made):
    model.zero_grad()
    loss, _, _ = model(**made)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters()}


def encode(model, made, outputs=None):
    bands = made.get("band")
    conditions = {} if bands is None or not model.conditions else {"band": bands[:, 0]}
    request = EncoderRequest(outputs=outputs, conditions=conditions, batch_invariant=True)
    with torch.no_grad():
        return model.encode(made["speech"], made["speech_lengths"], request)


def _whisper(folder):
    tiny_whisper.write(folder)
    return folder


SYSTEMS = {
    "task": ("experts", {"encoder_task": "all"}),
    "last task": ("experts", {"encoder_task": 1, "halves": "second"}),
    "band": ("experts", {"encoder_band": "all"}),
    "both": ("experts", {"encoder_task": 2, "encoder_band": "all"}),
    "tops": ("tops", {"layers": 2}),
    "all tops": ("tops", {"layers": "all"}),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_tied_experts_equal_the_dense_model(config, name):
    made = batch()
    plain, routed = build(config), build(config, *SYSTEMS[name])
    made_plain = {key: value for key, value in made.items() if key != "band"}
    made_routed = made if routed.conditions else made_plain
    expected, gradients = loss_and_gradients(plain, made_plain)
    loss, reached = loss_and_gradients(routed, made_routed)
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-10)
    for key, gradient in gradients.items():
        if key in reached:  # a shared parameter
            torch.testing.assert_close(reached[key], gradient, atol=1e-9, rtol=1e-9)
            continue
        # the gradients of an expert's copies are parts of the one of the dense model
        parts = [value for name, value in reached.items() if _dense_name(name) == key]
        torch.testing.assert_close(sum(parts), gradient, atol=1e-9, rtol=1e-9)


def _dense_name(name):
    before, _, after = name.partition(".experts.")
    return f"{before}.{after.partition('.')[2]}" if after else name


def test_one_band_equals_the_dense_model(config):
    made = batch(bands=(0, 0, 0, 0))
    torch.manual_seed(0)
    conf = {"conditioning": "experts", "conditioning_conf": {"encoder_band": "all"}}
    one = build_model(config | conf | {"conditions": {"band": ["narrow"]}}).double()
    plain = build(config)
    assert len(list(one.parameters())) == len(list(plain.parameters()))
    loss, _ = loss_and_gradients(one, made)
    del made["band"]
    expected, _ = loss_and_gradients(plain, made)
    assert loss == expected


def test_branch_above_the_top_layer_equals_the_dual_output_system(config):
    made = batch(bands=())
    plain, tops = build(config), build(config, "tops", {"layers": 0})
    expected, gradients = loss_and_gradients(plain, made)
    loss, reached = loss_and_gradients(tops, made)
    assert loss == expected and set(reached) == set(gradients)
    assert all(torch.equal(reached[key], gradients[key]) for key in gradients)
    hidden = encode(tops, made).hidden
    assert hidden["surface"] is hidden["meaning"]


@pytest.mark.parametrize("name", ["task", "band", "both", "tops"])
def test_gradient_reaches_only_the_experts_of_the_batch(config, name):
    model = untie(build(config, *SYSTEMS[name]))
    made = batch(bands=(1, 1, 1, 1) if model.conditions else ())
    made["text_surface"][:, 0] = -2  # no transcript of the surface
    made["text_surface_lengths"][:] = 1
    _, gradients = loss_and_gradients(model, made)
    routed = {key: value for key, value in gradients.items() if ".experts." in key}
    assert routed
    for key, gradient in routed.items():
        is_off = "task-surface" in key or "band-narrow" in key
        assert gradient is not None, key
        if is_off:
            assert not gradient.any(), key
    assert any(gradient.any() for gradient in routed.values())


@pytest.mark.parametrize("name", SYSTEMS)
def test_batch_equals_single_utterances_and_single_outputs(config, name):
    model = untie(build(config, *SYSTEMS[name])).eval()
    made = batch() if model.conditions else batch(bands=())
    encoded = encode(model, made)
    for row in range(4):
        for output in ("surface", "meaning"):
            length = int(made["speech_lengths"][row])
            alone = {key: value[row : row + 1] for key, value in made.items()}
            alone["speech"] = alone["speech"][:, :length]
            single = encode(model, alone, [output])
            frames = int(single.lengths[output])
            assert int(encoded.lengths[output][row]) == frames
            torch.testing.assert_close(
                encoded.hidden[output][row, :frames],
                single.hidden[output][0, :frames],
                atol=1e-9,
                rtol=1e-7,
            )
    same = torch.equal(encoded.hidden["surface"], encoded.hidden["meaning"])
    assert same == (name == "band")


def test_shared_layers_run_once(config):
    model = build(config, "experts", {"encoder_task": 1}).eval()
    rows = []
    for block in model.encoder.encoders:
        block.register_forward_hook(lambda _m, _args, out: rows.append(len(out[0][0])))
    encode(model, batch(bands=()))
    assert rows == [4, 4, 8]
    rows.clear()
    encode(model, batch(bands=()), ["meaning"])
    assert rows == [4, 4, 4]
    kept = model.encode(
        *(batch(bands=())[key] for key in ("speech", "speech_lengths")),
        EncoderRequest(keep_layers=True),
    )
    layers = kept.layers["surface"], kept.layers["meaning"]
    assert layers[0]["1"] is layers[1]["1"] and len(layers[0]["2"]) == 4


@pytest.mark.parametrize("kind", ["transformer", "e_branchformer"])
def test_other_encoders_of_espnet_have_experts(config, kind):
    keys = ("output_size", "attention_heads", "linear_units", "num_blocks", "input_layer")
    conf = {key: value for key, value in config["encoder_conf"].items() if key in keys}
    if kind == "e_branchformer":
        conf |= {"use_ffn": True, "macaron_ffn": True, "cgmlp_linear_units": 16}
    config |= {"encoder": kind, "encoder_conf": conf}
    plain = build(config).eval()
    model = build(config, "experts", {"encoder_task": 2}).eval()
    made = batch(bands=())
    expected, encoded = encode(plain, made), encode(model, made)
    for output in ("surface", "meaning"):
        torch.testing.assert_close(encoded.hidden[output], expected.hidden[output])
    different = encode(untie(model), made).hidden
    assert not torch.equal(different["surface"], different["meaning"])


@pytest.mark.parametrize("layer_weights", [False, True])
@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "wavlm"])
def test_experts_of_a_pretrained_encoder_start_with_its_weights(
    config, tmp_path, family, layer_weights
):
    if family == "whisper":
        folder = _whisper(tmp_path)
    else:
        folder = tiny_encoders.save(tiny_encoders.build(family), tmp_path)
    pretrained = {"model": str(folder)}
    encoder_conf = pretrained | {"layer_weights": layer_weights}
    config |= {"frontend": "pretrained", "frontend_conf": pretrained, "normalize": None}
    config |= {"encoder": "pretrained", "encoder_conf": encoder_conf}
    plain = build(config).eval()
    made = batch(bands=())
    expected = encode(plain, made)
    for kind, conf in (("experts", {"encoder_task": 1}), ("tops", {"layers": 1})):
        model = build(config, kind, conf).eval()
        assert sum(isinstance(m, Routed) for m in model.modules()) >= 1
        encoded = encode(model, made)
        for output in ("surface", "meaning"):
            torch.testing.assert_close(encoded.hidden[output], expected.hidden[output])
        different = encode(untie(model), made).hidden
        assert not torch.allclose(different["surface"], different["meaning"])
        loss_and_gradients(model.train(), made)


def test_gradient_checkpointing_computes_the_same_gradients(config, tmp_path):
    folder = _whisper(tmp_path)
    pretrained = {"model": str(folder)}
    config |= {"frontend": "pretrained", "frontend_conf": pretrained, "normalize": None}
    config |= {"encoder": "pretrained"}
    made = batch(bands=())
    results = []
    for checkpointing in (False, True):
        conf = pretrained | {"gradient_checkpointing": checkpointing}
        model = build(config | {"encoder_conf": conf}, "experts", {"encoder_task": 1})
        results.append(loss_and_gradients(untie(model), made))
    assert results[0][0] == results[1][0]
    for key, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][key], gradient)


def test_copied_model_routes_its_own_rows(config):
    model = untie(build(config, "experts", {"encoder_task": 2})).eval()
    twin = copy.deepcopy(model)
    made = batch(bands=())
    encode(model, made, ["surface"])
    encoded, expected = encode(twin, made), encode(model, made)
    assert torch.equal(encoded.hidden["meaning"], expected.hidden["meaning"])


@pytest.mark.parametrize("name", ["task", "both", "tops"])
def test_every_expert_starts_with_the_weights_of_a_dense_checkpoint(config, tmp_path, name):
    plain = build(config, seed=1)
    torch.save(plain.state_dict(), tmp_path / "dense.pth")
    made = batch()
    for part in ("", ":encoder:encoder"):
        model = untie(build(config, *SYSTEMS[name]))
        specification = f"{tmp_path / 'dense.pth'}{part}"
        check_init_param([specification], model)
        load("load_pretrained_model")(specification, model, False)
        expected, encoded = encode(plain.eval(), made), encode(model.eval(), made)
        for output in ("surface", "meaning"):
            torch.testing.assert_close(encoded.hidden[output], expected.hidden[output])
    with pytest.raises(UserError, match="parameters do not fit"):
        load_weights(model, tmp_path / "dense.pth")  # not a checkpoint of this model


def test_checkpoint_with_parameters_that_the_model_lacks_is_a_user_error(config, tmp_path):
    path = tmp_path / "experts.pth"
    torch.save(build(config, "experts", {"encoder_task": 1}).state_dict(), path)
    model = build(config)
    with pytest.raises(UserError, match="the model has no encoder.encoders.2") as error:
        check_init_param([str(path)], model)
    assert f"--init_param {path}:::encoder" in error.value.remedy
    check_init_param([f"{path}:::encoder"], model)
    check_init_param([str(path)], model, ignore_mismatch=True)
    wide = build(config, "wide")
    torch.save(wide.state_dict(), path)
    with pytest.raises(UserError, match="has another size of encoder.encoders.0.feed_forward"):
        check_init_param([f"{path}:encoder:encoder"], model)


WRONG = {
    "nothing": ("experts", {}, "without a layer that has any"),
    "key": ("experts", {"encoder_tasks": 1}, "unknown key 'encoder_tasks'"),
    "halves": ("experts", {"encoder_task": 1, "halves": "first"}, "halves: unknown 'first'"),
    "layers": ("experts", {"encoder_task": 9}, "encoder_task: 9, but there are 3 layers"),
    "value": ("experts", {"encoder_task": "some"}, "encoder_task: 'some'"),
    "negative": ("experts", {"encoder_band": -1}, "encoder_band: -1"),
    "top layers": ("tops", {"layers": 9}, "layers: 9, but there are 3 layers"),
    "top key": ("tops", {"layer": 1}, "unknown key 'layer'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_configuration_is_an_error(config, case):
    kind, conf, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        build(config, kind, conf)


@pytest.mark.parametrize(
    ("kind", "conf"), [("experts", {"encoder_task": 1}), ("tops", {"layers": 1})]
)
def test_experts_per_output_of_a_single_output_are_an_error(config, kind, conf):
    del config["outputs"]["meaning"]
    with pytest.raises(UserError, match="this system has one"):
        build(config, kind, conf)


def test_encoder_without_feed_forward_parts_is_an_error(config):
    for kind, conf, message in (
        ("rnn", {"output_size": 16, "hidden_size": 16, "num_layers": 1}, "has no list of layers"),
        (
            "branchformer",
            {"output_size": 16, "num_blocks": 1, "attention_heads": 2, "cgmlp_linear_units": 16},
            "has no feed-forward part",
        ),
    ):
        with pytest.raises(UserError, match=message):
            build(config | {"encoder": kind, "encoder_conf": conf}, "experts", {"encoder_task": 1})


def test_band_without_values_is_an_error(config):
    conf = {"conditioning": "experts", "conditioning_conf": {"encoder_band": "all"}}
    with pytest.raises(UserError, match="values of 'band' are missing"):
        build_model(config | conf)
    with pytest.raises(UserError, match="has no dot"):
        build_model(config | conf | {"conditions": {"band": ["8.0", "16.0"]}})
