"""The reading of English homographs in their sentences, and the table of readings."""

import json
import re
from pathlib import Path

import pytest

from espnet_ext.bin import g2p as command
from espnet_ext.errors import UserError
from espnet_ext.text import cmudict, english_g2p, english_homographs
from espnet_ext.text.phones import is_phone, strip_stress

SENTENCES = [
    tuple(line.split("|"))
    for line in Path(__file__).with_name("english_homographs.txt").read_text().splitlines()
    if not line.startswith("#")
]


def phones_of_marked_word(sentence):
    position = len(english_g2p.words(sentence[: sentence.index("<")]))
    return english_g2p.transcribe(sentence.replace("<", "").replace(">", ""))[position].phones


@pytest.mark.parametrize(("sentence", "phones"), SENTENCES)
def test_reading_in_a_sentence(sentence, phones):
    """Neither case nor punctuation at the end is needed."""
    assert phones_of_marked_word(sentence) in phones.split("~")
    if "Polish" not in sentence:
        plain = re.sub("[.,!?]", "", sentence).lower()
        assert phones_of_marked_word(plain) in phones.split("~")


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("i live in korea", "AY L IH V IH N K AO R IY AH"),
        ("the wind's cold", "DH AH W IH N D Z K OW L D"),
        ("the record's cover", "DH AH R EH K ER D Z K AH V ER"),
        ("I'll use it.", "AY L Y UW Z IH T"),
        ("LIVE MUSIC", "L AY V M Y UW Z IH K"),
        ("live-in", "L IH V IH N"),
        ('"close" the *door*', "K L OW Z DH AH D AO R"),
        ("a “live” show", "AH L AY V SH OW"),
        ("I'd read it", "AY D R EH D IH T"),
    ],
)
def test_neighbouring_forms(text, phones):
    if text == "I'd read it":  # had or would: either reading
        assert english_g2p.pronounce(text) in (phones, phones.replace("EH", "IY", 1))
    else:
        assert english_g2p.pronounce(text) == phones


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the apple", "DH IY"),
        ("the hour", "DH IY"),
        ("the use", "DH AH"),
        ("the cat", "DH AH"),
        ("the, apple", "DH AH"),
        ("the", "DH AH"),
        ("the FBI", "DH IY"),
    ],
)
def test_article_before_a_vowel(text, expected):
    assert english_g2p.transcribe(text)[0].phones == expected
    assert english_g2p.transcribe(text, stress=True)[0].phones == f"{expected}0"


def test_choices_are_told_apart():
    choices = {word.word: word.choice for word in english_g2p.transcribe("I live. Close! Cats")}
    assert choices == {"I": "only", "live": "context", "Close": "commoner", "Cats": "only"}
    assert english_homographs.choose([english_homographs.Token("fish")], 0) is None


def test_table_has_several_readings_in_known_phones():
    homographs = english_homographs.homographs()
    for word, by_class in homographs.items():
        for phones in by_class.values():
            assert all(is_phone(strip_stress(phone)) for phone in phones.split()), word
        assert set(by_class.values()) <= set(english_g2p.look_up(word).variants)
    assert homographs["uses"] == {"verb": "Y UW1 Z IH0 Z", "noun": "Y UW1 S IH0 Z"}
    for line in english_homographs.FILE.read_text().splitlines():
        if not line.startswith("#"):
            assert len(set(homographs[line.partition("\t")[0]].values())) > 1, line


def test_every_pronunciation_of_the_dictionary_stays_accepted():
    for word in [*english_homographs.homographs(), "the", "a", "to", "and", "of", "have"]:
        assert set(cmudict.lexicon().get(word, ())) <= set(english_g2p.look_up(word).variants)
    assert english_g2p.pronunciations("have") == ["HH AE V", "HH AH V"]
    assert english_g2p.pronunciations("the") == ["DH AH", "DH IY"]


def test_command_counts_words_with_several_readings(tmp_path, capsys):
    (tmp_path / "text").write_text("u1 I live here\nu2 read 漢字 live music\n")
    json_file, output = str(tmp_path / "x.json"), tmp_path / "out"
    options = ["--lang", "en", "--kaldi", "--unknown", "unk", "--json", json_file]
    assert command.main([*options, str(tmp_path / "text"), str(output)]) == 0
    assert output.read_text() == ("u1 AY L IH V HH IY R\nu2 R IY D <unk> L AY V M Y UW Z IH K\n")
    assert "3 of 6 words have several pronunciations: 2 chosen" in capsys.readouterr().err
    result = json.loads((tmp_path / "x.json").read_text())
    assert (result["words"], result["several"], result["by_context"], result["commoner"]) == (
        *(6, 3, 2, 1),
    )
    assert result["readings"] == {"live": {"L AY V": 1, "L IH V": 1}, "read": {"R IY D": 1}}
    assert result["sources"] == {"dictionary": 6}
    with pytest.raises(UserError, match="x.json"):
        command.main([*options, str(tmp_path / "text"), str(tmp_path / "out2")])
    with pytest.raises(SystemExit):
        command.main(["--lang", "ko", "--json", json_file, str(tmp_path / "text")])
