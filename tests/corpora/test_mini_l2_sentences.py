"""Sentences from frames: more company for known words, nothing of what is held out."""

from collections import Counter

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
def test_a_draw_is_new_and_a_function_of_its_seed(lang):
    chosen = drawn(lang, 500, 1)
    assert chosen == drawn(lang, 500, 1) != drawn(lang, 500, 2)
    assert len(set(chosen)) == len(chosen) == 500
    assert not set(chosen) & set(written(lang))


@pytest.mark.parametrize("lang", LANGS)
def test_a_draw_brings_rare_words_up(lang):
    """No word stays rarer than another that it could have been drawn instead of."""

    def sentences_with(sentences):
        return Counter(word for sentence in sentences for word in set(sentence.split()))

    chosen = drawn(lang, 1000, 1)
    possible = {sentence for frame in frames(lang) for sentence in expand(frame)}
    possible -= set(written(lang))
    stands = sentences_with([*written(lang), *chosen])
    left = sentences_with(possible - set(chosen))
    least = min(stands[word] for word in left)
    assert least > min(sentences_with(written(lang)).values())
    for word, count in sentences_with(written(lang)).items():
        assert stands[word] >= least or word not in left, (word, count)


def test_more_than_there_are_is_all_of_them():
    possible = {sentence for frame in frames("ko") for sentence in expand(frame)}
    assert set(drawn("ko", 10**6, 1)) == possible - set(written("ko"))
