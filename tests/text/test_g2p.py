"""The g2p command: lines, Kaldi text, policies for unknown words, exit codes, messages."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ext.bin import cli
from espnet_ext.bin import g2p as command
from espnet_ext.errors import UserError
from espnet_ext.text import english_g2p, g2p
from espnet_ext.text.korean import CONNECTED_SPEECH, pronounce
from espnet_ext.text.lexicon import read_lexicon

ROOT = Path(__file__).parents[2]
OVERWRITE = ("--overwrite", "true")  # tests run the command several times


def run(*options: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "espnet_ext.bin.g2p", *options],
        input=stdin.encode(),
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )


def test_standard_streams_line_by_line():
    result = run("--lang", "ko", stdin="국물이 좋습니다.\n\n옷 한 벌\n값")
    assert result.returncode == 0, result.stderr
    assert result.stdout.decode() == "궁무리 조씀니다\n\n오 탄 벌\n갑\n"
    result = run("--lang", "en", stdin="Either 2\n")
    assert result.stdout.decode() == "IY DH ER T UW\n"


def test_each_line_is_answered_at_once():
    with subprocess.Popen(
        [sys.executable, "-m", "espnet_ext.bin.g2p", "--lang", "ko"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        for line, answer in (("국물", "궁물"), ("같이", "가치")):
            process.stdin.write(f"{line}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{answer}\n"
        process.stdin.close()
        assert process.wait(60) == 0


def test_errors_name_the_line_and_other_lines_are_written(tmp_path, capsys):
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_text("u1 좋다\nu2 漢字\nu3 ♪ 국물\nu4 국물\n")
    assert (
        cli.run(command.main, ["--lang", "ko", "--kaldi", str(text), str(output), *OVERWRITE]) == 1
    )
    message = capsys.readouterr().err
    assert f"{text}:2: utterance u2: cannot pronounce '漢' in '漢字'" in message
    assert f"{text}:3: utterance u3: cannot pronounce '♪'" in message
    assert "2 errors" in message and message.count("remedy") == 3
    assert output.read_text() == "u1 조타\nu4 궁물\n"
    assert cli.run(command.main, ["--lang", "ko", str(text), str(output), *OVERWRITE]) == 1
    assert len(output.read_text().splitlines()) == 4  # without --kaldi the line becomes empty


def test_at_most_twenty_errors_are_printed(capsys, tmp_path):
    text = tmp_path / "text"
    text.write_text("漢字\n" * 25 + "good\n")
    for options in ([], ["--lexicon", "true"]):
        output = tmp_path / "output"
        assert (
            cli.run(command.main, ["--lang", "en", *options, str(text), str(output), *OVERWRITE])
            == 1
        )
        message = capsys.readouterr().err
        assert "25 errors" in message and "… and 5 more" in message
        assert message.count("cannot pronounce") == 20 and f"{text}:20:" in message
        assert output.read_text().splitlines()[-1].endswith(" D")


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_symbols_are_treated_alike_in_both_languages(lang):
    g2p_function = {"ko": pronounce, "en": english_g2p.pronounce}[lang]
    for text in (
        "❤️",
        "hi→",
        "♪",
        "🇰🇷",
        "👨\u200d👩",
        "™",
        "②",
        "↉ᵃ",
        "x²",
        "2024¹",
        "~5",
        "3 < 5",
        "7‰",
        "१",
        "$",
        "漢字",
        "Привет",
    ):
        with pytest.raises(UserError, match="cannot pronounce") as caught:
            g2p_function(text)
        assert caught.value.remedy
    assert g2p_function("x·y") == g2p_function("x y") == g2p_function("、x。y…«»~^|<>#*§")
    assert g2p_function("he\u200dllo\u00ad") == g2p_function("hello")
    assert len(g2p_function("1+1=2").split()) > 3 and g2p_function("R&B") != g2p_function("R B")
    assert g2p_function("50€") == g2p_function("€50")


def test_kaldi_text_keeps_ids_and_missing_transcripts(tmp_path):
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_text("u1 국물이  좋다\nu2 <na>\nu3\nu4 漢字 옷 한 벌\n")
    options = ["--lang", "ko", "--kaldi", str(text), str(output), *OVERWRITE]
    assert command.main([*options, "--unknown", "unk"]) == 0
    assert output.read_text() == "u1 궁무리 조타\nu2 <na>\nu3\nu4 <unk> 오 탄 벌\n"
    assert command.main([*options, "--unknown", "keep", "--sandhi", "word"]) == 0
    assert output.read_text().splitlines()[3] == "u4 漢字 옫 한 벌"
    text.write_text("u1 국\n\n")
    with pytest.raises(UserError, match="text:2: no utterance id"):
        command.main(options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "내까 마신는 주의"),
        (["--saisiot", "kept"], "낻까 마신는 주의"),
        (["--itta", "neutral", "--vowels", "tolerated"], "내까 마딘는 주이"),
    ],
)
def test_styles(options, expected, tmp_path):
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_text("냇가 맛있는 주의\n")
    assert command.main(["--lang", "ko", *options, str(text), str(output), *OVERWRITE]) == 0
    assert output.read_text() == expected + "\n"


def test_lexicon_can_be_read_by_scoring(tmp_path):
    text, output = tmp_path / "text", tmp_path / "lexicon"
    text.write_text("u1 Either way, either Zyxo\n")
    command.main(
        ["--lang", "en", "--kaldi", "--lexicon", "true", str(text), str(output), *OVERWRITE]
    )
    lines = output.read_text().splitlines()
    assert lines[:3] == ["either IY DH ER", "either AY DH ER", "way W EY"] and len(lines) == 4
    assert read_lexicon(output)["either"] == "IY DH ER"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--lang", "fr"],
        ["--lang", "ko", "--lexicon", "true"],
        ["--lang", "ko", "--unknown", "drop"],
    ],
)
def test_bad_usage_exits_with_2(options):
    with pytest.raises(SystemExit) as caught:
        command.main(options)
    assert caught.value.code == 2


def test_unreadable_files(tmp_path, capsys):
    assert cli.run(command.main, ["--lang", "ko", str(tmp_path / "none")]) == 1
    assert "none: cannot read" in capsys.readouterr().err
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    assert cli.run(command.main, ["--lang", "en", str(tmp_path / "latin")]) == 1
    assert "latin: not UTF-8" in capsys.readouterr().err


def test_words_between_unknown_words_are_pronounced_together():
    def spoken(text: str) -> str:
        return pronounce(text, CONNECTED_SPEECH)

    assert (
        g2p.pronounce_text("漢 옷 한 벌 字 밥 먹는다", spoken, g2p.KEEP)
        == "漢 오 탄 벌 字 밤 멍는다"
    )
    assert g2p.pronounce_text("漢 字", spoken, g2p.UNK, "?") == "? ?"
    with pytest.raises(UserError):
        g2p.pronounce_text("漢 字", spoken)
