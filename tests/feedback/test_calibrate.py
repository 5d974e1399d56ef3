"""`espnet-ext calibrate`: labels of deviations, measures, choice of the mismatch, the command."""

import json
import math
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from espnet_ext.bin import calibrate, cli, judge
from espnet_ext.data.directory import write_directory
from espnet_ext.data.record import Utterance
from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.errors import UserError
from espnet_ext.feedback import calibrate as steps
from espnet_ext.feedback.calibration import FEATURES, Calibration, Probability
from espnet_ext.feedback.comparison import compare
from espnet_ext.feedback.evidence import peaks
from espnet_ext.feedback.examples import Example, choose_mismatch, label, measure, reported_units
from espnet_ext.feedback.expected import expect, split_units
from espnet_ext.feedback.features import ErrorPrior, features
from espnet_ext.feedback.judge import Judge
from espnet_ext.feedback.transcript import Transcript
from espnet_ext.scoring.mdd import evaluate

sys.path.insert(0, str(Path(__file__).parent))
from scripted import ScriptedRecogniser  # noqa: E402

SENTENCE, CANONICAL = "I think here", "AY TH IH NG K HH IY R"
# TH → S is annotated and recognised; R is annotated as missing, but recognised; NG → N is
# recognised, but not annotated; a recognised AH is annotated as added
PERCEIVED = "AY S IH NG K AH HH IY"
RECOGNISED = "AY S IH N K AH HH IY R"
PEAKS = [0.1 * i for i in range(9)]  # of the recognised units


def example(utt_id="u1", speaker="s1", scores=(3.0, -1.0, 2.0)):
    comparison = compare(expect(SENTENCE, "en"), split_units(RECOGNISED, "en"))
    canonical, perceived = (list(split_units(text, "en")) for text in (CANONICAL, PERCEIVED))
    rows = features(comparison, scores, ErrorPrior(None), PEAKS, "en")
    is_real = label(comparison, canonical, perceived)
    return Example(utt_id, speaker, canonical, perceived, comparison, rows, is_real)


def test_deviation_is_real_where_the_annotation_differs():
    assert example().is_real == [True, False, True]


def test_features_have_the_evidence_and_the_kind():
    rate = math.log(3 / 8 + 0.02)  # three edits of eight expected units
    # NG → N is two columns from TH → S and from the added AH
    assert example(scores=(30.0, -1.0, 2.0)).features == [
        pytest.approx((8.0, 0.0, 0.0, 0.0, 0.0, rate, 1.0, 0.1)),
        pytest.approx((-1.0, 0.0, 0.0, 0.0, 0.0, rate, 2.0, 0.3)),
        pytest.approx((2.0, 0.0, 0.0, 1.0, 1.0, rate, 1.0, 0.5)),
    ]


def test_features_of_a_missing_vowel():
    comparison = compare(expect("here", "en"), ["HH", "R"])
    [row] = features(comparison, [1.0], ErrorPrior(None), [0.5, 0.5], "en")
    assert row == pytest.approx((1.0, 0.0, 1.0, 0.0, 1.0, math.log(1 / 3 + 0.02), 0.0, 0.0))
    comparison = compare(expect("국", "ko"), ["ᄀ", "ᅥ", "ᆨ"])
    [row] = features(comparison, [1.0], ErrorPrior(None), [0.2, 0.9, 0.2], "ko")
    assert row[4] == 1.0 and row[7] == 0.9


def test_peak_is_the_largest_posterior_of_a_unit():
    log_probs = torch.tensor([[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.4, 0.2, 0.4]])
    transcript = Transcript(["AY", "TH"], "en")
    values = peaks(log_probs.log(), transcript, [1, 2])
    assert values == pytest.approx((0.8, 0.4))
    assert peaks(log_probs[:1].log(), transcript, [1, 2]) == (0.0, 0.0)  # too few frames


def test_prior_is_the_log_odds_of_the_learners_errors():
    errors = PronunciationErrors.estimate(
        [["TH", "IH"]] * 4, [["S", "IH"]] * 2 + [["TH", "IH"]] * 2
    )
    comparison = compare(expect("thin", "en"), ["S", "IH", "M", "AH"])
    values = [ErrorPrior(errors.to_json())(comparison, d) for d in comparison.deviations]
    index = {token: i for i, token in enumerate(errors.tokens)}
    row = errors.pronounced[index["TH"]]
    assert values[0] == pytest.approx(float((row[1 + index["S"]] / row[1 + index["TH"]]).log()))
    assert max(values[1:]) < values[0]  # N and AH are not in the data


def test_unreported_deviations_count_as_the_expected_units():
    comparison = example().comparison
    assert reported_units(comparison, [True, True, True]) == RECOGNISED.split()
    assert reported_units(comparison, [False] * 3) == CANONICAL.split()
    assert reported_units(comparison, [True, False, False]) == [
        "AY",
        "S",
        "IH",
        "NG",
        "K",
        "HH",
        "IY",
        "R",
    ]


def test_measures_are_those_of_mdd():
    function = Probability((1.0, *(0.0,) * len(FEATURES)), (-5.0, 5.0), (0.0, 1.0), 0.65)
    measured = measure([example("s1-a", "s1"), example("s2-a", "s2")], function)
    # reported: TH → S and AH (two hits of three annotated), not NG → N
    assert (measured["precision"], measured["recall"]) == (100.0, pytest.approx(100 * 2 / 3))
    everything = measure([example()], function, threshold=0.0)
    expected = evaluate({"u": CANONICAL}, {"u": PERCEIVED}, {"u": RECOGNISED})
    assert everything["F1"] == pytest.approx(expected["F1"]["detection"])
    # probabilities 0.8, 0.4 and 0.7; two are real
    assert everything["ece"] == pytest.approx((0.2 + 0.4 + 0.3) / 3, abs=1e-3)


def test_calibration_error_of_no_deviations_is_unknown():
    function = Probability((1.0, *(0.0,) * len(FEATURES)), (-5.0, 5.0), (0.0, 1.0), 0.65)
    [line] = steps.measure_lines("data/en/test", {"prompt": measure([], function)})
    assert "ECE – (no deviations)" in line and "0.0 %" not in line


def test_mismatch_separates_own_from_other_sentences():
    chosen = choose_mismatch([0.1, 0.4, 0.9], [0.6, 0.8, 1.0, 1.2])
    assert 0.4 < chosen["threshold"] < 0.6
    assert (chosen["rejected"], chosen["accepted"]) == (pytest.approx(1 / 3), 0.0)


def annotated_set(trained, folder):
    """Write an annotated set whose speakers both deviate and do not."""
    wav = trained.root / "wav"
    rows = [("K AE T", "K AE T"), ("D AO G", "T AE K"), ("T AE K", "D AO G"), ("D AE D", "D AE D")]
    words = ["cat", "dog", "tack", "dad"]
    utterances = [
        Utterance(
            f"s{i % 2}-{i}",
            f"s{i % 2}",
            str(wav / f"train{i}.wav"),
            {"canonical": canonical, "surface": surface, "meaning": word},
        )
        for i, ((canonical, surface), word) in enumerate(zip(rows, words, strict=True))
    ]
    write_directory(folder, utterances)
    return str(folder)


def test_command_writes_what_judge_reads(trained, tmp_path, capsys):
    data = annotated_set(trained, tmp_path / "valid")
    output, model = tmp_path / "calibration.json", str(trained.root / "exp")
    arguments = [model, data, "--output", str(output), "--canonical_model", data]
    assert cli.run(calibrate.main, [*arguments, "--evaluate", data]) == 0
    printed = capsys.readouterr()
    assert "operating point" in printed.out and "ECE" in printed.out
    assert "2 speakers and 4 sentences" in printed.err
    content = json.loads(output.read_text())
    facts = content["facts"]
    assert facts["utterances"] == 4 and len(facts["sha256"]["text.surface"]) == 64
    assert facts["model_sha256"] and data in facts["evaluated"]
    assert content["errors"]["kind"] == "pronunciation_errors"
    assert Calibration.load(output).sources["prompt"].facts["curve"]
    wav = str(trained.root / "wav/train0.wav")
    assert cli.run(judge.main, [model, wav, "--calibration", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibrated"] is True
    facts["model_sha256"] = "0" * 64  # as after further epochs in the same folder
    output.write_text(json.dumps(content))
    assert cli.run(judge.main, [model, wav, "--calibration", str(output)]) == 1
    assert f"{output}: learnt with other weights than {model}" in capsys.readouterr().err


def test_set_without_annotation_is_a_user_error(trained, tmp_path):
    folder = annotated_set(trained, tmp_path / "valid")
    (tmp_path / "valid/text.canonical").write_text("")
    with pytest.raises(UserError, match="no utterance has text.surface, text.canonical"):
        steps.read_annotations(folder, "en")


def test_tags_and_symbols_are_no_units():
    english = Transcript(["<l1:Thai>", "S", "<noise>", "IH", "<unk>"], "en")
    assert english.units == ["S", "IH", "<unk>"] and english.token_of == [1, 3, 4]
    korean = Transcript(["한", "<space>", "<noise>", "글", "<unk>"], "ko")
    assert korean.units == [*unicodedata.normalize("NFD", "한글"), "<unk>"] and korean.token_of == [
        0
    ] * 3 + [3] * 3 + [4]
    comparison = compare(expect("this", "en"), Transcript(["S", "<noise>", "IH", "S"], "en").units)
    assert [deviation.kind for deviation in comparison.deviations] == ["substitution"]


def test_inline_tags_of_the_annotation_are_no_units(tmp_path):
    texts = {
        "canonical": "TH IH S",
        "surface": "S <noise> IH S <l1:Thai>",
        "meaning": "this <l1:Thai>",
    }
    write_directory(tmp_path, [Utterance("u1", "s1", "a.wav", texts)])
    annotations = steps.read_annotations(str(tmp_path), "en")
    assert annotations["u1"] == ("s1", "this", ["TH", "IH", "S"], ["S", "IH", "S"])
    assert steps.estimate_errors(str(tmp_path), "en")["tokens"] == ["IH", "S", "TH"]


def test_sentences_of_the_training_set_are_found_behind_inline_tags(tmp_path, capfd):
    texts = {"meaning": "this <l1:Thai>"}
    write_directory(tmp_path, [Utterance("t1", "s2", "a.wav", texts)])
    row = steps.Annotated("u1", "s1", "this", [], [], None, 1.0)
    shared = steps.warn_about_training([row], str(tmp_path), "valid")
    assert shared == {"speakers": 0, "sentences": 1}
    assert "1 sentences are in" in capfd.readouterr().err


def test_recordings_that_are_left_out_are_named(capfd):
    class English:
        language, lexicon = "en", None

    row = steps.Annotated("u7", "s1", "♪", [], [], None, 1.0)
    assert steps.examples_of(English(), [row], "prompt", ErrorPrior(None)) == []
    note = capfd.readouterr().err
    assert "with the prompt: 1 of 1 recordings are left out" in note and "u7" in note


class _HardOfHearing(ScriptedRecogniser):
    """Recognises nothing in a recording of low level."""

    def __call__(self, samples, conditions=None):
        if np.abs(np.asarray(samples)).max() > 0.05:
            return super().__call__(samples, conditions)
        return ScriptedRecogniser("")(samples)


def test_recordings_without_speech_are_left_out(tmp_path, capfd):
    utterances = []
    for name, level in (("u1", 0.1), ("u2", 0.01), ("u3", 0.1)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(16000, level), 16000)
        texts = {"canonical": "TH IH N", "surface": "S IH N", "meaning": "thin"}
        utterances.append(Utterance(name, "s1", str(tmp_path / f"{name}.wav"), texts))
    write_directory(tmp_path / "data", utterances)
    judge_ = Judge(_HardOfHearing("S IH N", extra_tokens=["TH"]))
    annotated = steps.decode_annotated(judge_, str(tmp_path / "data"))
    assert [row.utt_id for row in annotated] == ["u1", "u3"]
    assert "1 of 3 recordings are left out, as they have no recognised" in capfd.readouterr().err
    # what is left out is what `judge` does not judge
    statuses = {u.utt_id: judge_(u.audio, prompt="thin").status for u in utterances}
    assert statuses == {"u1": "judged", "u2": "not_judged", "u3": "judged"}
    examples = steps.examples_of(judge_, annotated, "prompt", ErrorPrior(None))
    assert [len(example.is_real) for example in examples] == [1, 1]  # TH → S, nothing is missing

    write_directory(tmp_path / "none", [utterances[1]])
    with pytest.raises(UserError, match="no speech is recognised in any of 1"):
        steps.decode_annotated(judge_, str(tmp_path / "none"))
