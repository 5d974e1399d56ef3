"""Tests of the synthesis of the embedded corpus: only missing audio, in its own process."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from espnet_ext.corpora.mini_l2 import build, english, synthesis
from espnet_ext.corpora.mini_l2.speakers import speakers
from espnet_ext.errors import UserError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None,
    reason="espeak-ng (espeakng-loader) is not installed",
)
ANN, BOB = speakers("en", english.L1S)[:2]


def speech_of(speaker, *texts):
    return [
        synthesis.Speech(f"{speaker.name}-{n:04d}", english.espeak_input(text), n)
        for n, text in enumerate(texts)
    ]


@pytest.fixture
def speech():
    return {
        ANN: speech_of(ANN, "HH AH L OW", "M AY F IH SH", "HH AH L OW"),
        BOB: speech_of(BOB, "G UH D M AO R N IH NG", "HH AH L OW"),
    }


def synthesise(folder, voice, speech, nj=2):
    scripts = [synthesis.Script(folder, voice, *item) for item in speech.items()]
    return synthesis.synthesise(scripts, nj)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.flac")}


@needs_espeak
def test_only_missing_audio_is_synthesised_with_the_same_samples(tmp_path, speech):
    assert synthesise(tmp_path, "en-us", speech) == 5
    first = contents(tmp_path)
    assert synthesise(tmp_path, "en-us", speech) == 0
    synthesis.audio_path(tmp_path, BOB.name, f"{BOB.name}-0001").unlink()
    assert synthesise(tmp_path, "en-us", speech) == 1
    assert contents(tmp_path) == first


@needs_espeak
def test_audio_depends_only_on_its_own_parameters(tmp_path, speech):
    synthesise(tmp_path / "all", "en-us", speech, nj=1)
    last = {ANN: speech[ANN][-1:]}
    synthesise(tmp_path / "alone", "en-us", last)
    name = f"{ANN.name}-0002.flac"
    assert contents(tmp_path / "alone") == {name: contents(tmp_path / "all")[name]}


@needs_espeak
def test_all_voices_are_reproducible_in_another_process(tmp_path):
    speech = {speaker: speech_of(speaker, "HH AH L OW") for speaker in speakers("en", english.L1S)}
    for name in ("once", "again"):
        assert synthesise(tmp_path / name, "en-us", speech) == len(speech)
    assert contents(tmp_path / "once") == contents(tmp_path / "again")


@needs_espeak
def test_changed_parameters_are_synthesised_again(tmp_path, speech):
    synthesise(tmp_path, "en-us", speech)
    before = contents(tmp_path)
    faster = {replace(ANN, words_per_minute=250): speech[ANN], BOB: speech[BOB]}
    assert synthesise(tmp_path, "en-us", faster) == 3
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {
        f"{ANN.name}-{n:04d}.flac" for n in range(3)
    }


@needs_espeak
def test_failure_keeps_finished_audio_and_names_the_utterance(tmp_path, speech):
    blocked = synthesis.audio_path(tmp_path, ANN.name, f"{ANN.name}-0001")
    blocked.mkdir(parents=True)  # a file cannot replace a folder
    (blocked / "in the way").touch()
    with pytest.raises(UserError, match=f"{ANN.name}-0001"):
        synthesise(tmp_path, "en-us", {ANN: speech[ANN]})
    assert list(json.loads((tmp_path / ANN.name / "made.json").read_text())) == [f"{ANN.name}-0000"]
    (blocked / "in the way").unlink()
    blocked.rmdir()
    assert synthesise(tmp_path, "en-us", {ANN: speech[ANN]}) == 2


@needs_espeak
def test_unknown_voice_raises_user_error(tmp_path, speech):
    with pytest.raises(UserError, match="espeak-ng has no voice xx"):
        synthesise(tmp_path, "xx", speech)


@pytest.mark.parametrize("worker", ["platform", "__hello__", "no_such_module"])
def test_worker_that_ends_early_raises_user_error(tmp_path, speech, monkeypatch, worker):
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(synthesis, "WORKER", worker)
    with pytest.raises(UserError, match="synthesis failed"):
        synthesise(tmp_path, "en-us", speech)


def test_missing_espeak_raises_user_error_with_the_remedy(tmp_path, speech, monkeypatch):
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        synthesise(tmp_path, "en-us", speech)
    assert caught.value.remedy == 'pip install "espnet-ext[synth]"'


@needs_espeak
def test_espeak_is_loaded_in_its_own_process_only(tmp_path):
    program = (
        "import pathlib, sys; from espnet_ext.corpora.mini_l2 import build, synthesis\n"
        "planned = build.plan('en', True)[0]\n"
        f"script = synthesis.Script(pathlib.Path({str(tmp_path)!r}), 'en-us', planned.speaker, "
        "[planned.speech])\n"
        "made = synthesis.synthesise([script])\n"
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''\n"
        "print(made, 'espeakng_loader' in sys.modules, 'espeak' in maps)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout.strip() == "1 False False", process.stderr


def test_only_the_worker_imports_espeak():
    package = Path(synthesis.__file__).parents[2]
    loads = [path.name for path in package.rglob("*.py") if "import espeakng" in path.read_text()]
    assert loads == ["espeak_worker.py"]


@needs_espeak
def test_audio_is_16_khz_speech_of_plausible_length_and_level(tmp_path, monkeypatch):
    import numpy as np

    from espnet_ext.data.audio import load_audio

    monkeypatch.setattr(build, "QUICK", {"train": 10, "valid": 2, "test": 4})
    sets = build.build_sets(tmp_path, ["en", "ko"], quick=True)
    assert {name: len(utterances) for name, utterances in sets.items()} == {
        "train": 20,
        "valid": 4,
        "test": 8,
    }
    for one in (one for utterances in sets.values() for one in utterances):
        samples, rate = load_audio(one.audio)
        assert rate == 16000 and 0.8 < len(samples) / rate < 6
        assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.3 and np.abs(samples).max() < 1
        assert (one.band, one.domain) == ("wide", "read") and one.lang in ("en", "ko") and one.l1
        frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        loudness = np.log10(np.mean(frames**2, axis=1) + 1e-12)
        assert np.percentile(loudness, 95) - np.percentile(loudness, 2) > 1  # speech over noise


# Every substitution must be audible: the distance of the log spectra of "AH x AH", aligned in time,
# must exceed the distance of two utterances of the same phone.
DISTANCES = """
import json, sys
import numpy as np
from espnet_ext.corpora.mini_l2.espeak_worker import Espeak
from espnet_ext.text import phones

espeak = Espeak("en-us+m3", 150, 50, 0)

def spectra(phone):
    samples = espeak.speak(phones.to_espeak(f"AH {phone} AH"))
    frames = np.lib.stride_tricks.sliding_window_view(samples, 400)[::200] * np.hanning(400)
    power = np.log(np.abs(np.fft.rfft(frames)) ** 2 + 1e-4)[:, :160]
    return np.stack([band.mean(1) for band in np.array_split(power, 20, axis=1)], 1)

def distance(a, b):
    cost = np.sqrt(((a[:, None] - b[None]) ** 2).mean(-1))
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            best = min(total[i, j], total[i, j + 1], total[i + 1, j])
            total[i + 1, j + 1] = cost[i, j] + best
    return total[-1, -1] / sum(cost.shape)

spectra_of = {phone: spectra(phone) for phone in phones.PHONES}
print(json.dumps({
    "again": max(distance(spectra_of[phone], spectra(phone)) for phone in spectra_of),
    "pairs": [distance(spectra_of[a], spectra_of[b]) for a, b in json.load(sys.stdin)],
}))
"""


@needs_espeak
def test_every_substitution_is_audible():
    pairs = sorted(
        {(a, b) for rule in english.RULES for a, b in rule.change.items() if len(b.split()) == 1}
    )
    process = subprocess.run(
        [sys.executable, "-c", DISTANCES], input=json.dumps(pairs), capture_output=True, text=True
    )
    distances = json.loads(process.stdout)
    for pair, distance in zip(pairs, distances["pairs"], strict=True):
        assert distance > 1.4 * distances["again"], (pair, distance, distances["again"])


@needs_espeak
@pytest.mark.manual  # 460 utterances are synthesised, which changes only with the voices
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_held_out_voices_are_no_more_unusual_than_training_voices(tmp_path, lang):
    """The distance to the nearest training voice, by mean and deviation of log-mel spectra."""
    import librosa
    import soundfile

    def spectrum(path):
        samples = soundfile.read(path, dtype="float32")[0]
        mel = librosa.feature.melspectrogram(
            y=samples, sr=16000, n_fft=512, hop_length=160, n_mels=32
        )
        log_mel = np.log(mel + 1e-8)
        level = log_mel.mean(0)
        speech = log_mel[:, level > np.percentile(level, 40)]
        speech = speech - speech.mean()
        return np.concatenate([speech.mean(1), speech.std(1)])

    module = build.language_module(lang)
    planned = build.plan(lang)
    voices = {}
    for speaker in speakers(lang, module.L1S):
        speech = [one.speech for one in planned if one.speaker == speaker][:10]
        script = synthesis.Script(tmp_path, module.VOICE, speaker, speech)
        synthesis.synthesise([script], 1)
        paths = [synthesis.audio_path(tmp_path, speaker.name, one.utt_id) for one in speech]
        voices[speaker] = np.mean([spectrum(path) for path in paths], axis=0)
    training = [speaker for speaker in voices if speaker.subset == "train"]
    nearest = {
        speaker: min(
            np.linalg.norm(spectra - voices[other]) for other in training if other != speaker
        )
        for speaker, spectra in voices.items()
    }
    limit = max(nearest[speaker] for speaker in training)
    unusual = {s.variant for s in voices if s.subset != "train" and nearest[s] > limit}
    assert not unusual
