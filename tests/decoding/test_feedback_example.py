"""docs/feedback.md: its example finds the deviations of an utterance."""

import re
from pathlib import Path

from espnet_ext.decoding import api
from espnet_ext.decoding.search import Hypothesis

EXAMPLE = re.search(
    r"```python\n(.*?)```",
    (Path(__file__).parents[2] / "docs/feedback.md").read_text(encoding="utf-8"),
    re.S,
)


class Recogniser:
    """Recognises "i like tea" with one phone replaced, one left out and one added."""

    tokens = ("AY", "R", "AY", "UH", "K", "T")
    times = tuple((n / 10, n / 10 + 0.1) for n in range(6))
    confidences = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)

    @classmethod
    def from_pretrained(cls, model_dir, **options):
        assert options == {"times": True}
        return cls()

    def __call__(self, audio):
        surface = Hypothesis("", self.tokens, (), 0.0, {}, self.confidences, self.times)
        return api.Result({"surface": [surface], "meaning": [surface]})


def test_example_prints_the_deviations(monkeypatch, capsys):
    assert EXAMPLE is not None
    monkeypatch.setattr(api, "DualSpeech2Text", Recogniser)
    exec(EXAMPLE[1].replace("i like green tea", "i like tea"), {})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "0.10 s R instead of L (confidence 0.80)",
        "0.30 s UH is added (confidence 0.60)",
        "IY is missing",
    ]
