"""Findings of the cross-task evaluation say what the numbers show, and no more."""

import json
import shutil

import pytest

from espnet_ext.analysis import cross
from espnet_ext.analysis.option_differences import decoding_differences
from espnet_ext.analysis.verdict import conclusion, difference_finding, headline
from espnet_ext.document import number, signed


def results(tree):
    return {
        lang: json.loads((tree / f"exp/{lang}/analysis/cross_test.json").read_text())
        for lang in ("ko", "en")
    }


def row(name="surface-surface", difference=1.2, bounds=(0.4, 2.1), by=None, label=None, **fields):
    output, _, reference = name.partition("-")
    return {
        "name": name,
        "output": output,
        "reference": reference,
        "a": "so_surface",
        "b": "do",
        "joint": True,
        "training_differences": [],
        "by": by,
        "bin": label,
        "utterances": 9,
        "rate_a": 5.0,
        "rate_b": 5.0 + difference,
        "difference": difference,
        "interval": bounds,
        "p_value": 0.01,
        "p_holm": 0.02,
        "p_permutation": 0.1,
        "macro": difference,
        "macro_interval": bounds,
        **fields,
    }


LOWER = {"difference": -1.2, "bounds": (-2.1, -0.4)}


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (
            row(),
            "Joint training (do) raises the surface error of so_surface: 6.20 % against 5.00 %, "
            "+1.20 [+0.40 to +2.10] percentage points.",
        ),
        (row(**LOWER), "Joint training (do) lowers the surface error of so_surface: 3.80 %"),
        (
            row(bounds=(-0.1, 2.5)),
            "No difference in surface error is shown between do and so_surface",
        ),
        (row(p_holm=0.2), "No difference in surface error is shown"),
        (row(joint=False), "The surface error of do is higher than that of so_surface: 6.20 %"),
    ],
)
def test_sentences_on_differences(numbers, sentence):
    assert sentence in difference_finding(numbers, {})


def test_difference_of_few_speakers_is_restricted_to_them():
    restricted = "This holds for these speakers; for others it is not shown (permutation p = 0.1"
    assert restricted in difference_finding(row(), {})
    significant = difference_finding(row(p_permutation=0.01), {})
    assert "for others it is not shown" not in significant


def test_headline_is_one_sentence_about_all_outputs_of_the_joint_system():
    rows = [
        row(bounds=(-0.1, 2.5)) | {"output": "surface"},
        row(**LOWER, p_permutation=0.01) | {"output": "meaning", "changed_head": "from a to b"},
        row() | {"output": "other", "a": "so_other"},
        row() | {"output": "surface", "b": "do2"},
    ]
    assert headline(rows, "test") == (
        "On test, joint training (do) shows no difference in surface error from so_surface (6.20 % "
        "against 5.00 %), lowers the meaning error of so_surface from 5.00 % to 3.80 % (the "
        "head changed too) and raises the other error of so_other from 5.00 % to 6.20 % (shown for "
        "these speakers only)."
    )
    alone = [row(joint=False, p_permutation=0.01) | {"output": "surface"}]
    assert headline(alone, "dev") == (
        "On dev, do has a higher surface error than so_surface, 6.20 % against 5.00 %."
    )
    assert headline([], "test") == ""


UNEQUAL = [["max_epoch", "4", "5"], ["optim_conf.lr", "0.001", "0.002"]]


def test_joint_training_is_not_credited_with_other_options():
    sentence = difference_finding(row(training_differences=UNEQUAL), {})
    assert sentence.startswith("The surface error of do is higher than that of so_surface: 6.20 %")
    assert (
        "Joint training need not be the cause: they also differ in max_epoch "
        "(so_surface 4, do 5) and optim_conf.lr (so_surface 0.001, do 0.002)."
    ) in sentence
    unknown = difference_finding(row(training_differences=None), {})
    assert unknown.startswith("The surface error of do is higher than that of so_surface")
    assert "Whether both were trained with equal options was not recorded." in unknown
    rows = [
        row(p_permutation=0.01, training_differences=UNEQUAL),
        row(p_permutation=0.01) | {"output": "meaning", "a": "so_meaning"},
    ]
    assert headline(rows, "test") == (
        "On test, do has a higher surface error than so_surface, 6.20 % against 5.00 % (other "
        "options too) and has a higher meaning error than so_meaning, 6.20 % against 5.00 %."
    )
    assert conclusion(row(training_differences=UNEQUAL, p_permutation=0.0), {}) == (
        "worse; other options also changed"
    )
    other = row(joint=False, training_differences=None)
    assert "recorded" not in difference_finding(other, {})


def test_options_of_the_trainings_are_compared(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp/en", copy)
    systems = {name: copy / f"{name}_small/decode/test" for name in ("so_surface", "do")}
    config = {"max_epoch": 31, "optim_conf": {"lr": 0.001}, "outputs": {"surface": {}}}
    (copy / "so_surface_small/config.yaml").write_text(json.dumps(config))
    result = cross.run(systems)
    (comparison,) = result["differences"]
    assert comparison["training_differences"] == [("max_epoch", "31", "30")]
    shown = cross.section(result)
    note = "so_surface and do also differ in max_epoch (so_surface 31, do 30)."
    assert note in shown.notes
    assert "joint training" not in shown.headline
    assert "joint training (do)" not in "".join(shown.summary).lower()
    (copy / "so_surface_small/config.yaml").unlink()
    (comparison,) = cross.run(systems)["differences"]
    assert comparison["training_differences"] is None


def test_options_of_the_decodings_are_compared(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree / "exp/en", copy)
    systems = {name: copy / f"{name}_small/decode/test" for name in ("so_surface", "do")}
    (comparison,) = cross.run(systems)["differences"]
    assert comparison["decoding_differences"] == []
    for folder, beam in zip(systems.values(), (10, 2), strict=True):
        options = {"surface": {"beam_size": beam, "batch_frames": beam}}
        (folder / "decode.json").write_text(json.dumps({"options": options, "lms": {}}))
    result = cross.run(systems)
    (comparison,) = result["differences"]
    difference = ("beam_size of decoding", "10", "2")
    assert comparison["decoding_differences"] == [difference]
    shown = cross.section(result)
    assert "so_surface and do also differ in beam_size of decoding (so_surface 10, do 2)." in (
        shown.notes
    )
    assert "joint training" not in shown.headline
    unequal = {"decoding_differences": [difference]}
    assert "Joint training need not be the cause: they also differ in beam_size of decoding" in (
        difference_finding(row(**unequal), {})
    )
    other = difference_finding(row(joint=False, **unequal), {})
    assert other.endswith(
        "They also differ in beam_size of decoding (so_surface 10, do 2), which may be the cause. "
        "This holds for these speakers; for others it is not shown (permutation p = 0.100)."
    )


@pytest.mark.parametrize(("same_head", "expected"), [(True, ["normalize_length"]), (False, [])])
def test_options_of_another_kind_of_head_are_not_compared(tmp_path, same_head, expected):
    for name, value in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        record = {"options": {"meaning": {"normalize_length": value}}, "weights": "model.pth"}
        (tmp_path / name / "decode.json").write_text(json.dumps(record))
    differences = decoding_differences(
        tmp_path / "a", tmp_path / "b", "meaning", same_head=same_head
    )
    assert [name.partition(" ")[0] for name, _, _ in differences] == expected
    assert decoding_differences(tmp_path / "a", tmp_path / "c", "meaning", same_head=True) == []


def test_finding_names_a_changed_head():
    heads = {"so_surface": {"surface": "ctc_attention"}, "do": {"surface": "attention"}}
    sentence = difference_finding(row(), heads)
    assert (
        "+1.20 [+0.40 to +2.10] percentage points. The surface head also changed from "
        "ctc_attention to attention, which may be the cause." in sentence
    )
    unchanged = {name: {"surface": "ctc"} for name in heads}
    assert "head" not in difference_finding(row(), unchanged)


@pytest.mark.parametrize(
    ("fields", "heads", "verdict"),
    [
        ({"bounds": [1.0, 2.0], "p_permutation": 0.01}, ["ctc", "ctc"], "worse"),
        ({"bounds": [-2.0, -1.0]}, [None, "ctc"], "better for these speakers only"),
        ({"bounds": [1.0, 2.0], "p_holm": 0.2}, ["ctc", "ctc"], "no difference shown"),
        ({"bounds": [-1.0, 2.0]}, ["ctc", "ctc"], "no difference shown"),
        (
            {"bounds": [1.0, 2.0], "p_permutation": 0.3},
            ["ctc_attention", "attention"],
            "worse for these speakers only; its head also changed from ctc_attention to attention",
        ),
        ({"bounds": None}, ["ctc", "attention"], "–"),
        ({"name": "surface-meaning", "p_permutation": 0.0}, [None, None], "farther"),
        ({"name": "surface-meaning", **LOWER, "p_permutation": 0.0}, [None, None], "closer"),
        ({"name": "surface-meaning", "bounds": (-0.4, 2.1)}, [None] * 2, "no difference shown"),
    ],
)
def test_conclusion_of_a_row(fields, heads, verdict):
    known = {"so_surface": {"surface": heads[0]}, "do": {"surface": heads[1]}}
    assert conclusion(row(**fields), known) == verdict


def test_every_difference_is_in_a_table(tree):
    count = 0
    for result in results(tree).values():
        rows = [tuple(r) for table in cross.section(result).tables for r in table.rows]
        for comparison in result["differences"]:
            for one in comparison["cells"]:
                output, _, reference = one["name"].partition("-")
                start = (f"{comparison['b']} − {comparison['a']}", f"{output} against {reference}")
                rates = (number(one["rate_a"]), number(one["rate_b"]))
                size = signed(one["difference"])
                assert any(
                    r[:2] == start
                    and rates in zip(r, r[1:], strict=False)
                    and any(cell.startswith(size) for cell in r)
                    for r in rows
                ), (start, one["bin"])
                count += 1
    assert count > 40


def test_difference_is_that_of_the_rates(tree):
    table = cross.section(results(tree)["ko"]).tables[0]
    for cells in table.rows:
        difference = cells[4].partition(" ")[0].replace("−", "-")
        assert float(cells[3]) - float(cells[2]) == pytest.approx(float(difference), abs=0.011)


def test_summary_is_about_own_outputs(tree):
    for result in results(tree).values():
        section = cross.section(result)
        assert len(section.summary) == 2
        assert "surface error" in section.summary[0] and "meaning error" in section.summary[1]


def test_undefined_slopes_are_named(tree):
    section = cross.section(results(tree)["en"])
    undefined = "No slopes for regular phonology and learner error"
    assert any(text.startswith(undefined) for text in section.notes)
    slopes = next(table for table in section.tables if table.title == cross.SLOPES.title)
    assert not any("regular phonology" in cells[2] for cells in slopes.rows)
    assert any("between which no distance is defined" in text for text in section.notes)


def test_origins_are_told_apart(tree):
    tables = {table.title: table for table in cross.section(results(tree)["ko"]).tables}
    origins = {cells[2] for cells in tables[cross.BY_ORIGIN.title].rows}
    assert {"learner error", "regular phonology only"} <= origins


def test_relative_changes_by_band_have_a_table(tree):
    result = json.loads(json.dumps(results(tree)["ko"]))
    assert cross.BY_BAND.title not in [table.title for table in cross.section(result).tables]
    (overall, *_) = result["differences"][0]["cells"]
    changes = {"relative": -6.5, "relative_interval": [-9.0, -4.0]}
    result["differences"][0]["cells"].append({**overall, "by": "band", "bin": "narrow", **changes})
    tables = {table.title: table for table in cross.section(result).tables}
    rows = [
        dict(zip(tables[cross.BY_BAND.title].header, row, strict=True))
        for row in tables[cross.BY_BAND.title].rows
    ]
    (narrow,) = [row for row in rows if row["band"] == "narrow"]
    assert narrow["relative % [95 %]"] == "−6.50 [−9.00 to −4.00]"
    assert any(row["band"] == "all" for row in rows)


def test_sparse_results_make_no_false_sentences(tree):
    result = results(tree)["ko"]
    sparse = {
        **result,
        "differences": [],
        "lacks": ["one system: nothing"],
        "consistency": {"unit": "char", "outputs": [], "differences": []},
        "articulatory": {"systems": {}, "differences": [], "lacks": "x"},
    }
    section = cross.section(sparse)
    assert [table.title for table in section.tables] == ["Distance between the references"]
    assert section.notes == ["One system: nothing."] and section.summary == []


def test_heads_and_outputs_are_read_from_the_training(tree, tmp_path):
    import shutil

    shutil.copytree(tree / "exp/ko", tmp_path / "ko")
    training = tmp_path / "ko/do_small/train.json"
    training.write_text(json.dumps({"branches": {"surface": "ctc"}}))
    folders = {name: tmp_path / f"ko/{name}_small/decode/test" for name in ("so_surface", "do")}
    result = cross.run({name: str(folder) for name, folder in folders.items()})
    assert result["heads"] == {"so_surface": {}, "do": {"surface": "ctc"}}
    assert result["outputs"] == {"so_surface": ["surface"], "do": ["meaning", "surface"]}


def test_difference_over_selected_utterances_has_a_caveat(tree):
    result = results(tree)["en"]
    comparison = next(c for c in result["differences"] if c["a"] == "so_meaning")
    assert "in the lexicon" not in str(cross.section(result).tables[0].caveats)
    comparison["not_comparable"]["meaning-surface"] = 3
    row = next(r for r in comparison["cells"] if r["name"] == "meaning-surface")
    (caveat,) = (c for c in cross.section(result).tables[0].caveats if "lexicon" in c)
    assert caveat.startswith(
        f"do − so_meaning, meaning against surface: only the {row['utterances']} utterances in"
    )
