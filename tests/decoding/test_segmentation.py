"""Long audio is cut at silences, recognised segment by segment, and joined."""

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
def recogniser(trained):
    return DualSpeech2Text.from_pretrained(trained.root / "exp", beam_size=2, maxlenratio=-4)


def write_bursts(path, spans, seconds, rate=RATE):
    """Write noise in these spans (seconds) and silence elsewhere; return the samples."""
    samples = np.zeros(int(seconds * rate), np.float32)
    noise = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32) * 0.1
    for start, end in spans:
        burst = slice(int(start * rate), int(end * rate))
        samples[burst] = noise[burst]
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return samples


@pytest.fixture
def loudness_detector(monkeypatch):
    """Replace the detector by one that takes anything loud for speech."""

    def load():
        return lambda window, rate: (window.abs().mean() > 0.01).float()

    silero_vad = pytest.importorskip("silero_vad", reason='pip install -e ".[vad]"')
    replacement = types.SimpleNamespace(
        load_silero_vad=load,
        get_speech_timestamps_from_probs=silero_vad.get_speech_timestamps_from_probs,
    )
    monkeypatch.setitem(sys.modules, "silero_vad", replacement)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_segments_contain_the_loud_parts(loudness_detector, tmp_path, rate, monkeypatch):
    monkeypatch.setattr("espnet_ext.data.long_audio.BLOCK_SECONDS", 1.7)
    loud = [(1.0, 3.0), (4.5, 5.5), (8.0, 12.0)]
    write_bursts(tmp_path / "a.wav", loud, 13.0, rate)
    segments = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
    assert len(segments) == 3
    for (start, end), (loud_start, loud_end) in zip(segments, loud, strict=True):
        assert loud_start - 0.3 < start <= loud_start and loud_end <= end < loud_end + 0.3
    short = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 1.5)
    assert max(end - start for start, end in short) <= 1.5 + 1e-6
    duration = sum(end - start for start, end in segments)
    assert sum(end - start for start, end in short) == pytest.approx(duration, abs=1.0)
    edges = [edge for span in short for edge in span]
    assert edges == sorted(edges)


def test_silero_finds_speech(tmp_path):
    """Two sentences by espeak-ng, with three seconds of silence between and around them."""
    pytest.importorskip("silero_vad", reason='pip install -e ".[vad]"')
    pytest.importorskip("espeakng_loader", reason='pip install -e ".[synth]"')
    sentence = synthesise_sentence(tmp_path)
    gap = np.zeros(3 * RATE, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([gap, sentence, gap, sentence, gap]), RATE)
    segments = segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
    seconds = len(sentence) / RATE
    assert len(segments) == 2
    for (start, end), true_start in zip(segments, (3.0, 6.0 + seconds), strict=True):
        assert true_start - 0.5 < start < true_start + 0.3
        assert true_start + seconds - 0.6 < end < true_start + seconds + 0.5


def synthesise_sentence(folder):
    """Return a sentence of the embedded corpus, by its first speaker."""
    from espnet_ext.corpora.mini_l2 import english, synthesis
    from espnet_ext.corpora.mini_l2.speakers import speakers

    speaker = speakers("en", english.L1S)[0]
    phones = english.espeak_input("G UH D M AO R N IH NG")
    speech = synthesis.Speech(f"{speaker.name}-1", phones, 1)
    synthesis.synthesise([synthesis.Script(folder, "en-us", speaker, [speech])], 1)
    path = synthesis.audio_path(folder, speaker.name, speech.utt_id)
    return soundfile.read(path, dtype="float32")[0]


def test_silence_has_no_segments(loudness_detector, recogniser, tmp_path):
    write_bursts(tmp_path / "a.wav", [], 3.0)
    result = recogniser.long(tmp_path / "a.wav")
    assert result.parts == ()
    assert [(h.text, h.tokens, h.times) for h in result.best.values()] == [("", (), None)] * 2


def test_result_joins_the_segments(loudness_detector, recogniser, tmp_path, monkeypatch):
    # More than one read, as the limit is shorter than the audio.
    monkeypatch.setattr("espnet_ext.decoding.segmentation.MAX_READ_SECONDS", 2.5)
    samples = write_bursts(tmp_path / "a.wav", [(1.0, 3.0), (4.5, 5.5), (8.0, 9.0)], 10.0)
    recogniser = recogniser.with_options(times=True)
    result = recogniser.long(tmp_path / "a.wav", 30.0)
    assert len(result.parts) == 3
    alone = [
        recogniser(samples[int(part.start * RATE) : int(part.end * RATE)]) for part in result.parts
    ]
    for name, joined in result.best.items():
        pieces = [segment.best[name] for segment in alone]
        assert joined.text == " ".join(piece.text for piece in pieces if piece.tokens)
        assert joined.token_ids == tuple(i for piece in pieces for i in piece.token_ids)
        assert joined.score == pytest.approx(sum(piece.score for piece in pieces), abs=1e-3)
        if joined.times:
            expected = [
                part.start + edge
                for part, piece in zip(result.parts, pieces, strict=True)
                for span in piece.times
                for edge in span
            ]
            assert [edge for span in joined.times for edge in span] == pytest.approx(expected)


def test_times_are_missing_if_a_segment_has_none():
    timed = Hypothesis("a", ("a",), (2,), -1.0, {"ctc": -1.0}, (0.5,), ((0.1, 0.2),))
    untimed = Hypothesis("b", ("b",), (3,), -2.0, {"ctc": -2.0}, (0.4,), None)
    empty = Hypothesis("", (), (), -0.5, {}, ())

    def join(*hypotheses):
        parts = [((float(i), i + 1.0), Result({"surface": [h]})) for i, h in enumerate(hypotheses)]
        return segmentation.stitch(parts, ["surface"]).best["surface"]

    assert join(timed, empty, timed).times == ((0.1, 0.2), (2.1, 2.2))
    assert join(timed, empty, timed).text == "a a"
    joined = join(timed, untimed)
    assert joined.times is None and joined.score == -3.0 and joined.scores == {"ctc": -3.0}
    assert join(untimed, timed).times is None


def test_unusable_audio_raises_user_error(loudness_detector, tmp_path):
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


def test_missing_detector_raises_user_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    write_bursts(tmp_path / "a.wav", [], 1.0)
    with pytest.raises(UserError, match="pip install silero-vad"):
        segmentation.speech_spans(LongAudio(str(tmp_path / "a.wav")), 30.0)
