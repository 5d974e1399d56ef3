"""diagnose_every: its files, resumed trainings, and that it does not change the training."""

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
from espnet_ext.training.diagnostics import Diagnostics, preserve_state, scalars
from espnet_ext.training.trainer import Options

# Dropout, SpecAugment and batch norm are on, because a measurement could disturb them.
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
    """Whether nested values are equal bit by bit, except for times."""
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
def test_training_with_and_without_diagnostics_is_equal_bit_by_bit(recipe, workers):
    config = {**RANDOM, "num_workers": workers}
    plain = recipe.train("plain", config)
    diagnosed = recipe.train("diagnosed", config, options=["--diagnose_every", "1"])
    assert same(checkpoint(plain), checkpoint(diagnosed))  # weights, moments, losses of all epochs
    weights = [torch.load(f / "model.pth", weights_only=True) for f in (plain, diagnosed)]
    assert any("running_mean" in name for name in weights[0]) and same(*weights)
    assert not (plain / "diagnostics.jsonl").exists()
    steps = checkpoint(plain)["reporter"]["stats"][3]["train"]["total_count"]
    assert [line["step"] for line in lines(diagnosed)] == list(range(steps))


def test_records_and_tensorboard_scalars(recipe):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ["--diagnose_every", "2", "--use_tensorboard", "true", "--max_epoch", "3"]
    folder = recipe.train(options=options)
    records = lines(folder)
    assert [(r["step"], r["epoch"]) for r in records] == [(0, 1), (2, 2), (4, 3)]
    (pair,) = records[0]["gradients"]["pairs"]
    assert (pair["a"], pair["b"]) == ("surface", "meaning")
    assert list(pair["cosine"]) == ["embed", "0", "all"]
    assert all(-1 <= value <= 1 for value in pair["cosine"].values())
    first, last = records[0]["cka"], records[-1]["cka"]
    assert first["drift"] == {"embed": pytest.approx(1.0), "0": pytest.approx(1.0)}
    assert last["drift"]["0"] < 1 and last["since"] == 0 and last["utterances"] == 4
    assert list(last["decoders"][0]["layers"]) == ["0"]

    log = EventAccumulator(str(folder / "tensorboard/train"))
    log.Reload()
    events = log.Scalars("diagnostics_cosine_surface_meaning/0")
    assert [event.step for event in events] == [0, 2, 4]
    for event, record in zip(events, records, strict=True):
        value = record["gradients"]["pairs"][0]["cosine"]["0"]
        assert event.value == pytest.approx(value, rel=1e-6)
    tags = {tag for tag, _ in scalars(records[0])}
    assert tags <= set(log.Tags()["scalars"])
    assert {
        "diagnostics_norm_surface/all",
        "diagnostics_cka_drift/embed",
        "diagnostics_cka_decoders_surface_meaning/0",
    } <= tags


def test_resumed_training_appends_to_the_file(recipe):
    options = ["--diagnose_every", "1"]
    whole = recipe.train("whole", RANDOM, options=options)
    parts = recipe.train("parts", RANDOM, options=[*options, "--max_epoch", "1"])
    made = lines(parts)
    # killed in the middle of the second epoch, after one more line and half of a second line
    with open(parts / "diagnostics.jsonl", "a") as handle:
        handle.write(json.dumps({**made[-1], "step": made[-1]["step"] + 1}) + '\n{"step": 9')
    recipe.train("parts", RANDOM, options=options)
    assert (parts / "diagnostics.jsonl").read_text() == (whole / "diagnostics.jsonl").read_text()
    recipe.train("parts", RANDOM, options=options)  # nothing left to do
    assert (parts / "diagnostics.jsonl").read_text() == (whole / "diagnostics.jsonl").read_text()


def test_drift_is_measured_from_the_step_at_which_diagnostics_are_turned_on(recipe):
    recipe.train(options=["--max_epoch", "1"])
    folder = recipe.train(options=["--max_epoch", "3", "--diagnose_every", "1"])
    steps = [line["step"] for line in lines(folder)]
    assert steps[0] > 0 and steps == list(range(steps[0], steps[-1] + 1))
    assert {line["cka"]["since"] for line in lines(folder)} == {steps[0]}


def test_training_from_the_start_replaces_the_file(recipe):
    folder = recipe.train(options=["--diagnose_every", "1"])
    before = (folder / "diagnostics.jsonl").read_text()
    for path in folder.glob("*.pth"):
        if path.name != "diagnostics_start.pth":
            path.unlink()
    recipe.train(options=["--diagnose_every", "1"])
    assert (folder / "diagnostics.jsonl").read_text() == before


def test_damaged_files_of_an_earlier_run_raise_user_error(recipe):
    folder = recipe.train(options=["--diagnose_every", "1", "--max_epoch", "1"])
    kept = (folder / "diagnostics.jsonl").read_text()
    (folder / "diagnostics.jsonl").write_text("no JSON\n" + kept)
    with pytest.raises(UserError, match=r"diagnostics.jsonl:1: not valid JSON"):
        recipe.train(options=["--diagnose_every", "1"])
    (folder / "diagnostics.jsonl").write_text(kept)
    (folder / "diagnostics_start.pth").write_bytes(b"half")
    with pytest.raises(UserError, match="diagnostics_start.pth"):
        recipe.train(options=["--diagnose_every", "1"])


def test_system_with_one_output_measures_only_drift(recipe, capfd):
    outputs = {"surface": tiny_recipe.OUTPUTS["surface"]}
    options = ["--diagnose_every", "1", "--max_epoch", "1"]
    for record in lines(recipe.train(outputs=outputs, options=options)):
        assert record["gradients"] is None and record["cka"]["decoders"] == []
        assert record["cka"]["drift"]["0"] <= 1 + 1e-9
    assert "one output and no gradients to compare" in capfd.readouterr().err


def test_values_of_unlabelled_outputs_are_null(tmp_path, capfd, monkeypatch):
    texts = [("K AE T", "a cat"), *[(surface, None) for surface in ("D AO G", "K AO") * 3]]
    monkeypatch.setattr(tiny_recipe, "TEXTS", texts)
    recipe = tiny_recipe.make(tmp_path)
    records = lines(recipe.train(options=["--diagnose_every", "1", "--max_epoch", "1"]))
    unlabelled = [record for record in records if record["gradients"]["labelled"]["meaning"] == 0]
    assert unlabelled
    for record in unlabelled:
        assert record["gradients"]["pairs"][0]["cosine"]["all"] is None
        assert record["gradients"]["norms"]["surface"]["all"] > 0
        assert "meaning: no labelled utterance in the batch" in record["notes"]
    assert all(record["cka"]["decoders"][0]["layers"]["0"] is None for record in records)
    assert (
        "step 0: surface and meaning: too few sampled utterances have labels for both (1, "
        in capfd.readouterr().err
    )


def test_negative_number_of_steps_is_rejected_as_an_option_and_in_a_file(recipe, capfd):
    with pytest.raises(SystemExit) as caught:
        recipe.train(options=["--diagnose_every", "-1"])
    assert caught.value.code == 2
    assert "--diagnose_every: -1 is below 0" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        recipe.train(options=["--diagnose_every", "many"])
    assert "--diagnose_every: 'many' is not a whole number" in capfd.readouterr().err
    with pytest.raises(UserError, match="diagnose_every: invalid value -1") as caught:
        recipe.train(config={"diagnose_every": -1})
    assert "0: never" in caught.value.remedy


def test_diagnose_every_in_the_configuration_file(recipe):
    assert lines(recipe.train(config={"diagnose_every": 100}))[0]["step"] == 0


@pytest.mark.manual
def test_two_processes_do_not_hang_and_training_is_unchanged(recipe):
    exp = recipe.train(config=RANDOM, options=["--max_epoch", "2"])
    plain = tiny_recipe.in_two_processes(exp, [])
    diagnosed = tiny_recipe.in_two_processes(exp, ["--diagnose_every", "1"])
    assert same(checkpoint(plain), checkpoint(diagnosed))
    steps = checkpoint(plain)["reporter"]["stats"][2]["train"]["total_count"]
    records = lines(diagnosed)
    assert [record["step"] for record in records] == list(range(steps))
    # rank 0 gets three of the five utterances of the first batch
    assert records[0]["gradients"]["labelled"]["surface"] <= 3
    assert not (plain / "diagnostics.jsonl").exists()


# -- without a training command


class Reporter:
    def get_total_count(self):
        return 0

    def get_epoch(self):
        return 1


def diagnostics(model, folder, names=OUTPUTS):
    validation = [(list("abcdef"), batch(names, rows=6))]
    return Diagnostics(1, folder, model, lambda: validation)


def one_record(model, folder, training_batch):
    yielded = list(diagnostics(model, folder).watch([(["x"], training_batch)], Reporter()))
    assert yielded[0][1] is training_batch
    return lines(folder)[0]


def test_measurement_restores_random_states_buffers_gradients_and_modes(tmp_path):
    model = make(dropout_rate=0.3)
    model.train()
    model.encoder.encoders[0].eval()  # as if its statistics were frozen
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


def test_preserve_state_restores_batch_norm_statistics():
    model = make().train()
    before = {n: b.clone() for n, b in model.named_buffers()}
    model(**batch(OUTPUTS))
    changed = dict(model.named_buffers())
    assert not same(before, changed)  # a forward pass changes them, so there is something to test
    kept = {n: b.clone() for n, b in changed.items()}
    with preserve_state(model):
        model(**batch(OUTPUTS))
    assert same(kept, dict(model.named_buffers()))


def test_all_pairs_of_three_outputs_are_compared(tmp_path):
    record = one_record(make(), tmp_path, batch(OUTPUTS))
    pairs = [(p["a"], p["b"]) for p in record["gradients"]["pairs"]]
    assert pairs == [("surface", "meaning"), ("surface", "third"), ("meaning", "third")]
    # the third output has no decoder
    assert [(p["a"], p["b"]) for p in record["cka"]["decoders"]] == [("surface", "meaning")]
    assert record["notes"] == []


def test_values_of_non_finite_activations_are_null_and_the_layer_is_printed(tmp_path, capsys):
    model = make()
    with torch.no_grad():
        next(model.encoder.encoders[1].parameters()).fill_(float("nan"))
    record = one_record(model, tmp_path, batch(OUTPUTS))
    assert "NaN" not in (tmp_path / "diagnostics.jsonl").read_text()
    assert set(record["gradients"]["norms"]["surface"].values()) == {None}
    assert record["cka"]["drift"]["1"] is None
    assert record["cka"]["drift"]["0"] == pytest.approx(1.0)
    assert "step 0: encoder layer 1: not finite" in capsys.readouterr().err


def test_drift_restarts_if_the_validation_set_changes(tmp_path):
    model = make()
    one_record(model, tmp_path, batch(OUTPUTS))

    class Later(Reporter):
        def get_total_count(self):
            return 5

    validation = [(list("abcxyz"), batch(OUTPUTS, rows=6))]
    later = Diagnostics(1, tmp_path, model, lambda: validation)
    list(later.watch([(["x"], batch(OUTPUTS))], Later()))
    record = lines(tmp_path)[-1]
    assert [line["step"] for line in lines(tmp_path)] == [0, 5] and record["cka"]["since"] == 5
    assert "drift is now measured from step 5" in record["notes"][0]


def test_out_of_memory_skips_the_measurement_but_not_the_training(tmp_path, monkeypatch):
    def out_of_memory(*_args, **_options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("espnet_ext.training.diagnostics.compare_gradients", out_of_memory)
    record = one_record(make(), tmp_path, batch(OUTPUTS))
    assert record["gradients"] is None and record["notes"] == ["gradients: out of memory"]
    assert record["cka"]["drift"]["0"] == pytest.approx(1.0)


def test_options_are_those_of_espnet_and_our_own():
    stock = {field for field in espnet.load("TrainerOptions").__dataclass_fields__}
    ours = {"diagnose_every", "diagnostics", "max_invalid_steps"}
    ours |= {"finetune_conf", "freeze_schedule", "encoder_cache", "configuration"}
    ours |= {"save_interval_minutes", "save_interval_steps", "stop_request", "epoch"}
    ours |= {"scan_largest_batch", "fsdp"}
    assert set(Options.__dataclass_fields__) == stock | ours
