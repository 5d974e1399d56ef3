"""Decoding from Python and from stage 3 receives the same samples, in files and in arrays."""

import numpy as np
import pytest
import soundfile
import torch

from espnet_ext.bin import cli, format_audio
from espnet_ext.decoding.waveform import to_waveform
from espnet_ext.errors import UserError

RATE = 16000


def speech(channels=1, rate=RATE):
    """Return a second of loud noise, the first half quieter, (T, channels) in [-1, 1]."""
    samples = np.random.default_rng(2).uniform(-1, 1, (rate, channels))
    samples[: rate // 2] /= 100
    return samples


CASES = {
    "PCM_16": (1.0, "PCM_16"),
    "floats": (1.0, "FLOAT"),
    "floats above full scale": (1.7, "FLOAT"),
    "16-bit integers as floats": (2.0**15 - 1, "FLOAT"),
    "24-bit integers as doubles": (2.0**23 - 1, "DOUBLE"),
    "32-bit integers as doubles": (2.0**31 - 1, "DOUBLE"),
}


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("case", CASES)
def test_files_arrays_and_stage_3_agree(tmp_path, case, rate):
    scale, subtype = CASES[case]
    samples = speech(rate=rate)[:, 0] * scale
    samples = np.rint(samples) if scale > 2 else samples
    path = str(tmp_path / "a.wav")
    soundfile.write(path, samples, rate, subtype=subtype)
    from_file = to_waveform(path, None, RATE)
    array, _ = soundfile.read(path, dtype="float32")
    for values in (array, torch.from_numpy(array), array.astype("float64")):
        from_array = to_waveform(values, rate, RATE)
        torch.testing.assert_close(from_array, from_file, atol=1e-6, rtol=0)
    folder = tmp_path / "d"
    folder.mkdir()
    for name, row in (("wav.scp", path), ("utt2spk", "s1"), ("text.meaning", "가")):
        (folder / name).write_text(f"s1-u1 {row}\n", encoding="utf-8")
    arguments = ["--input", str(folder), "--output", f"{tmp_path}/o", "--copy", "true"]
    assert cli.run(format_audio.main, arguments) == 0
    from_stage_3 = to_waveform(f"{tmp_path}/o/data/s1-u1.wav", None, RATE)
    torch.testing.assert_close(from_stage_3, from_file, atol=1.001 / 32768, rtol=0)
    assert from_file.abs().max() > 0.9
    assert (from_stage_3.abs() > 0.9999).float().mean() < 0.02


def test_samples_that_were_read_are_not_scaled_again(tmp_path):
    """Decoding a directory passes samples of the audio reader on as arrays."""
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.sign(speech(rate=44100)), 44100, subtype="FLOAT")
    wave = to_waveform(path, None, RATE)
    assert torch.equal(to_waveform(wave, RATE, RATE), wave)


def test_unsigned_integers_are_refused():
    with pytest.raises(UserError, match="samples: has no sample below 0"):
        to_waveform(np.tile([0.0, 128.0, 255.0], 1000), RATE, RATE)


def test_channel_of_a_stereo_file_is_chosen(tmp_path):
    path = tmp_path / "stereo.wav"
    samples = speech(channels=2)
    soundfile.write(path, samples, RATE, subtype="DOUBLE")
    expected = {"mix": samples.mean(axis=1), 0: samples[:, 0], 1: samples[:, 1]}
    for channel, values in expected.items():
        wave = to_waveform(path, None, RATE, channel)
        np.testing.assert_allclose(wave.numpy(), values, atol=1e-6)
    with pytest.raises(UserError, match="has 2 channels, not one") as caught:
        to_waveform(path, None, RATE)
    assert 'channel="mix"' in caught.value.remedy and "run.sh" not in caught.value.remedy
    with pytest.raises(UserError, match="has no channel 2, only 2"):
        to_waveform(path, None, RATE, 2)
