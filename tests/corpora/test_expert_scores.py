"""Tests of the human scores of speechocean762: insertions by majority, scores per utterance."""

import json

import pytest
from published import detail, word, write_speechocean762

from espnet_ext.bin import prepare as command
from espnet_ext.corpora import speechocean762
from espnet_ext.corpora.expert_scores import insertions, utterance_scores
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.directory import read_directory

BEAR = ["B", "EH", "R"]
# The corpus's README gives these five strings for the word BEAR.
PUBLISHED = ["B (EH0) (R)", "B {EH0} {R}", "B EH0 R", "B (EH0) (R)", "B EH0 [L] R"]


@pytest.mark.parametrize(
    ("strings", "agreed", "minority"),
    [
        (PUBLISHED, {}, 1),
        (["B EH0 [L] R"] * 3 + ["B EH0 R"] * 2, {2: ["L"]}, 0),
        (["B EH0 [L] R"] * 3 + ["B EH0 [W] R"] * 2, {2: ["L"]}, 0),
        (["[AH] B EH0 R [AH0]"] * 5, {0: ["AH"], 3: ["AH"]}, 0),
        (["B EH0 [L AH] R"] * 5, {2: ["L", "AH"]}, 0),
        (["B EH0 [L] [AH] R"] * 5, {2: ["L", "AH"]}, 0),
        (["B EH0 [ L ] R"] * 5, {2: ["L"]}, 0),
        (["B EH0[L] R"] * 5, {2: ["L"]}, 0),
        (["B EH0 [L*] R"] * 5, {2: ["L"]}, 0),
        (["B ({EH0}) [L] R"] * 5, {2: ["L"]}, 0),
        (["B AR"] * 2 + ["B EH0 [L] R"] * 3, {2: ["L"]}, 0),  # two with another number of phones
        (["B EH0 R"] * 5, {}, 0),
        (["B EH0 [] R"] * 5, {}, 0),
        (["B EH0 [L R"] * 5, {}, 0),  # bracket not closed: ignored
        ([], {}, 0),
        (None, {}, 0),
    ],
)
def test_insertions_by_majority(strings, agreed, minority):
    assert insertions(strings, BEAR) == (agreed, minority, "")


@pytest.mark.parametrize(
    "strings",
    [
        ["B EH0 [L] R"] * 2 + ["B EH0 [W] R"] * 2 + ["B EH0 R"],
        ["B EH0 [?] R"] * 5,
        ["B EH0 [<unk>] R"] * 5,
    ],
)
def test_insertion_without_agreement_on_the_phone(strings):
    agreed, _, problem = insertions(strings, BEAR)
    assert agreed == {} and "an insertion before phone 2" in problem


def read(words, *strings):
    report = Report("speechocean762")
    text = " ".join(one["text"] for one in words)
    texts = speechocean762.read_scores(
        {"words": words}, text, "1-1", report, detail(words, *strings)
    )
    return texts, report


def test_surface_has_insertions_and_mispronunciations():
    words = [word("WE", "W IY0"), word("BEAR", "B EH0 R", (1, "EH", "AE"), (2, "R", "<DEL>"))]
    texts, report = read(words, ["W IY0"] * 5, ["B (EH0) [L] (R) [AH]"] * 4 + ["[B] B EH0 R"])
    assert texts["surface"] == "W IY B AE L AH"
    assert texts["canonical"] == "W IY B EH R"
    assert report.counts["inserted phones that most experts perceived"] == 2
    assert report.counts["inserted phones that a minority of experts perceived, ignored"] == 1
    texts, report = read(words, [], ["B EH0 [?] R"] * 5)
    assert sorted(texts) == ["canonical", "meaning"]
    assert "not the same" in report.unlabelled["1-1"]["surface"]


def test_scores_are_written_for_all_sets(tmp_path):
    words = [word("RED", "R EH1 D", (0, "R", "L"))]
    words[0]["phones-accuracy"] = [0.2, 1.8, 2.0]
    parts = {
        "train": {f"{n:04}": [(f"{n:04}1", words)] for n in range(1, 13)},
        "test": {"0099": [("00991", words)]},
    }
    root = write_speechocean762(tmp_path / "corpus", parts)
    path = root / "resource/scores.json"
    scores = json.loads(path.read_text())
    for entry in scores.values():
        entry |= {"accuracy": 8, "completeness": 10.0, "fluency": 9, "prosodic": 9, "total": 8}
    path.write_text(json.dumps(scores))
    details = {"00991": detail(words, ["R EH1 [AH0] D"] * 5)}
    (root / "resource/scores-detail.json").write_text(json.dumps(details))
    argv = ["speechocean762", "--corpus_dir", str(root), "--data_dir", str(tmp_path / "data")]
    assert command.main(argv) == 0
    (utterance,) = read_directory(tmp_path / "data/en/test")
    assert utterance.score == "accuracy=8 completeness=10 fluency=9 prosodic=9 total=8 phones=1.333"
    assert utterance.texts["surface"] == "L EH AH D"
    for name in ("train", "valid"):
        assert all(one.score for one in read_directory(tmp_path / "data/en" / name))


@pytest.mark.parametrize(
    ("entry", "score"),
    [
        (None, ""),
        ({"accuracy": True}, ""),
        ({"accuracy": float("nan"), "total": 3}, "total=3"),
        ({"accuracy": [8.0, 9.0]}, "accuracy=8.5"),
        ({"words": [{"phones-accuracy": [2]}, {}]}, ""),  # not of all phones
        ({"words": 3, "fluency": "9"}, ""),
    ],
)
def test_invalid_scores_are_ignored(entry, score):
    assert utterance_scores(entry) == score
