"""Lines in, lines out: policies, Kaldi text, exit codes and messages of the command."""

import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ext.bin import cli
from espnet_ext.bin import g2p as command
from espnet_ext.errors import UserError
from espnet_ext.scoring.lexicon import read_lexicon
from espnet_ext.text import english_g2p, g2p
from espnet_ext.text.korean import SPOKEN, pronounce

ROOT = Path(__file__).parents[2]


def run(*options: str, given: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "espnet_ext.bin.g2p", *options],
        input=given.encode(),
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )


def test_a_line_for_a_line_on_standard_streams():
    done = run("--lang", "ko", given="국물이 좋습니다.\n\n옷 한 벌\n값")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == "궁무리 조씀니다\n\n오 탄 벌\n갑\n"
    done = run("--lang", "en", given="Either 2\n")
    assert done.stdout.decode() == "IY DH ER T UW\n"


def test_an_answer_comes_before_the_next_question():
    with subprocess.Popen(
        [sys.executable, "-m", "espnet_ext.bin.g2p", "--lang", "ko"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        for asked, answer in (("국물", "궁물"), ("같이", "가치")):
            process.stdin.write(f"{asked}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{answer}\n"
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_line_is_named_and_the_others_are_written(tmp_path, capsys):
    text, made = tmp_path / "text", tmp_path / "made"
    text.write_text("u1 좋다\nu2 漢字\nu3 ♪ 국물\nu4 국물\n")
    assert cli.run(command.main, ["--lang", "ko", "--kaldi", str(text), str(made)]) == 1
    message = capsys.readouterr().err
    assert f"{text}:2: (utterance u2) cannot pronounce '漢' in '漢字'" in message
    assert f"{text}:3: (utterance u3) cannot pronounce '♪'" in message
    assert "2 faults" in message and message.count("remedy") == 3
    assert made.read_text() == "u1 조타\nu4 궁물\n"
    assert cli.run(command.main, ["--lang", "ko", str(text), str(made)]) == 1
    assert len(made.read_text().splitlines()) == 4  # line by line, as in the input


def test_at_most_twenty_faults_are_printed(capsys, tmp_path):
    text = tmp_path / "text"
    text.write_text("漢字\n" * 25 + "good\n")
    for options in ([], ["--lexicon", "true"]):
        made = tmp_path / "made"
        assert cli.run(command.main, ["--lang", "en", *options, str(text), str(made)]) == 1
        message = capsys.readouterr().err
        assert "25 faults" in message and "… and 5 more" in message
        assert message.count("cannot pronounce") == 20 and f"{text}:20:" in message
        assert made.read_text().splitlines()[-1].endswith(" D")


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_symbols_and_scripts_are_treated_alike(lang):
    pronouncing = {"ko": pronounce, "en": english_g2p.pronounce}[lang]
    for text in (
        "❤️",
        "hi→",
        "♪",
        "🇰🇷",
        "👨\u200d👩",
        "™",
        "②",
        "½",
        "5²",
        "१",
        "$",
        "漢字",
        "Привет",
    ):
        with pytest.raises(UserError, match="cannot pronounce") as caught:
            pronouncing(text)
        assert caught.value.remedy
    assert pronouncing("x·y") == pronouncing("x y") == pronouncing("、x。y…«»~^|<>#*§")
    assert pronouncing("he\u200dllo\u00ad") == pronouncing("hello")
    assert len(pronouncing("1+1=2").split()) > 3 and pronouncing("R&B") != pronouncing("R B")
    assert pronouncing("50€") == pronouncing("€50")


def test_kaldi_text_keeps_ids_and_missing_transcripts(tmp_path):
    text, made = tmp_path / "text", tmp_path / "made"
    text.write_text("u1 국물이  좋다\nu2 <na>\nu3\nu4 漢字 옷 한 벌\n")
    options = ["--lang", "ko", "--kaldi", str(text), str(made)]
    assert command.main([*options, "--unknown", "unk"]) == 0
    assert made.read_text() == "u1 궁무리 조타\nu2 <na>\nu3\nu4 <unk> 오 탄 벌\n"
    assert command.main([*options, "--unknown", "keep", "--sandhi", "word"]) == 0
    assert made.read_text().splitlines()[3] == "u4 漢字 옫 한 벌"
    text.write_text("u1 국\n\n")
    with pytest.raises(UserError, match="text:2: no utterance id"):
        command.main(options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "내까 마신는 주의"),
        (["--saisiot", "kept"], "낻까 마신는 주의"),
        (["--itta", "neutral", "--vowels", "tolerated"], "내까 마딘는 주이"),
    ],
)
def test_styles(options, said, tmp_path):
    text, made = tmp_path / "text", tmp_path / "made"
    text.write_text("냇가 맛있는 주의\n")
    assert command.main(["--lang", "ko", *options, str(text), str(made)]) == 0
    assert made.read_text() == said + "\n"


def test_a_lexicon_is_what_others_read(tmp_path):
    text, made = tmp_path / "text", tmp_path / "lexicon"
    text.write_text("u1 Either way, either Zyxo\n")
    command.main(["--lang", "en", "--kaldi", "--lexicon", "true", str(text), str(made)])
    lines = made.read_text().splitlines()
    assert lines[:3] == ["either IY DH ER", "either AY DH ER", "way W EY"] and len(lines) == 4
    assert read_lexicon(made)["either"] == "IY DH ER"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--lang", "fr"],
        ["--lang", "ko", "--lexicon", "true"],
        ["--lang", "ko", "--unknown", "drop"],
    ],
)
def test_bad_usage(options):
    with pytest.raises(SystemExit) as caught:
        command.main(options)
    assert caught.value.code == 2


def test_bad_files(tmp_path, capsys):
    assert cli.run(command.main, ["--lang", "ko", str(tmp_path / "none")]) == 1
    assert "none: cannot read" in capsys.readouterr().err
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    assert cli.run(command.main, ["--lang", "en", str(tmp_path / "latin")]) == 1
    assert "latin: not UTF-8" in capsys.readouterr().err


def test_words_between_unknown_ones_are_pronounced_together():
    def spoken(text: str) -> str:
        return pronounce(text, SPOKEN)

    assert g2p.convert("漢 옷 한 벌 字 밥 먹는다", spoken, g2p.KEEP) == "漢 오 탄 벌 字 밤 멍는다"
    assert g2p.convert("漢 字", spoken, g2p.UNK, "?") == "? ?"
    with pytest.raises(UserError):
        g2p.convert("漢 字", spoken)
