"""Tests of notations of English phones: what is normalised, what is named, and what is kept."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_ext.corpora.phone_notation import normalize_output, normalize_phones, read_ipa
from espnet_ext.corpora.preparation import Report
from espnet_ext.data.record import Utterance
from espnet_ext.text.phones import IPA, PHONES, is_vowel

ALL = " ".join(PHONES)


def normalized(*texts):
    result = normalize_output({str(number): text for number, text in enumerate(texts)})
    return list(result.texts.values()), result


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PHONES), min_size=1, max_size=12), st.data())
def test_notations_of_the_dictionary_give_the_same_phones(phones, data):
    def noted(phone):
        digit = data.draw(st.sampled_from(("", "0", "1", "2"))) if is_vowel(phone) else ""
        symbol = phone + digit + data.draw(st.sampled_from(("", "_B", "_I", "_E", "_S")))
        return symbol.lower() if "_" not in symbol and data.draw(st.booleans()) else symbol

    (first, second), _ = normalized(ALL, " ".join(map(noted, phones)))
    assert (first, second) == (ALL, " ".join(phones))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(PHONES), min_size=1, max_size=12), st.booleans())
def test_ipa_symbols_give_the_phones(phones, stressed):
    ipa = ["ˈ" * (stressed and is_vowel(phone)) + IPA[phone] for phone in phones]
    everything = " ".join(IPA.values())
    (_, read), _ = normalized(everything, " ".join(ipa))
    assert read.split() == phones


@pytest.mark.parametrize(
    ("symbol", "phone"),
    [
        ("iː", "IY"),
        ("ɜː", "ER"),
        ("ə", "AH"),
        ("t͡ʃ", "CH"),
        ("aɪ̯", "AY"),
        ("əʊ", "OW"),
        ("g", "G"),
        ("h", "HH"),
        ("e", None),
        ("ɒ", None),
        ("o", None),
        ("a", None),
        ("y", None),
        ("ɾ", None),
        ("AH", None),
    ],
)
def test_ipa_symbols_with_one_reading(symbol, phone):
    assert read_ipa(symbol)[0] == phone


def test_symbols_with_several_readings_are_named():
    _, result = normalized("h ə l oʊ", "θ e ɪ", "ð ə")
    assert result.unknown == {"1": "e"} and result.counts.total() == 8
    _, result = normalized(ALL, "Th AH")  # in EpaDB, an aspirated T
    assert result.unknown == {"1": "Th"}
    _, result = normalized(ALL, "T1 AH")
    assert result.unknown == {"1": "T1"}


@pytest.mark.parametrize("stray", ["HH ə", "həloʊ", "S ə l"])
def test_one_ipa_row_does_not_keep_a_corpus_in_arpabet(stray):
    stressed = " ".join(phone + "1" * is_vowel(phone) for phone in PHONES)
    (text, *_), result = normalized(stressed, stray)
    assert text == ALL
    assert result.unknown == {"1": next(symbol for symbol in stray.split() if "ə" in symbol)}


@pytest.mark.parametrize(
    ("symbol", "notation", "explanation"),
    [
        ("iː", ALL, "it is IPA, the other phones are ARPABET: use one notation"),
        ("AH", " ".join(IPA.values()), "it is ARPABET, the other phones are IPA: use one notation"),
        ("spn", ALL, "it is a mark of an alignment: remove it"),
        ("|", ALL, "it is a mark of an alignment: remove it"),
        ("axr", ALL, ""),
    ],
)
def test_symbols_that_are_not_read_are_explained(symbol, notation, explanation):
    texts = [notation, f"{notation.split()[0]} {symbol}"]
    utterances = [Utterance(f"s-{i}", "s", "a", {"surface": t}, "en") for i, t in enumerate(texts)]
    _, [(utt_id, problem)] = normalize_phones(utterances, Report("x"))
    start = f"surface: '{symbol}' is not one of the 39 English phones"
    assert utt_id == "s-1" and problem.startswith(start)
    assert explanation in problem and (problem == start) == (not explanation)


def test_spelled_letters_are_no_phones_of_the_ipa():
    (text,), _ = normalized("b k t j d p")
    assert text == "b k t j d p"


def test_trill_beside_the_approximant_is_named():
    _, result = normalized("ɹ ɛ d θ ɪ ŋ k s", "r ɛ d")
    assert result.unknown == {"1": "r"}
    (_, text), _ = normalized("r ɛ d θ ɪ ŋ k s", "r ɛ d")
    assert text == "R EH D"


@pytest.mark.parametrize(
    "texts",
    [
        ("we see it", "er uh ah", "the big dog"),
        ("h e l l o", "b d k t", "p l a n t"),
        ("궁물 먹어", "ㄱㅏ"),
        ("k aa n eo kk", "s eu p qq", "ii m nf"),  # romanised Korean phones
        ("", " "),
        ("B", "D", "K"),
    ],
)
def test_other_outputs_are_kept(texts):
    assert normalized(*texts)[0] == list(texts)


def test_larger_phone_sets_are_kept_with_a_note():
    texts = ["h# sh iy hv ae dcl d ax s uw dx ih n", "g r ix s iy epi w aa sh ao tcl t er"]
    utterances = [Utterance(f"s-{i}", "s", "a", {"surface": t}, "en") for i, t in enumerate(texts)]
    report = Report("x")
    same, problems = normalize_phones(utterances, report)
    assert same == utterances and not problems
    assert "% of the tokens are English phones, the others (" in report.notes[0]


def test_only_english_and_never_the_meaning():
    texts = {"surface": "HH AH0 L OW1", "meaning": "HH AH0 L OW1", "canonical": "hh ah0"}
    utterances = [Utterance("s-1", "s", "a", texts, "en"), Utterance("s-2", "s", "a", texts, "ko")]
    (english, korean), _ = normalize_phones(utterances, Report("x"))
    assert english.texts["surface"] == "HH AH L OW" and english.texts["meaning"] == "HH AH0 L OW1"
    assert english.texts["canonical"] == "hh ah0"  # two phones are too few to tell
    assert korean.texts == texts


def test_output_of_silence_becomes_unlabelled():
    utterances = [
        Utterance("s-1", "s", "a", {"surface": "HH AH L OW"}, "en"),
        Utterance("s-2", "s", "a", {"surface": "sil", "meaning": "oh"}, "en"),
    ]
    report = Report("x")
    (_, silent), _ = normalize_phones(utterances, report)
    assert silent.texts == {"meaning": "oh"}
    assert report.unlabelled == {"s-2": {"surface": "only labels of silence"}}
