"""Laws of Hangul spelling, normal form and pronunciation, over generated texts."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.text import hangul
from espnet_ext.text.korean import SPOKEN, pronounce
from espnet_ext.text.unicode import normalize

syllables = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
letters = st.sampled_from([chr(code) for code in range(0x3131, 0x3164)])
conjoining = st.sampled_from(
    [chr(c) for c in (*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3))]
)
korean = st.text(st.one_of(syllables, letters, st.just(" ")), max_size=20)
anything = st.text(st.one_of(syllables, letters, conjoining, st.characters()), max_size=20)
words = st.text(syllables, min_size=1, max_size=6)


@given(korean)
def test_jamo_and_back(text):
    assert hangul.from_jamo(hangul.to_jamo(text)) == text


@given(anything)
def test_normal_form_is_idempotent_and_nfc(text):
    normal = normalize(text)
    assert normalize(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip() and "  " not in normal


@given(st.text(st.one_of(conjoining, syllables), max_size=20))
def test_any_jamo_sequence_becomes_korean_and_loses_nothing(text):
    composed = hangul.from_jamo(text)
    assert all(map(hangul.is_hangul, composed))
    spelled = "".join(hangul.to_letter(j) for j in unicodedata.normalize("NFD", text))
    assert "".join(hangul.to_letter(j) for j in hangul.to_jamo(composed)) == spelled


@given(words)
def test_pronunciation_keeps_the_syllables(word):
    said = pronounce(word)
    assert len(said) == len(word) and all(map(hangul.is_syllable, said))


@given(words)
def test_only_seven_tails_are_pronounced_and_none_before_a_vowel(word):
    said = [hangul.split(s) for s in pronounce(word)]
    assert {tail for _, _, tail in said} <= {"", *"ㄱㄴㄷㄹㅁㅂㅇ"}
    for (_, _, tail), (lead, _, _) in zip(said, said[1:], strict=False):
        assert lead != "ㅇ" or tail in ("", "ㅇ")  # else it would have been linked
        assert not (tail in ("ㄱ", "ㄷ", "ㅂ") and lead in tuple("ㄱㄷㅂㅅㅈㄴㅁㄹㅎ"))
        assert not (tail == "ㄴ" and lead == "ㄹ") and not (tail == "ㄹ" and lead == "ㄴ")


@given(st.lists(words, min_size=1, max_size=4))
def test_connected_speech_keeps_words_and_obeys_the_same_laws(several):
    said = pronounce(" ".join(several), SPOKEN)
    assert list(map(len, said.split(" "))) == list(map(len, several))
    sounds = [hangul.split(s) for s in said.replace(" ", "")]
    assert {tail for _, _, tail in sounds} <= {"", *"ㄱㄴㄷㄹㅁㅂㅇ"}
    for (_, _, tail), (lead, _, _) in zip(sounds, sounds[1:], strict=False):
        assert not (tail in ("ㄱ", "ㄷ", "ㅂ") and lead in tuple("ㅇㄱㄷㅂㅅㅈㄴㅁㄹㅎ"))
    # a pause at every space is the other style
    assert pronounce(", ".join(several), SPOKEN) == pronounce(" ".join(several))


@given(st.lists(words, min_size=1, max_size=4))
def test_words_are_pronounced_one_by_one(several):
    assert pronounce(" ".join(several)) == " ".join(map(pronounce, several))


@given(st.text(st.sampled_from("아이우에오가너도루미"), min_size=1, max_size=8))
def test_open_plain_syllables_sound_as_spelled(word):
    assert pronounce(word) == word
