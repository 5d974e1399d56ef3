"""docs/feedback.md: its example prints the deviations of an utterance."""

import re
import sys
from pathlib import Path

from espnet_ext.data.audio import write_audio
from espnet_ext.feedback.judge import Judge

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from scripted import NOISE, RATE, ScriptedRecogniser  # noqa: E402

EXAMPLE = re.search(
    r"```python\n(.*?)```", (ROOT / "docs/feedback.md").read_text(encoding="utf-8"), re.S
)


def test_example_prints_the_deviations(monkeypatch, capsys, tmp_path):
    assert EXAMPLE is not None
    # "i like tea" with one phone replaced, one left out and one added
    recogniser = ScriptedRecogniser("AY R AY UH K T", extra_tokens=["L", "IY"])
    monkeypatch.setattr(Judge, "from_pretrained", lambda model: Judge(recogniser))
    monkeypatch.chdir(tmp_path)
    write_audio("utterance.wav", NOISE, RATE)
    exec(EXAMPLE[1], {})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(" (")[0] for line in lines] == [
        '0.22 s L → R in "like"',
        '0.56 s UH added in "like"',
        '0.94 s IY missing in "tea"',
    ]
