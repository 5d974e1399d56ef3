"""Float samples on another scale than [-1, 1]: in stage 3, in findings and in Python."""

import io

import numpy as np
import pytest
import soundfile
from directories import IDS, RATE, findings_of, make_directory, noise, run_validate

from espnet_ext.bin import cli, filter, format_audio
from espnet_ext.data.arks import encode_entry
from espnet_ext.data.audio import load_audio, read_part, to_full_scale, write_audio
from espnet_ext.data.long_audio import LongAudio
from espnet_ext.data.scale import Range, Scale, scale_of
from espnet_ext.errors import UserError

CONTAINERS = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"]
FULL_SCALE = {16: 2.0**15, 24: 2.0**23, 32: 2.0**31}


def integers(bits, channels=1, level=0.4):
    """Return two seconds of noise, the first half quieter, as integers of some bits in float64."""
    samples = noise(1, 2.0 * channels, level=level).reshape(-1, channels)
    samples[: len(samples) // 2] /= 100
    return np.rint(samples * FULL_SCALE[bits])


def stage_3(folder, output, *options):
    arguments = ["--input", str(folder), "--output", str(output), *options]
    return cli.run(format_audio.main, arguments)


def one_file(folder, samples, subtype="FLOAT", container="WAV", rate=RATE):
    """Write a directory in which one recording has these samples."""
    make_directory(folder, lang="ko")
    path = folder / f"{IDS[0]}.wav"
    soundfile.write(path, samples, rate, format=container, subtype=subtype)
    return str(path)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_saved_as_floats_are_read_as_the_integers(
    tmp_path, capsys, bits, subtype, channels
):
    samples = integers(bits, channels)
    path = one_file(tmp_path / "d", samples, subtype)
    expected = (samples / FULL_SCALE[bits]).astype(np.float32)
    channel = 1 if channels == 2 else None
    loaded, _ = load_audio(path, channel=channel)
    np.testing.assert_array_equal(loaded, expected[:, channels - 1])
    (finding,) = findings_of(tmp_path / "d", "integer-scale")
    assert f"taken as {bits}-bit integers" in finding["message"] and finding["utt_id"] == IDS[0]
    capsys.readouterr()
    assert stage_3(tmp_path / "d", tmp_path / "o", "--channel", str(channels - 1)) == 0
    assert f"taken as {bits}-bit integers" in capsys.readouterr().err
    written, _ = soundfile.read(tmp_path / f"o/data/{IDS[0]}.wav", dtype="int16")
    np.testing.assert_array_equal(written, np.rint(expected[:, channels - 1] * 32768))
    written = load_audio(f"{tmp_path}/o/data/{IDS[0]}.wav")[0]
    assert np.abs(written - loaded).max() <= 0.5 / 32768


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_of_floats_is_scaled(tmp_path, container):
    samples = integers(16)
    path = one_file(tmp_path / "d", samples, container=container)
    np.testing.assert_array_equal(load_audio(path)[0], samples[:, 0] / 32768)
    assert len(findings_of(tmp_path / "d", "integer-scale")) == 1


def test_resampled_integers_are_scaled(tmp_path):
    """They are not whole numbers any more, and can exceed full scale a little."""
    samples = integers(16, level=1.0)[:, 0] * 1.1 + 0.25
    path = one_file(tmp_path / "d", samples)
    loaded, _ = load_audio(path)
    np.testing.assert_allclose(loaded, samples / np.abs(samples).max(), atol=1e-6)


def test_quiet_integers_are_scaled(tmp_path):
    """Whole numbers above 1 are integers, however small."""
    samples = np.array([0, 1, -2, 3, 0, -1] * 1000, dtype=np.float64)
    path = one_file(tmp_path / "d", samples)
    np.testing.assert_array_equal(load_audio(path)[0], samples / 32768)


@pytest.mark.parametrize("first", [-32768.0, 32768.0])
def test_the_largest_integer_is_full_scale(tmp_path, first):
    samples = np.array([first, 16384.0, -8192.0] * 1000)
    path = one_file(tmp_path / "d", samples)
    np.testing.assert_array_equal(load_audio(path)[0], samples / 32768)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
def test_floats_above_full_scale_keep_their_shape(tmp_path, capsys, subtype, channels):
    samples = integers(16, channels) / 32768
    samples *= 1.7 / np.abs(samples).max()
    path = one_file(tmp_path / "d", samples, subtype)
    channel = "mix" if channels == 2 else None
    loaded, _ = load_audio(path, channel=channel)
    np.testing.assert_allclose(loaded, samples.mean(axis=1) / 1.7, atol=1e-6)
    (finding,) = findings_of(tmp_path / "d", "above-full-scale")
    assert "up to 1.70 times full scale" in finding["message"]
    capsys.readouterr()
    assert stage_3(tmp_path / "d", tmp_path / "o", "--channel", "mix") == 0
    assert "up to 1.70 times full scale" in capsys.readouterr().err
    written, _ = load_audio(f"{tmp_path}/o/data/{IDS[0]}.wav")
    assert np.abs(written - loaded).max() <= 1.001 / 32768
    assert (np.abs(written) > 0.9999).mean() < 0.001


@pytest.mark.parametrize("peak", [1e-4, 0.5, 1.0])
def test_ordinary_floats_are_not_changed(tmp_path, peak):
    samples = integers(16) / 32768
    samples = (samples * peak / np.abs(samples).max()).astype(np.float32)
    path = one_file(tmp_path / "d", samples)
    np.testing.assert_array_equal(load_audio(path)[0], samples[:, 0])
    codes = run_validate(tmp_path / "d")[1]
    assert "integer-scale" not in codes and "above-full-scale" not in codes


@pytest.mark.parametrize(
    "samples, message",
    [
        (np.tile([0.0, 128.0, 255.0], 1000), "no sample below 0"),
        (np.tile([0.0, 32768.0, 65535.0], 1000), "no sample below 0"),
        (np.tile([-1e12, 1e12], 1000), "on an unknown scale"),
    ],
)
def test_unknown_scales_are_refused_and_can_be_skipped(tmp_path, capsys, samples, message):
    path = one_file(tmp_path / "d", samples)
    with pytest.raises(UserError, match=message) as caught:
        load_audio(path)
    assert caught.value.remedy
    assert run_validate(tmp_path / "d", severities=("error",)) == (1, ["unreadable-audio"])
    assert stage_3(tmp_path / "d", tmp_path / "o") == 1
    assert message in capsys.readouterr().err
    options = ["--on_error", "skip", "--max_broken", "0.3"]
    assert stage_3(tmp_path / "d", tmp_path / "o", *options) == 0


def test_parts_are_on_the_scale_of_the_whole(tmp_path):
    """The quiet first half alone could be read as floats above full scale."""
    for samples in (integers(16) + 0.25, integers(16) / 32768 * 4):
        path = str(tmp_path / "a.wav")
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        expected = load_audio(path)[0]
        part, _ = read_part(path, 0.25, 0.5)
        np.testing.assert_array_equal(part[:, 0], expected[RATE // 4 : RATE * 3 // 4])
        long_audio = LongAudio(path)
        blocks = np.concatenate(list(long_audio.blocks(RATE)))
        np.testing.assert_array_equal(blocks, expected)
        np.testing.assert_array_equal(long_audio.part(0.25, 0.75, RATE), part[:, 0])


def test_stage_4_reports_scales(tmp_path, capsys):
    one_file(tmp_path / "d", integers(16))
    arguments = ["--input", f"{tmp_path}/d", "--output", f"{tmp_path}/o", "--outputs", "meaning"]
    assert cli.run(filter.main, arguments) == 0
    assert "taken as 16-bit integers" in capsys.readouterr().err


def test_clipping_is_measured_on_the_scale_of_the_file(tmp_path):
    one_file(tmp_path / "d", integers(16))
    assert not findings_of(tmp_path / "d", "clipping", "--read_samples", "true")
    samples = np.clip(integers(16, level=3.0), -32768, 32767)
    one_file(tmp_path / "e", samples)
    (finding,) = findings_of(tmp_path / "e", "clipping", "--read_samples", "true")
    assert finding["utt_id"] == IDS[0]


def test_floats_in_arks_are_scaled(tmp_path):
    samples = integers(16)[:, 0]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    entry, start = encode_entry("u1", buffer.getvalue())
    (tmp_path / "a.ark").write_bytes(entry)
    source = f"{tmp_path}/a.ark:{start}"
    np.testing.assert_array_equal(load_audio(source)[0], samples / 32768)


@pytest.mark.parametrize("container, subtype", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_decoders_that_overshoot_are_clipped_as_16_bit_audio_is(tmp_path, container, subtype):
    """Loud audio has samples above full scale after lossy compression."""
    path = str(tmp_path / "a.bin")
    square = np.sign(np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)) * 0.999
    soundfile.write(path, square, RATE, format=container, subtype=subtype)
    loaded, rate = load_audio(path)
    assert np.abs(loaded).max() == 1.0
    write_audio(tmp_path / "b.wav", loaded, rate)
    assert np.abs(load_audio(f"{tmp_path}/b.wav")[0] - loaded).max() <= 1 / 32768


def test_arrays_are_scaled_like_files():
    samples = integers(16)[:, 0]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    buffer.seek(0)
    array, _ = soundfile.read(buffer, dtype="float32")
    np.testing.assert_array_equal(to_full_scale(array, "samples"), samples / 32768)
    assert scale_of(Range(), "nothing") == Scale()
