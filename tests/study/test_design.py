"""The design of a study, its order of running, and the calls of run.sh."""

from pathlib import Path

import pytest
from grids import SYSTEMS, study_of, write_cell, write_design

from espnet_ext.errors import UserError
from espnet_ext.study.design import Cell, Setting, read_study, select
from espnet_ext.study.plan import calls, hours, overview, shell_settings

RECIPES = Path(__file__).parents[2] / "egs2"


def test_blocks_determine_the_order_and_repeat_no_cell(tmp_path):
    blocks = [{"conditions": ["normal"], "shares": [1.0], "seeds": [0]}, {}]
    cells = study_of(tmp_path, blocks=blocks).cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 2 * 4
    first = cells[:8]
    assert {cell.seed for cell in first} == {0} and {cell.share for cell in first} == {1.0}
    assert [cell.language for cell in first] == ["ko"] * 4 + ["en"] * 4


def test_comparisons_are_planned_where_both_systems_are_trained(tmp_path):
    blocks = [{"conditions": ["normal"], "shares": [1.0]}, {"systems": ["so_surface", "do"]}]
    study = study_of(tmp_path, blocks=blocks)
    planned = [(c.name, str(setting), family) for c, setting, family in study.hypotheses()]
    assert planned.count(("joint_surface", "normal, ko, 100 %", "primary")) == 1
    assert ("joint_surface", "fewer, en, 50 %", "secondary") in planned
    assert not any(name == "joint_meaning" and "fewer" in where for name, where, _ in planned)
    assert sum(family == "primary" for *_, family in planned) == 4  # 2 comparisons × 2 languages


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sistems": ["do"]}, "unknown key 'sistems'"),
        ({"seeds": []}, "lacks seeds"),
        ({"shares": [1.5]}, "share 1.5"),
        ({"blocks": [{"seed": [0]}]}, "unknown axis 'seed'"),
        ({"blocks": [{"seeds": [7]}]}, "seeds has no 7"),
        ({"batches_per_epoch": {"ko": 1}}, "batches_per_epoch lacks en"),
        ({"analyses": ["probe"]}, "no analysis 'probe'"),
        ({"analyses": ["probes"], "similarity": []}, "analyses without systems"),
        ({"similarity": ["dual"]}, "similarity: no system 'dual'"),
        ({"metrics": {"words": "wer"}}, "metrics: no output 'words'"),
        ({"metrics": {"meaning": "bleu"}}, "meaning has no metric 'bleu'"),
        ({"comparisons": [{"name": "x", "a": "do", "b": "dx"}]}, "missing 2 required"),
        ({"comparisons": ["joint"]}, "comparisons: 'joint' is not a mapping"),
        ({"languages": "ko"}, "languages: 'ko' is not a list"),
        ({"languages": ["ko", False]}, "languages: False is not a name"),  # YAML reads no as false
        ({"seeds": [0, 1, 1]}, "seeds: duplicate value 1"),
        ({"seeds": ["a"]}, "seeds: 'a' is not a whole number"),
        ({"shares": ["half"]}, "shares: 'half' is not a number"),
        ({"conditions": ["normal"]}, r"conditions: \['normal'\] is not a mapping"),
        ({"blocks": [{"languages": "ko"}]}, "blocks: languages: 'ko' is not a list"),
        ({"blocks": {"seeds": [0]}}, "blocks: .* is not a list"),
        ({"primary": {"shares": 1.0}}, "primary: unknown key 'shares'"),
        ({"primary": {"share": 0.3}}, "primary: no share 0.3: no test would be primary"),
        ({"primary": {"condition": "quiet"}}, "primary: no condition 'quiet'"),
        ({"drop": {"seeds": 1}}, "drop: unknown key 'seeds'"),
        ({"drop": {"output": "canonical"}}, "drop: output 'canonical'"),
        ({"parallel": 0}, "parallel: 0 is not a whole number, 1 or more"),
        ({"batches_per_epoch": {"ko": 190, "en": "many"}}, "batches_per_epoch.en: 'many'"),
        ({"minutes": {"ko": "5 min"}}, "minutes.ko: '5 min' is not a number"),
    ],
)
def test_wrong_design_raises_user_error(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        study_of(tmp_path, **changes)
    assert caught.value.remedy


def test_filter_selects_cells(tmp_path):
    study = study_of(tmp_path)
    words = ["languages=ko", "systems=do,so_surface", "shares=0.5", "seeds=1", "conditions=normal"]
    expected = [Cell("normal", "ko", 0.5, 1, system) for system in ("so_surface", "do")]
    assert select(study.cells(), study, words) == expected
    for word in ("shares=1", "shares=1.0", "shares=100%"):
        assert len(select(study.cells(), study, [word])) == len(study.cells()) // 2
    for word, message in (("language=ko", "is not AXIS=VALUE"), ("seeds=5", "seeds has no '5'")):
        with pytest.raises(UserError, match=message):
            select(study.cells(), study, [word])


def test_calls_leave_out_cells_that_are_done(tmp_path):
    study = study_of(tmp_path)
    cells = [Cell("normal", "ko", 1.0, 0, system) for system in SYSTEMS]
    write_cell(tmp_path / "exp", cells[0], study)
    lines = list(calls(study, tmp_path / "exp", cells, "valid", per_call=2))
    first = ["normal", "ko", "100", "0", "190", "270", "so_meaning do"]
    assert [line.split("\t") for line in lines] == [first, [*first[:-1], "do_meaning_ctc"]]
    every = calls(study, tmp_path / "exp", cells, "valid", per_call=2, verify=True)
    assert [line.split("\t")[-1] for line in every] == [
        "so_surface so_meaning",
        "do do_meaning_ctc",
    ]
    assert hours(study, cells) == pytest.approx(4 * 4.5 / 60 / 2)
    text = overview(study, tmp_path / "exp", cells)
    assert "1/4" in text[1] and "so_surface✓" in text[1]
    assert text[-1].startswith("1 of 4 cells are trained and scored on valid, 0 on test")


def test_shell_settings_are_quoted(tmp_path):
    study = study_of(tmp_path, conditions={"normal": "", "x": "--local_data_opts '$(id)'"})
    lines = list(shell_settings(study))
    assert "recipe=egs2/mini_l2/dual1" in lines
    assert lines[-1] == "condition_options[x]='--local_data_opts '\"'\"'$(id)'\"'\"''"


def test_part_of_the_dropped_labels_can_be_chosen(tmp_path):
    assert study_of(tmp_path, drop={"seed": 3}).drop == {"output": "surface", "seed": 3}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/study?/conf/study.yaml")), ids=str)
def test_designs_of_the_recipes_are_valid(path):
    assert read_study(path).cells()


def test_quick_design_has_few_batches(tmp_path):
    study = read_study(write_design(tmp_path), quick=True)
    assert study.batches_per_epoch == {"ko": 4, "en": 4}


def test_primary_settings_can_be_chosen(tmp_path):
    study = study_of(tmp_path, primary={"condition": "fewer", "share": 0.5})
    assert study.is_primary(Setting("fewer", "en", 0.5))
    assert not study.is_primary(Setting("normal", "en", 1.0))
