"""Scoring of cells with values computed by hand, conversions, and ESPnet's result folders."""

import json
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest
from make_set import data_directory, hypothesis_folder

from espnet_ext.errors import UserError
from espnet_ext.scoring.cells import BY_CANONICAL, BY_LEXICON
from espnet_ext.scoring.paired_difference import compare_systems
from espnet_ext.scoring.score import score_directory
from espnet_ext.text.lexicon import make_pronouncer, read_lexicon

SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}
KOREAN = {
    "surface": {"a-1": "궁물", "a-2": "나무 집", "b-1": "<na>"},
    "meaning": {"a-1": "국물", "a-2": "나무 집", "b-1": "사람", "b-2": "물"},
    "canonical": {"a-1": "궁물", "a-2": "나무 집", "b-1": "사람", "b-2": "물"},
}
TYPES = {"surface": "char", "meaning": "char"}


def cell(result, name):
    return next(c for c in result["cells"] if c["name"] == name)


@pytest.fixture
def korean(tmp_path):
    data = data_directory(tmp_path / "data", SPEAKERS, KOREAN)
    out = hypothesis_folder(
        tmp_path / "exp/do_small/decode/test",
        {
            "surface": {"a-1": "궁물", "a-2": "나무집", "b-1": "사람", "b-2": ""},
            "meaning": {"a-1": "국물", "a-2": "나무 짐", "b-1": "", "b-2": "물"},
        },
    )
    return data, out


def test_errors_by_first_language_and_confusions(korean):
    data, out = korean
    (data / "utt2l1").write_text("a-1 vi\na-2 vi\nb-1 zh\n")  # b-2: not known
    result = score_directory(data, out, TYPES)
    surface = cell(result, "surface-surface")
    assert surface["confusions"] == [("<space>", "", 1)]
    assert {l1: counts["cer"]["errors"] for l1, counts in surface["l1"].items()} == {"vi": 1}
    meaning = cell(result, "meaning-meaning")
    assert {l1: counts["cer"]["rate"] for l1, counts in meaning["l1"].items()} == {
        "vi": pytest.approx(100 / 6),
        "zh": 100.0,
    }
    assert sorted(meaning["confusions"]) == [("람", "", 1), ("사", "", 1), ("집", "짐", 1)]
    assert cell(result, "surface-meaning")["confusions"] == []


def test_errors_by_band_if_there_are_several(korean):
    data, out = korean
    assert cell(score_directory(data, out, TYPES), "meaning-meaning")["bands"] == {}
    (data / "utt2band").write_text("".join(f"{utt} narrow\n" for utt in SPEAKERS))
    assert cell(score_directory(data, out, TYPES), "meaning-meaning")["bands"] == {}
    (data / "utt2band").write_text("a-1 narrow\na-2 wide\nb-1 narrow\nb-2 wide\n")
    bands = cell(score_directory(data, out, TYPES), "meaning-meaning")["bands"]
    counts = {band: of_band["cer"] for band, of_band in bands.items()}
    assert {b: (c["errors"], c["tokens"]) for b, c in counts.items()} == {
        "narrow": (2, 4),  # 사람 is deleted
        "wide": (1, 5),
    }
    low, high = counts["narrow"]["interval"]
    assert 0 <= low <= counts["narrow"]["rate"] == 50 <= high
    surface = cell(score_directory(data, out, TYPES), "surface-surface")["bands"]
    assert surface["narrow"]["cer"]["sentences"] == 1  # b-1 is unlabelled


def test_four_cells_computed_by_hand(korean):
    result = score_directory(*korean, TYPES)
    assert [c["name"] for c in result["cells"]] == [
        "surface-surface",
        "surface-meaning",
        "meaning-surface",
        "meaning-meaning",
    ]
    surface = cell(result, "surface-surface")  # 2 + 4 characters, one space deleted
    assert surface["metrics"]["cer"]["rate"] == pytest.approx(100 / 6)
    assert surface["metrics"]["cer"]["deletions"] == 1
    assert surface["metrics"]["wer"]["errors"] == 2 and surface["metrics"]["wer"]["tokens"] == 3
    assert (surface["utterances"], surface["unlabelled"]) == (2, 2)  # <na> and a missing row
    cross = cell(result, "surface-meaning")  # 궁→국, a space, 물 missing of 2+4+2+1
    assert cross["metrics"]["cer"]["errors"] == 3 and cross["metrics"]["cer"]["tokens"] == 9
    meaning = cell(result, "meaning-meaning")  # 집→짐, 사람 missing
    assert meaning["metrics"]["cer"]["errors"] == 3
    assert meaning["speakers"]["b"]["cer"]["errors"] == 2
    assert meaning["speakers"]["a"]["cer"]["tokens"] == 6
    low, high = meaning["metrics"]["cer"]["interval"]
    assert low <= meaning["metrics"]["cer"]["rate"] <= high


def test_divergence_bins(korean):
    result = score_directory(*korean, TYPES)["divergence"]
    assert result["between"] == ["meaning", "surface"] and result["utterances"] == 2
    assert [b["utterances"] for b in result["bins"]] == [1, 1, 0, 0]
    rows = result["cells"]["surface-surface"]
    assert rows[0]["rate"] == pytest.approx(25.0) and rows[1]["rate"] == 0.0
    assert rows[3]["rate"] is None and rows[3]["utterances"] == 0


def test_missing_hypotheses_count_as_empty_with_a_warning(korean, capsys):
    data, out = korean
    (out / "text.meaning").write_text("a-1 국물\n", encoding="utf-8")
    result = cell(score_directory(data, out, TYPES), "meaning-meaning")
    assert "3 of 4 utterances have no hypothesis" in capsys.readouterr().err
    assert result["missing_hypotheses"] == 3
    assert result["metrics"]["cer"]["deletions"] == 4 + 2 + 1
    (out / "text.meaning").write_text("a-1 국물\na-2 <na>\n", encoding="utf-8")
    assert cell(score_directory(data, out, TYPES), "meaning-meaning")["missing_hypotheses"] == 3
    assert "3 of 4 utterances have no hypothesis" in capsys.readouterr().err


def test_utterances_that_could_not_be_decoded_are_named(korean, capsys):
    data, out = korean
    score_directory(data, out, TYPES)
    assert "could not be decoded" not in capsys.readouterr().err
    (out / "failed").write_text("a-1 no such file\nb-2 truncated\n", encoding="utf-8")
    score_directory(data, out, TYPES)
    error = capsys.readouterr().err
    assert "failed: 2 of 4 utterances could not be decoded (the first is a-1)" in error


# Hypothesis → the same text as other programs write it
SPELLINGS = {
    "국물 맛": unicodedata.normalize("NFD", "국물 맛"),
    "TV 2": "\uff34\uff36\u3000\uff12",
    "abcd": "ab\u200bc\u2060d",
    "see": "\ufeffsee",
    "ㄱ": "\uffa1",
    "café": "cafe\u0301",
}


@pytest.mark.parametrize(("text", "spelling"), SPELLINGS.items())
@pytest.mark.parametrize("decomposed_side", ["reference", "hypothesis", "both"])
def test_both_sides_are_normalised_and_changes_are_counted(
    text, spelling, decomposed_side, tmp_path, capsys
):
    reference = text if decomposed_side == "hypothesis" else spelling
    hypothesis = text if decomposed_side == "reference" else spelling
    data = data_directory(
        tmp_path / "data", {"a-1": "a", "a-2": "a"}, {"meaning": {"a-1": reference, "a-2": "x"}}
    )
    out = hypothesis_folder(tmp_path / "out", {"meaning": {"a-1": hypothesis, "a-2": "x"}})
    result = score_directory(data, out, {"meaning": "char"})
    assert cell(result, "meaning-meaning")["metrics"]["cer"]["errors"] == 0
    changed = {
        str(out / "text.meaning"): int(decomposed_side != "reference"),
        str(data / "text.meaning"): int(decomposed_side != "hypothesis"),
    }
    assert result["normalised"] == {name: count for name, count in changed.items() if count}
    note = capsys.readouterr().err
    for name in result["normalised"]:
        assert f"{name}: 1 of 2 texts were normalised for scoring (the first is a-1)" in note


def test_hashes_of_labels_do_not_depend_on_their_unicode_form(tmp_path):
    hashes = set()
    for form in ("NFC", "NFD"):
        rows = {"meaning": {"a-1": unicodedata.normalize(form, "국물")}}
        data = data_directory(tmp_path / form, {"a-1": "a"}, rows)
        out = hypothesis_folder(tmp_path / f"out_{form}", rows)
        hashes.add(score_directory(data, out, {"meaning": "char"})["data"]["sha256"])
    assert len(hashes) == 1


def test_stress_digits_are_compared_on_neither_side(tmp_path):
    data = data_directory(
        tmp_path / "data",
        {"a-1": "a", "a-2": "a"},
        {
            "surface": {"a-1": "S IY1 M IY0", "a-2": "X2 aa1"},
            "canonical": {"a-1": "S IY1 M IY0"},
            "meaning": {"a-1": "see me"},
        },
    )
    out = hypothesis_folder(
        tmp_path / "out",
        {"surface": {"a-1": "S IY M IY", "a-2": "X aa"}, "meaning": {"a-1": "see me", "a-2": ""}},
    )
    types = {"surface": "phone", "meaning": "char"}
    result = score_directory(data, out, types)
    surface = cell(result, "surface-surface")["metrics"]["per"]
    assert (surface["errors"], surface["substitutions"]) == (2, 2)  # X2 and aa1 are other symbols
    assert cell(result, "surface-meaning")["metrics"]["per"]["errors"] == 0
    assert result["normalised"] == {
        str(data / "text.surface"): 1,
        str(data / "text.canonical"): 1,
    }


def test_everything_recognised_for_an_empty_reference_is_inserted(tmp_path, capsys):
    speakers = {"a-1": "a", "a-2": "a", "b-1": "b"}
    data = data_directory(
        tmp_path / "data", speakers, {"meaning": {"a-1": "", "a-2": "hello", "b-1": ""}}
    )
    out = hypothesis_folder(
        tmp_path / "out", {"meaning": {"a-1": "you you", "a-2": "hello", "b-1": ""}}
    )
    result = cell(score_directory(data, out, {"meaning": "char"}), "meaning-meaning")
    counts = result["metrics"]["cer"]
    assert (counts["insertions"], counts["errors"], counts["tokens"]) == (7, 7, 5)
    assert counts["rate"] == pytest.approx(140.0)
    assert (counts["sentences"], counts["sentence_errors"]) == (3, 1)
    assert result["metrics"]["wer"]["insertions"] == 2
    assert (result["utterances"], result["unlabelled"]) == (3, 0)
    assert "2 of 3 references are empty (the first is a-1)" in capsys.readouterr().err


def test_set_without_any_reference_token_reports_its_insertions(tmp_path, capsys):
    from espnet_ext.bin import score

    data = data_directory(tmp_path / "data", {"a-1": "a"}, {"meaning": {"a-1": ""}})
    out = hypothesis_folder(tmp_path / "out", {"meaning": {"a-1": "hey"}})
    options = ["--data", str(data), "--hypotheses", str(out), "--token_types", "meaning=char"]
    assert score.main(options) == 0
    line = "CER no reference tokens, 1 utterances (3 insertions)"
    assert line in capsys.readouterr().out


def test_token_types_are_those_of_the_model(tmp_path, capsys):
    from espnet_ext.bin import score

    texts = {"surface": {"a-1": "S IY"}, "meaning": {"a-1": "see"}}
    data = data_directory(tmp_path / "data", {"a-1": "a"}, texts)
    out = hypothesis_folder(tmp_path / "out", {"surface": {"a-1": "S EH"}})
    options = ["--data", str(data), "--hypotheses", str(out)]
    assert score.main(options) == 0  # without decode.json, characters: 1 of 4 with the space
    assert "surface against surface: CER 50.00 %" in capsys.readouterr().out
    (out / "decode.json").write_text('{"token_types": {"surface": "phone"}}')
    assert score.main(options) == 0
    assert "surface against surface: PER 50.00 %" in capsys.readouterr().out
    before = (out / "score.json").read_bytes()
    with pytest.raises(UserError, match="surface has the token type phone .*, not char"):
        score.main([*options, "--token_types", "surface=char meaning=char"])
    assert (out / "score.json").read_bytes() == before


def test_data_directory_as_hypotheses_raises_user_error_and_stays_unchanged(korean):
    data, _ = korean
    before = {path: path.stat().st_mtime_ns for path in data.parent.rglob("*")}
    with pytest.raises(UserError, match=f"{data}: is a data directory: its transcripts are ref"):
        score_directory(data, data, TYPES)
    assert {path: path.stat().st_mtime_ns for path in data.parent.rglob("*")} == before


def test_hypothesis_of_unknown_utterance_raises_user_error(korean):
    data, out = korean
    with (out / "text.surface").open("a", encoding="utf-8") as handle:
        handle.write("c-9 물\n")
    with pytest.raises(UserError, match="c-9"):
        score_directory(data, out, TYPES)


def test_phones_and_words_are_compared_as_phones(tmp_path):
    data = data_directory(
        tmp_path / "data",
        SPEAKERS,
        {
            "surface": {"a-1": "S IY M IY", "a-2": "IH T", "b-1": "DH AH"},
            "meaning": {"a-1": "see me", "a-2": "eat", "b-1": "the", "b-2": "cat"},
            "canonical": {"a-1": "S IY M IY", "a-2": "IY T", "b-1": "DH AH"},
        },
    )
    out = hypothesis_folder(
        tmp_path / "exp/decode/test",
        {
            "surface": {"a-1": "S IY M IY", "a-2": "IH T", "b-1": "D AH", "b-2": "K AE T"},
            "meaning": {"a-1": "see me", "a-2": "eat", "b-1": "zzyx", "b-2": "cat"},
        },
    )
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("see S IY1\nme M IY1\neat IY1 T\ncat K AE1 T\n", encoding="utf-8")
    types = {"surface": "phone", "meaning": "char"}
    result = score_directory(data, out, types, lexicon=lexicon)
    assert cell(result, "surface-surface")["metric"] == "per"
    assert cell(result, "meaning-meaning")["metric"] == "cer"
    surface_meaning = cell(result, "surface-meaning")
    assert (
        surface_meaning["conversion"] == BY_CANONICAL and surface_meaning["unlabelled"] == 1
    )  # b-2 has no canonical
    assert (
        surface_meaning["metrics"]["per"]["errors"] == 2
        and surface_meaning["metrics"]["per"]["tokens"] == 8
    )
    meaning_surface = cell(result, "meaning-surface")
    assert (
        meaning_surface["conversion"] == BY_LEXICON and meaning_surface["not_comparable"] == 1
    )  # zzyx
    assert (
        meaning_surface["metrics"]["per"]["errors"] == 1
        and meaning_surface["metrics"]["per"]["tokens"] == 6
    )
    assert result["divergence"]["between"] == ["canonical", "surface"]
    assert [b["utterances"] for b in result["divergence"]["bins"]] == [2, 1, 0, 0]
    assert (out.parent / "test.surface-surface/score_per/result.txt").exists()


SHOW = r"""
for type in wer cer ter; do
  if ls "${expdir}"/*/*/score_${type}/result.txt > /dev/null 2>&1; then
    echo "### ${type}"
    grep -H -e Avg "${expdir}"/*/*/score_${type}/result.txt \
      | sed -e "s#${expdir}/\([^/]*/[^/]*\)/score_${type}/result.txt:#|\1#g" \
      | sed -e 's#Sum/Avg##g' | tr '|' ' ' | tr -s ' ' '|'
  fi
done
"""


def test_espnet_result_script_lists_every_cell(korean):
    data, out = korean
    result = score_directory(data, out, TYPES)
    expdir = out.parent.parent
    output = subprocess.run(
        ["bash", "-c", SHOW],
        env={"expdir": str(expdir), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in output.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 8  # four cells, words and characters
    for c in result["cells"]:
        values = c["metrics"]["cer"]
        expected = [values["sentences"], values["tokens"]]
        row = [r for r in rows if f"/test.{c['name']}|" in r][-1].strip("|").split("|")
        assert len(row) == 9  # the columns of ESPnet's table, from dataset to S.Err
        assert [int(row[1]), int(row[2])] == expected
        assert float(row[7]) == pytest.approx(values["rate"], abs=0.051)
    trn = out.parent / "test.surface-surface/score_cer/ref.trn"
    assert trn.read_text(encoding="utf-8").splitlines()[1] == "나 무 <space> 집\t(a-a-2)"


def test_stale_results_of_earlier_runs_are_removed(korean):
    data, out = korean
    score_directory(data, out, TYPES)
    stale = out.parent / "test.surface-surface/score_cer/result.txt"
    assert stale.exists()
    score_directory(data, out, {"surface": "phone", "meaning": "phone"})
    assert not stale.exists()


def test_results_of_a_set_with_a_longer_name_stay(korean):
    data, out = korean
    other = out.parent / "test.noisy.surface-surface/score_cer/result.txt"
    other.parent.mkdir(parents=True)
    other.write_text("of the set test.noisy")
    score_directory(data, out, TYPES)
    assert other.exists()


def test_json_files_match_the_returned_scores(korean):
    data, out = korean
    result = score_directory(data, out, TYPES, provenance={"command": "x"})
    assert json.loads((out / "score.json").read_text()) == json.loads(json.dumps(result))
    rows = json.loads((out / "utterances.json").read_text())["utterances"]
    for c in result["cells"]:
        errors = sum(r["cells"][c["name"]]["errors"] for r in rows if c["name"] in r["cells"])
        assert errors == c["metrics"][c["metric"]]["errors"]
    assert rows[0]["labels"] == {"meaning-surface": "s=", "canonical-surface": "=="}


def test_compare_systems_pairs_utterances(korean, tmp_path):
    data, out = korean
    score_directory(data, out, TYPES)
    other = hypothesis_folder(
        tmp_path / "exp/so/decode/test", {"surface": KOREAN["surface"] | {"b-1": "x"}}
    )
    score_directory(data, other, TYPES)
    a, b = (json.loads(Path(p, "utterances.json").read_text()) for p in (other, out))
    result = compare_systems("so", a, "do", b)
    # the cells that both have: "so" has no meaning hypotheses
    assert {row["name"] for row in result["cells"]} == {"surface-surface", "surface-meaning"}
    whole = next(row for row in result["cells"] if row["bin"] is None)
    assert whole["difference"] == pytest.approx(100 / 6) and whole["utterances"] == 2
    with pytest.raises(UserError, match="different labels"):
        compare_systems("so", a, "do", b | {"data_sha256": "?"})


def test_lexicon(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("The DH AH0\nthe DH IY0\n\n", encoding="utf-8")
    assert make_pronouncer(read_lexicon(path))("THE the") == "DH AH DH AH"
    path.write_text("the DH AH0\nbad\n", encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(f"{path}:2")):
        read_lexicon(path)


def test_nfd_hypotheses_have_the_same_scores(korean):
    data, out = korean
    before = score_directory(data, out, TYPES)["cells"]
    for path in out.glob("text.*"):
        path.write_text(unicodedata.normalize("NFD", path.read_text("utf-8")), encoding="utf-8")
    assert score_directory(data, out, TYPES)["cells"] == before


def test_current_folder_as_hypothesis_folder(korean, monkeypatch):
    data, out = korean
    monkeypatch.chdir(out)
    assert score_directory(data, ".", TYPES)["set"] == "test"
    assert {p.name for p in out.parent.iterdir() if p.is_dir()} >= {"test", "test.surface-surface"}
    assert not [p for p in out.rglob(".*")]


def test_non_linguistic_symbols_are_not_scored(tmp_path):
    texts = {"meaning": {"a-1": "나<noise>무 집", "a-2": "<noise>", "b-1": "물 <noise> 좀"}}
    data = data_directory(tmp_path / "data", {name: name[0] for name in texts["meaning"]}, texts)
    out = hypothesis_folder(
        tmp_path / "exp/m/decode/test",
        {"meaning": {"a-1": "나무 집", "a-2": "", "b-1": "물 <noise>좀<noise>"}},
    )
    counts = cell(score_directory(data, out, {"meaning": "char"}), "meaning-meaning")["metrics"]
    assert counts["cer"]["errors"] > 7
    removed = score_directory(data, out, {"meaning": "char"}, symbols=["<noise>"])
    counts = cell(removed, "meaning-meaning")["metrics"]
    assert counts["cer"]["errors"] == 0 and counts["cer"]["tokens"] == 4 + 0 + 3
