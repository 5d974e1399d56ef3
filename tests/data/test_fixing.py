"""Repaired copies and policies: the copy is valid, the source unchanged, every loss is listed."""

import csv
import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from directories import IDS, RATE, make_directory, noise, run_validate, write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espnet_ext.bin import cli, filter, format_audio, validate
from espnet_ext.data.checks.context import CheckOptions
from espnet_ext.data.directory import read_directory
from espnet_ext.data.fixing import fix_directory, repair
from espnet_ext.data.validate import check_directory
from espnet_ext.errors import UserError


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = {"surface": ["궁물", None, "물", "물"], "meaning": ["국물", "국물", "물", "물"]}
    return make_directory("d", **texts)


def changes(folder):
    with open(Path(folder, "changes.tsv"), encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_valid_directory_is_copied_without_a_change(directory):
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 0
    assert changes("f") == []
    assert read_directory("f") == read_directory("d")


def test_unambiguous_errors_are_repaired_and_others_left_out(directory, capsys):
    nfd = unicodedata.normalize("NFD", "궁물")
    rows = [f"s2-u2  {nfd} ", "s1-u1 <na> 물", "s1-u1 또", "", "s9-u9 없다"]
    Path("d/text.surface").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    write_table("d", "utt2band", "s1-u1 narrow", "s1-u2 middling")
    Path("d/utt2spk").write_text("s1-u1 s1\ns2-u1 s2\ns2-u2 s2\n")  # spk2utt has s1-u2
    Path("d/s2-u1.wav").write_bytes(b"RIFF")
    with open("d/text.meaning", "ab") as handle:
        handle.write(b"s3-u1 " + "물".encode("cp949") + b"\n")
    before = {path: path.read_bytes() for path in Path("d").iterdir()}
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 0
    assert {path: path.read_bytes() for path in Path("d").iterdir()} == before
    assert "f: 3 utterances, 2 speakers" in capsys.readouterr().out
    assert run_validate("f", "--strict", "true")[1] == []
    repaired = {item.utt_id: item for item in read_directory("f")}
    assert list(repaired) == ["s1-u1", "s1-u2", "s2-u2"]
    assert repaired["s1-u2"].speaker == "s1" and repaired["s1-u2"].band is None
    assert repaired["s1-u1"].texts == {"meaning": "국물"} and repaired["s1-u1"].band == "narrow"
    assert repaired["s2-u2"].texts == {"surface": "궁물", "meaning": "물"}
    listed = [(row["change"], row["utterance"], Path(row["file"]).name) for row in changes("f")]
    assert sorted(listed) == sorted(
        [
            ("rewritten", "", "text.surface"),  # byte-order mark
            ("rewritten", "", "text.surface"),  # line ends
            ("rewritten", "", "text.surface"),  # no newline at the end
            ("rewritten", "s1-u1", "text.surface"),  # order
            ("rewritten", "s2-u2", "text.surface"),  # form
            ("row left out", "", "text.surface"),  # an empty line
            ("row left out", "s1-u1", "text.surface"),  # repeated
            ("row left out", "s1-u1", "text.surface"),  # and with another value
            ("row left out", "s9-u9", "text.surface"),  # no audio
            ("row left out", "s3-u1", "text.meaning"),  # not UTF-8
            ("row left out", "s1-u2", "utt2band"),
            ("speaker added", "s1-u2", "utt2spk"),
            ("rewritten", "", "spk2utt"),
            ("left out", "s2-u1", "wav.scp"),
        ]
    )


def test_ids_get_their_speaker_as_a_prefix(directory):
    write_table("d", "utt2spk", "s1-u1 anna", "s1-u2 anna", "s2-u1 s2", "s2-u2 s2")
    Path("d/spk2utt").unlink()
    assert cli.run(validate.main, ["d", "--fix", "f", "--strict", "true"]) == 1  # warnings of d
    assert [item.utt_id for item in read_directory("f")] == [
        "anna-s1-u1",
        "anna-s1-u2",
        "s2-u1",
        "s2-u2",
    ]
    assert [row["after"] for row in changes("f") if row["change"] == "renamed"] == [
        "anna-s1-u1",
        "anna-s1-u2",
    ]
    assert run_validate("f", "--strict", "true") == (0, [])


def test_repeated_identical_rows_count_once(directory):
    with open("d/wav.scp", "a") as handle:
        handle.write("s2-u2 d/s2-u2.wav\n")
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 0
    assert len(read_directory("f")) == 4


def test_copy_without_utterances_is_an_error(directory, capsys):
    for path in Path("d").glob("*.wav"):
        path.unlink()
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 1
    error = capsys.readouterr().err
    assert "no utterance can be kept" in error and "espnet-ext validate" not in error
    assert cli.run(validate.main, ["d", "--fix", "d"]) == 1
    assert "both input and output" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        validate.main(["d", "e", "--fix", "f"])
    assert stop.value.code == 2


LINES = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([*IDS, "s1-u1", "x", "a/b", ""]),
            st.sampled_from(
                [
                    "s1",
                    "s2",
                    "",
                    "국물",
                    "<na>",
                    "a <na>",
                    "\u1100",
                    " ",
                    "e\u0301",
                    "narrow",
                    "x.wav",
                    "a\x07",
                    "a\u2028b",
                    "s1 s2",
                ]
            ),
        ).map(lambda pair: " ".join(pair).encode()),
        st.binary(max_size=12),
    ),
    max_size=6,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "wav.scp",
                "utt2spk",
                "spk2utt",
                "text.surface",
                "text.meaning",
                "utt2band",
                "utt2lang",
            ]
        ),
        LINES,
        min_size=1,
        max_size=3,
    )
)
def test_copy_of_any_tables_is_valid_and_lists_every_loss(tmp_path_factory, tables):
    folder = make_directory(tmp_path_factory.mktemp("p") / "d")
    for name, lines in tables.items():
        (folder / name).write_bytes(b"\n".join(lines))
    checked = check_directory(folder, CheckOptions(check_audio=False))
    target = folder.parent / "f"
    ids = set(checked.ids)
    try:
        changes = fix_directory(checked, target)
    except UserError as error:
        assert error.remedy and not (target / "wav.scp").exists()
        _, changes = repair(checked)
        kept = set()
    else:
        copy = check_directory(target, CheckOptions(check_audio=False))
        assert copy.errors == []
        renamed = {item.after: item.utt_id for item in changes if item.what == "renamed"}
        kept = {renamed.get(item.utt_id, item.utt_id) for item in read_directory(target)}
    lost = {item.utt_id for item in changes if item.what in ("left out", "row left out")}
    assert kept | lost >= ids


# -- policies


def run_stage(command, target, *options):
    return cli.run(command.main, ["--input", "d", "--output", target, *options])


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A directory of 40 utterances, one with damaged audio and one with an empty transcript."""
    monkeypatch.chdir(tmp_path)
    ids = [f"s{n % 2 + 1}-{n:03}" for n in sorted(range(40), key=lambda n: (n % 2, n))]
    make_directory("d", ids)
    Path("d", f"{ids[5]}.wav").write_bytes(b"no sound")
    rows = Path("d/text.meaning").read_text(encoding="utf-8").splitlines()
    write_table("d", "text.meaning", *rows[:7], ids[7], *rows[8:])
    return ids


@pytest.mark.parametrize("command", [filter, format_audio])
def test_errors_stop_a_stage_by_default(broken, capsys, command):
    assert run_stage(command, "o") == 1
    assert "2 errors" in capsys.readouterr().err
    assert not Path("o/wav.scp").exists()


@pytest.mark.parametrize("command", [filter, format_audio])
def test_skip_and_quarantine_leave_broken_utterances_out(broken, capsys, command):
    for policy in ("skip", "quarantine"):
        assert run_stage(command, policy, "--on_error", policy, "--max_broken", "0.05") == 0
        assert "warning: d: 1 broken utterances left out, 1 with" in capsys.readouterr().err
        kept = read_directory(policy)
        assert [item.utt_id for item in kept] == [key for key in broken if key != broken[5]] or (
            command is filter
            and len(kept) == 38  # an utterance without a transcript is removed too
        )
        listed = Path(policy, "removed_broken.tsv").read_text(encoding="utf-8")
        assert broken[5] in listed and broken[7] in listed and listed.count("\n") == 3
    assert not Path("skip/quarantine").exists()
    quarantine = Path("quarantine/quarantine")
    assert quarantine.joinpath("wav.scp").read_text() == f"{broken[5]} d/{broken[5]}.wav\n"
    assert broken[5] in quarantine.joinpath("findings.txt").read_text()
    soundfile.write(f"d/{broken[5]}.wav", noise(5), RATE)
    Path("d/text.meaning").unlink()
    write_table("d", "text.meaning", *(f"{key} 물" for key in broken))
    assert run_stage(command, "quarantine", "--on_error", "quarantine") == 0
    assert not Path("quarantine/removed_broken.tsv").exists() and not list(quarantine.iterdir())
    assert len(read_directory("quarantine")) == 40


@pytest.mark.parametrize("command", [filter, format_audio])
def test_more_than_max_broken_is_an_error(broken, capsys, command):
    assert run_stage(command, "o", "--on_error", "skip", "--max_broken", "0.04") == 1
    message = capsys.readouterr().err
    assert "2 utterances (5.0 %) are broken, more than the 4 % that may be left out" in message
    assert not Path("o/wav.scp").exists()


@pytest.mark.parametrize(
    ("command", "option"), [(filter, "--no_filter"), (format_audio, "--whole")]
)
def test_sets_to_decode_are_never_reduced(broken, capsys, command, option):
    assert run_stage(command, "o", "--on_error", "skip", option, "true") == 1
    assert "1 error in" in capsys.readouterr().err


def test_audio_damaged_after_its_header_is_skipped(broken):
    soundfile.write("s.flac", noise(1, 2.0), RATE)
    content = Path("s.flac").read_bytes()
    Path(f"d/{broken[0]}.wav").write_bytes(content[:400] + b"\0" * (len(content) - 400))
    options = ["--on_error", "skip", "--max_broken", "0.1", "--copy", "true"]
    assert run_stage(format_audio, "o", *options) == 0
    assert [item.utt_id for item in read_directory("o")] == [
        key for key in broken if key not in (broken[0], broken[5])
    ]
    assert len(Path("o/utt2num_samples").read_text().splitlines()) == 38


def test_ark_is_written_without_its_unreadable_sound(broken):
    soundfile.write("s.flac", noise(1, 2.0), RATE)
    content = Path("s.flac").read_bytes()
    Path(f"d/{broken[0]}.wav").write_bytes(content[:400] + b"\0" * (len(content) - 400))
    options = ["--on_error", "skip", "--max_broken", "0.1", "--audio_format", "flac.ark"]
    assert run_stage(format_audio, "o", *options) == 0
    formatted = read_directory("o")
    assert len(formatted) == 38
    assert all(item.audio.startswith("o/data/audio.1.ark:") for item in formatted)
    assert run_validate("o") == (0, ["no-text"])  # the empty transcript was left out


def test_invalid_max_broken_is_a_usage_error(broken):
    for value in ("2", "-1", "x"):
        with pytest.raises(SystemExit) as stop:
            filter.main(["--input", "d", "--output", "o", "--max_broken", value])
        assert stop.value.code == 2


def test_report_has_all_findings_and_numbers(broken):
    assert run_stage(filter, "o", "--on_error", "skip") == 0
    report = json.loads(Path("o/validation.json").read_text(encoding="utf-8"))
    assert report["utterances"] == 40 and report["seconds"] > 30
    assert {item["severity"] for item in report["findings"]} >= {"error", "note"}


def test_remedies_for_stereo_work_as_printed(directory, capsys):
    for path in Path("d").glob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([samples, samples / 2], axis=1), rate)
    assert cli.run(format_audio.main, ["--input", "d", "--output", "o"]) == 1
    error = capsys.readouterr().err
    assert "--channel mix" in error and "--fix" not in error  # the copy would be empty
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 1
    remedy = re.search(
        r"espnet-ext format_audio (--input d --output \w+ --channel mix)", capsys.readouterr().err
    )
    words = remedy[1].split()
    assert cli.run(format_audio.main, words) == 0
    assert cli.run(validate.main, [words[3]]) == 0


def test_copy_leaves_single_stereo_recordings_out(directory, capsys):
    path = "d/s2-u2.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([samples, samples / 2], axis=1), rate)
    count = len(read_directory("d"))
    assert cli.run(format_audio.main, ["--input", "d", "--output", "o"]) == 1
    assert "espnet-ext validate d" in (error := capsys.readouterr().err) and "--fix DIR" in error
    assert cli.run(validate.main, ["d", "--fix", "f"]) == 0
    assert len(read_directory("f")) == count - 1
