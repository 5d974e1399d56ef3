"""Collecting results: what must be equal, and what the file has."""

import dataclasses
import json

import jiwer
import pytest
from grids import SYSTEMS, study_of, write_cell, write_json, write_similarity

from espnet_ext.errors import UserError
from espnet_ext.study.collect import collect, read_cells, write_cells
from espnet_ext.study.design import Cell, Setting, analysis_file, folder_of
from espnet_ext.study.merge import merge


@pytest.fixture
def study(tmp_path):
    return study_of(tmp_path, conditions={"normal": ""}, languages=["ko"], shares=[1.0])


@pytest.fixture
def root(tmp_path, study):
    for cell in study.cells():
        write_cell(tmp_path / "exp", cell, study)
    return tmp_path / "exp"


def cell(system, seed=1):
    return Cell("normal", "ko", 1.0, seed, system)


def change(path, key, value):
    content = json.loads(path.read_text())
    content[key] = value
    path.write_text(json.dumps(content))


def test_errors_and_tokens_are_summed_by_speaker_and_bin(root, study, tmp_path):
    setting = Setting("normal", "ko", 1.0)
    write_similarity(root, setting, 0, {("do", "so_surface", False): 0.5, ("do", "do", True): 0.9})
    path = folder_of(root, cell("do", 0)) / "diagnostics.jsonl"
    pair = {"a": "surface", "b": "meaning", "cosine": {"all": 0.25, "0": 0.5}}
    lines = [{"step": 0, "gradients": {"pairs": [pair]}}, {"step": 9, "gradients": None}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = collect(study, root, ["valid"])
    assert len(content["cells"]) == 8 and content["missing"] == []
    data = content["data"]["valid normal ko"]
    # Surface and meaning differ in one character; surface and canonical too, of four
    assert data["tokens"]["surface"] == {"1-3": [8, 8, 8]} and data["learner"] == [25.0] * 3
    (joint,) = [c for c in content["cells"] if (c["system"], c["seed"]) == ("do", 0)]
    assert joint["errors"] == {"surface": {"1-3": [2, 2, 2]}, "meaning": {"1-3": [2, 2, 2]}}
    assert joint["training"]["gradient_cosine"] == 0.25
    assert joint["training"]["updates"] == 5 * 190
    assert [(row["a"], row["b"], row["cka"]) for row in content["similarity"]] == [
        ("do", "so_surface", 0.5),
        ("do", "do", 0.9),
    ]
    write_cells(tmp_path / "cells.json", content)
    assert read_cells(tmp_path / "cells.json") == json.loads(json.dumps(content))
    assert len((tmp_path / "cells.json").read_text().splitlines()) < 30  # one line per cell


def test_metric_of_the_design_replaces_that_of_the_token_type(root, study):
    """Word errors as jiwer counts them; an utterance without a hypothesis is all deletions."""
    hypotheses = ["국물 멋 더", "국물 맛", None]
    path = folder_of(root, cell("do", 0)) / "decode/valid/utterances.json"
    content = json.loads(path.read_text())
    for row, text in zip(content["utterances"], hypotheses * 2, strict=True):
        row["hypotheses"] = {"surface": "x", **({"meaning": text} if text else {})}
    path.write_text(json.dumps(content))
    with_metric = dataclasses.replace(study, metrics={"meaning": "wer"})
    collected = collect(with_metric, root, ["valid"])
    (joint,) = [c for c in collected["cells"] if (c["system"], c["seed"]) == ("do", 0)]
    expected = {}
    for row in content["utterances"]:
        counted = jiwer.process_words(row["texts"]["meaning"], row["hypotheses"].get("meaning", ""))
        errors = counted.substitutions + counted.deletions + counted.insertions
        expected[row["speaker"]] = expected.get(row["speaker"], 0) + errors
    assert joint["errors"]["meaning"] == {"1-3": list(expected.values())}
    assert joint["errors"]["surface"] == {"1-3": [2, 2, 2]}, "as scored"
    data = collected["data"]["valid normal ko"]
    assert data["tokens"]["meaning"] == {"1-3": [4, 4, 4]} and data["metrics"] == {"meaning": "wer"}
    with pytest.raises(UserError, match="references, speakers or metrics .* .metrics."):
        merge(study, {"a": collect(study, root, ["valid"]), "b": {**collected, "cells": []}})


def test_similarity_names_the_encoders_of_one_output(root, study):
    setting = Setting("normal", "ko", 1.0)
    write_similarity(root, setting, 0, {("do", "so_surface", False): 0.5})
    path = analysis_file(root, setting, 0, "cka")
    (pair,) = json.loads(path.read_text())["pairs"]
    write_json(path, {"pairs": [{**pair, "output_a": "surface"}, pair]})
    first, second = collect(study, root, ["valid"])["similarity"]
    assert first == {**second, "output_a": "surface"} and "output_a" not in second


def test_swaps_and_probes_of_the_last_layer_are_collected(root, study):
    setting, about = Setting("normal", "ko", 1.0), {"rate": 12.5, "interval": [1, 2], "r2": 0.5}
    swap = {"output": "surface", "decoder": "so_surface", "encoder": "do", "connection": "stitched"}
    swaps = [{**swap, **about}, {**swap, "encoder_output": "surface", **about}]
    write_json(analysis_file(root, setting, 1, "swaps"), {"rows": swaps})
    probes = [
        {"task": task, "system": "do", "layer": layer, "accuracy": accuracy, "control": 1.0}
        for task, layer, accuracy in (
            *(("surface", "embed", 10.0), ("surface", "0", 20.0), ("surface", "output", 30.0)),
            *(("meaning", "embed", 40.0), ("meaning", "0", 50.0), ("speaker", "0", 60.0)),
        )
    ]
    write_json(analysis_file(root, setting, 1, "probes"), {"rows": probes})
    assert "swaps" not in collect(study, root, ["valid"]), "not in the design"
    with_analyses = dataclasses.replace(study, analyses=["swaps", "probes"])
    content = collect(with_analyses, root, ["valid"])
    place = {"condition": "normal", "language": "ko", "share": 1.0, "seed": 1}
    assert content["swaps"] == [
        {**place, **swap, "encoder_output": output, "rate": 12.5} for output in (None, "surface")
    ]
    of_do = {**place, "system": "do", "output": None}
    assert content["probes"] == [
        {**of_do, "task": "surface", "layer": "output", "accuracy": 30.0},
        {**of_do, "task": "meaning", "layer": "0", "accuracy": 50.0},
    ]
    assert merge(with_analyses, {"a": content, "b": content})["swaps"] == content["swaps"]
    other = {**content, "probes": [{**content["probes"][0], "accuracy": 1.0}]}
    with pytest.raises(UserError, match="other results than in a"):
        merge(with_analyses, {"a": content, "b": other})


def test_missing_cells_are_named(root, study):
    (folder_of(root, cell("do")) / "decode/valid/score.json").unlink()
    with pytest.raises(UserError, match="1 results are missing: normal, ko, 100 %, do, seed 1"):
        collect(study, root, ["valid"])
    content = collect(study, root, ["valid"], require_all=False)
    assert content["missing"] == ["normal, ko, 100 %, do, seed 1 (valid)"]


def test_training_that_is_not_in_the_design_is_refused(root, study):
    write_json(root / "normal/ko/share100/ko/do_seed7/train.json", {})
    with pytest.raises(UserError, match="do_seed7: a training that is not in the design"):
        collect(study, root, ["valid"])


@pytest.mark.parametrize(
    ("name", "key", "value", "message"),
    [
        ("trained_with.json", "data", {"train text.surface": "x"}, "training data .train text"),
        ("decode/valid/utterances.json", "data_sha256", "x", "the references of valid differ"),
        ("decode/valid/decode.json", "weights", "other.pth", "options of decoding do differ"),
        ("decode/valid/decode.json", "failed", 2, "2 utterances could not be decoded"),
        ("train.json", "max_epoch", 6, "max_epoch differ from those of"),
    ],
)
def test_mixed_cells_are_refused(root, study, name, key, value, message):
    change(folder_of(root, cell("do")) / name, key, value)
    with pytest.raises(UserError, match=message) as caught:
        collect(study, root, ["valid"])
    assert "do, seed 1" in caught.value.message and caught.value.remedy


def test_systems_that_were_decoded_with_another_beam_are_refused(root, study):
    """All trainings of `do` have the same beam, but not that of the other systems."""
    options = {name: {"beam_size": 2} for name in ("surface", "meaning")}
    for path in root.glob("*/*/*/*/do_seed*/decode/*/decode.json"):
        change(path, "options", options)
    with pytest.raises(UserError, match="beam_size of decoding (surface|meaning) differ from"):
        collect(study, root, ["valid"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("seed", 0, "was trained with seed 0, not 1"),
        ("num_iters_per_epoch", None, "was trained with num_iters_per_epoch None, not 190"),
        ("optim", "sgd", "optim differ"),
        ("outputs", {"surface": {"ctc_weight": 0.5}}, "the options of do differ"),
    ],
)
def test_cells_of_other_options_are_refused(root, study, option, value, message):
    path = folder_of(root, cell("do")) / "trained_with.json"
    configuration = json.loads(path.read_text())["configuration"]
    change(path, "configuration", {**configuration, option: value})
    with pytest.raises(UserError, match=message):
        collect(study, root, ["valid"])


def test_updates_are_those_that_were_made(root, study):
    folder = folder_of(root, cell("do"))

    def updates():
        cells = collect(study, root, ["valid"])["cells"]
        return {row["system"]: row["training"]["updates"] for row in cells if row["seed"] == 1}

    assert updates()["do"] == 5 * 190
    change(folder / "train.json", "epochs", 3)  # ended by patience
    assert updates()["do"] == 3 * 190 and updates()["so_surface"] == 5 * 190
    for path in root.rglob("trained_with.json"):
        configuration = json.loads(path.read_text())["configuration"]
        change(path, "configuration", {**configuration, "accum_grad": 4})
    # ESPnet updates after every fourth batch; two of the 190 batches are left at the end
    assert updates()["do"] == 3 * sum(number % 4 == 0 for number in range(1, 191))


def test_token_lists_may_depend_on_the_data(root, study):
    path = folder_of(root, cell("do")) / "trained_with.json"
    configuration = json.loads(path.read_text())["configuration"]
    outputs = {name: {"ctc_weight": 0.2, "token_list": "other"} for name in SYSTEMS["do"]}
    change(path, "configuration", {**configuration, "outputs": outputs})
    assert len(collect(study, root, ["valid"])["cells"]) == 8


def test_other_file_is_refused(tmp_path):
    write_json(tmp_path / "cells.json", {"kind": "score"})
    with pytest.raises(UserError, match="is not a file of the command collect"):
        read_cells(tmp_path / "cells.json")
