"""Checks of a configuration and of the training set before training."""

from types import SimpleNamespace

import pytest
import tiny_recipe
import torch
import yaml
from small_models import batch, make, output

from espnet_ext.errors import UserError
from espnet_ext.model.build import build_model
from espnet_ext.training.checks import check_experts_are_trained, check_init_param, warn_unalignable


def small(**outputs):
    output = {"token_type": "char", "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"]}
    return build_model(
        {**tiny_recipe.CONFIG, "outputs": {k: {**output, **v} for k, v in outputs.items()}}
    )


def shapes(folder, **columns):
    paths = []
    for name, values in columns.items():
        paths.append(folder / f"{name}_shape")
        paths[-1].write_text("".join(f"u{n} {value}\n" for n, value in enumerate(values)))
    return [str(path) for path in paths]


def test_utterances_with_more_tokens_than_frames_are_counted_for_outputs_with_ctc(tmp_path, capsys):
    model = small(
        surface={"branch": "ctc", "ctc_weight": 1.0},
        meaning={"branch": "attention", "attention_weight": 1.0},
    )
    samples = [8000, 16000, 16000, 40000]
    _, frames = model.eval().encode(torch.zeros(4, 40000), torch.tensor(samples)).shared()
    tokens = [f"{int(count) + more},4" for count, more in zip(frames, (0, 3, 0, 5), strict=True)]
    files = shapes(tmp_path, speech=samples, text_surface=tokens, text_meaning=tokens)
    model.train()
    assert warn_unalignable(model, files) == {"surface": 2}
    assert model.training
    warning = capsys.readouterr().err
    assert "2 of 4 training utterances have more tokens of surface than encoder frames" in warning
    assert warning.startswith(f"warning: {files[1]}: ") and "nothing from them: u1, u3. " in warning
    assert "hop_length" in warning


def test_no_warning_if_all_fit_or_lengths_are_unknown(tmp_path, capsys):
    model = small(surface={"branch": "ctc", "ctc_weight": 1.0})
    files = shapes(tmp_path, speech=[16000], text_surface=["2,4"])
    assert warn_unalignable(model, files) == {"surface": 0}
    assert warn_unalignable(model, []) == {}
    assert capsys.readouterr().err == ""


def test_training_prints_the_warning(recipe, capfd):
    tokens = recipe.root / "stats/train/text_surface_shape"
    rows = [line.split() for line in tokens.read_text().splitlines()]
    tokens.write_text("".join(f"{utt} 99,{shape.split(',')[1]}\n" for utt, shape in rows))
    recipe.train(options=["--max_epoch", "1"])
    assert f"{len(rows)} of {len(rows)} training utterances have more" in capfd.readouterr().err


def test_lengths_of_features_are_in_frames(tmp_path):
    config = {**tiny_recipe.CONFIG, "frontend": None, "input_size": 16}
    output = {
        "branch": "ctc",
        "ctc_weight": 1.0,
        "token_type": "char",
        "token_list": ["<blank>", "<unk>", "a", "<sos/eos>"],
    }
    model = build_model({**config, "outputs": {"surface": output}})
    files = shapes(tmp_path, speech=["100,16", "100,16"], text_surface=["24,4", "27,4"])
    assert warn_unalignable(model, files) == {"surface": 1}


@pytest.mark.parametrize("kind", ["tops", "adapters"])
def test_frozen_copies_of_layers_are_a_user_error(kind):
    model = make(conditioning=kind)
    args = SimpleNamespace(init_param=[], finetune_conf={}, max_epoch=3)
    check_experts_are_trained(model, args)
    model.encoder.requires_grad_(False)
    if kind == "adapters":
        check_experts_are_trained(model, args)
        model.conditioning.requires_grad_(False)
    with pytest.raises(UserError, match="all that it adds is frozen"):
        check_experts_are_trained(model, args)
    args.init_param = ["trained.pth"]
    check_experts_are_trained(model, args)


def test_encoder_that_is_frozen_in_all_epochs_has_no_private_layers():
    args = SimpleNamespace(init_param=[], finetune_conf={"freeze_epochs": 3}, max_epoch=3)
    with pytest.raises(UserError, match="all that it adds is frozen"):
        check_experts_are_trained(make(conditioning="tops"), args)
    args.max_epoch = 4
    check_experts_are_trained(make(conditioning="tops"), args)


def two_systems(folder, entry, **options):
    """Write a random model of two outputs; return its file, and a model of the other order."""
    outputs = {"surface": entry, "meaning": entry}
    torch.save(make(outputs, **options).state_dict(), folder / "model.pth")
    text = yaml.safe_dump({"outputs": outputs}, sort_keys=False)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder / "model.pth", make(dict(reversed(outputs.items())), **options)


def test_initial_shared_decoder_of_outputs_in_another_order_is_a_user_error(tmp_path):
    """The guiding tokens of the joint vocabulary are in this order."""
    entry = {**output("attention"), "decoder": "shared"}
    path, model = two_systems(tmp_path, entry)
    same = make({"surface": entry, "meaning": entry})
    losses = []
    for each in (same, model):
        each.load_state_dict(torch.load(path, weights_only=True))
        with torch.no_grad():
            losses.append(float(each.eval()(**batch(("surface", "meaning")))[0]))
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)  # loaded without a message, but swapped
    check_init_param([str(path)], same)
    with pytest.raises(UserError, match="shared_decoder.embed.0.weight is stored in the") as caught:
        check_init_param([f"{path}:::encoder.after_norm"], model)
    parts = "encoder.after_norm,shared_decoder.embed,shared_decoder.output_layer"
    assert caught.value.remedy.endswith(f"{path}:::{parts}")
    check_init_param([f"{path}:::{parts}"], model)


def test_order_of_outputs_matters_only_for_parameters_that_are_loaded(tmp_path):
    path, model = two_systems(tmp_path, output(), conditioning="vectors")
    part = f"{path}:conditioning:conditioning"
    with pytest.raises(UserError, match="conditioning.features is stored in the order") as caught:
        check_init_param([part], model)
    assert caught.value.remedy.endswith("or remove this --init_param")
    check_init_param([f"{path}:encoder:encoder"], model)
    check_init_param([str(path)], make({"meaning": output()}), ignore_mismatch=True)
