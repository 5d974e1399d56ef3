"""Compiled layers compute what uncompiled ones do, for all shapes with few compiled functions.

They use backends of PyTorch that need no C++ compiler and run the captured graphs.
"""

import copy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

sys.path.insert(0, str(Path(__file__).parent))

import small_models  # noqa: E402
from test_fast_layers import ABSOLUTE, batch, loss_and_gradients  # noqa: E402

from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.model.layers import encoder_layers, watch  # noqa: E402
from espnet_ext.model.load import load_model  # noqa: E402
from espnet_ext.training import compiled_layers, fast_layers  # noqa: E402


@pytest.fixture(autouse=True)
def fresh():
    """Forget compiled functions, so that no test depends on earlier ones."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def cut(data, rows, samples):
    """Return the first rows of a batch, shortened to a number of samples."""
    data = {name: value[:rows] for name, value in data.items()}
    data["speech"] = data["speech"][:, :samples]
    data["speech_lengths"] = data["speech_lengths"].clamp(max=samples)
    return data


def assert_equal_training(models, data, tolerance):
    (loss, gradients), (other, others) = (loss_and_gradients(model, data) for model in models)
    assert float(other) == pytest.approx(float(loss), rel=tolerance)
    assert others.keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, atol=tolerance * largest), name


@pytest.mark.parametrize(
    ("encoder", "fast", "backend"),
    [
        pytest.param({}, True, "aot_eager", id="relative, fast", marks=pytest.mark.manual),
        pytest.param({}, False, "eager", id="relative"),
        pytest.param(ABSOLUTE, True, "eager", id="absolute, fast"),
    ],
)
def test_losses_and_gradients_equal_those_without_for_all_shapes(encoder, fast, backend):
    models = [small_models.make(**encoder).double().train() for _ in range(2)]
    if fast:
        for model in models:
            fast_layers.use_fast_layers(model)
    names = list(models[1].state_dict())
    counter = CompileCounterWithBackend(backend)
    counts = compiled_layers.use_compiled_layers(models[1], counter)
    assert counts == {"EncoderLayer": 2}
    assert list(models[1].state_dict()) == names
    data = batch(models[0].heads)
    data["speech"] = data["speech"].double()
    for rows, samples in ((3, 8000), (2, 7000), (3, 5000), (2, 6000)):
        assert_equal_training(models, cut(data, rows, samples), 1e-10)
    assert counter.frame_count <= 2  # for four shapes
    assert all(torch.allclose(a, b) for a, b in zip(*(m.buffers() for m in models), strict=True))


def test_evaluation_runs_uncompiled_and_hooks_of_layers_are_called():
    model = small_models.make()
    counter = CompileCounterWithBackend("eager")
    compiled_layers.use_compiled_layers(model, counter)
    data = batch(model.heads)
    with torch.no_grad():
        model.eval()(**data)
    assert counter.frame_count == 0
    model.train()(**data)
    with watch(encoder_layers(model.encoder)) as seen:  # hooks that are added later
        model(**data)
    assert counter.frame_count == 1 and set(seen) == {"embed", "0", "1"}


def test_copy_of_a_compiled_model_trains_with_its_own_weights():
    model = small_models.make()
    compiled_layers.use_compiled_layers(model, "eager")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.encoder.parameters():
            parameter.zero_()
    data = batch(model.heads)
    losses = [float(m(**data)[0].detach()) for m in (model, other)]
    assert losses[0] != losses[1]


def test_layers_beyond_the_limit_run_uncompiled(monkeypatch):
    monkeypatch.setattr(compiled_layers, "MAX_COMPILED", 1)
    models = [small_models.make() for _ in range(2)]
    counter = CompileCounterWithBackend("eager")
    compiled_layers.use_compiled_layers(models[1], counter)
    data = batch(models[0].heads)
    for rows in (3, 1):  # a single utterance needs another function
        assert_equal_training(models, cut(data, rows, 8000), 1e-5)
    assert counter.frame_count == 1


def test_encoder_without_layers_raises_user_error():
    model = small_models.make()
    model.encoder = torch.nn.Linear(2, 2)
    with pytest.raises(UserError, match="Linear has no list of layers"):
        compiled_layers.use_compiled_layers(model)


def test_missing_compiler_raises_user_error(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C.. compiler 'no-such-compiler'") as caught:
        compiled_layers.check_compiler("cpu")
    assert "compile: none" in caught.value.remedy


def test_failure_of_the_compiler_raises_user_error_with_the_reason(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("Python.h: No such file\nmore")

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(UserError, match=r"does not work .* Python.h: No such file\n  remedy"):
        compiled_layers.check_compiler("cpu")


@pytest.fixture
def eager(monkeypatch):
    """Compile with a backend that needs no compiler."""
    use = compiled_layers.use_compiled_layers
    monkeypatch.setattr(compiled_layers, "use_compiled_layers", lambda model: use(model, "eager"))
    monkeypatch.setattr(compiled_layers, "check_compiler", lambda device: None)


def test_training_with_compile_writes_the_files_of_one_without(recipe, eager):
    config = {"max_epoch": 1, "compile": "encoder"}
    folders = [recipe.train("with", config), recipe.train("without", {**config, "compile": "none"})]
    first, second = (torch.load(folder / "checkpoint.pth", weights_only=True) for folder in folders)
    for part in ("model", "optimizers"):
        assert repr(first[part]) == repr(second[part])  # the same graphs, without rounding
    layer = load_model(folders[0])[0].encoder.encoders[0]
    assert not isinstance(layer, compiled_layers._Compiled)
    # Compilation may be switched when a training continues.
    recipe.train("with", {**config, "max_epoch": 2, "compile": "none"})


def test_cached_encoder_cannot_be_compiled(recipe):
    config = {"compile": "encoder", "encoder_cache": str(recipe.root / "cache")}
    with pytest.raises(UserError, match="with encoder_cache the encoder does not run"):
        recipe.train("exp", config)


@pytest.mark.parametrize(
    "config",
    [{"conditioning": "vectors"}, {"finetune_conf": {"adapter": {"type": "lora"}}}],
    ids=["conditioning", "adapter"],
)
def test_changed_layers_cannot_be_compiled(recipe, config):
    with pytest.raises(UserError, match="compile: encoder was not tested with"):
        recipe.train("exp", {**config, "compile": "encoder"})
