"""diagnose_every: what it writes, that training is the same without it, and that it goes on."""

import json
import random

import numpy as np
import pytest
import tiny_recipe
import torch
from small_models import OUTPUTS, batch, make

from espnet_ext.errors import UserError
from espnet_ext.files import read_json_lines
from espnet_ext.model import espnet
from espnet_ext.training.diagnostics import Diagnostics, scalars, undisturbed
from espnet_ext.training.trainer import Options

# Dropout, SpecAugment and batch norm are on: what a diagnosis could disturb.
RANDOM = {
    "specaug": "specaug",
    "specaug_conf": {
        "apply_time_warp": True,
        "time_warp_window": 5,
        "time_warp_mode": "bicubic",
        "apply_freq_mask": True,
        "freq_mask_width_range": [0, 4],
        "num_freq_mask": 1,
        "apply_time_mask": True,
        "time_mask_width_range": [0, 5],
        "num_time_mask": 1,
    },
    "encoder_conf": {**tiny_recipe.CONFIG["encoder_conf"], "dropout_rate": 0.3},
    "max_epoch": 3,
}


def lines(folder):
    return read_json_lines(folder / "diagnostics.jsonl")


def same(a, b):
    """Bit for bit, however deeply nested; times apart."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(same(a[k], b[k]) for k in a if not (k == "time" or str(k).endswith("_time")))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def checkpoint(folder):
    return torch.load(folder / "checkpoint.pth", weights_only=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_is_the_same_with_it_and_without_bit_for_bit(recipe, workers):
    config = {**RANDOM, "num_workers": workers}
    plain = recipe.train("plain", config)
    diagnosed = recipe.train("diagnosed", config, options=["--diagnose_every", "1"])
    assert same(checkpoint(plain), checkpoint(diagnosed))  # weights, moments, losses of all epochs
    weights = [torch.load(f / "model.pth", weights_only=True) for f in (plain, diagnosed)]
    assert any("running_mean" in name for name in weights[0]) and same(*weights)
    assert not (plain / "diagnostics.jsonl").exists()
    steps = checkpoint(plain)["reporter"]["stats"][3]["train"]["total_count"]
    assert [one["step"] for one in lines(diagnosed)] == list(range(steps))


def test_what_is_written(recipe):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ["--diagnose_every", "2", "--use_tensorboard", "true", "--max_epoch", "3"]
    folder = recipe.train(options=options)
    found = lines(folder)
    assert [(one["step"], one["epoch"]) for one in found] == [(0, 1), (2, 2), (4, 3)]
    (pair,) = found[0]["gradients"]["pairs"]
    assert (pair["a"], pair["b"]) == ("surface", "meaning")
    assert list(pair["cosine"]) == ["embed", "0", "all"]
    assert all(-1 <= value <= 1 for value in pair["cosine"].values())
    first, last = found[0]["cka"], found[-1]["cka"]
    assert first["drift"] == {"embed": pytest.approx(1.0), "0": pytest.approx(1.0)}
    assert last["drift"]["0"] < 1 and last["since"] == 0 and last["utterances"] == 4
    assert list(last["decoders"][0]["layers"]) == ["0"]

    log = EventAccumulator(str(folder / "tensorboard/train"))
    log.Reload()
    events = log.Scalars("diagnostics_cosine_surface_meaning/0")
    assert [event.step for event in events] == [0, 2, 4]
    for event, one in zip(events, found, strict=True):
        value = one["gradients"]["pairs"][0]["cosine"]["0"]
        assert event.value == pytest.approx(value, rel=1e-6)
    tags = {tag for tag, _ in scalars(found[0])}
    assert tags <= set(log.Tags()["scalars"])
    assert {
        "diagnostics_norm_surface/all",
        "diagnostics_cka_drift/embed",
        "diagnostics_cka_decoders_surface_meaning/0",
    } <= tags


def test_a_continued_training_continues_the_file(recipe):
    options = ["--diagnose_every", "1"]
    whole = recipe.train("whole", RANDOM, options=options)
    parts = recipe.train("parts", RANDOM, options=[*options, "--max_epoch", "1"])
    made = lines(parts)
    # killed in the middle of the second epoch: a line of its own, and half of another
    with open(parts / "diagnostics.jsonl", "a") as handle:
        handle.write(json.dumps({**made[-1], "step": made[-1]["step"] + 1}) + '\n{"step": 9')
    recipe.train("parts", RANDOM, options=options)
    assert (parts / "diagnostics.jsonl").read_text() == (whole / "diagnostics.jsonl").read_text()
    recipe.train("parts", RANDOM, options=options)  # nothing left to do
    assert (parts / "diagnostics.jsonl").read_text() == (whole / "diagnostics.jsonl").read_text()


def test_turned_on_later_drift_counts_from_there(recipe):
    recipe.train(options=["--max_epoch", "1"])
    folder = recipe.train(options=["--max_epoch", "3", "--diagnose_every", "1"])
    steps = [one["step"] for one in lines(folder)]
    assert steps[0] > 0 and steps == list(range(steps[0], steps[-1] + 1))
    assert {one["cka"]["since"] for one in lines(folder)} == {steps[0]}


def test_a_training_begun_anew_begins_its_file_anew(recipe):
    folder = recipe.train(options=["--diagnose_every", "1"])
    before = (folder / "diagnostics.jsonl").read_text()
    for path in folder.glob("*.pth"):
        if path.name != "diagnostics_start.pth":
            path.unlink()
    recipe.train(options=["--diagnose_every", "1"])
    assert (folder / "diagnostics.jsonl").read_text() == before


def test_broken_files_of_an_earlier_run_are_named(recipe):
    folder = recipe.train(options=["--diagnose_every", "1", "--max_epoch", "1"])
    kept = (folder / "diagnostics.jsonl").read_text()
    (folder / "diagnostics.jsonl").write_text("what?\n" + kept)
    with pytest.raises(UserError, match=r"diagnostics.jsonl:1: not valid JSON"):
        recipe.train(options=["--diagnose_every", "1"])
    (folder / "diagnostics.jsonl").write_text(kept)
    (folder / "diagnostics_start.pth").write_bytes(b"half")
    with pytest.raises(UserError, match="diagnostics_start.pth"):
        recipe.train(options=["--diagnose_every", "1"])


def test_one_output_has_drift_only_and_is_told_so(recipe, capfd):
    outputs = {"surface": tiny_recipe.OUTPUTS["surface"]}
    options = ["--diagnose_every", "1", "--max_epoch", "1"]
    for one in lines(recipe.train(outputs=outputs, options=options)):
        assert one["gradients"] is None and one["cka"]["decoders"] == []
        assert one["cka"]["drift"]["0"] <= 1 + 1e-9
    assert "with one output only the drift of the encoder is measured" in capfd.readouterr().err


def test_outputs_without_labels_anywhere_are_null(tmp_path, capfd, monkeypatch):
    texts = [("K AE T", "a cat"), *[(surface, None) for surface in ("D AO G", "K AO") * 3]]
    monkeypatch.setattr(tiny_recipe, "TEXTS", texts)
    recipe = tiny_recipe.make(tmp_path)
    found = lines(recipe.train(options=["--diagnose_every", "1", "--max_epoch", "1"]))
    unlabelled = [one for one in found if one["gradients"]["labelled"]["meaning"] == 0]
    assert unlabelled
    for one in unlabelled:
        assert one["gradients"]["pairs"][0]["cosine"]["all"] is None
        assert one["gradients"]["norms"]["surface"]["all"] > 0
        assert "meaning: no labelled utterance in the batch" in one["notes"]
    assert all(one["cka"]["decoders"][0]["layers"]["0"] is None for one in found)
    said = capfd.readouterr().err
    assert "not diagnosed: surface and meaning: 1 held utterances have both" in said


def test_a_negative_number_is_wrong_usage_and_in_a_file_bad_input(recipe, capfd):
    with pytest.raises(SystemExit) as caught:
        recipe.train(options=["--diagnose_every", "-1"])
    assert caught.value.code == 2
    assert "--diagnose_every: -1 is negative" in capfd.readouterr().err
    with pytest.raises(UserError, match="diagnose_every: -1 is not a valid value") as named:
        recipe.train(config={"diagnose_every": -1})
    assert "0 for none" in named.value.remedy


def test_an_option_in_the_configuration_is_enough(recipe):
    assert lines(recipe.train(config={"diagnose_every": 100}))[0]["step"] == 0


@pytest.mark.slow
def test_two_processes_neither_wait_for_ever_nor_learn_anything_else(recipe):
    exp = recipe.train(config=RANDOM, options=["--max_epoch", "2"])
    plain = tiny_recipe.in_two_processes(exp, [])
    diagnosed = tiny_recipe.in_two_processes(exp, ["--diagnose_every", "1"])
    assert same(checkpoint(plain), checkpoint(diagnosed))
    steps = checkpoint(plain)["reporter"]["stats"][2]["train"]["total_count"]
    found = lines(diagnosed)
    assert [one["step"] for one in found] == list(range(steps))
    # a batch of five is shared: of the first one's utterances the first process has three
    assert found[0]["gradients"]["labelled"]["surface"] <= 3
    assert not (plain / "diagnostics.jsonl").exists()


# -- without a training around it


class Reporter:
    def get_total_count(self):
        return 0

    def get_epoch(self):
        return 1


def diagnostics(model, folder, names=OUTPUTS):
    held = [(list("abcdef"), batch(names, rows=6))]
    return Diagnostics(1, folder, model, lambda: held)


def one_record(model, folder, given):
    passed = list(diagnostics(model, folder).watch([(["x"], given)], Reporter()))
    assert passed[0][1] is given
    return lines(folder)[0]


def test_nothing_that_a_step_reads_is_changed(tmp_path):
    model = make(dropout_rate=0.3)
    model.train()
    model.encoder.encoders[0].eval()  # as if someone had frozen its statistics
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    modes = [m.training for m in model.modules()]
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    expected = (random.random(), np.random.rand(), torch.rand(3))
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    one_record(model, tmp_path, batch(OUTPUTS))
    assert same(expected, (random.random(), np.random.rand(), torch.rand(3)))
    assert same(buffers, dict(model.named_buffers()))
    assert same(grads, {n: p.grad for n, p in model.named_parameters()})
    assert [m.training for m in model.modules()] == modes


def test_batch_norm_would_have_been_changed():
    model = make().train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model(**batch(OUTPUTS))
    changed = dict(model.named_buffers())
    assert not same(before, changed)  # so that the test above tests something
    kept = {n: b.clone() for n, b in changed.items()}
    with undisturbed(model):
        model(**batch(OUTPUTS))
    assert same(kept, dict(model.named_buffers()))


def test_all_pairs_of_three_outputs(tmp_path):
    record = one_record(make(), tmp_path, batch(OUTPUTS))
    pairs = [(p["a"], p["b"]) for p in record["gradients"]["pairs"]]
    assert pairs == [("surface", "meaning"), ("surface", "third"), ("meaning", "third")]
    # the third has no decoder
    assert [(p["a"], p["b"]) for p in record["cka"]["decoders"]] == [("surface", "meaning")]
    assert record["notes"] == []


def test_activations_that_are_not_finite_are_null_with_the_layer_named(tmp_path, capsys):
    model = make()
    with torch.no_grad():
        next(model.encoder.encoders[1].parameters()).fill_(float("nan"))
    record = one_record(model, tmp_path, batch(OUTPUTS))
    assert "NaN" not in (tmp_path / "diagnostics.jsonl").read_text()
    assert set(record["gradients"]["norms"]["surface"].values()) == {None}
    assert record["cka"]["drift"]["1"] is None
    assert record["cka"]["drift"]["0"] == pytest.approx(1.0)
    assert "step 0, not diagnosed: encoder layer 1: not finite" in capsys.readouterr().err


def test_another_validation_set_starts_the_count_again(tmp_path):
    model = make()
    one_record(model, tmp_path, batch(OUTPUTS))

    class Later(Reporter):
        def get_total_count(self):
            return 5

    held = [(list("abcxyz"), batch(OUTPUTS, rows=6))]
    later = Diagnostics(1, tmp_path, model, lambda: held)
    list(later.watch([(["x"], batch(OUTPUTS))], Later()))
    record = lines(tmp_path)[-1]
    assert [one["step"] for one in lines(tmp_path)] == [0, 5] and record["cka"]["since"] == 5
    assert "it is measured from here on" in record["notes"][0]


def test_memory_that_runs_out_costs_the_diagnosis_and_not_the_training(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("espnet_ext.training.diagnostics.compare_gradients", full)
    record = one_record(make(), tmp_path, batch(OUTPUTS))
    assert record["gradients"] is None and record["notes"] == ["gradients: out of memory"]
    assert record["cka"]["drift"]["0"] == pytest.approx(1.0)


def test_options_are_espnets_and_ours():
    stock = {field for field in espnet.load("TrainerOptions").__dataclass_fields__}
    assert set(Options.__dataclass_fields__) == stock | {"diagnose_every", "diagnostics"}
