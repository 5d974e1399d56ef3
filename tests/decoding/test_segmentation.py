"""Long audio: cut where nobody speaks, recognised part by part, put together again."""

import sys
import types

import numpy as np
import pytest
import soundfile

from espnet_ext.data.long_audio import LongAudio
from espnet_ext.decoding import segmentation
from espnet_ext.decoding.api import DualSpeech2Text
from espnet_ext.decoding.search import Hypothesis, Result
from espnet_ext.errors import UserError

RATE = 16000


@pytest.fixture(scope="module")
def recognise(trained):
    return DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, maxlenratio=-4)


def bursts(path, spans, seconds, rate=RATE):
    """Noise in these stretches, silence elsewhere."""
    samples = np.zeros(int(seconds * rate), np.float32)
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32) * 0.1
    for start, end in spans:
        samples[int(start * rate) : int(end * rate)] = noise[int(start * rate) : int(end * rate)]
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


@pytest.fixture
def loudness(monkeypatch):
    """A detector that takes whatever is loud for speech."""

    def load():
        return lambda window, rate: (window.abs().mean() > 0.01).float()

    real = pytest.importorskip("silero_vad", reason='pip install -e ".[vad]"')
    stand_in = types.SimpleNamespace(
        load_silero_vad=load,
        get_speech_timestamps_from_probs=real.get_speech_timestamps_from_probs,
    )
    monkeypatch.setitem(sys.modules, "silero_vad", stand_in)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_parts_are_where_it_is_loud(loudness, tmp_path, rate, monkeypatch):
    monkeypatch.setattr("espnet_ext.data.long_audio.BLOCK_SECONDS", 1.7)
    spoken = [(1.0, 3.0), (4.5, 5.5), (8.0, 12.0)]
    bursts(tmp_path / "a.wav", spoken, 13.0, rate)
    found = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
    assert len(found) == 3
    for (start, end), (first, last) in zip(found, spoken, strict=True):
        assert first - 0.3 < start <= first and last <= end < last + 0.3
    short = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 1.5)
    assert max(end - start for start, end in short) <= 1.5 + 1e-6
    covered = sum(end - start for start, end in short)
    assert covered == pytest.approx(sum(end - start for start, end in found), abs=1.0)
    edges = [edge for span in short for edge in span]
    assert edges == sorted(edges)


def test_the_real_detector_finds_speech(tmp_path):
    """Two sentences by espeak-ng, three seconds of silence between and around them."""
    pytest.importorskip("silero_vad", reason='pip install -e ".[vad]"')
    pytest.importorskip("espeakng_loader", reason='pip install -e ".[synth]"')
    said = spoken(tmp_path)
    gap = np.zeros(3 * RATE, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([gap, said, gap, said, gap]), RATE)
    found = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
    length = len(said) / RATE
    assert len(found) == 2
    for (start, end), first in zip(found, (3.0, 6.0 + length), strict=True):
        assert first - 0.5 < start < first + 0.3
        assert first + length - 0.6 < end < first + length + 0.5


def spoken(folder):
    """A sentence of the embedded corpus, by its first speaker."""
    from espnet_ext.corpora.mini_l2 import english, synthesis
    from espnet_ext.corpora.mini_l2.speakers import speakers

    ann = speakers("en", english.L1S)[0]
    said = synthesis.Speech(f"{ann.name}-1", english.espeak_input("G UH D M AO R N IH NG"), 1)
    synthesis.synthesise([synthesis.Script(folder, "en-us", ann, [said])], 1)
    return soundfile.read(synthesis.audio_path(folder, ann.name, said.utt_id), dtype="float32")[0]


def test_silence_has_no_parts(loudness, recognise, tmp_path):
    bursts(tmp_path / "a.wav", [], 3.0)
    found = recognise.long(tmp_path / "a.wav")
    assert found.parts == ()
    assert [(h.text, h.tokens, h.times) for h in found.best.values()] == [("", (), None)] * 2


def test_long_audio_is_its_parts_put_together(loudness, recognise, tmp_path, monkeypatch):
    monkeypatch.setattr("espnet_ext.decoding.api.READ_SECONDS", 2.5)  # more than one read
    samples = bursts(tmp_path / "a.wav", [(1.0, 3.0), (4.5, 5.5), (8.0, 9.0)], 10.0)
    timed = recognise.with_options(times=True)
    found = timed.long(tmp_path / "a.wav", 30.0)
    assert len(found.parts) == 3
    alone = [timed(samples[int(part.start * RATE) : int(part.end * RATE)]) for part in found.parts]
    for name, whole in found.best.items():
        pieces = [one.best[name] for one in alone]
        assert whole.text == " ".join(piece.text for piece in pieces if piece.tokens)
        assert whole.token_ids == tuple(i for piece in pieces for i in piece.token_ids)
        assert whole.score == pytest.approx(sum(piece.score for piece in pieces), abs=1e-3)
        if whole.times:
            wanted = [
                part.start + edge
                for part, piece in zip(found.parts, pieces, strict=True)
                for span in piece.times
                for edge in span
            ]
            assert [edge for span in whole.times for edge in span] == pytest.approx(wanted)


def test_times_are_missing_where_a_part_has_none():
    timed = Hypothesis("a", ("a",), (2,), -1.0, {"ctc": -1.0}, (0.5,), ((0.1, 0.2),))
    untimed = Hypothesis("b", ("b",), (3,), -2.0, {"ctc": -2.0}, (0.4,), None)
    silent = Hypothesis("", (), (), -0.5, {}, ())

    def stitched(*hypotheses):
        parts = [((float(i), i + 1.0), Result({"surface": [h]})) for i, h in enumerate(hypotheses)]
        return segmentation.stitch(parts, ["surface"]).best["surface"]

    assert stitched(timed, silent, timed).times == ((0.1, 0.2), (2.1, 2.2))
    assert stitched(timed, silent, timed).text == "a a"
    both = stitched(timed, untimed)
    assert both.times is None and both.score == -3.0 and both.scores == {"ctc": -3.0}


def test_what_is_wrong_with_long_audio(loudness, tmp_path):
    with pytest.raises(UserError, match="no such audio file"):
        LongAudio(str(tmp_path / "none.wav"))
    soundfile.write(tmp_path / "stereo.wav", np.zeros((8000, 2)), RATE)
    with pytest.raises(UserError, match="has 2 channels"):
        segmentation.speech_spans(LongAudio(str(tmp_path / "stereo.wav")), 30.0)
    samples = np.zeros(8000, np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="not finite at 0.0 s"):
        segmentation.speech_spans(LongAudio(str(tmp_path / "nan.wav")), 30.0)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(UserError, match="has no samples"):
        LongAudio(str(tmp_path / "empty.wav"))


def test_without_a_detector(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    bursts(tmp_path / "a.wav", [], 1.0)
    with pytest.raises(UserError, match="pip install silero-vad"):
        segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
