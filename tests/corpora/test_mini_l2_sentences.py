"""Tests of sentences from frames: new contexts of known words, no held-out sentences."""

from collections import Counter

import pytest

from espnet_ext.corpora.mini_l2 import build
from espnet_ext.corpora.mini_l2.sentences import drawn, expand, frames, written

LANGS = ("en", "ko")


def test_expand_without_choices():
    assert expand("we go home now") == ["we go home now"]


def test_expand_choices_of_several_words():
    assert expand("i (am|was not) here") == ["i am here", "i was not here"]


@pytest.mark.parametrize("lang", LANGS)
def test_frames_give_thousands_of_sentences_of_known_words(lang):
    known = {word for sentence in written(lang) for word in sentence.split()}
    generated = {sentence for frame in frames(lang) for sentence in expand(frame)}
    assert len(generated) > 4000
    for sentence in generated:
        assert sentence == " ".join(sentence.split())
        assert set(sentence.split()) <= known, sentence
        assert 3 <= len(sentence.split()) <= 12, sentence


@pytest.mark.parametrize("lang", LANGS)
def test_held_out_sentences_are_not_in_training(lang):
    planned = build.plan(lang)
    held_out = {one.texts["meaning"] for one in planned if one.subset != "train"}
    assert held_out <= set(written(lang))
    assert not held_out & {one.texts.get("meaning") for one in planned if one.subset == "train"}


@pytest.mark.parametrize("lang", LANGS)
def test_drawn_sentences_are_new_and_reproducible(lang):
    chosen = drawn(lang, 500, 1)
    assert chosen == drawn(lang, 500, 1) != drawn(lang, 500, 2)
    assert len(set(chosen)) == len(chosen) == 500
    assert not set(chosen) & set(written(lang))


@pytest.mark.parametrize("lang", LANGS)
def test_drawn_sentences_make_rare_words_more_frequent(lang):
    """A rarer word must have no undrawn sentences left."""

    def sentences_with(sentences):
        return Counter(word for sentence in sentences for word in set(sentence.split()))

    chosen = drawn(lang, 1000, 1)
    possible = {sentence for frame in frames(lang) for sentence in expand(frame)}
    possible -= set(written(lang))
    frequency = sentences_with([*written(lang), *chosen])
    remaining = sentences_with(possible - set(chosen))
    minimum = min(frequency[word] for word in remaining)
    assert minimum > min(sentences_with(written(lang)).values())
    for word, count in sentences_with(written(lang)).items():
        assert frequency[word] >= minimum or word not in remaining, (word, count)


def test_drawn_returns_all_sentences_if_count_is_larger():
    possible = {sentence for frame in frames("ko") for sentence in expand(frame)}
    assert set(drawn("ko", 10**6, 1)) == possible - set(written("ko"))
