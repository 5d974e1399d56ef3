"""Bad data directories and audio: every error names cause and remedy; exit codes are right."""

import json
import os
import resource
import shutil
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_ext.bin import cli, filter, format_audio, perturb, validate

RATE = 16000
# Commands run in another folder and must find the package from there.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}


def write_sound(path, seconds=0.5, rate=RATE, channels=1, **options):
    seed = zlib.crc32(str(path).encode())  # a repeated recording would be another finding
    samples = np.random.default_rng(seed).uniform(-0.1, 0.1, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate, **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A valid data directory of four utterances, `d`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    ids = ["s1-u1", "s1-u2", "s2-u1", "s2-u2"]
    for utt_id in ids:
        write_sound(f"{utt_id}.wav")
    write_table("wav.scp", *(f"{utt_id} {utt_id}.wav" for utt_id in ids))
    write_table("utt2spk", *(f"{utt_id} {utt_id[:2]}" for utt_id in ids))
    write_table("spk2utt", "s1 s1-u1 s1-u2", "s2 s2-u1 s2-u2")
    write_table("text.meaning", *(f"{utt_id} 국물 주세요" for utt_id in ids))
    write_table("text.surface", "s1-u1 궁물 주세요", "s2-u2 ㄱ 구물")
    return tmp_path


def write_table(name, *rows):
    Path("d", name).write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def write_bytes(name, content):
    Path("d", name).write_bytes(content)


def call(command, *arguments):
    try:
        return cli.run(command.main, [str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        return stop.code


def check(capsys, *options):
    """Run `validate`; return exit code, output, and the codes of its errors."""
    code = call(validate, "d", "--json", "report.json", *options)
    findings = json.loads(Path("report.json").read_text(encoding="utf-8"))[0]["findings"]
    errors = [finding["code"] for finding in findings if finding["severity"] == "error"]
    return code, capsys.readouterr().out, errors


def nfd_text():
    write_table("text.surface", f"s1-u1 {unicodedata.normalize('NFD', '궁물')}")


def remove(name):
    Path(name).unlink()


# Fault → function that causes it, codes of the findings, parts of the output.
FAULTS = {
    "missing audio": (lambda: remove("s1-u2.wav"), ["no-audio"], ["wav.scp:2", "s1-u2.wav"]),
    "garbage as audio": (
        lambda: Path("s1-u2.wav").write_bytes(b"not a sound" * 99),
        ["unreadable-audio"],
        ["s1-u2.wav: cannot be read as audio", "export it again"],
    ),
    "a folder as audio": (
        lambda: (remove("s1-u2.wav"), Path("s1-u2.wav").mkdir()),
        ["unreadable-audio"],
        ["s1-u2.wav: is a folder"],
    ),
    "audio without samples": (
        lambda: write_sound("s1-u2.wav", 0),
        ["empty-audio"],
        ["s1-u2.wav: has no samples", "remove the utterance"],
    ),
    "audio with NaN": (
        lambda: soundfile.write("s1-u2.wav", np.full(99, np.nan), RATE, subtype="FLOAT"),
        ["unreadable-audio"],
        ["s1-u2.wav: has samples that are not finite"],
    ),
    "stereo": (
        lambda: write_sound("s1-u2.wav", channels=2),
        ["channels"],
        ["s1-u2.wav: has 2 channels", "--channel"],
    ),
    "duplicate id": (
        lambda: write_table("text.surface", "s1-u1 가", "s1-u1 나"),
        ["duplicate-id"],
        ["text.surface:2", "s1-u1", "already in line 1"],
    ),
    "empty id": (
        lambda: write_table("text.surface", " s1-u1 가"),
        ["malformed-id"],
        ["text.surface:1", "is empty"],
    ),
    "no-break space in an id": (
        lambda: write_table("text.surface", "s1\u00a0u1 가"),
        ["malformed-id"],
        ["text.surface:1", "has whitespace"],
    ),
    "control character in an id": (
        lambda: write_table("text.surface", "s1-\x07u1 가"),
        ["malformed-id"],
        ["text.surface:1", "control or invisible"],
    ),
    "an id that leaves the folder": (
        lambda: write_table("text.surface", "../../s1 가"),
        ["malformed-id"],
        ["text.surface:1", 'has a "/"'],
    ),
    "decomposed id, as in file names of macOS": (
        lambda: write_table("text.surface", unicodedata.normalize("NFD", "가-1") + " 가"),
        ["malformed-id"],
        ["text.surface:1", "normal form C"],
    ),
    "control character in a text": (
        lambda: write_table("text.surface", "s1-u1 가\x00나"),
        ["control-character"],
        ["text.surface:1", "s1-u1", "U+0000"],
    ),
    "invalid UTF-8": (
        lambda: write_bytes("text.surface", "s1-u1 가\n".encode() + "s1-u2 나\n".encode("cp949")),
        ["not-utf8"],
        ["text.surface:2", "s1-u2", "iconv -f CP949"],
    ),
    "byte-order mark": (
        lambda: write_bytes("text.surface", b"\xef\xbb\xbfs1-u1 a\n"),
        ["bom"],
        ["text.surface:1", "byte-order mark", "sed -i"],
    ),
    "Windows line ends": (
        lambda: write_bytes("text.surface", b"s1-u1 a\r\ns1-u2 b\r\n"),
        ["crlf"],
        ["text.surface:1", "Windows line ends", "sed -i"],
    ),
    "empty line": (
        lambda: write_table("text.surface", "s1-u1 가", "", "s1-u2 나"),
        ["empty-line"],
        ["text.surface:2", "remove the line"],
    ),
    "empty transcript": (
        lambda: write_table("text.surface", "s1-u1 가", "s1-u2"),
        ["empty-text"],
        ["text.surface:2", "s1-u2", "unlabelled"],
    ),
    "decomposed Hangul": (nfd_text, ["not-nfc"], ["text.surface:1", "s1-u1", "normal form C"]),
    "sentinel within a text": (
        lambda: write_table("text.surface", "s1-u1 <na> 가"),
        ["sentinel"],
        ["text.surface:1", "s1-u1", "<na>"],
    ),
    "text without audio": (
        lambda: write_table("text.surface", "s1-u1 가", "s9-u9 나"),
        ["unknown-id"],
        ["text.surface:2", "s9-u9", "not in wav.scp"],
    ),
    "label without audio": (
        lambda: write_table("utt2l1", "s9-u9 Thai"),
        ["unknown-id"],
        ["utt2l1:1", "s9-u9", "not in wav.scp"],
    ),
    "no speaker": (
        lambda: (write_table("utt2spk", "s1-u1 s1", "s1-u2 s1", "s2-u1 s2"), remove("d/spk2utt")),
        ["no-speaker"],
        ["utt2spk", "s2-u2", "has no row"],
    ),
    "speaker of two words": (
        lambda: (
            write_table("utt2spk", "s1-u1 s1 x", "s1-u2 s1", "s2-u1 s2", "s2-u2 s2"),
            remove("d/spk2utt"),
        ),
        ["malformed-speaker"],
        ["utt2spk:1", "s1-u1", "whitespace"],
    ),
    "unsorted": (
        lambda: write_table("text.surface", "s2-u2 가", "s1-u1 나"),
        ["unsorted"],
        ["text.surface:2", "LC_ALL=C sort"],
    ),
    "unknown band": (
        lambda: write_table("utt2band", "s1-u1 telephone"),
        ["unknown-band"],
        ["utt2band:1", "s1-u1", "narrow, wide"],
    ),
    "a command in wav.scp": (
        lambda: write_table(
            "wav.scp",
            "s1-u1 touch ran; cat s1-u1.wav |",
            *(f"{utt_id} {utt_id}.wav" for utt_id in ("s1-u2", "s2-u1", "s2-u2")),
        ),
        ["pipe"],
        ["wav.scp:1", "s1-u1", "--allow_pipes true"],
    ),
    "no utterances": (
        lambda: (
            [write_table(name) for name in ("wav.scp", "utt2spk", "spk2utt", "text.meaning")]
            and remove("d/text.surface")
        ),
        ["no-utterances"],
        ["wav.scp", "stage 1"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_reported(folder, capsys, fault):
    assert check(capsys) == (
        0,
        "d: 4 utterances, 2 speakers, 0.00 h, 4 meaning, 2 surface: 0 errors, 0 warnings\n",
        [],
    )
    cause, codes, parts = FAULTS[fault]
    cause()
    code, output, errors = check(capsys)
    assert code == 1
    assert errors == codes
    for word in [*parts, "remedy:", "1 error,"]:
        assert word in output
    assert not Path("ran").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_later_stages_stop_at_faults_that_they_do_not_fix(folder, capsys, fault):
    cause, codes, parts = FAULTS[fault]
    cause()
    fixed = {"unsorted", "not-nfc"}
    expected = 0 if set(codes) <= fixed else 1
    assert call(filter, "--input", "d", "--output", "f") == expected
    message = capsys.readouterr().err
    if expected:
        for word in [*parts, "remedy:", "espnet-ext validate d"]:
            assert word in message
        assert not Path("f/wav.scp").exists()
        report = json.loads(Path("f/validation.json").read_text(encoding="utf-8"))
        errors = [item["code"] for item in report["findings"] if item["severity"] == "error"]
        assert errors == codes
    else:
        assert "fixed on writing: 1 ×" in message
        assert call(validate, "f") == 0
    formatted = call(format_audio, "--input", "d", "--output", "g", "--channel", "mix")
    assert formatted == (0 if set(codes) <= fixed | {"channels"} else 1)
    # Speed perturbation does not read headers first; it fails when it reads the audio.
    assert call(perturb, "--input", "d", "--output", "p", "--speeds", "0.9") == expected
    message = capsys.readouterr().err
    assert expected == 0 or "remedy:" in message
    assert Path("p/wav.scp").exists() == (expected == 0)
    assert not Path("ran").exists()


def test_all_findings_are_reported_at_once(folder, capsys):
    remove("s1-u1.wav")
    write_sound("s1-u2.wav", channels=2)
    write_sound("s2-u1.wav", rate=8000)
    nfd_text()
    write_table("utt2spk", "s1-u1 x", "s1-u2 s1", "s2-u1 s2")
    code, output, errors = check(capsys, "--sample_rate", RATE, "--outputs", "surface tones")
    assert code == 1
    assert sorted(errors) == [
        "channels",
        "no-audio",
        "no-output",
        "no-speaker",
        "not-nfc",
        "sample-rate",
    ]
    assert "[speaker-prefix]" in output and "[spk2utt]" in output
    assert "s2-u1.wav: is at 8000 Hz, not 16000 Hz" in output
    assert "--sample_rate 16000, which resamples" in output
    assert "no utterance has a tones transcript" in output
    assert "6 errors, 3 warnings" in output


def test_printed_findings_are_limited_but_those_in_json_are_not(folder, capsys):
    write_table("text.surface", *(f"x-{index:03d} 가" for index in range(50)))
    code, output, errors = check(capsys)
    assert (code, len(errors)) == (1, 50)
    assert output.count("not in wav.scp") == 20
    assert "and 30 more of [unknown-id]" in output


def test_damage_within_the_audio_is_found_when_samples_are_read(folder, capsys):
    write_sound("s1-u1.flac", 2.0)
    content = Path("s1-u1.flac").read_bytes()
    half = len(content) // 2
    Path("s1-u1.wav").write_bytes(content[:half] + b"\0" * 4000 + content[half + 4000 :])
    assert check(capsys)[0] == 0
    code, output, errors = check(capsys, "--read_samples", "true")
    assert (code, errors) == (1, ["unreadable-audio"])
    assert "s1-u1.wav: cannot be read as audio" in output
    assert call(format_audio, "--input", "d", "--output", "g", "--copy", "true") == 1
    message = capsys.readouterr().err
    assert "s1-u1" in message and "remedy:" in message
    assert not Path("g/wav.scp").exists()


def test_ignored_text_files_are_reported(folder, capsys):
    write_table("text", "s1-u1 가")
    write_table("text.surface.bak", "s1-u1 가")
    code, output, errors = check(capsys)
    assert (code, errors) == (0, [])
    assert output.count("[ignored-file]") == 2
    assert "text.surface.bak: warning: is not read" in output


@pytest.mark.parametrize("missing", ["d", "d/wav.scp", "d/utt2spk"])
@pytest.mark.parametrize("command", [validate, filter, format_audio, perturb])
def test_path_that_is_not_a_data_directory_is_bad_input(folder, capsys, command, missing):
    shutil.rmtree(missing) if missing == "d" else remove(missing)
    arguments = ["d"] if command is validate else ["--input", "d", "--output", "o"]
    assert call(command, *arguments) == 1
    message = capsys.readouterr().err
    assert "error: d: " in message and "remedy:" in message
    assert missing.removeprefix("d/") in message
    assert not Path("o").exists()


@pytest.mark.parametrize("command", [filter, format_audio, perturb])
def test_output_equal_to_input_is_refused(folder, capsys, command):
    before = {path: path.read_bytes() for path in Path("d").iterdir()}
    assert call(command, "--input", "d", "--output", "./d") == 1
    assert "both input and output" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("d").iterdir()} == before


@pytest.mark.parametrize(
    "command, arguments",
    [
        (validate, []),
        (validate, ["d", "--sample_rate", "fast"]),
        (validate, ["d", "--stric", "true"]),
        (filter, ["--input", "d", "--output", "o", "--outputs", ""]),
        (filter, ["--input", "d", "--output", "o", "--min_second", "1"]),
        (format_audio, ["--input", "d", "--output", "o", "--audio_format", "mp3"]),
        (format_audio, ["--input", "d", "--output", "o", "--channel", "left"]),
        (format_audio, ["--input", "d", "--output", "o", "--nj", "0"]),
        (perturb, ["--input", "d"]),
    ],
)
def test_bad_usage_exits_2(folder, command, arguments):
    assert call(command, *arguments) == 2


@pytest.mark.parametrize(
    "speeds, part",
    [("fast", "'fast'"), ("0", "'0'"), ("1.1 1.10", "1.10"), ("", "--speeds is empty")],
)
def test_invalid_speeds_are_refused(folder, capsys, speeds, part):
    assert call(perturb, "--input", "d", "--output", "p", "--speeds", speeds) == 1
    message = capsys.readouterr().err
    assert part in message and "remedy:" in message


def test_missing_channel_is_an_error(folder, capsys):
    write_sound("s1-u2.wav", channels=2)
    assert call(format_audio, "--input", "d", "--output", "g", "--channel", "2") == 1
    message = capsys.readouterr().err
    assert (
        "s1-u2" in message and "has no channel 2, only 2" in message and "0 to 1, or mix" in message
    )


def test_filtering_out_all_utterances_is_an_error(folder, capsys):
    assert call(filter, "--input", "d", "--output", "f", "--min_seconds", "9") == 1
    message = capsys.readouterr().err
    assert "no utterance is left: 4 shorter than 9 s" in message and "f/removed.tsv" in message


def test_failing_command_in_wav_scp_is_named(folder, capsys):
    write_table(
        "wav.scp",
        "s1-u1 cat nothing.wav |",
        *(f"{utt_id} {utt_id}.wav" for utt_id in ("s1-u2", "s2-u1", "s2-u2")),
    )
    code, output, errors = check(capsys, "--allow_pipes", "true")
    assert (code, errors) == (1, ["unreadable-audio"])
    assert "s1-u1" in output and "fails with exit status 1" in output and "nothing.wav" in output


def test_damaged_arks_are_reported(folder, capsys):
    Path("pickle.ark").write_bytes(b"s1-u1 PKLcos\nsystem\n(S'touch ran'\ntR.")
    Path("short.ark").write_bytes(b"s1-u2 AUDIO\x02\xff\xffRIFF")
    Path("matrix.ark").write_bytes(b"s2-u1 \0BFV \x04\x01\0\0\0\0\0\x80?")
    rows = ["s1-u1 pickle.ark:6", "s1-u2 short.ark:6", "s2-u1 matrix.ark:6", "s2-u2 no.ark:6"]
    write_table("wav.scp", *rows)
    code, output, errors = check(capsys)
    assert (code, errors) == (1, ["unreadable-audio"] * 4)
    for part in (
        "pickle.ark:6: contains a pickle",
        "short.ark:6: the ark ends within the sound",
        "matrix.ark:6: contains an array without a sample rate",
        "no.ark: cannot open the ark",
    ):
        assert part in output
    assert not Path("ran").exists()
    write_table("wav.scp", "s1-u1 short.ark:999", *rows[1:])
    assert "short.ark:999: the offset is beyond the ark's end" in check(capsys)[1]


def run_stage_3(*options, before=None):
    command = [sys.executable, "-m", "espnet_ext.bin.format_audio", "--input", "d", "--output"]
    return subprocess.run(
        [*command, "g", *options],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=before,
    )


@pytest.mark.parametrize("nj", ["1", "2"])
@pytest.mark.parametrize("audio_format", ["wav", "flac.ark"])
def test_stage_3_continues_after_a_failed_write(folder, audio_format, nj):
    """The operating system stops a file from growing while it is written."""
    write_sound("s2-u1.wav", 20.0)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = ["--audio_format", audio_format, "--copy", "true", "--nj", nj]
    done = run_stage_3(*arguments, before=limit)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr and "free space" in done.stderr
    assert ("s2-u1.wav" if audio_format == "wav" else "audio.1.ark") in done.stderr
    left = {path.name for path in Path("g/data").iterdir()}
    assert left <= {".made.jsonl", "s1-u1.wav", "s1-u2.wav", "s2-u2.wav"}  # only complete ones
    assert not Path("g/wav.scp").exists()
    done = run_stage_3(*arguments)  # without the limit, it continues
    assert done.returncode == 0, done.stderr
    assert call(validate, "g", "--sample_rate", RATE) == 0


def test_stage_3_on_a_full_disk(folder):
    """A real disk of 200 kB, if this machine allows to mount one."""
    script = """
        mount -t tmpfs -o size=200k tmpfs g || exit 77
        "$0" -m espnet_ext.bin.format_audio --input d --output g --copy true
        code=$?
        ls -A g/data >left
        exit $code
    """
    Path("g").mkdir()
    write_sound("s2-u1.wav", 20.0)
    if shutil.which("unshare") is None:
        pytest.skip("no unshare command, which a private mount needs")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting a small disk is not permitted here")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "g/data/s2-u1.wav: cannot write: No space left on device" in done.stderr
    assert "free space" in done.stderr
    left = Path("left").read_text().split()
    assert not [name for name in left if name.startswith((".tmp-", "s2-u1"))]


def test_output_folder_that_cannot_be_created_is_an_error(folder, capsys):
    Path("g").write_text("a file where the folder should be")
    assert call(format_audio, "--input", "d", "--output", "g/h") == 1
    message = capsys.readouterr().err
    assert "g/h" in message and "cannot write" in message and "remedy:" in message


def test_killed_stage_3_continues(folder, capsys):
    """A killed run leaves a journal with an incomplete last line and no wav.scp."""
    arguments = ["--input", "d", "--output", "g", "--copy", "true"]
    assert call(format_audio, *arguments) == 0
    journal = Path("g/data/.made.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]) + lines[2][:30])
    remove("g/wav.scp")
    times = {path.name: path.stat().st_mtime_ns for path in Path("g/data").glob("*.wav")}
    capsys.readouterr()
    assert call(format_audio, *arguments) == 0
    assert "2 written as wav, 2 unchanged" in capsys.readouterr().out
    fresh = [p.name for p in Path("g/data").glob("*.wav") if p.stat().st_mtime_ns != times[p.name]]
    assert len(fresh) == 2
    assert call(validate, "g") == 0


def test_unreadable_table_is_an_error(folder, capsys):
    remove("d/text.surface")
    os.symlink("nowhere", "d/text.surface")
    code, output, errors = check(capsys)
    assert (code, errors) == (1, ["unreadable-file"])
    assert "d/text.surface" in output
