"""`espnet-ext transcribe`: recordings in, the transcripts of all outputs out."""

import json

import numpy as np
import soundfile

from espnet_ext.bin import cli, transcribe
from espnet_ext.decoding.api import DualSpeech2Text

RANDOM = np.random.default_rng(8)


def test_recordings_have_the_transcripts_of_the_api(trained, tmp_path, capsys):
    mono, stereo = tmp_path / "wavs/a.wav", tmp_path / "b.wav"
    mono.parent.mkdir()
    soundfile.write(mono, 0.1 * RANDOM.standard_normal(16000), 16000)
    soundfile.write(stereo, 0.1 * RANDOM.standard_normal((16000, 2)), 16000)
    (tmp_path / "c.wav").write_bytes(b"")
    model = str(trained.root / "exp")
    arguments = [model, str(mono.parent), str(stereo), str(tmp_path / "c.wav"), "--channel", "1"]
    assert cli.run(transcribe.main, [*arguments, "--json"]) == 1
    output = capsys.readouterr()
    assert "c.wav: is empty (0 bytes)" in output.err and "1 of 3 recordings have no" in output.err
    rows = [json.loads(line) for line in output.out.splitlines()]
    recognise = DualSpeech2Text.from_pretrained(model, channel=1)
    for row, path in zip(rows, (mono, stereo), strict=True):
        best = recognise(path).best
        assert row["audio"] == str(path)
        assert row["transcripts"] == {name: best[name].text for name in ("surface", "meaning")}
    assert cli.run(transcribe.main, [model, str(mono), "--outputs", "meaning"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(mono), f"  meaning  {rows[0]['transcripts']['meaning']}"]
