"""MDD: outcomes counted by hand, definitions of measures, and the command."""

import json
import unicodedata

import pytest

from espnet_ext.bin import mdd as command
from espnet_ext.bin import score
from espnet_ext.errors import UserError
from espnet_ext.scoring import mdd
from espnet_ext.scoring.mdd_files import evaluate_files

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
    # a substitution next to a deletion: H is aligned with P
    ("AH L OW", "L AW", "L AW", {"TA": 1, "CD": 2}, {"TA": 1, "CD": 2}),
]


@pytest.mark.parametrize(
    ("canonical", "perceived", "hypothesis", "all_columns", "without_insertions"), CASES
)
def test_outcomes_counted_by_hand(
    canonical, perceived, hypothesis, all_columns, without_insertions
):
    result = mdd.evaluate({"u": canonical}, {"u": perceived}, {"u": hypothesis})
    zeros = dict.fromkeys(mdd.OUTCOMES, 0)
    assert result["counts"] == {
        mdd.WITH_INSERTIONS: {**zeros, **all_columns},
        mdd.WITHOUT_INSERTIONS: {**zeros, **without_insertions},
    }


# canonical, perceived, phones that the system assumes, hypothesis → counts
ASSUMED = [
    ("K AE T", "K EH T", "K AE T", "K EH T", {"TA": 2, "CD": 1}),
    ("K AE T", "K EH T", "K EH T", "K EH T", {"TA": 2, "FA": 1}),  # it recognised the word "ket"
    ("K AE T", "K AE T", "K EH T", "K AE T", {"TA": 2, "FR": 1}),  # it assumes "ket"
    ("K AE T", "K AE T", "K EH T", "K EH T", {"TA": 3}),  # two mistakes, no error reported
    ("K AE T", "K EH T", "K IH T", "K EH T", {"TA": 2, "CD": 1}),
    ("K AE", "K AE", "K AE T", "K AE T", {"TA": 2}),  # an additional word: no error reported
    ("K AE", "K AE", "K AE T", "K AE", {"TA": 2, "FR": 1}),  # reports that T was deleted
]


@pytest.mark.parametrize(("canonical", "perceived", "assumed", "hypothesis", "expected"), ASSUMED)
def test_outcomes_with_assumed_canonical_phones(
    canonical, perceived, assumed, hypothesis, expected
):
    result = mdd.evaluate({"u": canonical}, {"u": perceived}, {"u": hypothesis}, {"u": assumed})
    zeros = dict.fromkeys(mdd.OUTCOMES, 0)
    assert result["counts"][mdd.WITH_INSERTIONS] == {**zeros, **expected}


def test_measures_match_their_formulas():
    """TA 80, FR 10, FA 4, CD 5, ED 1."""
    result = mdd.measures({"TA": 80, "FR": 10, "FA": 4, "CD": 5, "ED": 1})
    assert result["FRR"] == pytest.approx(100 * 10 / 90)
    assert result["FAR"] == pytest.approx(100 * 4 / 10)
    assert result["DER"] == pytest.approx(100 / 6)
    precision, recall = 6 / 16, 6 / 10
    assert result["F1"] == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    precision, recall = 5 / 16, 5 / 10
    assert result["diagnosis_F1"] == pytest.approx(
        100 * 2 * precision * recall / (precision + recall)
    )
    assert mdd.measures({"TA": 3}) == {
        **dict.fromkeys(("FAR", "DER", "precision", "recall", "F1"), None),
        "FRR": 0.0,
        **dict.fromkeys(("diagnosis_precision", "diagnosis_recall", "diagnosis_F1"), None),
    }


def test_results_by_phone_and_group():
    canonical = {"a1": "S IH T", "b1": "S IH T", "b2": "S IH T", "c1": "S"}
    perceived = {"a1": "S IY T", "b1": "S IY T", "b2": "S IH", "d1": "S"}
    hypotheses = {"a1": "S IY T", "b1": "S IH T", "b2": "S IH", "c1": "S", "d1": "S"}
    groups = {"a1": "Korean", "b1": "Arabic", "b2": "Arabic"}
    result = mdd.evaluate(
        canonical, perceived, hypotheses, groups=groups, speakers={"a1": "a", "b1": "b", "b2": "b"}
    )
    assert result["utterances"] == 3
    assert result["phones"]["IH"] == {"CD": 1, "FA": 1, "TA": 1}
    assert result["confusions"] == {
        "Arabic": {"IH": {"IY": 1}, "T": {"": 1}},
        "Korean": {"IH": {"IY": 1}},
    }
    assert result["groups"]["Korean"]["counts"][mdd.WITH_INSERTIONS]["CD"] == 1
    assert result["PER"] == pytest.approx(100 / 8)
    low, high = result["intervals"][mdd.DETECTION]
    assert low <= result["F1"][mdd.DETECTION] <= high


def write(folder, **tables):
    paths = {}
    for name, rows in tables.items():
        paths[name] = str(folder / name)
        (folder / name).write_text("".join(f"{i} {text}\n" for i, text in sorted(rows.items())))
    return paths


def options_of(paths, *names):
    return [word for name in names for word in (f"--{name}", paths[name])]


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
    options = options_of(paths, "canonical", "perceived", "hypothesis")
    more = options_of(paths, "utt2l1", "utt2spk")
    assert score.main(["mdd", *options, *more, "--json", str(tmp_path / "x.json")]) == 0
    output = capsys.readouterr().out
    assert "1 utterances, 1 left out (not in all files)" in output
    assert "| with insertions | 2 | 0 | 0 | 1 | 0 |" in output
    assert "| Korean | IH→IY 1 |" in output
    result = json.loads((tmp_path / "x.json").read_text())
    assert result["F1"] == {
        name: 100.0 for name in (mdd.DETECTION, mdd.DIAGNOSIS, mdd.DETECTION_WITHOUT_INSERTIONS)
    }
    words = options_of(paths, "meaning", "lexicon")
    assert command.main([*options, *words]) == 0
    assert "| with insertions | 2 | 0 | 0 | 1 | 0 |" in capsys.readouterr().out


def test_annotation_as_hypothesis_raises_user_error(tmp_path):
    canonical, perceived, link = (tmp_path / name for name in ("canonical", "perceived", "link"))
    canonical.write_text("u K AE T\n")
    perceived.write_text("u K EH T\n")
    link.symlink_to(perceived)
    with pytest.raises(UserError, match=f"{link}: is both the perceived and the recognised"):
        evaluate_files(str(canonical), str(perceived), str(link))


def test_files_that_do_not_match_raise_user_error(tmp_path):
    paths = write(
        tmp_path,
        canonical={"s1-a": "S"},
        perceived={"s1-b": "S"},
        hypothesis={"s1-a": "S"},
        utt2spk={"s2-a": "s2"},
    )
    options = options_of(paths, "canonical", "hypothesis")
    with pytest.raises(UserError, match="no utterance in common"):
        command.main([*options, "--perceived", paths["perceived"]])
    with pytest.raises(UserError, match="s1-a: has no speaker"):
        command.main([*options, "--perceived", paths["canonical"], "--utt2spk", paths["utt2spk"]])
    with pytest.raises(SystemExit):
        command.main([*options, "--perceived", "x", "--prompt", "x", "--meaning", "y"])


def test_korean_letters_without_prompt(tmp_path, capsys):
    """국물 is regularly pronounced 궁물: no error. 초아 instead of 조아 (좋아) is an error."""
    paths = write(
        tmp_path,
        canonical={"s1-a": "궁물 조아"},
        perceived={"s1-a": "궁물 초아"},
        hypothesis={"s1-a": "궁물 초아"},
        meaning={"s1-a": "국물 좋아"},
    )
    options = options_of(paths, "canonical", "perceived", "hypothesis", "meaning")
    assert command.main([*options, "--unit", "jamo", "--json", str(tmp_path / "x.json")]) == 0
    result = json.loads((tmp_path / "x.json").read_text())
    counts = result["counts"][mdd.WITH_INSERTIONS]
    assert (counts["TA"], counts["CD"], sum(counts.values())) == (9, 1, 10)
    assert result["prompted"] is False
    (tmp_path / "meaning").write_text("s1-a 漢字\n")
    capsys.readouterr()
    assert command.main([*options, "--unit", "jamo"]) == 0
    assert "0 utterances, 1 left out (words without pronunciation)" in capsys.readouterr().out
    with_speakers = ["--utt2spk", str(tmp_path / "utt2spk"), "--json", str(tmp_path / "y.json")]
    (tmp_path / "utt2spk").write_text("s1-a s1\n")
    assert command.main([*options, "--unit", "jamo", *with_speakers]) == 0
    assert set(json.loads((tmp_path / "y.json").read_text())["F1"].values()) == {None}
    with pytest.raises(UserError, match="unknown unit 'mora'"):
        command.main([*options, "--unit", "mora"])
    with pytest.raises(UserError, match="canonical: s1-a: '궁물' is a Korean word, not a phone"):
        command.main(options)  # in phones


@pytest.mark.parametrize("unit", ["phone", "jamo"])
def test_listed_symbols_are_no_units(unit, tmp_path):
    texts = {"canonical": "K AE T", "perceived": "K EH T", "hypothesis": "K EH T"}
    if unit == "jamo":
        texts = {"canonical": "나무", "perceived": "너무", "hypothesis": "너무"}
    (tmp_path / "nlsyms").write_text("<noise>\n")
    results = []
    for noise, extra in ((" <noise>", ["--nlsyms_txt", str(tmp_path / "nlsyms")]), ("", [])):
        rows = {name: {"s1-a": text + noise} for name, text in texts.items()}
        paths = write(tmp_path, **rows)
        words = [
            *options_of(paths, *texts),
            "--unit",
            unit,
            "--json",
            str(tmp_path / "result.json"),
        ]
        assert command.main([*words, *extra]) == 0
        results.append(json.loads((tmp_path / "result.json").read_text()))
    assert results[0]["counts"] == results[1]["counts"]
    judged = 3 if unit == "phone" else 4
    assert sum(results[0]["counts"]["with_insertions"].values()) == judged
    assert results[0]["counts"]["with_insertions"]["CD"] == 1


def test_symbols_of_silence_are_named(tmp_path, capsys):
    paths = write(
        tmp_path,
        canonical={"s1-a": "sil B AE D sil"},
        perceived={"s1-a": "B AE D"},
        hypothesis={"s1-a": "B AE D"},
    )
    options = options_of(paths, "canonical", "perceived", "hypothesis")
    assert command.main(options) == 0
    message = capsys.readouterr().err
    assert f"{tmp_path / 'canonical'}: 2 symbols of silence count as phones: sil" in message
    assert message.count("count as phones") == 1


@pytest.mark.parametrize("decomposed", ["canonical", "perceived", "hypothesis", "meaning"])
@pytest.mark.parametrize("unit", ["char", "jamo"])
def test_files_in_other_unicode_forms(decomposed, unit, tmp_path, capsys):
    tables = dict.fromkeys(("canonical", "perceived", "hypothesis", "meaning"), {"s1-a": "나무"})
    tables[decomposed] = {"s1-a": unicodedata.normalize("NFD", "나무")}
    paths = write(tmp_path, **tables)
    names = ("canonical", "perceived", "hypothesis")
    names += ("meaning",) if decomposed == "meaning" else ()
    options = [*options_of(paths, *names), "--unit", unit, "--json", str(tmp_path / "x.json")]
    assert command.main(options) == 0
    result = json.loads((tmp_path / "x.json").read_text())
    counts = result["counts"][mdd.WITH_INSERTIONS]
    assert (counts["TA"], sum(counts.values())) == ({"char": 2, "jamo": 4}[unit],) * 2
    assert result["normalised"] == {paths[decomposed]: 1}
    assert "1 of 1 texts were normalised for scoring" in capsys.readouterr().err


def test_stress_digits_are_no_mispronunciations(tmp_path):
    paths = write(
        tmp_path,
        canonical={"s1-a": "S IH1 T"},
        perceived={"s1-a": "S IH T"},
        hypothesis={"s1-a": "S IH T"},
    )
    options = options_of(paths, "canonical", "perceived", "hypothesis")
    assert command.main([*options, "--json", str(tmp_path / "x.json")]) == 0
    counts = json.loads((tmp_path / "x.json").read_text())["counts"][mdd.WITH_INSERTIONS]
    assert (counts["TA"], sum(counts.values())) == (3, 3)


def test_empty_perceived_text_is_a_silent_learner(tmp_path):
    paths = write(
        tmp_path, canonical={"s1-a": "S IH"}, perceived={"s1-a": ""}, hypothesis={"s1-a": "S T"}
    )
    options = options_of(paths, "canonical", "perceived", "hypothesis")
    assert command.main([*options, "--json", str(tmp_path / "x.json")]) == 0
    counts = json.loads((tmp_path / "x.json").read_text())["counts"][mdd.WITH_INSERTIONS]
    assert (counts["FA"], counts["ED"], sum(counts.values())) == (1, 1, 2)


def test_g2p_option_pronounces_words_in_no_lexicon(tmp_path, capsys):
    """Xylophone is in the CMU dictionary, glorvy is pronounced by the network."""
    paths = write(
        tmp_path,
        canonical={"s1-a": "Z AY L AH F OW N"},
        perceived={"s1-a": "Z AY L AH P OW N"},
        hypothesis={"s1-a": "Z AY L AH P OW N"},
        meaning={"s1-a": "Xylophone"},
    )
    options = options_of(paths, "canonical", "perceived", "hypothesis", "meaning")
    assert command.main(options) == 0
    assert "0 utterances, 1 left out (words without pronunciation)" in capsys.readouterr().out
    assert command.main([*options, "--g2p", "true", "--json", str(tmp_path / "x.json")]) == 0
    counts = json.loads((tmp_path / "x.json").read_text())["counts"][mdd.WITH_INSERTIONS]
    assert (counts["TA"], counts["CD"], sum(counts.values())) == (6, 1, 7)
    (tmp_path / "meaning").write_text("s1-a glorvy 漢字\n")
    capsys.readouterr()
    assert command.main([*options, "--g2p", "true"]) == 0
    assert "1 left out (words without pronunciation)" in capsys.readouterr().out
    (tmp_path / "meaning").write_text("s1-a glorvy\n")
    assert command.main([*options, "--g2p", "true"]) == 0
    assert "- 1 utterances.\n" in capsys.readouterr().out


def test_inline_tags_are_no_phones(tmp_path):
    """A recognised tag is not an inserted phone, and not a detected mispronunciation."""
    phones = {"s1-a": "S IY D AH", "s1-b": "S IY", "s2-a": "S IY DH AH", "s2-b": "S IY"}
    tagged = {utt_id: f"{text} <l1:Hindi>" for utt_id, text in phones.items()}
    canonical = {**phones, "s1-a": "S IY DH AH"}
    results = []
    for name, texts in ("plain", phones), ("tagged", tagged):
        (tmp_path / name).mkdir()
        paths = write(tmp_path / name, canonical=canonical, perceived=texts, hypothesis=texts)
        results.append(evaluate_files(paths["canonical"], paths["perceived"], paths["hypothesis"]))
    assert results[1] == results[0]
    assert results[1]["counts"][mdd.WITH_INSERTIONS]["CD"] == 1
