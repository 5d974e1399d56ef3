"""Families of tests, and the command from files to report."""

import copy
import dataclasses
import json
import time
from pathlib import Path

import pytest
from grids import made_up, study_of, write_cell, write_design

from espnet_ext.bin import study as command
from espnet_ext.errors import UserError
from espnet_ext.study.collect import read_cells, write_cells
from espnet_ext.study.design import read_study
from espnet_ext.study.figures import NAMES, write_figures
from espnet_ext.study.page import by_first_language, power_rows, sections
from espnet_ext.study.results import Results, of_design, planned_rows


def better_surface(cell, output):
    """Joint training halves the surface error, and changes nothing for the meaning."""
    return 10.0 if output == "surface" and cell.system != "so_surface" else 20.0


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_of(tmp_path_factory.mktemp("design"), seeds=[0, 1, 2])


@pytest.fixture(scope="module")
def content(study):
    return made_up(study, better_surface, cosine=lambda cell: 0.1)


def test_effect_is_found_and_its_absence_is_not(study, content):
    rows = [
        row for row in planned_rows(study, Results(content, "valid")) if row.family == "primary"
    ]
    assert len(rows) == 4
    for row in rows:
        assert row.is_confirmed == (row.comparison.output == "surface")
        expected = -10.0 if row.comparison.output == "surface" else 0.0
        assert row.effect.difference == pytest.approx(expected, abs=1.5)


def test_holm_counts_missing_tests(study, content):
    """Of four primary tests two are missing: the smallest p is still multiplied by four."""
    few = {**content, "cells": [c for c in content["cells"] if c["language"] == "ko"]}
    rows = [row for row in planned_rows(study, Results(few, "valid")) if row.family == "primary"]
    known = [row for row in rows if row.effect is not None]
    assert len(rows) == 4 and len(known) == 2
    first = min(known, key=lambda row: row.effect.p_value)
    assert first.p_holm == pytest.approx(4 * first.effect.p_value, abs=1e-9)
    assert all(row.p_holm is None for row in rows if row.effect is None)


def test_one_seed_confirms_nothing(study, content):
    one = {**content, "cells": [c for c in content["cells"] if c["seed"] == 0]}
    results = Results(one, "valid")
    rows = planned_rows(study, results)
    assert not any(row.is_confirmed for row in rows)
    text = " ".join(sections(study, results)[0].findings)
    assert "says nothing about other seeds" in text


@pytest.mark.parametrize(
    ("seeds_of", "over_seeds", "over_speakers_only"),
    [
        ({"ko": [0, 1, 2], "en": [0, 1, 2]}, True, False),
        ({"ko": [0], "en": [0]}, False, True),
        ({"ko": [0, 1, 2], "en": [0]}, True, True),
    ],
)
def test_caption_of_differences_follows_the_number_of_seeds(
    study, content, seeds_of, over_seeds, over_speakers_only
):
    cells = [c for c in content["cells"] if c["seed"] in seeds_of[c["language"]]]
    results = Results({**content, "cells": cells}, "valid")
    primary = sections(study, results)[1]
    caption = primary.items[0].sentence
    assert ("interval over speakers and seeds" in caption) == over_seeds
    assert ("over speakers only" in caption) == over_speakers_only


def test_power_is_of_the_primary_comparisons(study, content):
    rows = list(power_rows(study, Results(content, "valid"), speakers=16, studies=300))
    assert len(rows) == 4
    for row in rows:
        assert 0 < row.single < row.corrected and row.more_seeds < row.corrected


def test_power_leaves_out_speakers_without_tokens_of_the_output(study, content):
    """A speaker without surface transcripts has no errors of it, and must not remove the row."""
    results = Results(content, "valid")
    whole = list(power_rows(study, results, speakers=16, studies=100))
    content = copy.deepcopy(content)
    for data in content["data"].values():
        data["tokens"]["surface"] = {
            name: [0, *n[1:]] for name, n in data["tokens"]["surface"].items()
        }
    for cell in content["cells"]:
        if "surface" in cell["errors"]:
            by_bin = cell["errors"]["surface"]
            cell["errors"]["surface"] = {name: [0, *n[1:]] for name, n in by_bin.items()}
    rows = list(power_rows(study, Results(content, "valid"), speakers=16, studies=100))
    assert [(row.comparison, row.setting) for row in rows] == [
        (row.comparison, row.setting) for row in whole
    ]


def test_a_quick_run_concludes_nothing(study, content):
    state = sections(study, Results({**content, "quick": True}, "valid"))[0]
    assert state.findings == [] and "the numbers mean nothing" in state.notes[0]
    assert sections(study, Results(content, "valid"))[0].findings


def test_unknown_set_raises_user_error(content):
    with pytest.raises(UserError, match="no cell has results of set 'test'"):
        Results(content, "test")


def test_figures_are_reproducible_and_replace_only_figures(study, content, tmp_path):
    results = Results(content, "valid")
    first = [path.read_bytes() for path in write_figures(study, results, tmp_path)]
    assert [path.read_bytes() for path in write_figures(study, results, tmp_path)] == first
    assert sorted(path.stem for path in tmp_path.glob("*.svg")) == sorted(NAMES)
    (tmp_path / "mechanism.svg").write_text("notes")
    with pytest.raises(UserError, match="is not a figure"):
        write_figures(study, results, tmp_path)


def test_figures_of_many_conditions(tmp_path):
    """There are more conditions than markers."""
    conditions = {f"c{number}": "" for number in range(9)}
    options = {"conditions": conditions, "seeds": [0], "shares": [1.0], "languages": ["ko"]}
    many = study_of(tmp_path, **options)
    results = Results(made_up(many, better_surface, cosine=lambda cell: 0.1), "valid")
    assert len(write_figures(many, results, tmp_path / "figures")) == len(NAMES)


def test_figure_of_one_setting_names_every_comparison(tmp_path):
    """Nothing varies but the systems."""
    options = {"conditions": {"both": ""}, "shares": [1.0], "languages": ["en"]}
    study = study_of(tmp_path, **options)
    results = Results(made_up(study, better_surface, cosine=lambda cell: 0.1), "valid")
    write_figures(study, results, tmp_path)
    text = (tmp_path / "differences.svg").read_text(encoding="utf-8")
    for comparison in study.comparisons:
        assert f">{comparison.b} − {comparison.a}<" in text


def test_report_is_made_from_the_file_alone(study, content, tmp_path, capsys):
    write_cells(tmp_path / "cells.json", content)
    design = write_design(tmp_path, seeds=[0, 1, 2])
    options = ["--study", str(design), "--results", str(tmp_path / "cells.json")]
    output = tmp_path / "RESULTS.md"
    start = time.perf_counter()
    assert command.main(["report", *options, "--output", str(output)]) == 0
    assert time.perf_counter() - start < 60
    text = output.read_text(encoding="utf-8")
    for name in ("Differences, primary family", "Regression of the meaning difference"):
        assert f"### {name}" in text
    assert "Detectable differences" in text and "![mechanism](figures/mechanism.svg)" in text
    assert text.count("\n# ") == 0 and text.startswith("# ")
    assert "confirmed for other speakers and seeds" in text
    capsys.readouterr()
    output.write_text("my notes")
    with pytest.raises(UserError, match="is not a result of this command"):
        command.main(["report", *options, "--output", str(output)])


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "--calls", "--per_call", "0"],
        ["power", "--speakers", "1"],
        ["power", "--studies", "0"],
        ["coverage", "--studies", "-5"],
    ],
)
def test_numbers_that_mean_nothing_are_refused(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main([*words, "--study", str(write_design(tmp_path))])
    assert caught.value.code == 2 and words[-2] in capsys.readouterr().err


def test_commands_plan_collect_and_settings(tmp_path, capsys):
    design = write_design(tmp_path, conditions={"normal": ""}, languages=["ko"], shares=[1.0])
    study = study_of(tmp_path, conditions={"normal": ""}, languages=["ko"], shares=[1.0])
    for cell in study.cells()[:3]:
        write_cell(tmp_path / "exp", cell, study)
    options = ["--study", str(design), "--dir", str(tmp_path / "exp")]
    assert command.main(["plan", *options]) == 0
    assert "3 of 8 cells are trained" in capsys.readouterr().out
    assert command.main(["plan", *options, "--calls", "--cells", "seeds=1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert command.main(["settings", *options]) == 0
    assert "valid_set=valid" in capsys.readouterr().out
    results = tmp_path / "cells.json"
    with pytest.raises(UserError, match="5 results are missing"):
        command.main(["collect", *options, "--results", str(results)])
    command.main(["collect", *options, "--results", str(results), "--partial", "true"])
    assert len(json.loads(results.read_text())["cells"]) == 3
    assert "3 of 8 results on valid; 5 are missing" in capsys.readouterr().out


@pytest.mark.parametrize("quick", [True, False])
def test_collected_results_say_that_a_run_was_quick(tmp_path, quick):
    design = write_design(tmp_path)
    write_cell(tmp_path / "exp", study_of(tmp_path).cells()[0], read_study(design, quick))
    words = f"collect --study {design} --dir {tmp_path}/exp --results {tmp_path}/cells.json"
    assert command.main([*words.split(), "--partial", "true", "--quick", str(quick).lower()]) == 0
    assert read_cells(tmp_path / "cells.json").get("quick", False) is quick


def test_design_that_changed_after_the_results_were_collected(study, content, tmp_path):
    """Cells that were added since are missing; results that it no longer has are refused."""
    larger = study_of(tmp_path, seeds=[0, 1, 2, 3])
    now = of_design(larger, content, "cells.json")
    added = [cell for cell in larger.cells() if cell.seed == 3]
    assert now["missing"] == [f"{cell} (valid)" for cell in added] and not content["missing"]
    notes = sections(larger, Results(now, "valid"))[0].notes
    assert f"{len(study.cells())} of {len(larger.cells())} trainings have results" in notes[0]
    for changes, message in (
        ({"seeds": [0, 1]}, "seed 2: is not in the design"),
        ({"title": "another"}, "not of 'another'"),
    ):
        with pytest.raises(UserError, match=message):
            of_design(study_of(tmp_path, **{"seeds": [0, 1, 2], **changes}), content, "cells.json")


def test_missing_cells_are_those_of_the_committed_results():
    recipe = Path(__file__).resolve().parents[2] / "egs2/mini_l2/study1"
    published = read_cells(recipe / "cells.json")
    study = read_study(recipe / "conf/study.yaml")
    made = of_design(study, published, "cells.json")["missing"]
    assert sorted(made) == sorted(published["missing"])


@pytest.mark.parametrize("name", ["mini_l2/study1", "l2english/study1", "l2english/study2"])
def test_committed_report_follows_from_the_committed_results(name, tmp_path):
    recipe = Path(__file__).resolve().parents[2] / "egs2" / name
    options = ["--results", recipe / "cells.json", "--set", "test", "--output", tmp_path / "new.md"]
    arguments = ["report", "--study", recipe / "conf/study.yaml", *options]
    assert command.main(list(map(str, arguments))) == 0
    committed, made = (
        path.read_text(encoding="utf-8").split("# How this file was made")[0]
        for path in (recipe / "RESULTS.md", tmp_path / "new.md")
    )
    assert made == committed
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {path.name for path in (recipe / "figures").iterdir()}


def test_tables_over_settings_repeat_that_their_trainings_had_other_options(study, content):
    limit = "not the effect of size and condition alone"
    for notes, count in (([], 0), (["normal, ko, 50 %: trained with other options than …"], 2)):
        results = Results({**content, "notes": notes}, "valid")
        texts = [" ".join(section.notes) for section in sections(study, results)]
        assert sum(limit in text for text in texts) == count


def _with_first_languages(content, l1s):
    data = {name: {**one, "l1": l1s} for name, one in content["data"].items()}
    return Results({**content, "data": data}, "valid")


def test_differences_by_first_language_are_those_of_its_speakers(study, content):
    """Sums by hand over the speakers of each language; three speakers have no known one."""
    l1s = ["vi"] * 4 + ["zh"] * 9 + [None] * 3
    [section] = by_first_language(study, _with_first_languages(content, l1s))
    [table] = section.items
    row = next(row for row in table.rows if row[:4] == ["ko", "surface", "do − so_surface", "zh"])

    def rate(system):
        cells = [
            cell
            for cell in content["cells"]
            if (cell["condition"], cell["language"], cell["share"], cell["system"])
            == ("normal", "ko", 1.0, system)
        ]
        assert len(cells) == 3
        errors = sum(sum(values[4:13]) for c in cells for values in c["errors"]["surface"].values())
        return 100 * errors / (3 * 9 * 250)

    assert row[4:6] == [str(9 * 250), "9"]
    assert row[6:8] == [f"{rate('so_surface'):.2f}", f"{rate('do'):.2f}"]
    assert " to " in row[9]
    assert next(row for row in table.rows if row[3] == "vi")[9] == "–", "four speakers"


def test_one_first_language_or_few_speakers_of_each_have_no_table(study, content):
    few = ["vi", "zh", "ko", "ja"] * 4
    for l1s in (["zh"] * 16, [None] * 16, ["zh"] * 8 + [None] * 8, few):
        assert not by_first_language(study, _with_first_languages(content, l1s))


def test_report_needs_no_results_of_the_first_setting(study, content):
    """As after a run of `--cells "languages=en"`."""
    few = {
        **content,
        "cells": [cell for cell in content["cells"] if cell["language"] == "en"],
        "data": {name: data for name, data in content["data"].items() if name.endswith(" en")},
    }
    titles = [section.title for section in sections(study, Results(few, "valid"))]
    assert "Error rates" in titles


def test_other_metrics_than_those_of_the_design_are_refused(study, content):
    words = dataclasses.replace(study, metrics={"meaning": "wer"})
    with pytest.raises(UserError, match="cells.json: valid normal ko: errors were counted with"):
        of_design(words, content, "cells.json")
    data = {name: {**one, "metrics": words.metrics} for name, one in content["data"].items()}
    results = Results(of_design(words, {**content, "data": data}, "cells.json"), "valid")
    assert results.metrics() == {"meaning": "wer"}
