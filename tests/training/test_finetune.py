"""Fine-tuning of a pre-trained encoder: learning rates per layer and frozen layers."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

from espnet_ext.errors import UserError
from espnet_ext.training.finetune import (
    FineTuning,
    FreezeSchedule,
    build_optimizer,
    encoder_stack,
    parameter_groups,
    trained_share,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_recipe  # noqa: E402

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A folder with a tiny random Whisper of two encoder layers."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=30,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    folder = tmp_path_factory.mktemp("whisper")
    transformers.WhisperModel(config).save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def config_of(folder, **finetune):
    return {
        "frontend": "pretrained",
        "frontend_conf": {"model": str(folder), "fs": 16000},
        "normalize": None,
        "encoder": "pretrained",
        "encoder_conf": {"model": str(folder)},
        "finetune_conf": finetune,
    }


class Model(torch.nn.Module):
    """The parts of a model that fine-tuning looks at."""

    def __init__(self):
        super().__init__()
        self.frontend = torch.nn.Linear(1, 1)
        self.encoder = torch.nn.Module()
        self.encoder.embed = torch.nn.Linear(2, 2)
        self.encoder.encoders = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(3))
        self.encoder.after_norm = torch.nn.LayerNorm(4)
        self.head = torch.nn.Linear(5, 5)


def test_every_parameter_is_in_one_layer_of_the_stack():
    model = Model()
    stack = encoder_stack(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert [[names[id(p)] for p in layer] for layer in stack] == [
        ["frontend.weight", "frontend.bias", "encoder.embed.weight", "encoder.embed.bias"],
        *([f"encoder.encoders.{n}.weight", f"encoder.encoders.{n}.bias"] for n in range(3)),
        ["encoder.after_norm.weight", "encoder.after_norm.bias"],
    ]


def test_learning_rates_decay_from_the_top():
    model = Model()
    options = FineTuning.parse({"encoder_lr": 0.5, "layer_decay": 0.1})
    rates = {
        id(p): group["lr"]
        for group in parameter_groups(model, options, 1.0)
        for p in group["params"]
    }
    by_name = {name: rates[id(p)] for name, p in model.named_parameters() if "weight" in name}
    assert by_name == pytest.approx(
        {
            "head.weight": 1.0,
            "encoder.after_norm.weight": 0.5,
            "encoder.encoders.2.weight": 0.05,
            "encoder.encoders.1.weight": 0.005,
            "encoder.encoders.0.weight": 0.0005,
            "encoder.embed.weight": 0.00005,
            "frontend.weight": 0.00005,
        }
    )
    assert len(rates) == len(list(model.parameters()))


class PretrainedDecoder(torch.nn.Module):
    """Stands for a pre-trained decoder whose embeddings are new."""

    pretrained = True

    def __init__(self):
        super().__init__()
        self.embed, self.layer = torch.nn.Embedding(3, 2), torch.nn.Linear(2, 2)

    def new_parameters(self):
        yield from self.embed.parameters()


def test_decoder_rate_per_output_spares_new_embeddings():
    model = Model()
    model.heads = torch.nn.ModuleDict()
    for output in ("surface", "meaning"):
        model.heads[output] = torch.nn.Module()
        model.heads[output].decoder = PretrainedDecoder()
    rates = {}
    for conf in (0.5, {"surface": 1, "meaning": 0.25, "gloss": 0.1}):
        groups = parameter_groups(model, FineTuning.parse({"decoder_lr": conf}), 2.0)
        by_id = {id(p): group["lr"] for group in groups for p in group["params"]}
        rates[str(conf)] = [
            by_id[id(getattr(model.heads[output].decoder, part).weight)]
            for output in ("surface", "meaning")
            for part in ("embed", "layer")
        ]
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert list(rates.values()) == [[2.0, 1.0, 2.0, 1.0], [2.0, 2.0, 2.0, 0.5]]
    options = FineTuning.parse({"decoder_lr": {"surface": 1, "meanings": 0.5}})
    with pytest.raises(UserError, match="no learning rate for 'meaning'"):
        parameter_groups(model, options, 1.0)


def test_one_cycle_schedule_has_a_maximum_per_group():
    model = Model()
    args = argparse.Namespace(
        optim_conf={"lr": 0.1, "weight_decay": 0.01},
        scheduler_conf={"max_lr": 0.1, "total_steps": 10},
        exclude_weight_decay=False,
    )
    options = FineTuning.parse({"encoder_lr": 0.2})
    optimizer = build_optimizer(torch.optim.AdamW, model, options, args)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, **args.scheduler_conf)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    heads, *encoder = [group["lr"] for group in optimizer.param_groups]
    assert encoder == pytest.approx([0.2 * heads] * 5)


def test_layers_are_unfrozen_from_the_top():
    model = Model()
    model.encoder.encoders[1].bias.requires_grad_(False)  # --freeze_param
    options = FineTuning.parse({"freeze_epochs": 1, "unfreeze_layers_per_epoch": 2})
    schedule = FreezeSchedule(model, options)
    trained = []
    for epoch in (1, 2, 3, 4):
        line = schedule.begin_epoch(epoch)
        trained.append({n for n, p in model.named_parameters() if p.requires_grad})
        assert trained_share(model) in line
    assert trained[0] == {"head.weight", "head.bias"}
    assert trained[1] - trained[0] == {
        f"encoder.{layer}.{kind}"
        for layer in ("encoders.2", "after_norm")
        for kind in ("weight", "bias")
    }
    assert "encoder.encoders.1.weight" in trained[2] and "encoder.embed.weight" not in trained[2]
    everything = {n for n, _ in model.named_parameters()}
    assert trained[3] == everything - {"encoder.encoders.1.bias"}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"layer_decay": 0}, "finetune_conf.layer_decay: 0"),
        ({"encoder_lr": 2}, "finetune_conf.encoder_lr: 2"),
        ({"encoder_lr": None}, "finetune_conf.encoder_lr: None"),
        ({"decoder_lr": {"meaning": 0}}, "finetune_conf.decoder_lr.meaning: 0"),
        ({"freeze_epochs": -1}, "finetune_conf.freeze_epochs: -1"),
        ({"freeze_epochs": 1.5}, "finetune_conf.freeze_epochs: 1.5"),
        ({"freeze_epoch": 1}, "unknown key 'freeze_epoch'"),
    ],
)
def test_invalid_options_are_refused(conf, message):
    with pytest.raises(UserError) as caught:
        FineTuning.parse(conf)
    assert message in caught.value.message and caught.value.remedy


def test_encoder_without_layers_is_refused():
    model = Model()
    model.encoder = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="has no list of layers"):
        encoder_stack(model)


def test_frozen_encoder_keeps_its_weights_until_it_is_trained(whisper, tmp_path, capsys):
    recipe = tiny_recipe.make(tmp_path)
    options = ["--keep_nbest_models", "2"]
    recipe.train(config=config_of(whisper, freeze_epochs=1, encoder_lr=0.5), options=options)
    first, second = (
        torch.load(recipe.root / f"exp/{epoch}epoch.pth", weights_only=True) for epoch in (1, 2)
    )
    pretrained = transformers.WhisperModel.from_pretrained(whisper).encoder.state_dict()
    for name, value in pretrained.items():
        name = f"encoder.{name.replace('layers.', 'encoders.')}"
        assert torch.equal(first[name], value), name
        if "embed_positions" not in name and "k_proj.bias" not in name:
            assert not torch.equal(second[name], value), name
    lines = capsys.readouterr()
    assert "epoch 1: trains" in lines.out + lines.err


def test_resumed_training_equals_uninterrupted_training(whisper, tmp_path):
    weights = []
    for name, runs in (("whole", ["3"]), ("resumed", ["1", "3"])):
        recipe = tiny_recipe.make(tmp_path / name)
        for epochs in runs:
            recipe.train(
                config=config_of(
                    whisper, freeze_epochs=1, unfreeze_layers_per_epoch=2, layer_decay=0.8
                ),
                options=["--max_epoch", epochs, "--keep_nbest_models", "3"],
            )
        weights.append(torch.load(recipe.root / "exp/3epoch.pth", weights_only=True))
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value), name
