"""Merging collected results: the file of the whole grid, or a named reason why not."""

import copy
import json

import pytest
from grids import study_of, write_cell, write_design, write_similarity

from espnet_ext.bin import study as command
from espnet_ext.errors import UserError
from espnet_ext.study.collect import collect, read_cells, write_cells
from espnet_ext.study.design import Setting
from espnet_ext.study.merge import merge

GRID = {"conditions": {"normal": ""}, "languages": ["ko"]}


@pytest.fixture
def study(tmp_path):
    return study_of(tmp_path, **GRID)


def collected(study, folder, cells, similarity=True):
    for cell in cells:
        write_cell(folder, cell, study)
    if similarity:
        write_similarity(folder, Setting("normal", "ko", 1.0), 0, {("do", "do", True): 0.9})
    return collect(study, folder, ["valid"], require_all=False)


@pytest.fixture
def parts(study, tmp_path):
    """Results of two machines: the first seed and the second one."""
    cells = study.cells()
    return {
        f"{seed}.json": collected(
            study, tmp_path / str(seed), [cell for cell in cells if cell.seed == seed]
        )
        for seed in study.seeds
    }


def test_parts_give_the_file_of_the_whole_grid(study, parts, tmp_path):
    whole = collected(study, tmp_path / "whole", study.cells())
    merged = merge(study, dict(reversed(parts.items())))
    assert merged.pop("notes") == [] and merged.pop("sources") == [{}]
    assert merged == whole
    part = merge(study, {"0.json": parts["0.json"], "again.json": parts["0.json"]})
    assert part["missing"] == parts["0.json"]["missing"] and len(part["missing"]) == 8


def first_cell(content):
    return content["cells"][0]


def change_errors(content):
    first_cell(content)["errors"]["surface"]["1-3"][0] += 1


def change_tokens(content):
    content["data"]["valid normal ko"]["tokens"]["surface"]["1-3"][0] += 1


def test_encoders_of_each_output_are_kept(study, parts):
    """A system with an encoder output per output has a ceiling per output."""
    content = copy.deepcopy(parts["0.json"])
    (row,) = content["similarity"]
    outputs = [{"output_a": name, "output_b": name} for name in ("surface", "meaning")]
    content["similarity"] = [{**row, **outputs[0]}, {**row, **outputs[1], "cka": 0.7}]
    assert merge(study, {"a.json": content})["similarity"] == content["similarity"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_errors, r"b.json: normal, ko, 100 %, so_surface, seed 0: other results than in a"),
        (change_tokens, "b.json: valid normal ko: other numbers of reference tokens of surface"),
        (
            lambda content: content["data"]["valid normal ko"].update(sha256="x"),
            r"valid normal ko: other references, speakers or metrics than .* .sha256",
        ),
        (lambda content: content.update(title="Another"), "of the study 'Another'"),
        (lambda content: first_cell(content).update(seed=7), "seed 7 is not in the design"),
        (
            lambda content: content["similarity"][0].update(cka=0.1),
            "b.json: normal, ko, 100 %, do, seed 0: other results",
        ),
    ],
)
def test_files_that_contradict_each_other_are_refused(study, parts, change, message):
    changed = copy.deepcopy(parts["0.json"])
    change(changed)
    with pytest.raises(UserError, match=message) as caught:
        merge(study, {"a.json": parts["0.json"], "b.json": changed})
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("configuration", "x", "the options of the training differ from those of .* in 0.json"),
        ("shared", "x", "the options that all systems share differ"),
        ("planned_updates", 1, "the planned updates differ"),
        ("decoding", "x", "the options of decoding differ"),
        ("data", {"train text.surface": "x"}, "the training data .train text.surface. differ"),
    ],
)
def test_trainings_of_one_setting_must_have_equal_options(study, parts, key, value, message):
    parts["1.json"]["cells"][0]["training"][key] = value
    with pytest.raises(UserError, match=message):
        merge(study, parts, allow_other_options=True)


def test_quick_runs_are_merged_with_quick_runs_only(study, parts):
    first, second = parts.values()
    first["quick"] = True
    with pytest.raises(UserError, match="only one of them is of a quick run"):
        merge(study, parts)
    second["quick"] = True
    assert merge(study, parts)["quick"] is True


def test_other_audio_is_noted(study, parts):
    for number, content in enumerate(parts.values()):
        for cell in content["cells"]:
            cell["training"]["data"] = {"train audio": str(number), "valid audio": "same"}
    note = "normal, ko, 100 %: the audio of the training set is not the same in all files"
    assert note in merge(study, parts)["notes"]


def test_settings_with_other_options_are_allowed_on_request_and_noted(study, tmp_path):
    parts = {}
    for share in study.shares:
        cells = [cell for cell in study.cells() if cell.share == share]
        parts[f"{share}.json"] = collected(study, tmp_path / str(share), cells)
    for cell in parts["0.5.json"]["cells"]:
        if cell["system"] == "do":
            cell["training"]["configuration"] = "x"
    with pytest.raises(UserError, match=r"trained with other options than normal, ko, 100 %, do"):
        merge(study, parts)
    note = "normal, ko, 50 %: trained with other options or another version than normal, ko, 100 %"
    assert merge(study, parts, allow_other_options=True)["notes"] == [f"{note} (do)"]
    for cell in parts["0.5.json"]["cells"]:
        cell["training"] |= {"configuration": None, "decoding": "x"}
    with pytest.raises(UserError, match="decoded with other options than normal, ko, 100 %"):
        merge(study, parts)
    for cell in parts["0.5.json"]["cells"]:
        del cell["training"]["decoding"]
    (note,) = merge(study, parts)["notes"]
    assert note == "The options of decoding were not recorded, and not compared: normal, ko, 50 %"


def test_two_systems_of_a_setting_must_share_their_options(study, parts):
    content = parts["0.json"]
    others = [cell for cell in content["cells"] if cell["system"] == "do"]
    singles = [cell for cell in content["cells"] if cell["system"] != "do"]
    changed = copy.deepcopy({**content, "cells": others})
    for cell in changed["cells"]:
        cell["training"]["shared"] = "another learning rate"
    with pytest.raises(UserError, match="b.json: .*do, seed 0: the options that all systems share"):
        merge(study, {"a.json": {**content, "cells": singles}, "b.json": changed})


def test_command_writes_a_file_whose_report_names_its_sources(study, parts, tmp_path, capsys):
    for seed, (name, content) in enumerate(parts.items()):
        provenance = {"command": f"collect on machine {seed}", "commit": "c", "date": "d"}
        write_cells(tmp_path / name, {**content, "provenance": provenance})
    inputs = " ".join(str(tmp_path / name) for name in parts)
    options = ["--study", str(write_design(tmp_path, **GRID))]
    results = tmp_path / "cells.json"
    command.main(["merge", *options, "--inputs", inputs, "--results", str(results)])
    assert "16 results, 0 are missing" in capsys.readouterr().out
    assert [s["command"] for s in read_cells(results)["sources"]] == [
        "collect on machine 0",
        "collect on machine 1",
    ]
    again = tmp_path / "again.json"  # sources of merged files are kept, once each
    inputs = f"{results} {tmp_path / '0.json'}"
    command.main(["merge", *options, "--inputs", inputs, "--results", str(again)])
    assert read_cells(again)["sources"] == read_cells(results)["sources"]
    output = tmp_path / "RESULTS.md"
    command.main(["report", *options, "--results", str(results), "--output", str(output)])
    text = output.read_text()
    assert "collect on machine 0" in text and "collect on machine 1" in text
    with pytest.raises(UserError, match="both input and output"):
        command.main(["merge", *options, "--inputs", inputs, "--results", str(results)])
    with pytest.raises(SystemExit):
        command.main(["merge", *options, "--inputs", str(results)])
    assert "at least two files" in capsys.readouterr().err
    json.loads(results.read_text())


def test_trainings_that_ended_early_may_have_fewer_updates(study, parts):
    parts["1.json"]["cells"][0]["training"]["updates"] = 1
    assert merge(study, parts)["cells"]
    for content in parts.values():  # of an earlier version, which recorded the planned number
        for cell in content["cells"]:
            cell["training"]["updates"] = cell["training"].pop("planned_updates")
    assert merge(study, parts)["cells"]
