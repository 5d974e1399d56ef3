"""Properties of Hangul spelling, normalisation and pronunciation on generated texts."""

import itertools
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from espnet_ext.text import hangul
from espnet_ext.text.korean import CONNECTED_SPEECH, pronounce
from espnet_ext.text.korean_words import NOUN_OR_VERB
from espnet_ext.text.unicode import normalize

syllables = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
letters = st.sampled_from([chr(code) for code in range(0x3131, 0x3164)])
conjoining = st.sampled_from(
    [chr(c) for c in (*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A8, 0x11C3))]
)
korean = st.text(st.one_of(syllables, letters, st.just(" ")), max_size=20)
anything = st.text(st.one_of(syllables, letters, conjoining, st.characters()), max_size=20)
# Words that are not nouns or verbs depending on their neighbours
words = st.text(syllables, min_size=1, max_size=6).filter(lambda word: word not in NOUN_OR_VERB)


@given(korean)
def test_jamo_round_trip(text):
    assert hangul.from_jamo(hangul.to_jamo(text)) == text


@given(anything)
def test_normal_form_is_idempotent_and_nfc(text):
    normal = normalize(text)
    assert normalize(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)
    assert normal == normal.strip() and "  " not in normal


@given(st.text(st.one_of(conjoining, syllables), max_size=20))
def test_from_jamo_accepts_any_jamo_and_keeps_every_letter(text):
    composed = hangul.from_jamo(text)
    assert all(map(hangul.is_hangul, composed))
    spelled = "".join(hangul.to_letter(j) for j in unicodedata.normalize("NFD", text))
    assert "".join(hangul.to_letter(j) for j in hangul.to_jamo(composed)) == spelled


@given(words)
def test_pronunciation_keeps_the_number_of_syllables(word):
    pronounced = pronounce(word)
    assert len(pronounced) == len(word) and all(map(hangul.is_syllable, pronounced))


@given(words)
def test_pronunciation_has_seven_tails_and_no_unlinked_tail_before_a_vowel(word):
    pronounced = [hangul.split(s) for s in pronounce(word)]
    assert {tail for _, _, tail in pronounced} <= {"", *"ㄱㄴㄷㄹㅁㅂㅇ"}
    for (_, _, tail), (lead, _, _) in zip(pronounced, pronounced[1:], strict=False):
        assert lead != "ㅇ" or tail in ("", "ㅇ")  # otherwise the tail would be linked
        assert not (tail in ("ㄱ", "ㄷ", "ㅂ") and lead in tuple("ㄱㄷㅂㅅㅈㄴㅁㄹㅎ"))
        assert not (tail == "ㄴ" and lead == "ㄹ") and not (tail == "ㄹ" and lead == "ㄴ")


@given(st.lists(words, min_size=1, max_size=4))
def test_connected_speech_keeps_words_and_follows_the_same_rules(word_list):
    pronounced = pronounce(" ".join(word_list), CONNECTED_SPEECH)
    assert list(map(len, pronounced.split(" "))) == list(map(len, word_list))
    sounds = [hangul.split(s) for s in pronounced.replace(" ", "")]
    word_starts = set(itertools.accumulate(map(len, word_list)))
    assert {tail for _, _, tail in sounds} <= {"", *"ㄱㄴㄷㄹㅁㅂㅇ"}
    for index, ((_, _, tail), (lead, _, _)) in enumerate(itertools.pairwise(sounds), 1):
        if lead == "ㄹ" and index in word_starts:  # 한국 라면: ㄹ l stays at the start of a word
            continue
        assert not (tail in ("ㄱ", "ㄷ", "ㅂ") and lead in tuple("ㅇㄱㄷㅂㅅㅈㄴㅁㄹㅎ"))
    # with a pause at every space, connected speech equals word-by-word pronunciation
    assert pronounce(", ".join(word_list), CONNECTED_SPEECH) == pronounce(" ".join(word_list))


@given(st.lists(words, min_size=1, max_size=4))
def test_default_style_pronounces_words_separately(word_list):
    assert pronounce(" ".join(word_list)) == " ".join(map(pronounce, word_list))


@given(st.text(st.sampled_from("아이우에오가너도루미"), min_size=1, max_size=8))
def test_open_syllables_with_plain_leads_do_not_change(word):
    assert pronounce(word) == word
