"""`cpu_autocast: auto` measures, remembers and changes nothing else."""

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import small_models  # noqa: E402

from espnet_ext.files import write_text  # noqa: E402
from espnet_ext.training import precision  # noqa: E402


@pytest.fixture
def args(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shapes = []
    for name, size in (("speech", 8000), *((f"text_{n}", 4) for n in small_models.OUTPUTS)):
        path = tmp_path / f"{name}_shape"
        write_text(path, "".join(f"u{i} {size + i}\n" for i in range(3)))
        shapes.append(str(path))
    return argparse.Namespace(
        train_shape_file=shapes,
        batch_bins=20000,
        output_dir=str(tmp_path / "exp"),
        resume=True,
        input_size=None,
        frontend="default",
        frontend_conf={"fs": 16000},
    )


def make_model():
    model = small_models.make()
    model.autocast_dtype = torch.bfloat16
    return model


def random_numbers():
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_measuring_changes_neither_model_nor_random_numbers(args):
    model = make_model().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    expected = random_numbers()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    seconds = precision.measure(model, args)
    assert random_numbers() == expected
    assert set(seconds) == {"bfloat16", "float32"} and min(seconds.values()) > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.autocast_dtype is torch.bfloat16 and not model.training


@pytest.mark.parametrize("fast_layers", [False, True])
def test_steps_have_new_shapes_where_those_of_batches_do_not_repeat(args, fast_layers):
    args.fast_layers = fast_layers
    model = make_model()
    forward, steps = model.forward, []

    def record(speech, text_surface, **batch):
        steps.append((model.autocast_dtype, speech.shape[1], text_surface.shape[1]))
        return forward(speech=speech, text_surface=text_surface, **batch)

    model.forward = record
    precision.measure(model, args)
    shapes = {dtype: [shape for kind, *shape in steps if kind is dtype] for dtype, *_ in steps}
    assert shapes[None] == shapes[torch.bfloat16] and len(shapes[None]) == 4
    if fast_layers:
        assert shapes[None] == [[8001, 5]] * 4
    else:
        assert shapes[None] == [[8001 + 1280 * number, 5 + number] for number in range(4)]


@pytest.mark.parametrize(("bfloat16", "choice"), [(0.9, "bfloat16"), (0.97, None), (2.0, None)])
def test_the_faster_format_is_chosen_and_kept(args, monkeypatch, capfd, bfloat16, choice):
    seconds = {"bfloat16": bfloat16, "float32": 1.0}
    monkeypatch.setattr(precision, "measure", lambda *_: seconds)
    assert precision.choose_precision(make_model(), args) == choice
    assert f"cpu_autocast: auto: {choice or 'float32'}" in capfd.readouterr().err
    seconds["bfloat16"] = 1 / bfloat16  # a later measurement would differ, but is not made
    assert precision.choose_precision(make_model(), args) == choice


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cpu_autocast": "float16"}'])
def test_a_damaged_result_is_measured_again(args, monkeypatch, content):
    write_text(precision.cache_file(args), content)
    monkeypatch.setattr(precision, "measure", lambda *_: {"bfloat16": 1.0, "float32": 2.0})
    assert precision.choose_precision(make_model(), args) == "bfloat16"


def test_a_cache_folder_that_cannot_be_written_does_not_end_the_training(args, monkeypatch):
    Path(precision.os.environ["XDG_CACHE_HOME"]).write_text("a file instead of a folder")
    monkeypatch.setattr(precision, "measure", lambda *_: {"bfloat16": 1.0, "float32": 2.0})
    assert precision.choose_precision(make_model(), args) == "bfloat16"


def test_a_continued_training_keeps_its_format(args, monkeypatch):
    folder = Path(args.output_dir)
    write_text(folder / "config.yaml", "cpu_autocast: null\n")
    write_text(folder / "checkpoint.pth", "")
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("measured"))
    assert precision.choose_precision(make_model(), args) is None


def test_a_cpu_without_bfloat16_is_not_measured(args, monkeypatch):
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("measured"))
    assert precision.choose_precision(small_models.make(), args) is None


def test_networks_of_other_sizes_are_measured_again(args):
    first = precision.cache_file(args)
    args.encoder_conf = {"output_size": 512}
    assert precision.cache_file(args) != first
