"""The training configurations of pre-trained models, with tiny random checkpoints."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

from espnet_ext.model.build import build_model
from espnet_ext.objectives.registry import build_objective
from espnet_ext.training.checks import check_best_model_criterion, check_config
from espnet_ext.training.config import merge, use_checkpoint
from espnet_ext.training.run import merged_config
from espnet_ext.training.task import DualOutputTask

transformers = pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_encoders  # noqa: E402
import tiny_recipe  # noqa: E402
import tiny_whisper  # noqa: E402

CONF = Path(__file__).parents[2] / "conf"
FAMILIES = {
    "train_whisper_base": "whisper",
    "train_whisper_small": "whisper",
    "train_wavlm_base_plus": "wavlm",
    "train_wavlm_large": "wavlm",
    "train_xlsr": "wav2vec2",
    "train_xlsr_transducer": "wav2vec2",
}
TOKENS = ["<blank>", "<unk>", "a", "b", "c", "<sos/eos>"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of tiny checkpoints by family."""
    root = tmp_path_factory.mktemp("checkpoints")
    tiny_whisper.write(root / "whisper")
    for family in ("wavlm", "wav2vec2"):
        tiny_encoders.save(tiny_encoders.build(family), root / family)
    return {family: root / family for family in set(FAMILIES.values())}


def test_every_pretrained_configuration_is_listed():
    frontends = {
        path.stem: config["frontend"]
        for path in CONF.glob("train*.yaml")
        if (config := yaml.safe_load(path.read_text())).get("encoder") == "pretrained"
    }
    assert {name for name in frontends if frontends[name] != "units"} == set(FAMILIES)
    # tests/units/test_text_transfer.py trains with the others
    assert set(frontends) - set(FAMILIES) == {"train_units_byt5"}


SYSTEMS = ("so_surface", "so_meaning", "so_meaning_attention", "do")
MITIGATIONS = ("do_adversarial", "do_cross_stitch", "do_experts", "do_lora", "do_tops")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", FAMILIES)
def test_configuration_and_system_fit_together(name, system):
    config = merged_config(CONF / f"{name}.yaml", [CONF / "systems" / f"{system}.yaml"])
    models = {config[f"{part}_conf"]["model"] for part in ("frontend", "encoder")}
    assert len(models) == 1
    check_config(config, DualOutputTask.get_parser(), name)
    check_best_model_criterion(config, name)


@pytest.mark.parametrize(
    ("name", "system"),
    [
        *((name, "do") for name in FAMILIES),
        *(("train_whisper_small", system) for system in SYSTEMS[:-1]),
        *(("train_whisper_base", system) for system in MITIGATIONS),
        *(("train_xlsr", system) for system in SYSTEMS[:-1]),
    ],
)
def test_configuration_trains_a_step(checkpoints, tmp_path, name, system):
    config = merged_config(CONF / f"{name}.yaml", [CONF / "systems" / f"{system}.yaml"])
    config = use_checkpoint(config, str(checkpoints[FAMILIES[name]]))
    tokens = {"token_type": "char", "token_list": TOKENS}
    config = merge(config, {"outputs": dict.fromkeys(config["outputs"], tokens)})
    if config["decoder"] == "pretrained":
        config["decoder_conf"]["language"] = "en"
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    command = ["--config", str(tmp_path / "train.yaml"), "--output_dir", str(tmp_path)]
    args = DualOutputTask.get_parser().parse_args(command)
    if args.scheduler_conf:
        args.scheduler_conf["total_steps"] = 10
    torch.manual_seed(0)
    model = build_model(vars(args), objective=build_objective(vars(args))).train()
    (optimizer,) = DualOutputTask.build_optimizers(args, model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = {}
    for output in config["outputs"]:
        batch[f"text_{output}"] = torch.tensor([[2, 3, 4], [4, 2, -1]])
        batch[f"text_{output}_lengths"] = torch.tensor([3, 2])
    speech = 0.1 * torch.randn(2, 8000)
    loss, _, _ = model(speech, torch.tensor([8000, 6000]), **batch)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert any(key.startswith("encoder.") for key in changed)
    for output in config["outputs"]:
        assert any(key.startswith(f"{output}_decoder.") for key in changed)


KOREAN = [("국물 좀", "국물 좀 주세요"), ("감사함니다", "감사합니다"), (None, "네"), ("물", None)]


def test_whisper_trains_and_decodes_korean(checkpoints, tmp_path, monkeypatch):
    """The shipped configuration with --pretrained; the language is that of utt2lang."""
    from espnet_ext.bin import tokens
    from espnet_ext.decoding.api import DualSpeech2Text

    monkeypatch.setattr(tiny_recipe, "TEXTS", KOREAN)
    recipe = tiny_recipe.make(tmp_path, {"surface": "jamo", "meaning": "char"})
    recipe.token_types["meaning"] = "hugging_face"
    folder = str(checkpoints["whisper"])
    options = {
        "--input": f"{recipe.root}/dump/train",
        "--output_name": "meaning",
        "--token_type": "hugging_face",
        "--pretrained": folder,
        "--token_dir": f"{recipe.root}/tokens/meaning_hugging_face",
    }
    assert tokens.main([word for pair in options.items() for word in pair]) == 0
    recipe.collect()
    ids = [line.split()[0] for line in (recipe.root / "dump/train/utt2spk").open()]
    (recipe.root / "dump/train/utt2lang").write_text("".join(f"{utt_id} ko\n" for utt_id in ids))
    config = yaml.safe_load((CONF / "train_whisper_base.yaml").read_text())
    config |= {"use_tensorboard": False, "num_workers": 0, "batch_bins": 20000}
    exp = recipe.train(config=config, options=["--max_epoch", "1"], pretrained=folder)
    recognise = DualSpeech2Text.from_pretrained(exp, beam_size=2, maxlenratio=-6)
    decoder = recognise.model.heads["meaning"].options.decoder_conf
    assert decoder["language"] == "ko"
    result = recognise(torch.randn(8000, generator=torch.Generator().manual_seed(0)))
    assert set(result.best) == {"surface", "meaning"}


@pytest.mark.parametrize("name", ["train_whisper_base", "train_whisper_small"])
def test_size_of_the_vocabulary_does_not_shrink_batches(name, tmp_path):
    """Eight utterances of 3 s with 10 of 28,000 tokens fit into one batch."""
    from espnet2.samplers.build_batch_sampler import build_batch_sampler

    conf = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    shapes = {"speech_shape": "48000", "text_meaning_shape": "10,28000"}
    for file, shape in shapes.items():
        lines = [f"utt{number} {shape}\n" for number in range(8)]
        (tmp_path / file).write_text("".join(lines), encoding="utf-8")
    sampler = build_batch_sampler(
        type=conf["batch_type"],
        batch_size=1,
        batch_bins=conf["batch_bins"],
        shape_files=[str(tmp_path / file) for file in shapes],
    )
    assert len(list(sampler)) == 1
