"""Bad input to score, analyze and report: exit code, cause and remedy, no traceback."""

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


def assert_fails(done, *parts, code=1):
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr
    if code == 1:
        assert "remedy:" in done.stderr


def test_valid_input_is_scored(tmp_path):
    data, out = make(tmp_path)
    done = command("score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char")
    assert done.returncode == 0, done.stderr
    assert "CER 0.00 %" in done.stdout


@pytest.mark.parametrize(
    ("hypotheses", "part"),
    [
        ("s1-1 가\ns1-2 나\n", "s1-2"),
        ("s1-1 가\ns1-1 나\n", "s1-1"),
        (b"s1-1 \xff\n", "text.meaning:1"),
    ],
)
def test_invalid_hypotheses_are_refused(tmp_path, hypotheses, part):
    data, out = make(tmp_path, hypotheses=hypotheses)
    done = command("score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char")
    assert_fails(done, part, "text.meaning")


def test_missing_folders_and_files_are_named(tmp_path):
    data, out = make(tmp_path)
    assert_fails(
        command("score", "--data", tmp_path / "no", "--hypotheses", out), str(tmp_path / "no")
    )
    assert_fails(
        command("score", "--data", data, "--hypotheses", tmp_path / "no"), str(tmp_path / "no")
    )
    (out / "text.meaning").unlink()
    assert_fails(command("score", "--data", data, "--hypotheses", out), str(out))


def test_invalid_token_types_are_refused(tmp_path):
    data, out = make(tmp_path)
    folders = ("--data", data, "--hypotheses", out, "--token_types")
    assert_fails(command("score", *folders, "meaning=chr"), "chr")
    assert_fails(command("score", *folders, "surface=char"), "surface")
    assert_fails(command("score", *folders, "meaning"), "meaning", code=2)
    assert_fails(command("score", *folders, "meaning=char", "--no_such_option", "1"), code=2)


def test_report_without_results_is_an_error(tmp_path):
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
    assert_fails(done, "score.json")
    assert not (tmp_path / "RESULTS.md").exists()


def test_report_with_an_invalid_score_is_an_error(tmp_path):
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
    assert_fails(done, str(broken))


@pytest.mark.parametrize("models", ["a", "a=x", "a=x a=y"])
def test_analyze_needs_two_named_models(tmp_path, models):
    data, _ = make(tmp_path)
    done = command(
        "analyze", "cka", "--models", models, "--data", data, "--output", tmp_path / "cka.json"
    )
    assert_fails(done, code=2)
    assert not (tmp_path / "cka.json").exists()
