"""Bad input to score, analyze and report: exit code, message with remedy, no traceback."""

import subprocess
import sys

import pytest


def run_command(verb, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"espnet_ext.bin.{verb}", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def make_data(tmp_path, hypotheses="s1-1 가\n", text="s1-1 가\n"):
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


def assert_fails(result, *texts, code=1):
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    for text in texts:
        assert text in result.stderr
    if code == 1:
        assert "remedy:" in result.stderr


def test_valid_input_succeeds(tmp_path):
    data, out = make_data(tmp_path)
    result = run_command(
        "score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char"
    )
    assert result.returncode == 0, result.stderr
    assert "CER 0.00 %" in result.stdout


@pytest.mark.parametrize(
    ("hypotheses", "text"),
    [
        ("s1-1 가\ns1-2 나\n", "s1-2"),
        ("s1-1 가\ns1-1 나\n", "s1-1"),
        (b"s1-1 \xff\n", "text.meaning:1"),
    ],
)
def test_invalid_hypotheses(tmp_path, hypotheses, text):
    data, out = make_data(tmp_path, hypotheses=hypotheses)
    result = run_command(
        "score", "--data", data, "--hypotheses", out, "--token_types", "meaning=char"
    )
    assert_fails(result, text, "text.meaning")


def test_missing_folders_and_files(tmp_path):
    data, out = make_data(tmp_path)
    assert_fails(
        run_command("score", "--data", tmp_path / "no", "--hypotheses", out), str(tmp_path / "no")
    )
    assert_fails(
        run_command("score", "--data", data, "--hypotheses", tmp_path / "no"), str(tmp_path / "no")
    )
    (out / "text.meaning").unlink()
    assert_fails(run_command("score", "--data", data, "--hypotheses", out), str(out))


def test_invalid_token_types(tmp_path):
    data, out = make_data(tmp_path)
    options = ("--data", data, "--hypotheses", out, "--token_types")
    assert_fails(run_command("score", *options, "meaning=chr"), "chr")
    assert_fails(run_command("score", *options, "surface=char"), "surface")
    assert_fails(run_command("score", *options, "meaning"), "meaning", code=2)
    assert_fails(run_command("score", *options, "meaning=char", "--no_such_option", "1"), code=2)


def run_report(folder):
    options = "--langs ko --systems do --train_tag small --decode_tag decode --sets test"
    return run_command(
        "report",
        *options.split(),
        *("--exp_dir", folder / "exp", "--dump_dir", folder),
        *("--results", folder / "RESULTS.md", "--html", folder / "report.html"),
    )


def test_report_without_results(tmp_path):
    assert_fails(run_report(tmp_path), "score.json")
    assert not (tmp_path / "RESULTS.md").exists()


def test_report_with_invalid_score_file(tmp_path):
    broken = tmp_path / "exp/ko/do_small/decode/test/score.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{", encoding="utf-8")
    assert_fails(run_report(tmp_path), str(broken))


@pytest.mark.parametrize("models", ["a", "a=x", "a=x a=y"])
def test_analyze_needs_two_named_models(tmp_path, models):
    data, _ = make_data(tmp_path)
    result = run_command(
        "analyze", "cka", "--models", models, "--data", data, "--output", tmp_path / "cka.json"
    )
    assert_fails(result, code=2)
    assert not (tmp_path / "cka.json").exists()
