"""Systems of a set evaluated together: rows against plain loops, and what cannot be evaluated."""

import json
import random
import shutil
import unicodedata

import numpy as np
import pytest
from make_set import data_directory, decoded

from espnet_ext.bin import cross as command
from espnet_ext.errors import UserError
from espnet_ext.scoring import divergence
from espnet_ext.scoring.cross import cross_task
from espnet_ext.scoring.score import score_directory

WRITTEN = {"surface": "char", "meaning": "char"}
SYSTEMS = {"so_surface": ["surface"], "so_meaning": ["meaning"], "do": ["surface", "meaning"]}


def changed(text, source, rate):
    return "".join(source.choice("가나다") if source.random() < rate else c for c in text) or "가"


def korean(root, speakers=4, each=9, canonical=True):
    """Scored systems of made-up Korean: name → folder."""
    source = random.Random(0)
    who, texts = {}, {"meaning": {}, "canonical": {}, "surface": {}}
    for s in range(speakers):
        for i in range(each):
            utt_id = f"s{s}-{i}"
            who[utt_id] = f"s{s}"
            meaning = "".join(source.choices("가나다라", k=source.randint(4, 15)))
            regular = changed(meaning, source, (i % 3) * 0.15)
            texts["meaning"][utt_id], texts["canonical"][utt_id] = meaning, regular
            texts["surface"][utt_id] = changed(regular, source, (i % 2) * 0.3)
    if not canonical:
        del texts["canonical"]
    data = data_directory(root / "data", who, texts)
    (data / "utt2l1").write_text(
        "".join(f"{u} {'vi' if w < 's2' else 'ja'}\n" for u, w in sorted(who.items()))
    )
    folders = {}
    for name, outputs in SYSTEMS.items():
        heard = {k: {u: changed(t, source, 0.2) for u, t in texts[k].items()} for k in outputs}
        folders[name] = decoded(root / f"exp/{name}/decode/test", heard)
        score_directory(data, folders[name], WRITTEN, resamples=20)
    return folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return korean(tmp_path_factory.mktemp("cross"))


@pytest.fixture(scope="module")
def result(folders):
    return cross_task(folders)


def rows_of(folder):
    return {r["id"]: r for r in json.loads((folder / "utterances.json").read_text())["utterances"]}


def test_all_cells_that_both_have_in_all_bins(folders, result):
    do = rows_of(folders["do"])
    assert [(c["a"], c["b"]) for c in result["differences"]] == [
        ("so_surface", "do"),
        ("so_meaning", "do"),
    ]
    for comparison in result["differences"]:
        other = rows_of(folders[comparison["a"]])
        output = comparison["a"].removeprefix("so_")
        further = "meaning" if output == "surface" else "surface"
        names = [f"{output}-{output}", f"{output}-{further}"]
        assert list(dict.fromkeys(row["name"] for row in comparison["cells"])) == names
        seen = dict.fromkeys(((n, by) for n in names for by in divergence.GROUPS), 0)
        for row in comparison["cells"]:
            chosen = [u for u in do if row["by"] is None or place(do[u], row["by"]) == row["bin"]]
            errors = [
                sum(rows[u]["cells"][row["name"]]["errors"] for u in chosen) for rows in (other, do)
            ]
            tokens = sum(do[u]["cells"][row["name"]]["tokens"] for u in chosen)
            assert row["utterances"] == len(chosen) > 0
            assert row["difference"] == pytest.approx(100 * (errors[1] - errors[0]) / tokens)
            speakers = sorted({do[u]["speaker"] for u in chosen})
            own = []
            for speaker in speakers:
                mine = [u for u in chosen if do[u]["speaker"] == speaker]
                gap = sum(
                    do[u]["cells"][row["name"]]["errors"] - other[u]["cells"][row["name"]]["errors"]
                    for u in mine
                )
                own.append(100 * gap / sum(do[u]["cells"][row["name"]]["tokens"] for u in mine))
            assert row["macro"] == pytest.approx(np.mean(own))
            if row["by"]:
                seen[row["name"], row["by"]] += len(chosen)
        assert set(seen.values()) == {len(do)}  # every utterance in one bin of every kind


def place(row, by):
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


def test_holm_counts_the_rows_of_one_kind(result):
    for comparison in result["differences"]:
        for by in (None, *divergence.GROUPS):
            rows = sorted(
                (r for r in comparison["cells"] if r["by"] == by and r["p_value"]),
                key=lambda r: r["p_value"],
            )
            assert rows[0]["p_holm"] == pytest.approx(min(1, len(rows) * rows[0]["p_value"]))


def test_slopes_are_those_of_least_squares(folders, result):
    comparison = result["differences"][1]
    other, do = rows_of(folders["so_meaning"]), rows_of(folders["do"])
    found = next(
        d for d in comparison["dependence"] if d["name"] == "meaning-meaning" and len(d["of"]) == 2
    )
    from rapidfuzz.distance import Levenshtein

    design, target = [], []
    for utt_id, row in do.items():
        t = row["texts"]
        design.append(
            [
                Levenshtein.distance(t["canonical"], t["meaning"]),
                Levenshtein.distance(t["surface"], t["canonical"]),
                len(t["meaning"]),
                1,
                row["l1"] == "vi",
            ]
        )
        target.append(
            row["cells"]["meaning-meaning"]["errors"]
            - other[utt_id]["cells"]["meaning-meaning"]["errors"]
        )
    wanted = np.linalg.lstsq(np.array(design, float), target, rcond=None)[0]
    slopes = [found["slopes"][name]["slope"] for name in ("regular", "learner")]
    assert slopes == pytest.approx(wanted[:2])


def test_divergence_of_references(folders, result):
    do = rows_of(folders["do"])
    found = result["divergence"]
    edits = [row["distance"] for row in do.values()]  # as scoring found it
    tokens = sum(len(row["texts"]["meaning"]) for row in do.values())
    whole = found["pairs"]["surface-meaning"]
    assert whole["mean"] == pytest.approx(np.mean(edits))
    assert whole["per_100_tokens"] == pytest.approx(100 * sum(edits) / tokens)
    assert whole["zero"] == edits.count(0) == whole["bins"][0]["utterances"]
    assert sum(b["utterances"] for b in found["origin"]) == len(do)
    assert sum(b["share"] for b in whole["normalised"]) == pytest.approx(1)


def test_articulatory_distance_of_what_was_recognised(folders, result):
    from espnet_ext.scoring.articulation import feature_distances
    from espnet_ext.text.articulatory_features import hangul_to_segments

    rows = rows_of(folders["so_surface"]).values()
    said = [hangul_to_segments(row["texts"]["surface"]) for row in rows]
    heard = [hangul_to_segments(row["hypotheses"]["surface"]) for row in rows]
    wanted = 100 * sum(feature_distances(said, heard)) / sum(map(len, said))
    found = result["articulatory"]
    assert found["systems"]["so_surface"]["per_100_segments"] == pytest.approx(wanted)
    gap = found["systems"]["do"]["per_100_segments"] - wanted
    assert found["differences"][0]["difference"] == pytest.approx(gap)


def test_consistency_of_the_joint_system_and_of_the_pair(result):
    names = [one["name"] for one in result["consistency"]["outputs"]]
    assert names == ["do", "so_surface + so_meaning"]
    (test,) = result["consistency"]["differences"]
    assert (test["a"], test["b"]) == ("so_surface + so_meaning", "do")


def test_units(folders):
    from rapidfuzz.distance import Levenshtein

    texts = [
        {k: unicodedata.normalize("NFD", t) for k, t in row["texts"].items()}
        for row in rows_of(folders["do"]).values()
    ]
    edits = [Levenshtein.distance(t["surface"], t["meaning"]) for t in texts]
    found = cross_task(folders, unit="jamo")["divergence"]
    whole = found["pairs"]["surface-meaning"]
    assert found["unit"] == "jamo" and whole["mean"] == pytest.approx(np.mean(edits))
    tokens = sum(len(t["meaning"]) for t in texts)
    assert whole["per_100_tokens"] == pytest.approx(100 * sum(edits) / tokens)
    with pytest.raises(UserError, match="surface is written"):
        cross_task(folders, unit="phone")


def test_one_system_one_speaker_no_canonical(tmp_path):
    folders = korean(tmp_path, speakers=1, canonical=False)
    result = cross_task({"do": folders["do"]})
    text = " / ".join(result["lacks"])
    for said in ("one speaker", "one system", "no utterance has a canonical reference"):
        assert said in text
    assert result["differences"] == [] and result["divergence"]["origin"] is None
    whole = cross_task(folders)
    for comparison in whole["differences"]:
        assert {row["interval"] for row in comparison["cells"]} == {None}
        assert {d["lacks"] for d in comparison["dependence"] if d["of"] == ["distance"]} == {
            "fewer than two speakers"
        }
    only = cross_task({"so_surface": folders["so_surface"]})
    assert any("no consistency" in one for one in only["lacks"])


def test_empty_bins_are_named(tmp_path):
    who = {"a-1": "a", "b-1": "b"}
    texts = dict.fromkeys(who, "가나")
    data = data_directory(tmp_path / "data", who, {"surface": texts, "meaning": texts})
    out = decoded(tmp_path / "do", {"surface": texts, "meaning": texts})
    score_directory(data, out, WRITTEN, resamples=20)
    result = cross_task({"do": out})
    assert "no utterance by distance in: 1-3, 4-10, >=11" in result["lacks"]


def test_other_labels_are_refused(folders, tmp_path):
    other = korean(tmp_path / "other", each=4)
    with pytest.raises(UserError, match="so_meaning was scored against other labels"):
        cross_task({"do": folders["do"], "so_meaning": other["so_meaning"]})


def test_files_that_are_none(folders, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        cross_task({"do": tmp_path})
    for content in ("[]", "{}", '{"set": "t"}'):
        (tmp_path / "utterances.json").write_text(content)
        with pytest.raises(UserError, match="not what scoring writes"):
            cross_task({"do": tmp_path})


def test_the_command(folders, tmp_path, capsys):
    given = [f"{name}={folder}" for name, folder in folders.items()]
    out = tmp_path / "analysis/cross_test.json"
    assert command.main(["--systems", *given, "--output", str(out)]) == 0
    written = json.loads(out.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(cross_task(folders)))
    assert {key: written[key] for key in found} == found
    assert "espnet_ext.bin.cross" in written["provenance"]["command"]
    assert "learner error" in capsys.readouterr().out
    with pytest.raises(SystemExit) as error:
        command.main(["--systems", "do", "--output", str(out)])
    assert error.value.code == 2
    shutil.rmtree(tmp_path)
