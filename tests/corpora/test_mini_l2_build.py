"""Tests of the plan of the embedded corpus: who says what in which set."""

import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from espnet_ext.corpora.mini_l2 import build
from espnet_ext.corpora.mini_l2.sentences import written
from espnet_ext.corpora.mini_l2.speakers import speakers
from espnet_ext.corpora.mini_l2.telephone import narrow_ids, with_telephone_speech
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.audio import audio_info, load_audio, write_audio
from espnet_ext.data.record import Utterance
from espnet_ext.errors import UserError
from espnet_ext.scoring.divergence import LEARNER, distance_bin, divergences, measure_references

LANGS = ("en", "ko")
# Identity of the corpus. A change makes all published numbers incomparable.
HASHES = {
    "en": "37fe393c2b55c33c90dd0139d22fe07e2f8b302bfb877e29d1e433730f8c34de",
    "ko": "592b789ed736697590af2b3d2cc90f228c743c99d605b5628aa3ca62d40f14f8",
}


@pytest.fixture(scope="module", params=LANGS)
def lang(request):
    return request.param


@pytest.fixture(scope="module")
def planned(lang):
    return build.plan(lang)


def in_set(planned, subset):
    return [utterance for utterance in planned if utterance.subset == subset]


def test_corpus_hash_is_unchanged(lang):
    assert build.corpus_hash(lang) == HASHES[lang]


def test_plan_does_not_depend_on_the_process(lang):
    """Another hash seed changes the order of Python sets; the plan must not change."""
    program = f"from espnet_ext.corpora.mini_l2 import build; print(build.corpus_hash({lang!r}))"
    for seed in ("1", "2"):
        process = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert process.stdout.strip() == HASHES[lang]


def test_plan_imports_no_audio_library():
    program = (
        "import sys; from espnet_ext.corpora.mini_l2 import build; build.plan('en', True); "
        "print({'numpy', 'soundfile', 'torch', 'espeakng_loader'} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stdout.strip() == "set()", process.stderr


def test_speakers_and_sentences_are_disjoint_across_sets(planned):
    keys = (
        lambda one: one.speaker.name,
        lambda one: one.utt_id.rsplit("-", 1)[1],
        lambda one: one.texts.get("meaning", one.utt_id),
    )
    for key in keys:
        train, valid, test = ({key(one) for one in in_set(planned, name)} for name in build.SETS)
        assert not train & valid and not train & test and not valid & test


def test_sizes_of_the_sets(planned):
    assert 1400 <= len(in_set(planned, "train")) <= 2800
    assert len(in_set(planned, "valid")) == 80 and len(in_set(planned, "test")) == 160
    for subset, minimum in (("train", 24), ("valid", 6), ("test", 16)):
        counts = Counter(one.speaker.name for one in in_set(planned, subset))
        assert len(counts) >= minimum
        assert max(counts.values()) - min(counts.values()) <= 1


def test_ids_are_unique_and_start_with_the_speaker(planned):
    ids = [one.utt_id for one in planned]
    assert len(set(ids)) == len(ids)
    assert all(one.utt_id.startswith(one.speaker.name + "-") for one in planned)


def test_held_out_words_are_in_two_training_sentences(lang):
    sentences = written(lang)
    split = build.split_sentences(sentences, build.seed_of(lang))
    known = Counter(word for n in split["train"] for word in set(sentences[n].split()))
    held_out = {w for name in ("valid", "test") for n in split[name] for w in sentences[n].split()}
    assert all(known[word] >= 2 for word in held_out)


def test_voices_are_disjoint_across_sets():
    voices = Counter(speaker.variant for speaker in speakers("en", ["ko"]))
    assert set(voices.values()) == {1}


def test_some_training_utterances_lack_one_label(planned):
    unlabelled = Counter()
    for one in planned:
        missing = {"surface", "meaning", "canonical"} - set(one.texts)
        assert not missing or one.subset == "train"
        assert len(missing) <= 1 and missing <= {"surface", "meaning"}
        unlabelled.update(missing)
    assert 0.04 < unlabelled.total() / len(in_set(planned, "train")) < 0.06
    assert abs(unlabelled["surface"] - unlabelled["meaning"]) <= 1


def test_quick_corpus_is_a_part_of_the_corpus(lang, planned):
    quick = build.plan(lang, quick=True)
    whole = {one.utt_id: one for one in planned}
    assert all(whole[one.utt_id] == one for one in quick)
    assert Counter(one.subset for one in quick) == {"train": 160, "valid": 16, "test": 24}
    assert {one.speaker for one in quick} == {one.speaker for one in planned}


def divergence(planned, lang):
    texts = {one.utt_id: one.texts for one in planned}
    kinds = {"surface": "phone" if lang == "en" else "char", "meaning": "char"}
    counts = Counter(distance_bin(distance) for distance in divergences(texts, kinds).values())
    return {name: 100 * count / counts.total() for name, count in counts.items()}


def test_english_divergence_is_distributed_as_in_the_paper():
    """arXiv 2606.06065 for English: 26.1/40.3/29.5/4.2 %."""
    shares = divergence(build.plan("en"), "en")
    for name, expected in {"0": 26.1, "1-3": 40.3, "4-10": 29.5, ">=11": 4.2}.items():
        assert abs(shares[name] - expected) < 2, shares


def test_every_bin_of_divergence_has_utterances(planned, lang):
    assert all(divergence(planned, lang)[name] > 1 for name in ("0", "1-3", "4-10", ">=11"))


def test_error_level_scales_errors_and_keeps_speakers_and_sentences(planned, lang):
    fewer = build.plan(lang, error_level=0.4)
    assert [(one.utt_id, one.speaker, one.texts.get("meaning")) for one in fewer] == [
        (one.utt_id, one.speaker, one.texts.get("meaning")) for one in planned
    ]

    def edits(utterances):
        texts = {one.utt_id: one.texts for one in utterances if "surface" in one.texts}
        unit = "phone" if lang == "en" else "char"
        pairs = measure_references(texts, {"surface": unit, "meaning": "char"}).pairs
        return sum(distance.edits for distance in pairs[LEARNER].values())

    assert 0.3 < edits(fewer) / edits(planned) < 0.6
    assert edits(build.plan(lang, error_level=0)) == 0


def test_another_error_level_needs_another_data_directory(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en/prepare.json").write_text('{"notes": ["error level 0.4"]}')
    options = build.Options(langs=("en",), data_dir=tmp_path)
    with pytest.raises(UserError, match="has the corpus with error level 0.4, not 1") as caught:
        build.prepare(options, Report("mini_l2"))
    assert "folders of its own" in caught.value.remedy


def test_another_share_of_telephone_speech_needs_another_data_directory(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en/prepare.json").write_text('{"notes": []}')
    options = build.Options(langs=("en",), data_dir=tmp_path, narrow_share=0.5)
    with pytest.raises(UserError, match="with share of telephone speech 0, not 0.5"):
        build.prepare(options, Report("mini_l2"))
    options = build.Options(langs=("ko",), data_dir=tmp_path, narrow_share=1.5)
    with pytest.raises(UserError, match="narrow_share: 1.5 is not a share"):
        build.prepare(options, Report("mini_l2"))


def test_share_of_each_set_is_telephone_speech_at_8_khz(tmp_path):
    utterances = []
    for i in range(6):
        path = tmp_path / f"s1-{i}.flac"
        tones = [np.sin(2 * np.pi * f * np.arange(16001 + i) / 16000) for f in (1000, 6000)]
        write_audio(path, 0.3 * sum(tones), 16000)
        utterances.append(Utterance(f"s1-{i}", "s1", str(path), {"meaning": "a"}, band="wide"))
    half = with_telephone_speech(utterances, 0.5)
    narrow = {one.utt_id for one in half if one.band == "narrow"}
    assert len(narrow) == 3 and narrow < narrow_ids([one.utt_id for one in utterances], 0.8)
    for before, after in zip(utterances, half, strict=True):
        if after.utt_id not in narrow:
            assert after == before
            continue
        info = audio_info(after.audio)
        assert info.rate == 8000 and info.seconds == pytest.approx(1.0, abs=0.001)
        samples, _ = load_audio(after.audio)
        spectrum = np.abs(np.fft.rfft(samples)) / len(samples) * 2
        peak = np.argmax(spectrum) * 8000 / len(samples)
        assert peak == pytest.approx(1000, abs=1) and spectrum.max() == pytest.approx(0.3, abs=0.05)
        assert spectrum[1100:].max() < 0.01  # 6 kHz is removed, not mirrored to 2 kHz
    written = {one.audio: os.stat(one.audio).st_mtime_ns for one in half}
    assert with_telephone_speech(utterances, 0.5) == half
    assert {path: os.stat(path).st_mtime_ns for path in written} == written


def test_unknown_language_raises_user_error():
    with pytest.raises(UserError, match="no language 'fr'") as caught:
        build.build_sets("nowhere", ["fr"])
    assert "en, ko" in caught.value.remedy


def test_too_few_sentences_raise_user_error():
    with pytest.raises(UserError, match="10 sentences are too few"):
        build.split_sentences([f"a b {n}" for n in range(10)], 1)


def test_split_keeps_common_words_in_training_and_holds_out_rare_words_if_necessary():
    common = [f"w{a} w{b}" for a in range(25) for b in range(a)]
    split = build.split_sentences(common, 1)
    known = Counter(word for n in split["train"] for word in common[n].split())
    assert min(known.values()) >= 2 and len(split["test"]) == 80
    rare = build.split_sentences([f"x{n} y{n}" for n in range(300)], 1)
    assert len(rare["test"]) == 80 and len(rare["valid"]) == 40


def test_assign_speakers_is_balanced_and_without_repetitions():
    group = [speaker for speaker in speakers("en", ["ko"]) if speaker.subset == "train"]
    pairs = list(build._assign_speakers(5 * list(range(301)), group, 7))
    assert len(set(pairs)) == 301 * 5
    counts = Counter(speaker for _, speaker in pairs)
    assert max(counts.values()) - min(counts.values()) <= 1
