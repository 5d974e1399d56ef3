"""Cross-task evaluation compared with loops, and reasons for missing results."""

import json
import random
import shutil
import unicodedata

import numpy as np
import pytest
from make_set import data_directory, hypothesis_folder

from espnet_ext.bin import cross as command
from espnet_ext.errors import UserError
from espnet_ext.scoring import divergence
from espnet_ext.scoring.cross import cross_task
from espnet_ext.scoring.score import score_directory

WRITTEN = {"surface": "char", "meaning": "char"}
SYSTEMS = {"so_surface": ["surface"], "so_meaning": ["meaning"], "do": ["surface", "meaning"]}


def noisy(text, source, rate):
    return "".join(source.choice("가나다") if source.random() < rate else c for c in text) or "가"


def score_random_korean(root, speakers=4, each=9, canonical=True):
    """Write and score systems with random Korean texts. Return name → folder."""
    source = random.Random(0)
    speaker_of, texts = {}, {"meaning": {}, "canonical": {}, "surface": {}}
    for s in range(speakers):
        for i in range(each):
            utt_id = f"s{s}-{i}"
            speaker_of[utt_id] = f"s{s}"
            meaning = "".join(source.choices("가나다라", k=source.randint(4, 15)))
            canonical_form = noisy(meaning, source, (i % 3) * 0.15)
            texts["meaning"][utt_id], texts["canonical"][utt_id] = meaning, canonical_form
            texts["surface"][utt_id] = noisy(canonical_form, source, (i % 2) * 0.3)
    if not canonical:
        del texts["canonical"]
    data = data_directory(root / "data", speaker_of, texts)
    (data / "utt2l1").write_text(
        "".join(f"{u} {'vi' if s < 's2' else 'ja'}\n" for u, s in sorted(speaker_of.items()))
    )
    folders = {}
    for name, outputs in SYSTEMS.items():
        hypotheses = {k: {u: noisy(t, source, 0.2) for u, t in texts[k].items()} for k in outputs}
        folders[name] = hypothesis_folder(root / f"exp/{name}/decode/test", hypotheses)
        score_directory(data, folders[name], WRITTEN, resamples=20)
    return folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return score_random_korean(tmp_path_factory.mktemp("cross"))


@pytest.fixture(scope="module")
def result(folders):
    return cross_task(folders)


def rows_of(folder):
    return {r["id"]: r for r in json.loads((folder / "utterances.json").read_text())["utterances"]}


def test_differences_in_all_cells_and_bins(folders, result):
    do = rows_of(folders["do"])
    assert [(c["a"], c["b"]) for c in result["differences"]] == [
        ("so_surface", "do"),
        ("so_meaning", "do"),
    ]
    for comparison in result["differences"]:
        other = rows_of(folders[comparison["a"]])
        output = comparison["a"].removeprefix("so_")
        other_output = "meaning" if output == "surface" else "surface"
        names = [f"{output}-{output}", f"{output}-{other_output}"]
        assert list(dict.fromkeys(row["name"] for row in comparison["cells"])) == names
        in_bins = dict.fromkeys(((n, by) for n in names for by in divergence.GROUPINGS), 0)
        for row in comparison["cells"]:
            chosen = [
                u for u in do if row["by"] is None or expected_bin(do[u], row["by"]) == row["bin"]
            ]
            errors = [
                sum(rows[u]["cells"][row["name"]]["errors"] for u in chosen) for rows in (other, do)
            ]
            tokens = sum(do[u]["cells"][row["name"]]["tokens"] for u in chosen)
            assert row["utterances"] == len(chosen) > 0
            assert row["difference"] == pytest.approx(100 * (errors[1] - errors[0]) / tokens)
            speakers = sorted({do[u]["speaker"] for u in chosen})
            by_speaker = []
            for speaker in speakers:
                utterances = [u for u in chosen if do[u]["speaker"] == speaker]
                difference = sum(
                    do[u]["cells"][row["name"]]["errors"] - other[u]["cells"][row["name"]]["errors"]
                    for u in utterances
                )
                tokens = sum(do[u]["cells"][row["name"]]["tokens"] for u in utterances)
                by_speaker.append(100 * difference / tokens)
            assert row["macro"] == pytest.approx(np.mean(by_speaker))
            if row["by"]:
                in_bins[row["name"], row["by"]] += len(chosen)
        assert set(in_bins.values()) == {len(do)}  # every utterance is in one bin per grouping


def test_joint_training_is_one_output_against_several(tmp_path):
    texts = {name: {"a-1": "가나", "b-1": "나다"} for name in ("surface", "meaning", "fluent")}
    data = data_directory(tmp_path / "data", {"a-1": "a", "b-1": "b"}, texts)
    outputs = {"so": ["surface"], "do": ["surface", "meaning"], "three": list(texts)}
    folders = {
        name: hypothesis_folder(tmp_path / f"exp/{name}", {key: texts[key] for key in keys})
        for name, keys in outputs.items()
    }
    for folder in folders.values():
        score_directory(data, folder, dict.fromkeys(texts, "char"), resamples=20)
    pairs = {(row["a"], row["b"]): row["joint"] for row in cross_task(folders)["differences"]}
    assert pairs == {("so", "do"): True, ("so", "three"): True, ("do", "three"): False}


def expected_bin(row, by):
    texts = row["texts"]
    edits, tokens = row["distance"], len(texts["meaning"])
    if by == "distance":
        return "0" if not edits else "1-3" if edits < 4 else "4-10" if edits < 11 else ">=11"
    if by == "normalised":
        x = edits / tokens
        return "0" if not x else "<=0.1" if x <= 0.1 else "<=0.3" if x <= 0.3 else ">0.3"
    if texts["surface"] != texts["canonical"]:
        return "learner error"
    same = texts["canonical"] == texts["meaning"]
    return "neither" if same else "regular phonology only"


def test_hypotheses_that_neither_system_can_convert_are_not_comparable(tmp_path):
    """Otherwise the share of utterances that are compared would seem higher than it is."""
    phones = {"a-1": "S IY", "a-2": "M IY", "b-1": "IY T", "b-2": "M IY"}
    texts = {"surface": phones, "meaning": {"a-1": "see", "a-2": "me", "b-1": "eat", "b-2": "me"}}
    data = data_directory(tmp_path / "data", {u: u[0] for u in phones}, texts)
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("see S IY1\nme M IY1\neat IY1 T\n", encoding="utf-8")
    folders = {}
    for name, words in {"x": "see zzyx zzyx me", "y": "see zzyx eat me"}.items():
        meaning = dict(zip(phones, words.split(), strict=True))
        folders[name] = hypothesis_folder(tmp_path / name, {"meaning": meaning})
        types = {"surface": "phone", "meaning": "word"}
        score_directory(data, folders[name], types, lexicon=lexicon, resamples=20)
    (comparison,) = cross_task(folders)["differences"]
    assert comparison["not_comparable"] == {"meaning-meaning": 0, "meaning-surface": 2}
    rows = {r["name"]: r["utterances"] for r in comparison["cells"] if r["by"] is None}
    assert rows == {"meaning-meaning": 4, "meaning-surface": 2}


def test_utterances_without_canonical_phones_are_unlabelled_and_not_incomparable(tmp_path):
    """Surface against meaning needs text.canonical; no word outside a lexicon is the reason."""
    phones = {"a-1": "S IY", "a-2": "M IY", "b-1": "IY T", "b-2": "M IY"}
    words = {"a-1": "see", "a-2": "me", "b-1": "eat", "b-2": "me"}
    canonical = {"a-1": "S IY", "b-1": "IY T"}
    texts = {"surface": phones, "meaning": words, "canonical": canonical}
    data = data_directory(tmp_path / "data", {u: u[0] for u in phones}, texts)
    folders = {}
    for name in "x", "y":
        folders[name] = hypothesis_folder(tmp_path / name, {"surface": phones})
        score_directory(data, folders[name], {"surface": "phone", "meaning": "word"}, resamples=20)
    (comparison,) = cross_task(folders)["differences"]
    assert comparison["not_comparable"] == {"surface-surface": 0, "surface-meaning": 0}
    rows = {r["name"]: r["utterances"] for r in comparison["cells"] if r["by"] is None}
    assert rows == {"surface-surface": 4, "surface-meaning": 2}


def test_one_kind_of_reference_is_enough(tmp_path):
    """Scored as meanings only, the phones of the surface have no part in bins and distances."""
    texts = {"surface": {"a-1": "S IY", "b-1": "IY T"}, "meaning": {"a-1": "see", "b-1": "eat"}}
    data = data_directory(tmp_path / "data", {"a-1": "a", "b-1": "b"}, texts)
    folders = {
        name: hypothesis_folder(tmp_path / name, {"meaning": texts["meaning"]}) for name in "xy"
    }
    for folder in folders.values():
        score_directory(data, folder, {"meaning": "char"}, resamples=20)
    result = cross_task(folders)
    assert result["divergence"]["main"] is None and result["divergence"]["pairs"] == {}
    assert [row["by"] for row in result["differences"][0]["cells"]] == [None]


def test_systems_with_the_prompt_are_compared_with_each_other(folders, tmp_path):
    """Other pairs would show the gain of the prompt as a difference between systems."""
    systems = dict(folders)
    for name in ("so_surface", "do"):
        for variant, canonical in (("prompt", {"prompt": True}), ("twopass", {"prompt": False})):
            folder = shutil.copytree(folders[name], tmp_path / f"{name}_{variant}")
            (folder / "decode.json").write_text(json.dumps({"canonical": canonical}))
            systems[f"{name}_{variant}"] = folder
    result = cross_task(systems)
    pairs = {(row["a"], row["b"]): row["joint"] for row in result["differences"]}
    assert {pair for pair in pairs if "prompt" in "".join(pair)} == {
        ("so_surface_prompt", "do_prompt")
    }
    assert pairs["so_surface_prompt", "do_prompt"] and pairs["so_surface", "do"]
    assert pairs["so_surface_twopass", "do_twopass"]
    assert not pairs["so_surface", "do_twopass"] and not pairs["so_surface_twopass", "do"]
    names = {row["name"] for row in result["consistency"]["outputs"]}
    assert "do_prompt" in names and not any("so_surface_prompt" in name for name in names)


def test_relative_change_by_band(folders, tmp_path):
    data, scored = tmp_path / "data", {}
    shutil.copytree(folders["do"].parents[3] / "data", data)
    utterances = [line.split()[0] for line in (data / "utt2spk").read_text().splitlines()]
    bands = {utt: ("narrow", "wide")[i % 2] for i, utt in enumerate(utterances)}
    (data / "utt2band").write_text("".join(f"{u} {band}\n" for u, band in bands.items()))
    for name in ("so_surface", "do"):
        scored[name] = tmp_path / name / "decode/test"
        shutil.copytree(folders[name], scored[name])
        score_directory(data, scored[name], WRITTEN, resamples=20)
    (comparison,) = cross_task(scored)["differences"]
    cells = [cell for cell in comparison["cells"] if cell["name"] == "surface-surface"]
    rows = {cell["bin"]: cell for cell in cells if cell["by"] == "band"}
    assert sorted(rows) == ["narrow", "wide"]
    files = [json.loads((scored[n] / "utterances.json").read_text()) for n in scored]
    for band, row in rows.items():
        a, b = (
            sum(
                u["cells"]["surface-surface"]["errors"]
                for u in file["utterances"]
                if bands[u["id"]] == band
            )
            for file in files
        )
        assert row["relative"] == pytest.approx(100 * (b - a) / a)
        low, high = row["relative_interval"]
        assert low <= row["relative"] <= high
        assert row["utterances"] == 18


def test_holm_corrects_per_grouping(result):
    for comparison in result["differences"]:
        for by in (None, *divergence.GROUPINGS):
            rows = sorted(
                (r for r in comparison["cells"] if r["by"] == by and r["p_value"]),
                key=lambda r: r["p_value"],
            )
            assert rows[0]["p_holm"] == pytest.approx(min(1, len(rows) * rows[0]["p_value"]))


def test_slopes_match_least_squares(folders, result):
    comparison = result["differences"][1]
    other, do = rows_of(folders["so_meaning"]), rows_of(folders["do"])
    row = next(
        d for d in comparison["dependence"] if d["name"] == "meaning-meaning" and len(d["of"]) == 2
    )
    from rapidfuzz.distance import Levenshtein

    design, target = [], []
    for utt_id, utterance in do.items():
        t = utterance["texts"]
        design.append(
            [
                Levenshtein.distance(t["canonical"], t["meaning"]),
                Levenshtein.distance(t["surface"], t["canonical"]),
                len(t["meaning"]),
                1,
                utterance["l1"] == "vi",
            ]
        )
        target.append(
            utterance["cells"]["meaning-meaning"]["errors"]
            - other[utt_id]["cells"]["meaning-meaning"]["errors"]
        )
    expected = np.linalg.lstsq(np.array(design, float), target, rcond=None)[0]
    slopes = [row["slopes"][name]["slope"] for name in ("regular", "learner")]
    assert slopes == pytest.approx(expected[:2])


def test_divergence_of_references(folders, result):
    do = rows_of(folders["do"])
    divergences = result["divergence"]
    edits = [row["distance"] for row in do.values()]  # from scoring
    tokens = sum(len(row["texts"]["meaning"]) for row in do.values())
    whole = divergences["pairs"]["surface-meaning"]
    assert whole["mean"] == pytest.approx(np.mean(edits))
    assert whole["per_100_tokens"] == pytest.approx(100 * sum(edits) / tokens)
    assert whole["zero"] == edits.count(0) == whole["bins"][0]["utterances"]
    assert sum(b["utterances"] for b in divergences["origin"]) == len(do)
    assert sum(b["share"] for b in whole["normalised"]) == pytest.approx(1)


def test_articulatory_distance_of_hypotheses(folders, result):
    from espnet_ext.scoring.articulatory_distance import feature_distances
    from espnet_ext.text.articulatory_features import hangul_to_segments

    rows = rows_of(folders["so_surface"]).values()
    references = [hangul_to_segments(row["texts"]["surface"]) for row in rows]
    hypotheses = [hangul_to_segments(row["hypotheses"]["surface"]) for row in rows]
    rate = 100 * sum(feature_distances(references, hypotheses)) / sum(map(len, references))
    articulatory = result["articulatory"]
    assert articulatory["systems"]["so_surface"]["per_100_segments"] == pytest.approx(rate)
    difference = articulatory["systems"]["do"]["per_100_segments"] - rate
    assert articulatory["differences"][0]["difference"] == pytest.approx(difference)


def test_consistency_of_dual_system_and_pair_of_single_systems(result):
    names = [row["name"] for row in result["consistency"]["outputs"]]
    assert names == ["do", "so_surface + so_meaning"]
    (test,) = result["consistency"]["differences"]
    assert (test["a"], test["b"]) == ("so_surface + so_meaning", "do")


def test_unit_of_distances(folders):
    from rapidfuzz.distance import Levenshtein

    texts = [
        {k: unicodedata.normalize("NFD", t) for k, t in row["texts"].items()}
        for row in rows_of(folders["do"]).values()
    ]
    edits = [Levenshtein.distance(t["surface"], t["meaning"]) for t in texts]
    divergences = cross_task(folders, unit="jamo")["divergence"]
    whole = divergences["pairs"]["surface-meaning"]
    assert divergences["unit"] == "jamo" and whole["mean"] == pytest.approx(np.mean(edits))
    tokens = sum(len(t["meaning"]) for t in texts)
    assert whole["per_100_tokens"] == pytest.approx(100 * sum(edits) / tokens)
    with pytest.raises(UserError, match="surface is written"):
        cross_task(folders, unit="phone")


def test_reasons_for_missing_results(tmp_path):
    folders = score_random_korean(tmp_path, speakers=1, canonical=False)
    result = cross_task({"do": folders["do"]})
    text = " / ".join(result["lacks"])
    for reason in ("one speaker", "one system", "no utterance has a canonical reference"):
        assert reason in text
    assert result["differences"] == [] and result["divergence"]["origin"] is None
    all_systems = cross_task(folders)
    for comparison in all_systems["differences"]:
        assert {row["interval"] for row in comparison["cells"]} == {None}
        assert {d["lacks"] for d in comparison["dependence"] if d["of"] == ["distance"]} == {
            "fewer than two speakers"
        }
    single = cross_task({"so_surface": folders["so_surface"]})
    assert any("consistency is not measured" in reason for reason in single["lacks"])


def test_empty_bins_are_listed(tmp_path):
    speaker_of = {"a-1": "a", "b-1": "b"}
    texts = dict.fromkeys(speaker_of, "가나")
    data = data_directory(tmp_path / "data", speaker_of, {"surface": texts, "meaning": texts})
    out = hypothesis_folder(tmp_path / "do", {"surface": texts, "meaning": texts})
    score_directory(data, out, WRITTEN, resamples=20)
    result = cross_task({"do": out})
    assert "no utterance in these bins of distance: 1-3, 4-10, >=11" in result["lacks"]


def test_different_labels_raise_user_error(folders, tmp_path):
    other = score_random_korean(tmp_path / "other", each=4)
    with pytest.raises(UserError, match="so_meaning was scored against other labels"):
        cross_task({"do": folders["do"], "so_meaning": other["so_meaning"]})


def test_missing_and_invalid_files_raise_user_error(folders, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        cross_task({"do": tmp_path})
    for content in ("[]", "{}", '{"set": "t"}'):
        (tmp_path / "utterances.json").write_text(content)
        with pytest.raises(UserError, match="not a result of scoring"):
            cross_task({"do": tmp_path})


def test_command(folders, tmp_path, capsys):
    systems = [f"{name}={folder}" for name, folder in folders.items()]
    out = tmp_path / "analysis/cross_test.json"
    assert command.main(["--systems", *systems, "--output", str(out)]) == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    for comparison in written["differences"]:  # the systems have no models to compare
        assert comparison.pop("training_differences", None) is None
        assert comparison.pop("decoding_differences") == []
    expected = json.loads(json.dumps(cross_task(folders)))
    assert {key: written[key] for key in expected} == expected
    assert "espnet_ext.bin.cross" in written["provenance"]["command"]
    assert "learner error" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        command.main(["--systems", "do", "--output", str(out)])
    assert error.value.code == 2
    shutil.rmtree(tmp_path)


def test_texts_in_another_unicode_form_do_not_change_the_result(folders, result, tmp_path):
    copies = {}
    for name, folder in folders.items():
        copies[name] = tmp_path / name / "test"
        shutil.copytree(folder, copies[name])
        value = json.loads((folder / "utterances.json").read_text())
        for row in value["utterances"]:
            row["texts"] = {k: unicodedata.normalize("NFD", t) for k, t in row["texts"].items()}
        (copies[name] / "utterances.json").write_text(json.dumps(value))
    changed = cross_task(copies)
    of_files = {"systems": None, "normalised": None}
    assert {**changed, **of_files} == {**result, **of_files}
    assert set(changed["normalised"].values()) == {36} and len(changed["normalised"]) == 9


@pytest.mark.parametrize("surface", ["char", "phone"])
def test_empty_references(surface, tmp_path):
    spoken, written = {"char": ("가 나", "가"), "phone": ("S IY", "see")}[surface]
    speakers = {"a-1": "a", "b-1": "b", "b-2": "b", "c-1": "c"}
    texts = {
        "surface": {"a-1": "", "b-1": spoken, "b-2": "", "c-1": spoken},
        "canonical": {"a-1": "", "b-1": spoken, "b-2": spoken, "c-1": ""},
        "meaning": {"a-1": "", "b-1": written, "b-2": written, "c-1": ""},
    }
    data = data_directory(tmp_path / "data", speakers, texts)
    types = {"surface": surface, "meaning": "char"}
    folders = {}
    for name, recognised in (("a", (spoken, written)), ("b", ("", ""))):
        rows = {k: dict.fromkeys(speakers, t) for k, t in zip(types, recognised, strict=True)}
        folders[name] = hypothesis_folder(tmp_path / name / "test", rows)
        score_directory(data, folders[name], types, resamples=20)
    result = cross_task(folders)
    json.dumps(result, allow_nan=False)
    assert result["utterances"] == 4
    learner = result["divergence"]["pairs"]["surface-canonical"]
    assert learner["utterances"] == 4 and learner["zero"] == 2


def test_texts_of_other_programs_are_normalised_and_counted(folders, tmp_path, capsys):
    folder = tmp_path / "exp/do/decode/test"
    shutil.copytree(folders["do"], folder)
    path = folder / "utterances.json"
    value = json.loads(path.read_text())
    for row in value["utterances"][:3]:
        row["texts"]["surface"] = unicodedata.normalize("NFD", row["texts"]["surface"])
    row["hypotheses"]["meaning"] = unicodedata.normalize("NFD", row["hypotheses"]["meaning"])
    path.write_text(json.dumps(value))
    expected, changed = (cross_task({"do": f}) for f in (folders["do"], folder))
    assert expected["normalised"] == {}
    assert changed["normalised"] == {
        f"{path}, reference surface": 3,
        f"{path}, hypothesis meaning": 1,
    }
    note = capsys.readouterr().err
    assert f"note: {path}, reference surface: 3 of 36 texts were normalised for scoring" in note
    assert changed["divergence"] == expected["divergence"]
    assert changed["consistency"] == expected["consistency"]
