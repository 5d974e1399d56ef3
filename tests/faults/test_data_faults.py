"""Bad data directories and audio: every fault names culprit and remedy, exit codes hold."""

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
# Commands run in a folder of their own: the package has to be found from there too.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}


def write_sound(path, seconds=0.5, rate=RATE, channels=1, **options):
    seed = zlib.crc32(str(path).encode())  # the same recording twice is a finding of its own
    samples = np.random.default_rng(seed).uniform(-0.1, 0.1, (int(seconds * rate), channels))
    soundfile.write(path, samples, rate, **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sound data directory of four utterances, d, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("d").mkdir()
    ids = ["s1-u1", "s1-u2", "s2-u1", "s2-u2"]
    for utt_id in ids:
        write_sound(f"{utt_id}.wav")
    table("wav.scp", *(f"{utt_id} {utt_id}.wav" for utt_id in ids))
    table("utt2spk", *(f"{utt_id} {utt_id[:2]}" for utt_id in ids))
    table("spk2utt", "s1 s1-u1 s1-u2", "s2 s2-u1 s2-u2")
    table("text.meaning", *(f"{utt_id} 국물 주세요" for utt_id in ids))
    table("text.surface", "s1-u1 궁물 주세요", "s2-u2 ㄱ 구물")
    return tmp_path


def table(name, *rows):
    Path("d", name).write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def raw(name, content):
    Path("d", name).write_bytes(content)


def call(command, *arguments):
    try:
        return cli.run(command.main, [str(argument) for argument in arguments])
    except SystemExit as stop:  # argparse
        return stop.code


def check(capsys, *options):
    """Exit code and output of validate, and the codes of its errors."""
    code = call(validate, "d", "--json", "found.json", *options)
    findings = json.loads(Path("found.json").read_text(encoding="utf-8"))[0]["findings"]
    errors = [finding["code"] for finding in findings if finding["severity"] == "error"]
    return code, capsys.readouterr().out, errors


def nfd_text():
    table("text.surface", f"s1-u1 {unicodedata.normalize('NFD', '궁물')}")


def remove(name):
    Path(name).unlink()


# What is done to the directory; the findings; what the output has to name.
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
        lambda: table("text.surface", "s1-u1 가", "s1-u1 나"),
        ["duplicate-id"],
        ["text.surface:2", "s1-u1", "already in line 1"],
    ),
    "empty id": (
        lambda: table("text.surface", " s1-u1 가"),
        ["malformed-id"],
        ["text.surface:1", "is empty"],
    ),
    "no-break space in an id": (
        lambda: table("text.surface", "s1\u00a0u1 가"),
        ["malformed-id"],
        ["text.surface:1", "has whitespace"],
    ),
    "control character in an id": (
        lambda: table("text.surface", "s1-\x07u1 가"),
        ["malformed-id"],
        ["text.surface:1", "control or invisible"],
    ),
    "an id that leaves the folder": (
        lambda: table("text.surface", "../../s1 가"),
        ["malformed-id"],
        ["text.surface:1", 'has a "/"'],
    ),
    "decomposed id, as macOS names files": (
        lambda: table("text.surface", unicodedata.normalize("NFD", "가-1") + " 가"),
        ["malformed-id"],
        ["text.surface:1", "normal form C"],
    ),
    "control character in a text": (
        lambda: table("text.surface", "s1-u1 가\x00나"),
        ["control-character"],
        ["text.surface:1", "s1-u1", "U+0000"],
    ),
    "invalid UTF-8": (
        lambda: raw("text.surface", "s1-u1 가\n".encode() + "s1-u2 나\n".encode("cp949")),
        ["not-utf8"],
        ["text.surface:2", "s1-u2", "iconv -f CP949"],
    ),
    "byte-order mark": (
        lambda: raw("text.surface", b"\xef\xbb\xbfs1-u1 a\n"),
        ["bom"],
        ["text.surface:1", "byte-order mark", "sed -i"],
    ),
    "Windows line ends": (
        lambda: raw("text.surface", b"s1-u1 a\r\ns1-u2 b\r\n"),
        ["crlf"],
        ["text.surface:1", "Windows line ends", "sed -i"],
    ),
    "empty line": (
        lambda: table("text.surface", "s1-u1 가", "", "s1-u2 나"),
        ["empty-line"],
        ["text.surface:2", "remove the line"],
    ),
    "empty transcript": (
        lambda: table("text.surface", "s1-u1 가", "s1-u2"),
        ["empty-text"],
        ["text.surface:2", "s1-u2", "unlabelled"],
    ),
    "decomposed Hangul": (nfd_text, ["not-nfc"], ["text.surface:1", "s1-u1", "normal form C"]),
    "sentinel within a text": (
        lambda: table("text.surface", "s1-u1 <na> 가"),
        ["sentinel"],
        ["text.surface:1", "s1-u1", "<na>"],
    ),
    "text without audio": (
        lambda: table("text.surface", "s1-u1 가", "s9-u9 나"),
        ["unknown-id"],
        ["text.surface:2", "s9-u9", "not in wav.scp"],
    ),
    "label without audio": (
        lambda: table("utt2l1", "s9-u9 Thai"),
        ["unknown-id"],
        ["utt2l1:1", "s9-u9", "not in wav.scp"],
    ),
    "no speaker": (
        lambda: (table("utt2spk", "s1-u1 s1", "s1-u2 s1", "s2-u1 s2"), remove("d/spk2utt")),
        ["no-speaker"],
        ["utt2spk", "s2-u2", "has no row"],
    ),
    "speaker of two words": (
        lambda: (
            table("utt2spk", "s1-u1 s1 x", "s1-u2 s1", "s2-u1 s2", "s2-u2 s2"),
            remove("d/spk2utt"),
        ),
        ["malformed-speaker"],
        ["utt2spk:1", "s1-u1", "whitespace"],
    ),
    "unsorted": (
        lambda: table("text.surface", "s2-u2 가", "s1-u1 나"),
        ["unsorted"],
        ["text.surface:2", "LC_ALL=C sort"],
    ),
    "unknown band": (
        lambda: table("utt2band", "s1-u1 telephone"),
        ["unknown-band"],
        ["utt2band:1", "s1-u1", "narrow, wide"],
    ),
    "a command in wav.scp": (
        lambda: table(
            "wav.scp",
            "s1-u1 touch ran; cat s1-u1.wav |",
            *(f"{utt_id} {utt_id}.wav" for utt_id in ("s1-u2", "s2-u1", "s2-u2")),
        ),
        ["pipe"],
        ["wav.scp:1", "s1-u1", "--allow_pipes true"],
    ),
    "no utterances": (
        lambda: (
            [table(name) for name in ("wav.scp", "utt2spk", "spk2utt", "text.meaning")]
            and remove("d/text.surface")
        ),
        ["no-utterances"],
        ["wav.scp", "stage 1"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_and_named(folder, capsys, fault):
    assert check(capsys) == (
        0,
        "d: 4 utterances, 2 speakers, 0.00 h, 4 meaning, 2 surface: 0 errors, 0 warnings\n",
        [],
    )
    break_it, codes, named = FAULTS[fault]
    break_it()
    code, output, found = check(capsys)
    assert code == 1
    assert found == codes
    for word in [*named, "remedy:", "1 error,"]:
        assert word in output
    assert not Path("ran").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_later_stages_stop_at_every_fault_that_they_do_not_mend(folder, capsys, fault):
    break_it, codes, named = FAULTS[fault]
    break_it()
    mended = {"unsorted", "not-nfc"}
    expected = 0 if set(codes) <= mended else 1
    assert call(filter, "--input", "d", "--output", "f") == expected
    told = capsys.readouterr().err
    if expected:
        for word in [*named, "remedy:", "bin.validate d"]:
            assert word in told
        assert not Path("f/wav.scp").exists()
        report = json.loads(Path("f/validation.json").read_text(encoding="utf-8"))
        errors = [one["code"] for one in report["findings"] if one["severity"] == "error"]
        assert errors == codes
    else:
        assert "fixed on writing: 1 ×" in told
        assert call(validate, "f") == 0
    formatted = call(format_audio, "--input", "d", "--output", "g", "--channel", "mix")
    assert formatted == (0 if set(codes) <= mended | {"channels"} else 1)
    # Speed perturbation does not read headers first; it meets bad audio when it reads it.
    assert call(perturb, "--input", "d", "--output", "p", "--speeds", "0.9") == expected
    told = capsys.readouterr().err
    assert expected == 0 or "remedy:" in told
    assert Path("p/wav.scp").exists() == (expected == 0)
    assert not Path("ran").exists()


def test_all_findings_come_at_once(folder, capsys):
    remove("s1-u1.wav")
    write_sound("s1-u2.wav", channels=2)
    write_sound("s2-u1.wav", rate=8000)
    nfd_text()
    table("utt2spk", "s1-u1 x", "s1-u2 s1", "s2-u1 s2")
    code, output, found = check(capsys, "--sample_rate", RATE, "--outputs", "surface tones")
    assert code == 1
    assert sorted(found) == [
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


def test_many_findings_of_a_kind_are_cut_short_on_screen_but_not_in_json(folder, capsys):
    table("text.surface", *(f"x-{index:03d} 가" for index in range(50)))
    code, output, found = check(capsys)
    assert (code, len(found)) == (1, 50)
    assert output.count("not in wav.scp") == 20
    assert "and 30 more of [unknown-id]" in output


def test_damage_behind_a_sound_header_is_found_when_samples_are_read(folder, capsys):
    write_sound("s1-u1.flac", 2.0)
    content = Path("s1-u1.flac").read_bytes()
    Path("s1-u1.wav").write_bytes(content[:400] + b"\0" * (len(content) - 400))
    assert check(capsys)[0] == 0
    code, output, found = check(capsys, "--read_samples", "true")
    assert (code, found) == (1, ["unreadable-audio"])
    assert "s1-u1.wav: cannot be read as audio" in output
    assert call(format_audio, "--input", "d", "--output", "g", "--copy", "true") == 1
    told = capsys.readouterr().err
    assert "s1-u1" in told and "remedy:" in told
    assert not Path("g/wav.scp").exists()


def test_plain_text_beside_text_meaning_and_backups_are_mentioned(folder, capsys):
    table("text", "s1-u1 가")
    table("text.surface.bak", "s1-u1 가")
    code, output, found = check(capsys)
    assert (code, found) == (0, [])
    assert output.count("[ignored-file]") == 2
    assert "text.surface.bak: warning: is not read" in output


@pytest.mark.parametrize("missing", ["d", "d/wav.scp", "d/utt2spk"])
@pytest.mark.parametrize("command", [validate, filter, format_audio, perturb])
def test_what_is_no_data_directory_is_bad_input(folder, capsys, command, missing):
    shutil.rmtree(missing) if missing == "d" else remove(missing)
    arguments = ["d"] if command is validate else ["--input", "d", "--output", "o"]
    assert call(command, *arguments) == 1
    told = capsys.readouterr().err
    assert "error: d: " in told and "remedy:" in told
    assert missing.removeprefix("d/") in told
    assert not Path("o").exists()


@pytest.mark.parametrize("command", [filter, format_audio, perturb])
def test_output_over_input_is_refused(folder, capsys, command):
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
    "speeds, culprit", [("fast", "'fast'"), ("0", "'0'"), ("1.1 1.10", "1.10"), ("", "no speed")]
)
def test_bad_speeds(folder, capsys, speeds, culprit):
    assert call(perturb, "--input", "d", "--output", "p", "--speeds", speeds) == 1
    told = capsys.readouterr().err
    assert culprit in told and "remedy:" in told


def test_a_channel_that_is_not_there(folder, capsys):
    write_sound("s1-u2.wav", channels=2)
    assert call(format_audio, "--input", "d", "--output", "g", "--channel", "2") == 1
    told = capsys.readouterr().err
    assert "s1-u2" in told and "has no channel 2, only 2" in told and "0 to 1, or mix" in told


def test_nothing_left_after_filtering(folder, capsys):
    assert call(filter, "--input", "d", "--output", "f", "--min_seconds", "9") == 1
    told = capsys.readouterr().err
    assert "no utterance is left: 4 shorter than 9 s" in told and "f/removed.tsv" in told


def test_a_failing_command_in_wav_scp_is_named(folder, capsys):
    table(
        "wav.scp",
        "s1-u1 cat nothing.wav |",
        *(f"{utt_id} {utt_id}.wav" for utt_id in ("s1-u2", "s2-u1", "s2-u2")),
    )
    code, output, found = check(capsys, "--allow_pipes", "true")
    assert (code, found) == (1, ["unreadable-audio"])
    assert "s1-u1" in output and "fails with exit status 1" in output and "nothing.wav" in output


def test_damaged_arks(folder, capsys):
    Path("pickle.ark").write_bytes(b"s1-u1 PKLcos\nsystem\n(S'touch ran'\ntR.")
    Path("short.ark").write_bytes(b"s1-u2 AUDIO\x02\xff\xffRIFF")
    Path("matrix.ark").write_bytes(b"s2-u1 \0BFV \x04\x01\0\0\0\0\0\x80?")
    rows = ["s1-u1 pickle.ark:6", "s1-u2 short.ark:6", "s2-u1 matrix.ark:6", "s2-u2 no.ark:6"]
    table("wav.scp", *rows)
    code, output, found = check(capsys)
    assert (code, found) == (1, ["unreadable-audio"] * 4)
    for named in (
        "pickle.ark:6: contains a pickle",
        "short.ark:6: the ark ends within the sound",
        "matrix.ark:6: contains an array without a sample rate",
        "no.ark: cannot open the ark",
    ):
        assert named in output
    assert not Path("ran").exists()
    table("wav.scp", "s1-u1 short.ark:999", *rows[1:])
    assert "short.ark:999: the offset is beyond the ark's end" in check(capsys)[1]


def stage3(*options, before=None):
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
def test_no_room_for_a_file_in_stage_3(folder, audio_format, nj):
    """The kernel refuses to let a file grow, halfway through it."""
    write_sound("s2-u1.wav", 20.0)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = ["--audio_format", audio_format, "--copy", "true", "--nj", nj]
    done = stage3(*arguments, before=limit)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr and "free space" in done.stderr
    assert ("s2-u1.wav" if audio_format == "wav" else "audio.1.ark") in done.stderr
    left = {path.name for path in Path("g/data").iterdir()}
    assert left <= {".made.jsonl", "s1-u1.wav", "s1-u2.wav", "s2-u2.wav"}  # whole ones only
    assert not Path("g/wav.scp").exists()
    done = stage3(*arguments)  # with room again, it goes on
    assert done.returncode == 0, done.stderr
    assert call(validate, "g", "--sample_rate", RATE) == 0


def test_full_disk_in_stage_3(folder):
    """A real disk of 200 kB, where the machine lets us mount one."""
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
        pytest.skip("no unshare, so no private mount")
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


def test_output_that_may_not_be_written(folder, capsys):
    Path("g").write_text("a file where the folder should be")
    assert call(format_audio, "--input", "d", "--output", "g/h") == 1
    told = capsys.readouterr().err
    assert "g/h" in told and "cannot write" in told and "remedy:" in told


def test_a_killed_stage_3_goes_on_where_it_was(folder, capsys):
    """A journal with a cut-off line and a leftover temporary file are what a kill leaves."""
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


def test_a_table_that_cannot_be_opened(folder, capsys):
    remove("d/text.surface")
    os.symlink("nowhere", "d/text.surface")
    code, output, found = check(capsys)
    assert (code, found) == (1, ["unreadable-file"])
    assert "d/text.surface" in output
