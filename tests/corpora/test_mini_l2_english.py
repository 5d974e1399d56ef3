"""Tests of the English of the embedded corpus: sentences, and pronunciation errors."""

import random
import re
from collections import Counter

import pytest

from espnet_ext.corpora.mini_l2 import english
from espnet_ext.corpora.mini_l2.sentences import written
from espnet_ext.text import phones
from espnet_ext.text.english_lexicon import lexicon

ALL = [english.canonical(sentence) for sentence in written("en")]


def test_sentences_are_many_and_have_four_to_ten_words():
    assert len(ALL) >= 300
    assert len(set(written("en"))) == len(ALL)
    for sentence in written("en"):
        assert re.fullmatch(r"[a-z]+( [a-z]+){3,9}", sentence), sentence


def test_vocabulary_is_small_and_each_word_is_in_three_sentences():
    counts = Counter(word for one in written("en") for word in set(one.split()))
    assert 250 <= len(counts) <= 350
    assert min(counts.values()) >= 3, [word for word, count in counts.items() if count < 3]
    assert set(counts) == set(
        lexicon()
    )  # all words have phones, and the lexicon has no other words


def test_sentences_have_all_phones():
    assert {phone for text in ALL for phone in text.split()} >= set(phones.PHONES) - {"OY"}


@pytest.mark.parametrize("l1", english.L1S)
def test_rate_zero_gives_no_errors(l1):
    for text in ALL:
        assert english.corrupt(text, l1, 0.0, random.Random(1)) == text


@pytest.mark.parametrize("l1", english.L1S)
def test_errors_are_phones_and_reproducible(l1):
    for number, text in enumerate(ALL[:100]):
        surface = english.corrupt(text, l1, 2.0, random.Random(number))
        assert surface and all(map(phones.is_phone, surface.split()))
        assert surface == english.corrupt(text, l1, 2.0, random.Random(number))


@pytest.mark.parametrize("l1", english.L1S)
def test_higher_rate_gives_more_errors(l1):
    def changed(rate):
        rng = random.Random(3)
        return sum(
            sum((Counter(text.split()) - Counter(surface.split())).values())
            for text, surface in ((t, english.corrupt(t, l1, rate, rng)) for t in ALL)
        )

    assert changed(0.2) < changed(0.6) < changed(1.5) < changed(4.0)


@pytest.mark.parametrize(
    ("l1", "canonical", "surface"),  # all rules fire; worked out by hand
    [
        ("ko", "F AO R", "P OW"),  # f to p, ao to ow, final r dropped
        ("ko", "F IH SH", "P IY SH IH"),
        ("ko", "V EH R IY", "B EH L IH"),
        ("ja", "L AY K", "R AY K UH"),
        ("ja", "B EH D", "B EH D OW"),
        ("ja", "S IY", "SH IY"),
        ("es", "S K UW L", "EH S K UW L"),
        ("es", "Y EH S", "JH EH S"),
        ("es", "V EH R IY", "B EH R IY"),
        ("ar", "P AA R K", "B AA R K IH"),
        ("vi", "SH IY", "S IY"),
        ("vi", "S M AO L", "S M AO N"),
        ("zh", "DH AE T", "D EH"),
        ("zh", "N EH V ER", "N EH W AH"),
    ],
)
def test_errors_of_each_first_language(l1, canonical, surface):
    assert english.corrupt(canonical, l1, 1000.0, random.Random(0)) == surface


def test_every_rule_applies_to_the_sentences():
    contexts = {
        (phone, before, after)
        for text in ALL
        for sent in [text.split()]
        for phone, before, after in zip(sent, [None, *sent[:-1]], [*sent[1:], None], strict=True)
    }
    for rule in english.RULES:
        assert set(rule.rates) <= set(english.L1S) and all(0 < r < 1 for r in rule.rates.values())
        applies = english.POSITIONS[rule.position]
        assert any(p in rule.change and applies(b, a) for p, b, a in contexts), rule.name


def test_every_rule_changes_phones_to_other_phones():
    for rule in english.RULES:
        for phone, surface in rule.change.items():
            assert phone != surface and phones.is_phone(phone), rule.name
            assert all(map(phones.is_phone, surface.split())), rule.name
