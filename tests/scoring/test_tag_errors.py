"""Tags are scored separately, and labels only against labels of the same kind."""

import pytest
from make_set import data_directory, hypothesis_folder

from espnet_ext.scoring.score import score_directory

SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}
PLAIN = {"a-1": "i like it", "a-2": "you too", "b-1": "she runs", "b-2": "so"}
HYPOTHESES = {"a-1": "i lick it", "a-2": "you too", "b-1": "he runs", "b-2": "so"}
L1 = {"a-1": "Hindi", "a-2": "Hindi", "b-1": "Korean"}


def rates(result):
    return {c["name"]: c["metrics"][c["metric"]]["rate"] for c in result["cells"]}


def test_tags_do_not_change_the_scores_of_texts(tmp_path):
    tagged = {utt: f"{text} <l1:{L1[utt]}>" if utt in L1 else text for utt, text in PLAIN.items()}
    tagged_hypotheses = {
        "a-1": "i lick it <l1:Hindi>",
        "a-2": "you too <l1:Korean>",
        "b-1": "he runs",
        "b-2": "so <l1:Hindi>",
    }
    results = []
    for name, references, hypotheses in (
        ("plain", PLAIN, HYPOTHESES),
        ("tagged", tagged, tagged_hypotheses),
    ):
        data = data_directory(tmp_path / name / "data", SPEAKERS, {"meaning": references})
        out = hypothesis_folder(tmp_path / name / "exp/test", {"meaning": hypotheses})
        results.append(score_directory(data, out, {"meaning": "char"}))
    assert rates(results[0]) == rates(results[1])
    assert results[0]["cells"] == results[1]["cells"]
    assert results[0]["tags"] == []
    row = results[1]["tags"][0]
    assert row.pop("interval") is not None
    assert row == {
        "output": "meaning",
        "tag": "l1",
        "utterances": 3,
        "wrong": 2,
        "missing": 1,
        "invented": 1,
        "rate": pytest.approx(200 / 3),
    }


@pytest.mark.parametrize(("leave_out", "utterances"), [(False, 3), (True, 2)])
def test_missing_hypotheses_have_wrong_tags_unless_they_are_left_out(
    tmp_path, leave_out, utterances
):
    tagged = {utt: f"{PLAIN[utt]} <l1:{l1}>" for utt, l1 in L1.items()}
    data = data_directory(tmp_path / "data", SPEAKERS, {"meaning": tagged})
    recognised = {utt: tagged[utt] for utt in ("a-1", "a-2")}
    out = hypothesis_folder(tmp_path / "exp/test", {"meaning": recognised})
    result = score_directory(data, out, {"meaning": "char"}, leave_out_missing=leave_out)
    [row] = result["tags"]
    missing = 0 if leave_out else 1
    assert (row["utterances"], row["wrong"], row["missing"]) == (utterances, missing, missing)


def test_label_error_rate(tmp_path):
    data = data_directory(tmp_path / "data", SPEAKERS, {"meaning": PLAIN, "l1": L1})
    hypotheses = {"a-1": "Hindi", "a-2": "Korean", "b-1": "Korean", "b-2": "Hindi"}
    out = hypothesis_folder(tmp_path / "exp/test", {"meaning": HYPOTHESES, "l1": hypotheses})
    result = score_directory(data, out, {"meaning": "char", "l1": "label"})
    label_rates = rates(result)
    assert set(label_rates) == {"meaning-meaning", "l1-l1"}  # labels are not compared with texts
    assert label_rates["l1-l1"] == pytest.approx(100 / 3)
    assert next(c for c in result["cells"] if c["name"] == "l1-l1")["unlabelled"] == 1
