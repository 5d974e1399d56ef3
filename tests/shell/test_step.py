"""local/step.sh: what is skipped, what is done again, and what a failure leaves behind."""

import os
import shutil
import time

import pytest

START = '. "$LOCAL/step.sh"\nlog_dir=log\n'
COPY = START + 'step copy --in in --out out -- bash -c "cat in/* >out; echo ran >>runs"\n'


@pytest.fixture
def runs(bash, tmp_path):
    """Call the copying step; returns how often its command has run so far."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("one\n")

    def count(script: str = COPY, **environment: str) -> int:
        done = bash(script, **environment)
        assert done.returncode == 0, done.stderr
        return len((tmp_path / "runs").read_text().splitlines())

    return count


def test_done_and_unchanged_is_skipped(runs):
    assert [runs(), runs(), runs()] == [1, 1, 1]


def test_same_content_with_a_new_date_is_skipped(runs, tmp_path):
    runs()
    (tmp_path / "in" / "a").write_text("one\n")
    assert runs() == 1


def test_new_content_added_and_removed_files_count(runs, tmp_path):
    runs()
    (tmp_path / "in" / "a").write_text("two\n")
    assert runs() == 2
    (tmp_path / "in" / "b").write_text("three\n")
    assert runs() == 3
    (tmp_path / "in" / "b").unlink()
    assert runs() == 4


def test_an_older_file_moved_into_place_counts(runs, tmp_path):
    old = tmp_path / "old"
    old.write_text("old\n")
    os.utime(old, (1, 1))
    runs()
    time.sleep(0.05)
    shutil.move(old, tmp_path / "in" / "a")
    assert runs() == 2


def test_a_lost_output_and_another_command_count(runs, tmp_path):
    runs()
    (tmp_path / "out").unlink()
    assert runs() == 2
    assert runs(COPY.replace("echo ran", "echo really ran")) == 3
    assert runs(COPY.replace("log_dir=log", "log_dir=log force=true")) == 4


def test_an_input_that_changes_meanwhile_is_noticed(runs):
    changing = COPY.replace("cat in/* >out", "cat in/* >out; echo more >>in/a")
    assert runs(changing) == 1
    assert runs(changing) == 2


def test_a_failure_keeps_its_code_its_log_and_no_mark(bash, tmp_path):
    done = bash(START + 'step sub/bad -- bash -c "echo the reason; exit 7"\n')
    assert done.returncode == 7 and "the reason" in done.stderr and "log/sub/bad.log" in done.stderr
    assert not (tmp_path / "log/sub/bad.done").exists()
    first = (tmp_path / "log/sub/bad.log").read_text().splitlines()[0]
    assert first.startswith("bash -c")


def test_a_command_that_makes_nothing_is_not_believed(bash):
    done = bash(START + "step idle --out never -- true\n")
    assert done.returncode == 1 and "did not make all of: never" in done.stderr
    done = bash(START + "step half --out made --out never -- touch made\n")
    assert "did not make all of: never\n" in done.stderr and "remedy:" in done.stderr


def test_progress_is_shown_and_the_rest_is_logged(bash, tmp_path):
    lines = "x: 3/9 utt, 4 s, about 8 s left\\nnoise\\n"
    done = bash(START + f"step slow -- printf '{lines}'\n")
    assert "slow: x: 3/9 utt" in done.stderr and "noise" not in done.stderr
    assert "noise" in (tmp_path / "log/slow.log").read_text()


def test_notes_and_what_a_step_asks_for_are_shown(bash):
    lines = "warning: few\\nnote: old\\nplain: split\\n  removed 3: x\\nerror: bad\\nnoise\\n"
    done = bash(START + f"step a --show '^[a-z]+: |^  removed ' -- printf '{lines}'\n")
    said = done.stderr.splitlines()
    shown = ("warning: few", "note: old", "plain: split", "removed 3: x")
    assert said == [f"    a: {line}" for line in shown]
    said = bash(START + f"step b -- printf '{lines}'\n").stderr.splitlines()
    assert said == ["    b: warning: few", "    b: note: old"]


def test_a_pool_runs_several_and_fails_with_the_first(bash):
    script = START + "for i in 1 2 3 4; do pool 2 step s$i -- sleep 0.3; done\npool_wait\n"
    assert bash(script + "grep -c '^ran' \"$step_journal\"").stdout.strip() == "4"
    failing = START + 'pool 2 step a -- sleep 20\npool 2 step b -- bash -c "exit 5"\npool_wait\n'
    started = time.monotonic()
    assert bash(failing).returncode == 5
    assert time.monotonic() - started < 15


def test_a_step_that_still_runs_is_not_started_twice(bash):
    if not shutil.which("flock"):
        pytest.skip("needs flock")
    script = START + "(flock 8; sleep 2) 8>>log/s.log &\nsleep 0.3\nstep s -- true\n"
    done = bash("mkdir -p log\n" + script)
    assert done.returncode == 1 and "still going" in done.stderr
