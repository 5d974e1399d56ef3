"""Bad input to score, analyze and report: exit codes, culprit and remedy, no trace."""

import subprocess
import sys

import pytest


def command(verb, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"espnet_ext.bin.{verb}", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def make(tmp_path, hypotheses="s1-1 가\n", text="s1-1 가\n"):
    data, out = tmp_path / "data", tmp_path / "exp/decode/test"
    data.mkdir()
    out.mkdir(parents=True)
    (data / "wav.scp").write_text("s1-1 1.wav\n")
    (data / "utt2spk").write_text("s1-1 s1\n")
    (data / "spk2utt").write_text("s1 s1-1\n")
    (data / "text.meaning").write_bytes(text if isinstance(text, bytes) else text.encode())
    (out / "text.meaning").write_bytes(
        hypotheses if isinstance(hypotheses, bytes) else hypotheses.encode()
    )
    return data, out


def fails(done, *named, code=1):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for name in named:
        assert name in done.stderr
    if code == 1:
        assert "remedy:" in done.stderr


def test_good_input_passes(tmp_path):
    data, out = make(tmp_path)
    done = command("score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char")
    assert done.returncode == 0, done.stderr
    assert "CER 0.00 %" in done.stdout


@pytest.mark.parametrize(
    ("hypotheses", "named"),
    [
        ("s1-1 가\ns1-2 나\n", "s1-2"),
        ("s1-1 가\ns1-1 나\n", "s1-1"),
        (b"s1-1 \xff\n", "text.meaning:1"),
    ],
)
def test_bad_hypotheses(tmp_path, hypotheses, named):
    data, out = make(tmp_path, hypotheses=hypotheses)
    done = command("score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char")
    fails(done, named, "text.meaning")


def test_missing_folders_and_files(tmp_path):
    data, out = make(tmp_path)
    fails(command("score", "--data", tmp_path / "no", "--hypotheses", out), str(tmp_path / "no"))
    fails(command("score", "--data", data, "--hypotheses", tmp_path / "no"), str(tmp_path / "no"))
    (out / "text.meaning").unlink()
    fails(command("score", "--data", data, "--hypotheses", out), str(out))


def test_token_types(tmp_path):
    data, out = make(tmp_path)
    where = ("--data", data, "--hypotheses", out, "--token_types")
    fails(command("score", *where, "meaning=chr"), "chr")
    fails(command("score", *where, "surface=char"), "surface")
    fails(command("score", *where, "meaning"), "meaning", code=2)
    fails(command("score", *where, "meaning=char", "--no_such_option", "1"), code=2)


def test_report_without_any_result(tmp_path):
    done = command(
        "report",
        "--exp_dir",
        tmp_path / "exp",
        "--dump_dir",
        tmp_path,
        "--langs",
        "ko",
        "--systems",
        "do",
        "--train_tag",
        "small",
        "--decode_tag",
        "decode",
        "--sets",
        "test",
        "--results",
        tmp_path / "RESULTS.md",
        "--html",
        tmp_path / "report.html",
    )
    fails(done, "score.json")
    assert not (tmp_path / "RESULTS.md").exists()


def test_report_with_a_broken_score(tmp_path):
    broken = tmp_path / "exp/ko/do_small/decode/test/score.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{", encoding="utf-8")
    done = command(
        "report",
        "--exp_dir",
        tmp_path / "exp",
        "--dump_dir",
        tmp_path,
        "--langs",
        "ko",
        "--systems",
        "do",
        "--train_tag",
        "small",
        "--decode_tag",
        "decode",
        "--sets",
        "test",
        "--results",
        tmp_path / "RESULTS.md",
        "--html",
        tmp_path / "report.html",
    )
    fails(done, str(broken))


@pytest.mark.parametrize("models", ["a", "a=x", "a=x a=y"])
def test_analyze_needs_two_named_models(tmp_path, models):
    data, _ = make(tmp_path)
    done = command(
        "analyze", "cka", "--models", models, "--data", data, "--output", tmp_path / "cka.json"
    )
    fails(done, code=2)
    assert not (tmp_path / "cka.json").exists()
