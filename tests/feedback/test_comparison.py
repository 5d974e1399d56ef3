"""Expected pronunciations of sentences, and their comparison with recognised units."""

import pytest

from espnet_ext.errors import UserError
from espnet_ext.feedback.comparison import compare
from espnet_ext.feedback.expected import expect, split_units
from espnet_ext.feedback.naming import gloss, name, show_units


def names_of(sentence, recognised, language):
    comparison = compare(expect(sentence, language), split_units(recognised, language))
    return [name(d, comparison.words[d.word], language) for d in comparison.deviations]


@pytest.mark.parametrize(
    ("recognised", "expected"),
    [
        ("AY TH IH NG K HH IY R", []),
        ("AY S IH NG K HH IY R", ['TH → S in "think"']),
        ("AY TH IH NG K HH IY", ['R missing in "here"']),
        ("AY TH IH NG K AH HH IY R", ['AH added in "think"']),
        ("AY TH IH NG K", ['word "here" missing']),
        ("TH IH NG K HH IY R", ['word "I" missing']),
    ],
)
def test_english_deviations_are_named(recognised, expected):
    assert names_of("I think here", recognised, "en") == expected


@pytest.mark.parametrize(
    ("sentence", "recognised", "expected"),
    [
        ("국물이", "궁무리", []),
        ("국물이", "구무리", ["'국물이'의 받침 ㅇ 탈락"]),
        ("국물이", "군무리", ["'국물이'의 받침 ㅇ → ㄴ"]),
        ("가다", "까다", ["'가다'의 초성 ㄱ → ㄲ"]),
        ("가다", "아다", ["'가다'의 초성 ㄱ 탈락"]),
        ("아이", "하이", ["'아이'에 초성 ㅎ 첨가"]),
        ("가다", "거다", ["'가다'의 모음 ㅏ → ㅓ"]),
        ("가다", "간다", ["'가다'에 받침 ㄴ 첨가"]),
        ("가다 보다", "가다", ["'보다' 누락"]),
        ("나무가", "나가", ["'나무가'의 음절 '무' 탈락"]),
        ("가다", "가다요", ["'가다'에 '요' 첨가"]),
    ],
)
def test_korean_deviations_are_named_by_letter_and_position(sentence, recognised, expected):
    assert names_of(sentence, recognised, "ko") == expected


def test_korean_deviation_has_an_english_gloss():
    comparison = compare(expect("가다", "ko"), split_units("간다", "ko"))
    assert gloss(comparison.deviations[0], "가다") == 'final consonant ㄴ added in "가다"'


def test_listed_pronunciation_is_a_variant_and_no_deviation():
    comparison = compare(expect("either", "en"), ["AY", "DH", "ER"])
    assert not comparison.deviations
    [variant] = comparison.variants
    assert (variant.preferred, variant.chosen) == (("IY", "DH", "ER"), ("AY", "DH", "ER"))


def test_neighbouring_words_decide_the_preferred_pronunciation():
    recognised = split_units("AY L IH V HH IY R", "en")
    assert not compare(expect("I live here", "en"), recognised).variants


def test_lexicon_adds_words_and_accepts_all_their_pronunciations():
    sentence = expect("see Xyzzy", "en", {"xyzzy": ["Z IH Z IY", "K S IY"]})
    assert sentence.guessed_words == []
    assert not compare(sentence, ["S", "IY", "K", "S", "IY"]).deviations


@pytest.mark.parametrize("recognised", ["옫 한 벌", "오 탄 벌"])
def test_sandhi_across_words_is_optional(recognised):
    assert not compare(expect("옷 한 벌", "ko"), split_units(recognised, "ko")).deviations


def test_sandhi_is_not_mixed_within_a_pair_of_words():
    assert compare(expect("옷 한 벌", "ko"), split_units("오 한 벌", "ko")).deviations


@pytest.mark.parametrize(
    ("sentence", "words"),
    [("I have 2 cats", ["I", "have", "two", "cats"]), ("It costs €5!", None)],
)
def test_digits_and_symbols_are_read_as_words(sentence, words):
    read = [word.text for group in expect(sentence, "en").groups for word in group.words]
    assert words is None or read == words
    assert "5" not in "".join(read)


def test_korean_digits_are_read_as_words():
    assert not compare(expect("3시에", "ko"), split_units("세시에", "ko")).deviations


@pytest.mark.parametrize(
    ("sentence", "language", "culprit"),
    [("I like 漢字", "en", "漢字"), ("국물이 漢字", "ko", "漢"), ("", "en", "no words")],
)
def test_unpronounceable_prompt_is_a_user_error_that_names_the_word(sentence, language, culprit):
    with pytest.raises(UserError, match=culprit) as caught:
        expect(sentence, language)
    assert caught.value.message.startswith("prompt '")
    assert caught.value.remedy


def test_word_in_no_dictionary_is_named():
    assert expect("a zorblax", "en").guessed_words == ["zorblax"]


def test_units_are_shown_as_syllables():
    assert show_units(split_units("한국", "ko"), "ko") == "한국"


def test_every_unit_is_in_exactly_one_column():
    sentence = expect("he thinks that it is here", "en")
    recognised = [
        "IY",
        "S",
        "IH",
        "NG",
        "K",
        "S",
        "AH",
        "D",
        "AE",
        "IH",
        "T",
        "IH",
        "S",
        "HH",
        "IY",
        "R",
        "Z",
    ]
    columns = compare(sentence, recognised).columns
    assert [c.recognised for c in columns if c.recognised] == recognised
    assert [c.position for c in columns if c.recognised] == list(range(len(recognised)))
