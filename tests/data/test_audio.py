"""Reading and writing audio: exactness, channels, rates, arks and pipes."""

import io

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_ext.data.arks import read_arrays, write_arrays
from espnet_ext.data.audio import (
    AudioInfo,
    audio_info,
    load_audio,
    load_utterance,
    write_audio,
)
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError

RATE = 16000


def tone(hertz, seconds=1.0, rate=RATE):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_every_16_bit_value_survives_reading_and_writing(tmp_path, suffix):
    all_values = np.arange(-32768, 32768, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", all_values, RATE)
    samples, rate = load_audio(str(tmp_path / "a.wav"))
    assert (samples.dtype, samples.shape, rate) == (np.float32, (65536,), RATE)
    write_audio(tmp_path / f"b{suffix}", samples, rate)
    again, _ = soundfile.read(tmp_path / f"b{suffix}", dtype="int16")
    np.testing.assert_array_equal(again, all_values)


def test_too_large_samples_are_clipped_and_do_not_wrap(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([1.5, -1.5, 1.0, -1.0]), RATE)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert samples.tolist() == [32767, -32768, 32767, -32768]


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_resampling_keeps_duration_and_pitch(tmp_path, rate):
    write_audio(tmp_path / "a.wav", tone(440, 2.0, rate), rate)
    samples, new_rate = load_audio(str(tmp_path / "a.wav"), RATE)
    assert (len(samples), new_rate) == (2 * RATE, RATE)
    peak = np.argmax(np.abs(np.fft.rfft(samples))) / 2.0  # bins are 0.5 Hz apart
    assert peak == 440
    middle = slice(RATE // 2, -RATE // 2)
    assert np.abs(samples - tone(440, 2.0))[middle].max() < 1e-3


def test_channels_are_selected_or_mixed(tmp_path):
    left, right = tone(300), tone(700)
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    assert audio_info(path) == AudioInfo(RATE, RATE, 2, "WAV", "FLOAT")
    np.testing.assert_array_equal(load_audio(path, channel=0)[0], left)
    np.testing.assert_array_equal(load_audio(path, channel=1)[0], right)
    np.testing.assert_allclose(load_audio(path, channel="mix")[0], (left + right) / 2, atol=1e-7)
    with pytest.raises(UserError, match=r"^s1-u1: .*a.wav: has 2 channels") as caught:
        load_utterance(Utterance("s1-u1", "s1", path))
    assert "--channel" in caught.value.remedy


@pytest.mark.parametrize("kind", ["wav", "flac", "plain"])
def test_arks_written_by_kaldiio_are_read(tmp_path, kind):
    sounds = {"u1": (tone(300) * 32768).astype(np.int16), "u2": (tone(500) * 32768).astype("i2")}
    ark, scp = str(tmp_path / "a.ark"), str(tmp_path / "a.scp")
    if kind == "plain":
        entries = {key: (RATE, value) for key, value in sounds.items()}
        kaldiio.save_ark(ark, entries, scp=scp)
    else:
        entries = {key: (value, RATE) for key, value in sounds.items()}
        options = {"format": kind, "subtype": "PCM_16"}
        kaldiio.save_ark(ark, entries, scp=scp, write_function="soundfile", write_kwargs=options)
    for line in (tmp_path / "a.scp").read_text().splitlines():
        key, source = line.split()
        info = audio_info(source)
        assert (info.frames, info.rate, info.channels) == (RATE, RATE, 1)
        samples, rate = load_audio(source)
        np.testing.assert_array_equal(samples * 32768, sounds[key])


def test_pipes_run_only_if_allowed(tmp_path):
    write_audio(tmp_path / "a.wav", tone(300), RATE)
    source = f"touch {tmp_path}/ran && cat {tmp_path}/a.wav |"
    for function in (audio_info, load_audio):
        with pytest.raises(UserError, match="commands are not run by default"):
            function(source)
        with pytest.raises(UserError, match="commands are not run by default"):
            function(f"| cat > {tmp_path}/ran", allow_pipes=True)
    assert not (tmp_path / "ran").exists()
    assert audio_info(source, allow_pipes=True).frames == RATE
    assert len(load_audio(source, 8000, allow_pipes=True)[0]) == 8000
    assert (tmp_path / "ran").exists()


def test_arrays_in_arks_are_read_by_kaldiio_too(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {
        "u1": generator.standard_normal((3, 4)).astype(np.float32),
        "u2": generator.standard_normal(5),
        "u0": np.arange(7, dtype=np.int32),
    }
    write_arrays(tmp_path / "feats", arrays.items())
    arrays_here = read_arrays(tmp_path / "feats.scp")
    arrays_kaldiio = kaldiio.load_scp(f"{tmp_path}/feats.scp")
    assert list(arrays_here) == ["u0", "u1", "u2"] and len(arrays_here) == 3
    for key, array in arrays.items():
        for read in (arrays_here[key], arrays_kaldiio[key]):
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)


def test_invalid_arrays_raise_user_error(tmp_path):
    with pytest.raises(UserError, match="u1: cannot store float16"):
        write_arrays(tmp_path / "feats", [("u1", np.zeros(2, np.float16))])
    with pytest.raises(UserError, match="u1: two arrays have this id"):
        write_arrays(tmp_path / "feats", [("u1", np.zeros(2)), ("u1", np.zeros(2))])
    assert list(tmp_path.iterdir()) == []
    for row, message in (("cat a.ark |", "no offset"), ("a.ark:5", "cannot open the ark")):
        (tmp_path / "feats.scp").write_text(f"u1 {row}\n")
        with pytest.raises(UserError, match=message):
            read_arrays(tmp_path / "feats.scp")["u1"]


def test_pickles_in_arks_are_never_loaded(tmp_path):
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u1": [1]}, write_function="pickle")
    (tmp_path / "a.scp").write_text(f"u1 {tmp_path}/a.ark:3\n")
    with pytest.raises(UserError, match="contains a pickle"):
        read_arrays(tmp_path / "a.scp")["u1"]


def test_truncated_flac_raises_user_error(tmp_path):
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(300), RATE, format="FLAC")
    (tmp_path / "a.flac").write_bytes(buffer.getvalue()[:2000])
    with pytest.raises(UserError, match="a.flac: cannot be read as audio"):
        load_audio(str(tmp_path / "a.flac"))


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"", "is empty (0 bytes)", "copy or record it again"),
        (b"\0\0\0\x20ftypM4A " + bytes(4000), "cannot be read", "ffmpeg -i IN.m4a OUT.wav"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.m4a", "a"])
def test_files_that_libsndfile_does_not_read_have_a_remedy(
    tmp_path, name, content, message, remedy
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_audio(str(tmp_path / name))
    assert message in caught.value.message and remedy in caught.value.remedy


def test_truncated_wav_raises_user_error(tmp_path):
    """libsndfile would read it. A length that is not known while streaming is not an error."""
    path = tmp_path / "a.wav"
    write_audio(path, np.zeros(16000), 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[:20000])
    for read in (audio_info, load_audio, LongAudio):
        with pytest.raises(UserError, match="is truncated: it has 19956 of 32000 bytes"):
            read(str(path))
    unknown = whole[:40] + b"\xff\xff\xff\xff" + whole[44:20044]
    path.write_bytes(unknown)
    assert load_audio(str(path))[0].shape == (10000,)
    path.write_bytes(whole[:-2])  # one missing sample is not an error
    assert audio_info(str(path)).frames == 15999
