"""MDD with words: every listed pronunciation of a word is correct."""

import json

import pytest

from espnet_ext.bin import mdd as command
from espnet_ext.errors import UserError
from espnet_ext.text.lexicon import list_pronunciations, read_pronunciations

# words, canonical, perceived, hypothesis → counts
CASES = [
    # correct with any of the two readings, whichever the system recognises
    ("i read", "AY R IY D", "AY R EH D", "AY R EH D", {"TA": 4}),
    ("I read.", "AY R IY D", "AY R EH D", "AY R IY D", {"TA": 4}),
    ("I read", "AY R IY D", "AY R IY D", "AY R EH D", {"TA": 4}),
    ("i read", "AY R IY D", "AY R EH D", "AY R IH D", {"TA": 3, "FR": 1}),
    # no listed pronunciation: a mispronunciation
    ("i read", "AY R IY D", "AY R IH D", "AY R IH D", {"TA": 3, "CD": 1}),
    ("i read", "AY R IY D", "AY R IH D", "AY R EH D", {"TA": 3, "FA": 1}),
    ("i read", "AY R IY D", "AY R IH D", "AY R AA D", {"TA": 3, "ED": 1}),
    # function words, contractions, possessives
    ("the apple", "DH AH AE P AH L", "DH IY AE P AH L", "DH IY AE P AH L", {"TA": 6}),
    ("to a", "T UW AH", "T AH EY", "T IH EY", {"TA": 3}),
    ("you and me", "Y UW AH N D M IY", "Y AH AE N D M IY", "Y UW AE N D M IY", {"TA": 7}),
    ("<l1:Thai> i read", "AY R IY D", "AY R EH D", "AY R EH D", {"TA": 4}),
    ("the wind's", "DH AH W IH N D Z", "DH AH W AY N D Z", "DH AH W AY N D Z", {"TA": 7}),
    # a canonical pronunciation that no lexicon lists stays correct
    ("fish", "F AA SH", "F AA SH", "F AA SH", {"TA": 3}),
    ("fish", "F AA SH", "F IH SH", "F IH SH", {"TA": 3}),
    # a word that only the network can pronounce has its canonical pronunciation alone
    ("glorvy", "G L AO R V", "G L AO R V IY", "G L AO R V IY", {"TA": 5, "CD": 1}),
    # words of another sentence, and words that cannot be pronounced: canonical phones alone
    ("completely different words", "AY R IY D", "AY R EH D", "AY R EH D", {"TA": 3, "CD": 1}),
    ("漢字", "R IY D", "R EH D", "R EH D", {"TA": 2, "CD": 1}),
]


def write(folder, **tables):
    for name, rows in tables.items():
        (folder / name).write_text("".join(f"{i} {text}\n" for i, text in sorted(rows.items())))
    return [word for name in tables for word in (f"--{name}", str(folder / name))]


def evaluate(folder, *more, **tables):
    options = write(folder, **tables)
    assert command.main([*options, *more, "--json", str(folder / "x.json")]) == 0
    return json.loads((folder / "x.json").read_text())


def counts_of(result):
    return {key: value for key, value in result["counts"]["with_insertions"].items() if value}


@pytest.mark.parametrize(("words", "canonical", "perceived", "hypothesis", "expected"), CASES)
def test_any_listed_pronunciation_is_correct(
    words, canonical, perceived, hypothesis, expected, tmp_path
):
    phones = {"canonical": {"u": canonical}, "perceived": {"u": perceived}}
    result = evaluate(tmp_path, **phones, hypothesis={"u": hypothesis}, words={"u": words})
    assert counts_of(result) == expected


def test_canonical_phones_that_no_lexicon_lists_are_counted_with_a_note(tmp_path, capsys):
    phones = {"a": "R IY D", "b": "AY F AA SH", "c": "R AA D F UH SH"}
    words = {"a": "read", "b": "I fish", "c": "read fish"}
    tables = dict.fromkeys(("canonical", "perceived", "hypothesis"), phones)
    result = evaluate(tmp_path, **tables, words=words)
    assert result["variants"]["canonical phones not listed"] == 3
    expected = "3 words in 2 utterances have canonical phones that no lexicon lists for them"
    error = capsys.readouterr().err
    assert f"note: {tmp_path}/words: {expected}" in error
    assert "(the first is in b: 'F AA SH', listed: F IH SH)" in error


def test_counts_and_notes(tmp_path, capsys):
    result = evaluate(
        tmp_path,
        canonical={"a": "R IY D", "b": "R IY D", "c": "R IY D", "d": "R IY D"},
        perceived={"a": "R EH D", "b": "R IY D", "c": "R IY D", "d": "R EH D"},
        hypothesis={"a": "R IY D", "b": "R IY D", "c": "R IY D", "d": "R IY D"},
        words={"a": "read", "b": "read", "c": "漢字"},
    )
    assert result["variants"] == {
        "words": 2,
        "other pronunciation perceived": 1,
        "canonical phones not listed": 0,
        "no words": 1,
        "words that cannot be pronounced": 1,
        "words of another sentence": 0,
    }
    assert counts_of(result) == {"TA": 11, "FA": 1}
    output = capsys.readouterr()
    assert "1 of 4 utterances are compared with their canonical phones alone: no words (the " in (
        output.err
    )
    assert "words: 1 of 4 utterances" in output.err and "(the first is c)" in output.err
    assert "2 words have several, and 1 utterances were perceived with another" in output.out


def test_lexicon_replaces_the_dictionary(tmp_path):
    (tmp_path / "lexicon").write_text(";;; comment\n# comment\nread R IY1 D\nREAD(2) R AA D\n")
    lexicon = read_pronunciations(tmp_path / "lexicon")
    assert lexicon == {"read": ["R IY D", "R AA D"]}
    words = list_pronunciations("Read the", lexicon)
    assert [list(word.pronunciations) for word in words] == [
        ["R IY D", "R AA D"],
        ["DH AH", "DH IY"],
    ]
    tables = {"canonical": {"a": "R IY D"}, "words": {"a": "read"}}
    more = ("--lexicon", str(tmp_path / "lexicon"))
    for vowel, expected in ("AA", {"TA": 3}), ("EH", {"TA": 2, "CD": 1}):
        spoken = {"a": f"R {vowel} D"}
        result = evaluate(tmp_path, *more, **tables, perceived=spoken, hypothesis=spoken)
        assert counts_of(result) == expected


def test_recognised_meaning_and_prompt_have_variants_too(tmp_path):
    phones = {"canonical": {"a": "R IY D"}, "words": {"a": "read"}}
    spoken = {"perceived": {"a": "R EH D"}, "hypothesis": {"a": "R EH D"}}
    assert counts_of(evaluate(tmp_path, **phones, **spoken, meaning={"a": "read"})) == {"TA": 3}
    # the system recognised "red", which has one pronunciation, and the same phones
    assert counts_of(evaluate(tmp_path, **phones, **spoken, meaning={"a": "red"})) == {"TA": 3}
    result = evaluate(tmp_path, **phones, **spoken, meaning={"a": "rod"})
    assert counts_of(result) == {"TA": 2, "FR": 1} and result["prompted"] is False
    result = evaluate(tmp_path, **phones, **spoken, prompt={"a": "R IY D"})
    assert counts_of(result) == {"TA": 3} and result["prompted"] is True
    result = evaluate(tmp_path, **phones, **spoken, meaning={"a": "glorvy"})
    assert result["left_out"]["words without pronunciation"] == 1


def test_without_words_there_is_one_pronunciation(tmp_path):
    phones = {"canonical": {"a": "R IY D"}, "perceived": {"a": "R EH D"}}
    result = evaluate(tmp_path, **phones, hypothesis={"a": "R EH D"})
    assert counts_of(result) == {"TA": 2, "CD": 1} and "variants" not in result


def test_utterances_without_words_are_counted(tmp_path, capsys):
    tables = {"canonical": {"a": "R IY D", "b": "R IY D"}, "words": {"b": "read"}}
    spoken = {"a": "R EH D", "b": "R EH D"}
    result = evaluate(tmp_path, **tables, perceived=spoken, hypothesis=spoken)
    assert counts_of(result) == {"TA": 5, "CD": 1}
    assert "words: 1 of 2 utterances are missing (the first is a)" in capsys.readouterr().err


def test_phones_in_two_cases_are_reported(tmp_path, capsys):
    phones = {"canonical": {"a": "HH AH0 L OW1"}, "hypothesis": {"a": "HH AH L OW"}}
    evaluate(tmp_path, **phones, perceived={"a": "hh ah0 l ow1"})
    message = capsys.readouterr().err
    assert "perceived has phones in lower case, and" in message and message.count("warning") == 1
    evaluate(tmp_path, **phones, perceived={"a": "HH AH L OW"})
    evaluate(tmp_path, canonical={"a": "S s"}, perceived={"a": "s S"}, hypothesis={"a": "S s aI"})
    assert "lower case" not in capsys.readouterr().err  # X-SAMPA


def test_words_need_phones(tmp_path):
    options = write(tmp_path, canonical={"a": "가"})
    same = ["--perceived", options[1], "--hypothesis", options[1], "--words", options[1]]
    with pytest.raises(UserError, match="in phones only"):
        command.main([*options, *same, "--unit", "jamo"])
