"""Goodness of pronunciation against a sum over all paths; correlations with human ratings."""

import itertools
import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from scripted import NOISE, RATE, ScriptedRecogniser  # noqa: E402

from espnet_ext.bin import cli, judge  # noqa: E402
from espnet_ext.data.audio import write_audio  # noqa: E402
from espnet_ext.errors import UserError  # noqa: E402
from espnet_ext.feedback import ratings  # noqa: E402
from espnet_ext.feedback.goodness import goodness  # noqa: E402
from espnet_ext.feedback.judge import Judge  # noqa: E402
from espnet_ext.feedback.recordings import Recordings  # noqa: E402


def probability(probs, transcript):
    """Return P(transcript) by enumerating all CTC paths."""
    total = 0.0
    for path in itertools.product(range(probs.shape[1]), repeat=len(probs)):
        collapsed = [key for key, _ in itertools.groupby(path) if key]
        if collapsed == list(transcript):
            total += math.prod(float(probs[t, v]) for t, v in enumerate(path))
    return total


def test_goodness_is_the_posterior_of_each_phone():
    torch.manual_seed(3)
    probs = torch.randn(5, 4).softmax(-1).double()
    expected, phones = [2, 1], [1, 2, 3]
    expected_path = probability(probs, expected)
    first = (
        expected_path + sum(probability(probs, [q, 1]) for q in (1, 3)) + probability(probs, [1])
    )
    second = (
        expected_path + sum(probability(probs, [2, q]) for q in (2, 3)) + probability(probs, [2])
    )
    assert goodness(probs.log(), expected, phones) == pytest.approx(
        [math.log(expected_path / first), math.log(expected_path / second)], abs=1e-6
    )


def test_too_few_frames_have_no_goodness():
    assert all(map(math.isnan, goodness(torch.full((1, 3), -1.1), [1, 2, 1], [1, 2])))


def entry(think_score):
    words = [
        {"text": "I", "phones": ["AY0"], "phones-accuracy": [2], "total": 9},
        {"text": "THINK", "phones": "TH IH0 NG K", "phones-accuracy": [think_score, 2, 2, 2]},
    ]
    return {"text": "I THINK", "accuracy": 8, "words": words}


@pytest.fixture
def rated(tmp_path):
    """A folder with 6 recordings of each of 2 speakers, and their ratings."""
    table = {}
    for number in range(12):
        name = f"r{number}"
        write_audio(tmp_path / f"wav/s{number % 2}/{name}.wav", NOISE, RATE)
        table[name] = entry(2 if number % 3 else 0.4)
    (tmp_path / "scores.json").write_text(json.dumps(table))
    return tmp_path


def test_correlations_by_level(rated, monkeypatch):
    """Recordings with a poor TH have S instead; everything else is as expected."""
    texts = {True: "AY S IH NG K", False: "AY TH IH NG K"}
    scripted = {
        poor: Judge(ScriptedRecogniser(text, "i think", extra_tokens=("TH", "S", "F")))
        for poor, text in texts.items()
    }
    table = ratings.read_ratings(rated / "scores.json")
    rows = []
    for recording in Recordings([str(rated / "wav")]):
        is_poor = table[recording.key].words[1].phone_scores[0] < 1
        rows += ratings.rate_all(scripted[is_poor], [recording], table)
    assert {level: sum(row.level == level for row in rows) for level in ratings.LEVELS} == {
        "phone": 60,
        "word": 24,
        "sentence": 12,
    }
    results = {(r["level"], r["score"], r["measure"]): r for r in ratings.correlate(rows)}
    assert results["phone", "accuracy", "deviations"]["pearson"] == pytest.approx(-1)
    assert results["word", "phones", "deviations"]["spearman"] == pytest.approx(-1)
    assert results["sentence", "phones", "goodness"]["pearson"] > 0.99
    assert results["sentence", "phones", "goodness"]["speakers"] == 2
    assert results["sentence", "accuracy", "deviations"]["pearson"] is None  # all are 8
    assert results["word", "total", "probability"]["count"] == 12
    assert any(
        "sentence" in line and "goodness" in line for line in ratings.table([*results.values()])
    )


def test_command_prints_correlations(rated, monkeypatch, capsys):
    recogniser = ScriptedRecogniser("AY TH IH NG K", "i think", extra_tokens=("S",))
    monkeypatch.setattr(Judge, "from_pretrained", lambda *_, **__: Judge(recogniser))
    (rated / "model").mkdir()
    (rated / "model/config.yaml").write_text("outputs: {}\n")
    arguments = [str(rated / "model"), str(rated / "wav"), "--ratings", str(rated / "scores.json")]
    assert cli.run(judge.main, arguments) == 0
    assert "phone" in capsys.readouterr().out
    assert cli.run(judge.main, [*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correlations"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("[]", "not an object"),
        ("{", "not valid JSON"),
        ('{"a": {}}', "a: wrong entry"),
        ('{"a": {"words": [{"text": "x", "phones": ["QQ"], "phones-accuracy": [1]}]}}', "QQ"),
        ('{"a": {"words": [{"text": "x", "phones": ["K"], "phones-accuracy": []}]}}', "1 phones"),
    ],
)
def test_wrong_ratings_are_an_error(tmp_path, content, problem):
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(UserError, match=problem):
        ratings.read_ratings(tmp_path / "scores.json")


def test_recordings_without_ratings_are_an_error(rated):
    table = ratings.read_ratings(rated / "scores.json")
    scripted = Judge(ScriptedRecogniser("AY", "i"))
    other = Recordings([str(rated / "wav/s0/r0.wav")])
    with pytest.raises(UserError, match="none of 1 recordings has ratings"):
        ratings.rate_all(scripted, list(other), {"x": table["r0"]})
    korean = Judge(ScriptedRecogniser("가", "가", token_type="char"))
    with pytest.raises(UserError, match="does not consist of phones"):
        ratings.rate_all(korean, list(other), table)
