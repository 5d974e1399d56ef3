"""Simulated telephone speech, and labels of bands by sample rate."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from espnet_ext.data.audio import write_audio
from espnet_ext.data.bands import check_bands
from espnet_ext.data.checks.context import Checked, CheckOptions
from espnet_ext.data.checks.findings import WARNING
from espnet_ext.data.directory import write_directory
from espnet_ext.data.filtering import FilterOptions, filter_directory
from espnet_ext.data.formatting import AudioFormat, format_directory
from espnet_ext.data.narrowband import mu_law, narrowband
from espnet_ext.data.record import Utterance

RATE = 16000


def tone(hertz, seconds=1.0, rate=RATE, level=0.3):
    return level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def decibels(signal, noise):
    return 10 * np.log10(np.mean(signal**2) / np.mean(noise**2))


@pytest.mark.parametrize("level", [0.9, 0.3, 0.03])
def test_companding_is_as_exact_as_the_codec(level):
    samples = tone(440, level=level)
    audioop = pytest.importorskip("audioop")  # an independent G.711; not in Python 3.13
    pcm = (samples * 32767).astype("<i2").tobytes()
    codec = np.frombuffer(audioop.ulaw2lin(audioop.lin2ulaw(pcm, 2), 2), "<i2") / 32767
    ratios = [decibels(samples, other - samples) for other in (codec, mu_law(samples))]
    assert ratios[1] == pytest.approx(ratios[0], abs=3.0)
    assert ratios[1] > 30


@pytest.mark.parametrize(
    ("hertz", "passes"), [(60, False), (1000, True), (3000, True), (3900, False), (6000, False)]
)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_only_the_telephone_band_passes(hertz, passes, rate):
    samples = tone(min(hertz, rate / 2 - 100), rate=rate)
    result = narrowband(samples, rate)
    assert result.shape == samples.shape
    if passes:
        assert decibels(samples, result - samples) > 25
    else:
        assert np.abs(result).max() < 0.02


def test_short_and_empty_audio_keep_their_length():
    for count in (0, 1, 2, 7, 101):
        samples = np.ones(count, dtype=np.float32)
        assert narrowband(samples, RATE).shape == (count,)
        assert narrowband(samples, RATE).dtype == np.float32


def test_stage_3_labels_narrowband_audio_by_its_rate(tmp_path):
    utterances = []
    for name, rate in (("a", 8000), ("b", 16000), ("c", 16000)):
        write_audio(tmp_path / f"{name}.wav", tone(440, rate=rate), rate)
        band = {"band": "narrow"} if name == "c" else {}
        audio = str(tmp_path / f"{name}.wav")
        utterances.append(Utterance(f"s-{name}", "s", audio, {"meaning": "x"}, **band))
    write_directory(tmp_path / "mixed", utterances)
    format_directory(tmp_path / "mixed", tmp_path / "out", AudioFormat())
    bands = (tmp_path / "out/utt2band").read_text().splitlines()
    assert bands == ["s-a narrow", "s-b wide", "s-c narrow"]
    write_directory(tmp_path / "wide", utterances[1:2])
    format_directory(tmp_path / "wide", tmp_path / "plain", AudioFormat())
    assert not (tmp_path / "plain/utt2band").exists()
    checks = CheckOptions(against=[tmp_path / "plain"], shared_severity=WARNING)
    filter_directory(tmp_path / "out", tmp_path / "test", FilterOptions(["meaning"], checks=checks))
    findings = json.loads((tmp_path / "test/validation.json").read_text())["findings"]
    (message,) = (f["message"] for f in findings if f["code"] == "other-band")
    assert message.startswith("2 of 3 utterances are narrowband")


@pytest.mark.parametrize(
    ("tested", "trained", "messages"),
    [
        ("narrow narrow", "", ["2 of 2 utterances are narrowband (8 kHz or less), and none of "]),
        ("narrow wide", "wide wide", ["1 of 2 utterances are narrowband"]),
        ("", "narrow narrow", ["2 of 2 utterances are wideband (above 8 kHz), and none of "]),
        ("narrow narrow", "wide narrow", []),
        ("", "", []),
    ],
)
def test_bands_that_training_lacks_are_warnings(tmp_path, tested, trained, messages):
    for name, bands in (("test", tested), ("train", trained)):
        (tmp_path / name).mkdir()
        if bands:
            rows = (f"u{i} {band}\n" for i, band in enumerate(bands.split()))
            (tmp_path / name / "utt2band").write_text("".join(rows))
    options = CheckOptions(against=[tmp_path / "train"])
    checked = Checked(tmp_path / "test", options, ids={"u0": 0, "u1": 1})
    check_bands(checked)
    assert [f.severity for f in checked.findings] == ["warning"] * len(messages)
    for finding, message in zip(checked.findings, messages, strict=True):
        assert finding.message.startswith(message) and finding.code == "other-band"
