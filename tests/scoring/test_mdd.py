"""Detection and diagnosis: cases counted by hand, definitions, and the command."""

import json

import pytest

from espnet_ext.bin import mdd as command
from espnet_ext.bin import score
from espnet_ext.errors import UserError
from espnet_ext.scoring import mdd

# canonical, perceived, hypothesis → counts with insertions, and without
CASES = [
    ("K AE T", "K AE T", "K AE T", {"TA": 3}, {"TA": 3}),
    ("K AE T", "K EH T", "K EH T", {"TA": 2, "CD": 1}, {"TA": 2, "CD": 1}),
    ("K AE T", "K EH T", "K AE T", {"TA": 2, "FA": 1}, {"TA": 2, "FA": 1}),
    ("K AE T", "K EH T", "K IH T", {"TA": 2, "ED": 1}, {"TA": 2, "ED": 1}),
    ("K AE T", "K AE T", "K EH T", {"TA": 2, "FR": 1}, {"TA": 2, "FR": 1}),
    ("K AE T", "K AE", "K AE", {"TA": 2, "CD": 1}, {"TA": 2, "CD": 1}),  # deleted
    ("K AE T", "K AE", "K AE T", {"TA": 2, "FA": 1}, {"TA": 2, "FA": 1}),
    ("K AE T", "K AE", "K AE D", {"TA": 2, "ED": 1}, {"TA": 2, "ED": 1}),
    ("K AE T", "K AE T", "K AE", {"TA": 2, "FR": 1}, {"TA": 2, "FR": 1}),
    ("S T", "S IH T", "S IH T", {"TA": 2, "CD": 1}, {"TA": 2}),  # inserted
    ("S T", "S IH T", "S T", {"TA": 2, "FA": 1}, {"TA": 2}),
    ("S T", "S IH T", "S AH T", {"TA": 2, "ED": 1}, {"TA": 2}),
    ("S T", "S T", "S IH T", {"TA": 2, "FR": 1}, {"TA": 2}),
    ("S T", "", "", {"CD": 2}, {"CD": 2}),
    ("", "", "", {}, {}),
    # a substitution beside a deletion: what is recognised stands where it was perceived
    ("AH L OW", "L AW", "L AW", {"TA": 1, "CD": 2}, {"TA": 1, "CD": 2}),
]


@pytest.mark.parametrize(("canonical", "perceived", "heard", "every", "places"), CASES)
def test_cases_counted_by_hand(canonical, perceived, heard, every, places):
    found = mdd.evaluate({"u": canonical}, {"u": perceived}, {"u": heard})
    zeros = dict.fromkeys(mdd.NAMES, 0)
    assert found["counts"] == {mdd.WITH: {**zeros, **every}, mdd.WITHOUT: {**zeros, **places}}


# the same with what the system took for canonical
WITHOUT_PROMPT = [
    ("K AE T", "K EH T", "K AE T", "K EH T", {"TA": 2, "CD": 1}),
    ("K AE T", "K EH T", "K EH T", "K EH T", {"TA": 2, "FA": 1}),  # it understood "ket"
    ("K AE T", "K AE T", "K EH T", "K AE T", {"TA": 2, "FR": 1}),  # it expected "ket"
    ("K AE T", "K AE T", "K EH T", "K EH T", {"TA": 3}),  # wrong twice, and reports nothing
    ("K AE T", "K EH T", "K IH T", "K EH T", {"TA": 2, "CD": 1}),
    ("K AE", "K AE", "K AE T", "K AE T", {"TA": 2}),  # a word too many: no error reported
    ("K AE", "K AE", "K AE T", "K AE", {"TA": 2, "FR": 1}),  # reports a T as left out
]


@pytest.mark.parametrize(("canonical", "perceived", "prompt", "heard", "every"), WITHOUT_PROMPT)
def test_what_the_system_goes_by_need_not_be_right(canonical, perceived, prompt, heard, every):
    found = mdd.evaluate({"u": canonical}, {"u": perceived}, {"u": heard}, {"u": prompt})
    assert found["counts"][mdd.WITH] == {**dict.fromkeys(mdd.NAMES, 0), **every}


def test_rates_and_three_kinds_of_f1():
    """TA 80, FR 10, FA 4, CD 5, ED 1, by the formulas."""
    found = mdd.measures({"TA": 80, "FR": 10, "FA": 4, "CD": 5, "ED": 1})
    assert found["FRR"] == pytest.approx(100 * 10 / 90)
    assert found["FAR"] == pytest.approx(100 * 4 / 10)
    assert found["DER"] == pytest.approx(100 / 6)
    precision, recall = 6 / 16, 6 / 10
    assert found["F1"] == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    precision, recall = 5 / 16, 5 / 10
    assert found["diagnosis_F1"] == pytest.approx(
        100 * 2 * precision * recall / (precision + recall)
    )
    assert mdd.measures({"TA": 3}) == {
        **dict.fromkeys(("FAR", "DER", "precision", "recall", "F1"), None),
        "FRR": 0.0,
        **dict.fromkeys(("diagnosis_precision", "diagnosis_recall", "diagnosis_F1"), None),
    }


def test_tables_by_phone_and_group():
    canonical = {"a1": "S IH T", "b1": "S IH T", "b2": "S IH T", "c1": "S"}
    perceived = {"a1": "S IY T", "b1": "S IY T", "b2": "S IH", "d1": "S"}
    heard = {"a1": "S IY T", "b1": "S IH T", "b2": "S IH", "c1": "S", "d1": "S"}
    groups = {"a1": "Korean", "b1": "Arabic", "b2": "Arabic"}
    found = mdd.evaluate(
        canonical, perceived, heard, groups=groups, speakers={"a1": "a", "b1": "b", "b2": "b"}
    )
    assert found["utterances"] == 3
    assert found["phones"]["IH"] == {"CD": 1, "FA": 1, "TA": 1}
    assert found["confusions"] == {
        "Arabic": {"IH": {"IY": 1}, "T": {"": 1}},
        "Korean": {"IH": {"IY": 1}},
    }
    assert found["groups"]["Korean"]["counts"][mdd.WITH]["CD"] == 1
    assert found["PER"] == pytest.approx(100 / 8)
    low, high = found["intervals"][mdd.DETECTION]
    assert low <= found["F1"][mdd.DETECTION] <= high


def write(folder, **tables):
    paths = {}
    for name, rows in tables.items():
        paths[name] = str(folder / name)
        (folder / name).write_text("".join(f"{i} {text}\n" for i, text in sorted(rows.items())))
    return paths


def test_command(tmp_path, capsys):
    paths = write(
        tmp_path,
        canonical={"s1-a": "S IH T", "s1-b": "S IY"},
        utt2spk={"s1-a": "s1"},
        perceived={"s1-a": "S IY T", "s1-b": "<na>"},
        hypothesis={"s1-a": "S IY T", "s1-b": "S"},
        meaning={"s1-a": "sit", "s1-b": "see"},
        lexicon={"sit": "S IH1 T", "see": "S IY1"},
        utt2l1={"s1-a": "Korean"},
    )
    names = "canonical", "perceived", "hypothesis"
    options = [word for name in names for word in (f"--{name}", paths[name])]
    further = ["--utt2l1", paths["utt2l1"], "--utt2spk", paths["utt2spk"]]
    assert score.main(["mdd", *options, *further, "--json", str(tmp_path / "x.json")]) == 0
    shown = capsys.readouterr().out
    assert "1 utterances, 1 left out (not in all files)" in shown
    assert "| with insertions | 2 | 0 | 0 | 1 | 0 |" in shown
    assert "| Korean | IH→IY 1 |" in shown
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["F1"] == {name: 100.0 for name in (mdd.DETECTION, mdd.DIAGNOSIS, mdd.CANONICAL)}
    words = ["--meaning", paths["meaning"], "--lexicon", paths["lexicon"]]
    assert command.main([*options, *words]) == 0
    assert "| with insertions | 2 | 0 | 0 | 1 | 0 |" in capsys.readouterr().out


def test_command_on_what_does_not_fit(tmp_path):
    paths = write(
        tmp_path,
        canonical={"s1-a": "S"},
        perceived={"s1-b": "S"},
        hypothesis={"s1-a": "S"},
        utt2spk={"s2-a": "s2"},
    )
    options = ["--canonical", paths["canonical"], "--hypothesis", paths["hypothesis"]]
    with pytest.raises(UserError, match="no utterance in common"):
        command.main([*options, "--perceived", paths["perceived"]])
    with pytest.raises(UserError, match="s1-a is not in it"):
        command.main([*options, "--perceived", paths["canonical"], "--utt2spk", paths["utt2spk"]])
    with pytest.raises(SystemExit):
        command.main([*options, "--perceived", "x", "--prompt", "x", "--meaning", "y"])


def test_korean_letters_without_prompt(tmp_path, capsys):
    """국물 is always said 궁물: no error. What was said instead of 좋아 (조아) was 초아."""
    paths = write(
        tmp_path,
        canonical={"s1-a": "궁물 조아"},
        perceived={"s1-a": "궁물 초아"},
        hypothesis={"s1-a": "궁물 초아"},
        meaning={"s1-a": "국물 좋아"},
    )
    names = "canonical", "perceived", "hypothesis", "meaning"
    options = [word for name in names for word in (f"--{name}", paths[name])]
    assert command.main([*options, "--unit", "jamo", "--json", str(tmp_path / "x.json")]) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    counts = found["counts"][mdd.WITH]
    assert (counts["TA"], counts["CD"], sum(counts.values())) == (9, 1, 10)
    assert found["prompted"] is False
    (tmp_path / "meaning").write_text("s1-a 漢字\n")
    capsys.readouterr()
    assert command.main([*options, "--unit", "jamo"]) == 0
    assert "0 utterances, 1 left out (words without pronunciation)" in capsys.readouterr().out
    with_speakers = ["--utt2spk", str(tmp_path / "utt2spk"), "--json", str(tmp_path / "y.json")]
    (tmp_path / "utt2spk").write_text("s1-a s1\n")
    assert command.main([*options, "--unit", "jamo", *with_speakers]) == 0
    assert set(json.loads((tmp_path / "y.json").read_text())["F1"].values()) == {None}
    with pytest.raises(UserError, match="unit 'mora'"):
        command.main([*options, "--unit", "mora"])


def test_words_of_no_lexicon_are_pronounced_if_asked_for(tmp_path, capsys):
    """Xylophone is in the CMU dictionary, glorvy is read by its letters."""
    paths = write(
        tmp_path,
        canonical={"s1-a": "Z AY L AH F OW N"},
        perceived={"s1-a": "Z AY L AH P OW N"},
        hypothesis={"s1-a": "Z AY L AH P OW N"},
        meaning={"s1-a": "Xylophone"},
    )
    names = "canonical", "perceived", "hypothesis", "meaning"
    options = [word for name in names for word in (f"--{name}", paths[name])]
    assert command.main(options) == 0
    assert "0 utterances, 1 left out (words without pronunciation)" in capsys.readouterr().out
    assert command.main([*options, "--g2p", "true", "--json", str(tmp_path / "x.json")]) == 0
    counts = json.loads((tmp_path / "x.json").read_text())["counts"][mdd.WITH]
    assert (counts["TA"], counts["CD"], sum(counts.values())) == (6, 1, 7)
    (tmp_path / "meaning").write_text("s1-a glorvy 漢字\n")
    capsys.readouterr()
    assert command.main([*options, "--g2p", "true"]) == 0
    assert "1 left out (words without pronunciation)" in capsys.readouterr().out
    (tmp_path / "meaning").write_text("s1-a glorvy\n")
    assert command.main([*options, "--g2p", "true"]) == 0
    assert "- 1 utterances.\n" in capsys.readouterr().out
