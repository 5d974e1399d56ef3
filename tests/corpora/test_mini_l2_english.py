"""English of the embedded corpus: sentences that can be learnt, errors that learners make."""

import random
import re
from collections import Counter

import pytest

from espnet_ext.corpora.mini_l2 import english
from espnet_ext.corpora.mini_l2.sentences import written
from espnet_ext.text import phones
from espnet_ext.text.english_lexicon import lexicon

ALL = [english.canonical(sentence) for sentence in written("en")]


def test_there_are_enough_different_sentences_of_four_to_ten_words():
    assert len(ALL) >= 300
    assert len(set(written("en"))) == len(ALL)
    for sentence in written("en"):
        assert re.fullmatch(r"[a-z]+( [a-z]+){3,9}", sentence), sentence


def test_the_vocabulary_is_small_and_every_word_returns():
    counts = Counter(word for one in written("en") for word in set(one.split()))
    assert 250 <= len(counts) <= 350
    assert min(counts.values()) >= 3, [word for word, count in counts.items() if count < 3]
    assert set(counts) == set(lexicon())  # no word lacks phones, and none is carried for nothing


def test_sentences_have_every_phone():
    assert {phone for text in ALL for phone in text.split()} >= set(phones.PHONES) - {"OY"}


@pytest.mark.parametrize("l1", english.L1S)
def test_a_perfect_speaker_makes_no_error(l1):
    for text in ALL:
        assert english.corrupt(text, l1, 0.0, random.Random(1)) == text


@pytest.mark.parametrize("l1", english.L1S)
def test_errors_are_phones_and_the_same_for_the_same_seed(l1):
    for number, text in enumerate(ALL[:100]):
        said = english.corrupt(text, l1, 2.0, random.Random(number))
        assert said and all(map(phones.is_phone, said.split()))
        assert said == english.corrupt(text, l1, 2.0, random.Random(number))


@pytest.mark.parametrize("l1", english.L1S)
def test_a_weaker_learner_makes_more_errors(l1):
    def changed(rate):
        rng = random.Random(3)
        return sum(
            sum((Counter(text.split()) - Counter(said.split())).values())
            for text, said in ((t, english.corrupt(t, l1, rate, rng)) for t in ALL)
        )

    assert changed(0.2) < changed(0.6) < changed(1.5) < changed(4.0)


@pytest.mark.parametrize(
    ("l1", "canonical", "said"),  # what a rate that makes every rule certain gives, worked by hand
    [
        ("ko", "F AO R", "P OW"),  # f→p, o, and the final r is dropped
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
def test_each_first_language_has_its_own_errors(l1, canonical, said):
    assert english.corrupt(canonical, l1, 1000.0, random.Random(0)) == said


def test_every_rule_finds_its_place_in_the_sentences():
    places = {
        (phone, before, after)
        for text in ALL
        for given in [text.split()]
        for phone, before, after in zip(given, [None, *given[:-1]], [*given[1:], None], strict=True)
    }
    for rule in english.RULES:
        assert set(rule.rates) <= set(english.L1S) and all(0 < r < 1 for r in rule.rates.values())
        holds = english.PLACES[rule.place]
        assert any(p in rule.change and holds(b, a) for p, b, a in places), rule.name


def test_every_change_is_one():
    for rule in english.RULES:
        for phone, said in rule.change.items():
            assert phone != said and phones.is_phone(phone), rule.name
            assert all(map(phones.is_phone, said.split())), rule.name
