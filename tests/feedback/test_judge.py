"""The judgement of a recording: deviations, abstention, times, JSON."""

import json
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from espnet_ext.decoding.pronunciation_errors import PronunciationErrors
from espnet_ext.errors import UserError
from espnet_ext.feedback import judgement as judgements
from espnet_ext.feedback.calibration import Calibration, Probability
from espnet_ext.feedback.judge import Judge

sys.path.insert(0, str(Path(__file__).parent))
from scripted import NOISE, RATE, ScriptedRecogniser  # noqa: E402

THINK = "AY S IH NG K HH IY R"


def judge_scripted(surface, prompt=None, meaning=None, threshold=None, **options):
    judge = Judge(ScriptedRecogniser(surface, meaning, **options), threshold=threshold)
    result = judge(NOISE, prompt)
    jsonschema.validate(result.to_json(), judgements.schema())
    return result


def test_schema_is_valid():
    jsonschema.Draft202012Validator.check_schema(judgements.schema())


def test_deviation_has_a_name_times_and_probability():
    result = judge_scripted(THINK, "I think here", extra_tokens=["TH"])
    [deviation] = result.deviations
    assert deviation.text == 'TH → S in "think"'
    assert (deviation.word_index, deviation.expected, deviation.recognised) == (1, "TH", "S")
    assert deviation.start == pytest.approx(4 / 24)  # one second has 24 frames; token 1 is frame 4
    assert deviation.end == pytest.approx(5 / 24)
    assert deviation.score == pytest.approx(8.0, abs=0.1)  # the difference of the two logits
    assert deviation.probability > 0.99


def test_deviation_below_the_threshold_is_uncertain():
    result = judge_scripted(THINK, "I think here", extra_tokens=["TH"], doubts={1: "TH"})
    assert not result.deviations
    [deviation] = result.uncertain
    assert deviation.score == pytest.approx(0.1, abs=0.01)
    assert "uncertain" in judgements.to_text(result)
    assert "TH → S" not in judgements.to_text(result)
    assert "TH → S" in judgements.to_text(result, uncertain=True)


def test_word_by_word_and_phone_by_phone():
    result = judge_scripted(THINK, "I think here")
    assert [word.word for word in result.words] == ["I", "think", "here"]
    think = result.words[1]
    assert (think.expected, think.recognised) == ("TH IH NG K", "S IH NG K")
    assert [(u.expected, u.recognised) for u in think.units][:2] == [("TH", "S"), ("IH", "IH")]
    assert think.start == think.units[0].start and think.end == think.units[-1].end


def test_missing_phone_is_between_its_neighbours():
    result = judge_scripted("AY TH IH NG K HH IY", "I think here", extra_tokens=["R"])
    [deviation] = (*result.deviations, *result.uncertain)
    assert deviation.text == 'R missing in "here"'
    assert deviation.start == result.words[2].end and deviation.end == pytest.approx(1.0)


def test_without_prompt_the_meaning_is_expected():
    result = judge_scripted(THINK, meaning="i think here", extra_tokens=["TH"])
    assert (result.source, result.prompt) == ("meaning", None)
    assert [d.text for d in result.deviations] == ['TH → S in "think"']


def test_korean_regular_phonology_is_not_a_deviation():
    result = judge_scripted("구무리", "국물이", token_type="char", extra_tokens="궁")
    assert [d.text for d in result.deviations] == ["'국물이'의 받침 ㅇ 탈락"]
    [regular] = result.regular_phonology
    assert (regular.usual, regular.pronounced) == ("국물이", "궁무리")
    assert "(final consonant ㅇ missing" in judgements.to_text(result, gloss=True)


@pytest.mark.parametrize("token_type", ["char", "jamo"])
def test_korean_tokens_of_any_size_give_the_same_deviations(token_type):
    result = judge_scripted("까다 보다", "가다 보다", token_type=token_type)
    named = (*result.deviations, *result.uncertain)
    assert [d.text for d in named] == ["'가다'의 초성 ㄱ → ㄲ"]
    assert result.words[1].start > result.words[0].end - 1e-9


def test_correction_outside_the_vocabulary_is_scored_by_the_confidence():
    result = judge_scripted(THINK, "I think here")  # no token for TH
    [deviation] = (*result.deviations, *result.uncertain)
    assert deviation.score == pytest.approx(np.log(0.9 / 0.1))


def test_other_sentence_is_not_judged():
    result = judge_scripted(THINK, "The weather was quite cold yesterday")
    assert (result.status, result.reason) == ("not_judged", "prompt_mismatch")
    assert "does not seem to be this sentence" in result.message
    assert not result.deviations and not result.uncertain and result.error_rate > 0.6


def test_transcripts_that_disagree_are_not_judged():
    result = judge_scripted("AY", meaning="thank you for watching")
    assert result.reason == "transcripts_disagree"


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(RATE, np.float32), "silence"),
        (NOISE[:100], "too_short"),
        (np.tile(NOISE, 31), "too_long"),
    ],
)
def test_unsuitable_audio_is_not_judged(samples, reason):
    result = Judge(ScriptedRecogniser(THINK))(samples, "I think here")
    jsonschema.validate(result.to_json(), judgements.schema())
    assert result.reason == reason
    assert result.message


def test_no_recognised_speech_is_not_judged():
    assert judge_scripted("", "I think here").reason == "no_speech"


def test_meaning_without_pronunciation_is_not_judged():
    result = judge_scripted(THINK, meaning="漢字")
    assert result.reason == "unpronounceable_meaning"
    assert "漢字" in result.message


def test_model_without_meaning_needs_a_prompt():
    with pytest.raises(UserError, match="no prompt, and the model has no output meaning"):
        judge_scripted(THINK)


def test_model_without_surface_is_refused():
    with pytest.raises(UserError, match="no output surface, only meaning"):
        Judge(ScriptedRecogniser(None, meaning="i think"))


def test_calibration_decides_probability_and_threshold():
    function = Probability((1.0, *(0.0,) * 8), (0.0, 10.0), (0.2, 0.7), 0.55)
    recogniser = ScriptedRecogniser(THINK, extra_tokens=["TH"])
    result = Judge(recogniser, Calibration({"prompt": function}))(NOISE, "I think here")
    assert result.calibrated and result.threshold == 0.55
    assert result.uncertain == ()
    assert result.deviations[0].probability == pytest.approx(0.6, abs=0.01)


def test_frequent_errors_of_learners_are_more_probable():
    errors = PronunciationErrors.estimate(
        [["TH", "IH", "S"]] * 40, [["S", "IH", "S"]] * 20 + [["TH", "IH", "S"]] * 20
    )
    function = Probability((0.1, 1.0, *(0.0,) * 7), (-9.0, 9.0), (0.0, 1.0), 0.5)
    calibration = Calibration({"prompt": function}, errors=errors.to_json())
    recogniser = ScriptedRecogniser("S IH M", extra_tokens=["TH", "N"])
    result = Judge(recogniser, calibration)(NOISE, "thin thin thin thin")
    assert result.reason == "prompt_mismatch"
    recogniser = ScriptedRecogniser("S IH N TH IH M", extra_tokens=["TH", "N"])
    result = Judge(recogniser, calibration)(NOISE, "thin thin")
    frequent, rare = sorted((*result.deviations, *result.uncertain), key=lambda d: d.start)
    assert (frequent.text, rare.text) == ('TH → S in "thin"', 'N → M in "thin"')
    assert frequent.probability > rare.probability + 0.2


def test_json_values_are_plain_and_rounded():
    result = judge_scripted(THINK, "I think here")
    content = json.loads(json.dumps(result.to_json()))
    assert (content["schema"], content["version"]) == ("espnet-ext/judgement", 1)
    assert content["words"][0]["start"] == round(content["words"][0]["start"], 4)
