"""Sentences from frames: more company for known words, nothing of what is held out."""

import pytest

from espnet_ext.corpora.mini_l2 import build
from espnet_ext.corpora.mini_l2.sentences import drawn, expand, frames, written

LANGS = ("en", "ko")


def test_a_sentence_without_choices_is_itself():
    assert expand("we go home now") == ["we go home now"]


def test_a_choice_may_be_of_several_words():
    assert expand("i (am|was not) here") == ["i am here", "i was not here"]


@pytest.mark.parametrize("lang", LANGS)
def test_frames_make_thousands_of_clean_sentences_of_known_words(lang):
    known = {word for sentence in written(lang) for word in sentence.split()}
    made = {sentence for frame in frames(lang) for sentence in expand(frame)}
    assert len(made) > 4000
    for sentence in made:
        assert sentence == " ".join(sentence.split())
        assert set(sentence.split()) <= known, sentence
        assert 3 <= len(sentence.split()) <= 12, sentence


@pytest.mark.parametrize("lang", LANGS)
def test_nothing_held_out_is_trained_on(lang):
    planned = build.plan(lang)
    held = {one.texts["meaning"] for one in planned if one.subset != "train"}
    assert held <= set(written(lang))
    assert not held & {one.texts.get("meaning") for one in planned if one.subset == "train"}


@pytest.mark.parametrize("lang", LANGS)
def test_a_draw_is_new_even_and_a_function_of_its_seed(lang):
    chosen = drawn(lang, 500, 1)
    assert chosen == drawn(lang, 500, 1) != drawn(lang, 500, 2)
    assert len(set(chosen)) == len(chosen) and 450 <= len(chosen) <= 550
    assert not set(chosen) & set(written(lang))
    share = round(500 / len(frames(lang)))
    for frame in frames(lang):
        assert len(set(chosen) & set(expand(frame))) >= min(share, len(expand(frame)) // 2)
