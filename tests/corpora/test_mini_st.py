"""Tests of the generated corpus for translation: sentences, sets, and its layout."""

import pytest
import soundfile
from published import RATE, write_sound

from espnet_ext.corpora import mini_st
from espnet_ext.corpora.mini_l2 import synthesis
from espnet_ext.corpora.preparation import Report


def test_translation_has_another_order_and_the_right_particles():
    pairs = dict(mini_st.sentences())
    english = "my mother bought a bag at the market yesterday"
    assert pairs[english] == "어제 어머니가 시장에서 가방을 샀어요"
    assert pairs["the teacher lost the tickets at home"] == "선생님이 집에서 표를 잃어버렸어요"
    assert len(pairs) == len(mini_st.sentences()) > 10_000


def test_sets_share_no_sentence_and_no_speaker():
    planned = mini_st.plan()
    assert {name: len(lines) for name, lines in planned.items()} == mini_st.SIZES
    for what in ("english", "utt_id", "speaker"):
        values = [{getattr(line, what) for line in lines} for lines in planned.values()]
        assert sum(map(len, values)) == len(set().union(*values)), what
    quick = mini_st.plan(quick=True)
    assert all(set(quick[name]) <= set(planned[name]) for name in quick)
    assert planned["train"][0].speech.text


def test_corpus_is_written_and_read_in_the_layout_of_must_c(tmp_path, monkeypatch):
    def synthesise(scripts, nj):
        for script in scripts:
            for i, speech in enumerate(script.speech):
                path = synthesis.audio_path(script.folder, script.speaker.name, speech.utt_id)
                write_sound(path, 0.3 + 0.1 * i)

    monkeypatch.setattr(synthesis, "synthesise", synthesise)
    monkeypatch.setattr(mini_st, "QUICK_SIZES", {"train": 26, "valid": 2, "test": 2})
    options = mini_st.Options(data_dir=tmp_path, quick=True)
    sets = mini_st.prepare(options, report := Report("mini_st"))
    assert {name: len(of_set) for name, of_set in sets.items()} == mini_st.QUICK_SIZES
    lines = {line.english: line for line in mini_st.plan(quick=True)["train"]}
    for utterance in sets["train"]:
        line = lines[utterance.texts["transcript"]]
        assert utterance.texts["translation"] == line.korean
        assert (utterance.speaker, utterance.text_langs) == (
            line.speaker.name,
            {"translation": "ko"},
        )
        source = tmp_path / "mini_st_corpus/sentences" / line.speaker.name / f"{line.utt_id}.flac"
        assert report.seconds[utterance.utt_id] == pytest.approx(
            soundfile.info(source).frames / RATE, abs=1e-4
        )
    assert list((tmp_path / "mini_st_corpus/en-ko/data/dev/txt").glob("dev.*"))
