"""Every overlay of the recipes trains through the command of stage 11, resumes and decodes.

The networks are tiny, and an epoch has two updates. Other settings are those of train_small.yaml
and train_units_small.yaml. Of overlays with equal content, one trains.
"""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny_recipe
import torch
import yaml

from espnet_ext.bin import decode, train
from espnet_ext.data.table import read_table, write_table
from espnet_ext.model.unit_frontend import input_guide
from espnet_ext.training import run
from espnet_ext.training.config import merge
from espnet_ext.training.trainer import DualOutputTrainer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/units"))
import unit_systems  # noqa: E402
from tones import write_corpus  # noqa: E402

AUDIO_SYSTEMS = sorted((ROOT / "conf/systems").glob("*.yaml"))
# Content → overlay of the recipes with discrete units
UNIT_SYSTEMS = {
    str(yaml.safe_load(path.read_text(encoding="utf-8"))): path
    for path in sorted(ROOT.glob("egs2/*/discrete1/conf/systems/*.yaml"), reverse=True)
}
LABELS = {"utt2band": ("narrow", "wide"), "utt2l1": ("Hindi", "Korean")}
SIZES = {"attention_heads": 2, "linear_units": 8, "num_blocks": 2}
CHANGES = {
    "encoder_conf": {**SIZES, "output_size": 8, "cnn_module_kernel": 3},
    "decoder_conf": {**SIZES, "num_blocks": 1},
    # A weight without a gradient must stay as it is.
    "optim_conf": {"weight_decay": 0.0},
    "cpu_autocast": None,  # auto measures the machine
    "use_tensorboard": False,
    "batch_type": "unsorted",
    "batch_size": 4,  # two updates per epoch
    "max_epoch": 3,
    "keep_nbest_models": 2,
}
RESUMED = "_resumed"  # suffix of the folder in which a training is continued


@dataclass
class Recording:
    """A training: the initial trainable weights, and the model's state at each epoch's start."""

    initial: dict[str, torch.Tensor] = field(default_factory=dict)
    states: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)


@pytest.fixture
def recording(monkeypatch):
    """Record a training, and copy its folder as it is when the third epoch starts."""
    recorded = Recording()
    run_training, train_epoch = DualOutputTrainer.run, DualOutputTrainer.train_one_epoch

    def run_recorded(model, **arguments):
        recorded.initial = {
            name: weight.detach().clone()
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        run_training(model, **arguments)

    def train_recorded(model, reporter, options, **arguments):
        folder, epoch = Path(options.output_dir), reporter.get_epoch()
        if epoch == 3 and not folder.name.endswith(RESUMED):
            shutil.copytree(folder, f"{folder}{RESUMED}", symlinks=True)
        state = model.state_dict()  # with the state of the objective
        recorded.states[epoch] = {name: value.clone() for name, value in state.items()}
        return train_epoch(model=model, reporter=reporter, options=options, **arguments)

    monkeypatch.setattr(DualOutputTrainer, "run", run_recorded)
    monkeypatch.setattr(DualOutputTrainer, "train_one_epoch", train_recorded)
    return recorded


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Options of a recipe whose utterances have labels of band and first language."""
    recipe = tiny_recipe.make(tmp_path_factory.mktemp("audio"))
    for name in recipe.data.sets:
        for table, labels in LABELS.items():
            utterances = read_table(name / "wav.scp")
            write_table(name / table, {utt: labels[i % 2] for i, utt in enumerate(utterances)})
    return _arguments(recipe.root, "train_small.yaml", recipe.data), recipe.data.dump / "valid"


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    """The data and the corpus of a recipe with discrete units and text."""
    return _unit_recipe(tmp_path_factory.mktemp("units"), unit_systems.OUTPUTS)


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    """The same with the outputs of speech translation, and with guiding tokens in the input."""
    return _unit_recipe(tmp_path_factory.mktemp("translations"), ("transcript", "translation"))


def _unit_recipe(root: Path, outputs: tuple[str, ...]) -> tuple[run.Data, Path]:
    corpus = write_corpus(root / "corpus", [0.7, 0.4, 0.9, 0.5, 0.6, 0.8, 0.3, 0.7])
    unit_systems.write_texts(corpus, outputs)
    folder = unit_systems.write_units(corpus, root / "units")
    symbols = [input_guide(output) for output in outputs]
    joint = unit_systems.write_vocabulary(root / "joint", folder, symbols)
    return unit_systems.recipe(root, corpus, folder, joint, outputs), corpus


def _unit_arguments(data: run.Data, name: str, changes: dict | None = None) -> list[str]:
    further = ["--joint_token_dir", str(data.joint_tokens), "--units", str(data.units)]
    return _arguments(data.dump.parent, name, data, changes) + further


def _arguments(root: Path, name: str, data: run.Data, changes: dict | None = None) -> list[str]:
    """Write a tiny version of a configuration of the recipes; return options of `train`."""
    base = yaml.safe_load((ROOT / "conf" / name).read_text(encoding="utf-8"))
    config = root / name
    small = merge(merge(base, CHANGES), changes or {})
    config.write_text(yaml.safe_dump(small), encoding="utf-8")
    types = " ".join(f"{output}={kind}" for output, kind in data.token_types.items())
    return [
        *("--config", str(config), "--data_dir", str(data.dump), "--outputs", types),
        *("--token_dir", str(data.token_dir), "--stats_dir", str(data.stats)),
    ]


@pytest.mark.parametrize("system", AUDIO_SYSTEMS, ids=lambda path: path.stem)
def test_system_trains_resumes_and_decodes(system, audio, recording, tmp_path):
    check_system(system, *audio, recording, tmp_path / "exp")


@pytest.mark.parametrize(
    "system", UNIT_SYSTEMS.values(), ids=lambda path: f"{path.parts[-5]}-{path.stem}"
)
def test_system_of_units_trains_resumes_and_decodes(system, request, recording, tmp_path):
    outputs = yaml.safe_load(system.read_text(encoding="utf-8"))["outputs"]
    is_translation = "translation" in outputs
    data, corpus = request.getfixturevalue("translations" if is_translation else "units")
    arguments = _unit_arguments(data, "train_units_small.yaml")
    check_system(system, arguments, corpus, recording, tmp_path / "exp")


def test_large_configuration_of_units_trains_resumes_and_decodes(units, recording, tmp_path):
    data, corpus = units
    changes = {"num_workers": 0, "scheduler_conf": {"warmup_steps": 5}}
    arguments = _unit_arguments(data, "train_units.yaml", changes)
    system = ROOT / "egs2/mini_l2/discrete1/conf/systems/do_text.yaml"
    check_system(system, arguments, corpus, recording, tmp_path / "exp")


def check_system(system, arguments, data, recording, exp):
    arguments = [*arguments, "--system", str(system)]
    assert train.main([*arguments, "--exp_dir", str(exp)]) == 0
    whole = _checkpoint(exp)
    check_losses(whole)
    check_weights(recording, whole["model"])
    after_two_epochs = recording.states[3]

    # A training that is killed after two epochs and started again gives the same model.
    resumed = exp.with_name(exp.name + RESUMED)
    assert train.main([*arguments, "--exp_dir", str(resumed)]) == 0
    assert_equal(recording.states[3], after_two_epochs)
    assert_equal(_checkpoint(resumed)["model"], whole["model"])
    assert_equal(*(torch.load(f / "model.pth", weights_only=True) for f in (exp, resumed)))

    check_decoding(exp, data)


def _checkpoint(folder):
    return torch.load(folder / "checkpoint.pth", weights_only=True)


def check_losses(checkpoint):
    stats = checkpoint["reporter"]["stats"]
    assert sorted(stats) == [1, 2, 3]
    for epoch, phases in stats.items():
        for phase in ("train", "valid"):
            for name, value in phases[phase].items():
                if name.startswith(("loss", "acc", "grad_norm", "weight_", "penalty_")):
                    assert torch.isfinite(torch.as_tensor(value)), (epoch, phase, name)


def check_weights(recording, trained):
    assert all(torch.isfinite(value).all() for value in trained.values())
    initial = recording.initial
    assert [name for name in initial if torch.equal(initial[name], trained[name])] == []


def assert_equal(first, second):
    assert set(first) == set(second)
    assert [name for name in second if not torch.equal(first[name], second[name])] == []


def check_decoding(exp, data):
    folder = exp / "decoded"
    folders = ["--model_dir", str(exp), "--data", str(data), "--output_dir", str(folder)]
    decode.main([*folders, "--beam_size", "2"])
    outputs = yaml.safe_load((exp / "config.yaml").read_text(encoding="utf-8"))["outputs"]
    utterances = set(read_table(data / "wav.scp"))
    for output in outputs:
        texts = read_table(folder / f"text.{output}", empty_ok=True)
        assert set(texts) == utterances
        scores = read_table(folder / f"score.{output}")
        assert all(torch.isfinite(torch.tensor(float(value))) for value in scores.values())
