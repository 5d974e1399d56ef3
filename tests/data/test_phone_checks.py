"""Transcripts of token type `phone`: words are an error, other notations are at most warnings."""

import re
from pathlib import Path

import pytest
from directories import findings_of, make_directory, run_validate

from espnet_ext.bin import cli
from espnet_ext.bin import filter as filter_

ROOT = Path(__file__).resolve().parents[2]
TYPES = "surface=phone meaning=char"


@pytest.mark.parametrize(
    ("lang", "surface", "meaning", "codes"),
    [
        ("en", "W IY S IY", "we see", []),
        ("en", "W IY X IY", "we see", ["not-phones"]),
        ("en", "w iy s iy", "we see", ["not-phones"] * 3),
        ("en", "W IY1 S_B IY1_E", "we see", ["not-phones"] * 3),
        ("en", "w i s i", "we see", ["not-phones"] * 3),  # IPA
        ("en", "we see", "we see", ["words-as-phones"]),
        ("en", "we sea", None, ["words-as-phones"]),
        ("", "WE SEE", "we see", ["words-as-phones"]),
        ("fr", "n u v w a j ɔ̃", "nous voyons", []),
        ("fr", "nn ou vv oi yy on", "nous on voyons", []),  # one phone is written like a word
        ("fr", "nous voyons", "nous voyons", ["words-as-phones"]),
        ("en", "W,IY,S,IY", "we see", ["joined-phones"]),
        ("en", "W-IY1 S-IY1", "we see", ["joined-phones"]),
        ("en", "W_IY_S_IY", "we see", ["joined-phones"]),
        ("en", "aɪsɪŋksoʊ", "i think so", ["joined-phones"]),
        ("de", "ɪç zɪŋ̩gə", "ich singe", ["joined-phones"]),
        ("ko", "ɕʰ ɑŋ", "상", []),
    ],
)
def test_words_are_no_phones_and_other_notations_are(
    tmp_path, monkeypatch, lang, surface, meaning, codes
):
    monkeypatch.chdir(tmp_path)
    texts = {"surface": [surface] * 4} | ({"meaning": [meaning] * 4} if meaning else {})
    make_directory("d", lang=lang, **texts)
    options = ("--tokens", "surface=phone", "--check_audio", "false")
    assert [code for code in run_validate("d", *options)[1] if "phones" in code] == codes


@pytest.mark.parametrize(
    ("lang", "tokens", "repeats", "is_error"),
    [
        ("en", ["aIsINksoU", "wilIvIn", "D@rEdraIs", "SisElz"], 1, True),  # X-SAMPA in sentences
        ("ko", ["내가간다", "그린그림", "궁무리", "조아요"], 1, True),
        ("en", ["vowel_a", "vowel_i", "nasal_velar", "nasal_labial"], 3, False),  # long names
        ("ko", ["궁", "물", "조", "아"], 1, False),
    ],
)
def test_long_tokens_that_hardly_repeat_are_no_phones(
    tmp_path, monkeypatch, lang, tokens, repeats, is_error
):
    monkeypatch.chdir(tmp_path)
    numbers = range(3) if repeats == 1 else [0] * 3
    texts = [" ".join(f"{token}{chr(97 + n)}" for n in numbers) for token in tokens]
    make_directory("d", lang=lang, surface=texts)
    errors = findings_of(
        "d", "joined-phones", "--tokens", "surface=phone", "--check_audio", "false"
    )
    assert bool(errors) == is_error


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("is_test", ["true", "false"])
@pytest.mark.parametrize(
    ("surface", "what"), [("we see", "'we' is a word, not a phone"), ("W,IY", "'W,IY' is several")]
)
def test_stage_4_stops_if_the_phones_are_words(
    tmp_path, monkeypatch, capsys, policy, is_test, surface, what
):
    monkeypatch.chdir(tmp_path)
    make_directory("d", lang="en", surface=[surface] * 4, meaning=["we see"] * 4)
    words = ["--input", "d", "--output", "out", "--on_error", policy, "--no_filter", is_test]
    assert cli.run(filter_.main, [*words, "--token_types", TYPES]) == 1
    error = capsys.readouterr().err
    assert f"d/text.surface:1: s1-u1: {what}" in error and "as are 100 % of the tokens" in error
    assert "remedy: choose another token type" in error
    assert cli.run(filter_.main, [*words, "--token_types", "surface=char"]) == 0


def test_run_sh_gives_the_token_types_to_stage_4():
    script = (ROOT / "run.sh").read_text(encoding="utf-8")
    (call,) = re.findall(r"espnet_ext\.bin\.filter .*?\n\s+done", script, re.S)
    assert '--token_types "${token_types_of[${lang}]}"' in call
