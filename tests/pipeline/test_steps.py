"""Steps: what is skipped, what runs again and why, what a failure leaves behind."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from timing import wait_for

from espnet_ext.data.checks.findings import NOTE, WARNING, Finding, describe
from espnet_ext.errors import UserError
from espnet_ext.pipeline import code, digests
from espnet_ext.pipeline.launcher import Launcher
from espnet_ext.pipeline.pool import Pool, Stopped
from espnet_ext.pipeline.steps import (
    BEFORE_TRAINING,
    COMPARED,
    Records,
    Step,
    parse_step,
    read_steps,
)
from espnet_ext.training.diagnostics import START_FILE

ROOT = Path(__file__).resolve().parents[2]
COPY = 'cat in/* >out; echo ran >>"$RUNS"'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current directory, and a package `espnet_ext` with one module in `code`."""
    module = tmp_path / "code/espnet_ext/tool.py"
    module.parent.mkdir(parents=True)
    module.write_text("x = 1\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    return tmp_path / "work"


def pool(**options) -> Pool:
    return Pool(Records(Path("log"), Path("../code"), sys.executable, **options), Launcher(), 2)


def run(*steps: Step, limit: int = 1, **options) -> int:
    """Run steps as a new process would; returns how many ran."""
    return pool(**options).run(steps, limit)


def bash(name: str, script: str, **options) -> Step:
    return Step(name, ("bash", "-c", script), **options)


@pytest.fixture
def copied(folder):
    """Run the copying step; returns how often its command has run so far."""
    (folder / "in").mkdir()
    (folder / "in/a").write_text("one\n")

    def count(script: str = COPY, **options) -> int:
        run(bash("copy", script, inputs=("in",), outputs=("out",)), **options)
        return len(Path(os.environ["RUNS"]).read_text().splitlines())

    return count


def test_done_and_unchanged_is_skipped(copied):
    assert [copied(), copied(), copied()] == [1, 1, 1]


def test_same_content_with_a_new_date_is_skipped(copied, folder):
    copied()
    (folder / "in/a").write_text("one\n")
    assert copied() == 1


def test_changed_added_and_removed_files_count(copied, folder):
    copied()
    (folder / "in/a").write_text("two\n")
    assert copied() == 2
    (folder / "in/b").write_text("three\n")
    assert copied() == 3
    (folder / "in/b").unlink()
    assert copied() == 4


@pytest.mark.parametrize("remembered", [False, True])
def test_older_file_moved_or_copied_into_place_counts(copied, folder, monkeypatch, remembered):
    """Dates decide nothing: neither of the input nor of the record."""
    if remembered:
        monkeypatch.setattr(digests, "SETTLED", -1.0)
    old = folder / "old"
    old.write_text("old\n")
    os.utime(old, (1, 1))
    copied()
    future = time.time() + 10_000
    os.utime(folder / "log/copy.done", (future, future))
    shutil.copy2(old, folder / "in/a")
    assert copied() == 2
    same_size = folder / "same"
    same_size.write_text("new\n")
    times = (folder / "in/a").stat()
    os.utime(same_size, ns=(times.st_atime_ns, times.st_mtime_ns))
    shutil.move(same_size, folder / "in/a")
    assert copied() == 3


def test_unchanged_files_are_not_read_again(folder, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    (folder / "a").write_text("x")
    memory = digests.Digests(folder / "memory.json")
    first = memory.of_file("a")
    memory.save()
    monkeypatch.setattr(digests, "_content", lambda *_: pytest.fail("read again"))
    assert digests.Digests(folder / "memory.json").of_file("a") == first


def test_file_that_changed_just_now_is_read_again(folder):
    """Two writes within one tick of the clock look the same to stat."""
    (folder / "a").write_text("x")
    memory = digests.Digests(folder / "memory.json")
    memory.of_file("a")
    assert not memory.files


def test_comments_of_yaml_and_reports_in_data_directories_do_not_count(folder):
    (folder / "a.yaml").write_text("# one\nlr: 1\n")
    (folder / "data").mkdir()
    (folder / "data/wav.scp").write_text("u1 x\n")
    step = bash("s", "true", inputs=("a.yaml", "data"))
    assert run(step) == 1
    (folder / "a.yaml").write_text("lr:   1  # two\n")
    (folder / "data/validation.json").write_text("{}")
    assert run(step) == 0
    (folder / "a.yaml").write_text("lr: 2\n")
    assert run(step) == 1
    (folder / "a.yaml").write_text("lr: [\n")  # the command says what is wrong
    assert run(step) == 1
    (folder / "data/utt2l1").write_text("u1 ko\n")
    assert run(step) == 1


def test_audio_replaced_under_the_same_path_counts(folder, monkeypatch):
    """Also with the same size and date; a copy with the same content does not count."""
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    (folder / "data").mkdir()
    (folder / "a.wav").write_bytes(b"one")
    os.utime(folder / "a.wav", (1, 1))
    (folder / "data/wav.scp").write_text("u1\ta.wav\nu2 sox x.sph -t wav - |\nu3 none.wav\n")
    whole = bash("s", "true", inputs=("data",))
    table = bash("t", "true", inputs=("data/wav.scp",))
    assert run(whole, table) == 2 and run(whole, table) == 0
    (folder / "new").write_bytes(b"two")
    os.utime(folder / "new", (1, 1))
    shutil.copy2(folder / "new", folder / "a.wav")
    assert run(whole, table) == 2 and run(whole, table) == 0
    (folder / "new").replace(folder / "a.wav")
    assert run(whole, table) == 0
    (folder / "none.wav").write_bytes(b"three")
    assert run(whole, table) == 2


def test_audio_in_an_ark_or_with_a_decomposed_name_counts(folder):
    names = ("data/a.ark", unicodedata.normalize("NFD", "가.wav"))
    (folder / "data").mkdir()
    (folder / "data/wav.scp").write_text("u1 data/a.ark:12\nu2 가.wav\n")
    step = bash("s", "true", inputs=("data",))
    for name in names:
        (folder / name).write_bytes(b"one")
    run(step)
    for name in names:
        (folder / name).write_bytes(b"two")
        assert run(step) == 1 and run(step) == 0, name


def test_record_of_an_earlier_version_without_audio_is_kept(folder):
    (folder / "data").mkdir()
    (folder / "data/wav.scp").write_text("u1 a.wav\n")
    step = bash("s", "true", inputs=("data",))
    run(step)
    record = json.loads((folder / "log/s.done").read_text())
    del record["inputs"]["data/wav.scp: audio"]
    (folder / "log/s.done").write_text(json.dumps(record))
    assert run(step) == 0


def test_lost_or_emptied_further_output_is_written_again(folder, capfd):
    """decode.json stays, but a transcript that was written with it is lost."""
    (folder / "out").mkdir()
    script = "echo a >out/text.meaning; echo b >out/decode.json; cp mark out/.written_by.json"
    names = {"text.meaning": "a\n", "decode.json": "b\n"}
    record = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in names.items()}
    (folder / "mark").write_text(json.dumps({"decode": record}))
    step = bash("s", script, outputs=("out/decode.json",))
    assert run(step) == 1 and run(step) == 0
    (folder / "out/text.meaning").unlink()
    assert run(step) == 1 and "since out/text.meaning is missing or empty" in capfd.readouterr().err
    (folder / "out/text.meaning").write_text("")
    assert run(step) == 1
    (folder / "out/text.meaning").write_text("edited\n")
    assert run(step) == 0
    assert "kept, though edited since: out/text.meaning" in capfd.readouterr().err
    assert (folder / "out/text.meaning").read_text() == "edited\n"


def test_version_of_espnet_counts(folder, monkeypatch):
    step = Step("lm", ("bash", "-c", "true", "-m", "espnet2.bin.lm_train"))
    assert run(step) == 1 and run(step) == 0
    monkeypatch.setattr(code, "_espnet_version", lambda: "209901")
    assert run(step) == 1


def test_unreadable_input_is_left_to_the_command(folder):
    (folder / "a.yaml").mkdir()
    assert run(bash("s", "true", inputs=("a.yaml", "none"))) == 1


def test_large_files_are_sampled(folder, monkeypatch):
    monkeypatch.setattr(digests, "WHOLE", 1000)
    monkeypatch.setattr(digests, "SAMPLE", 100)
    path = folder / "large"
    path.write_bytes(bytes(10_000))
    os.utime(path, (1, 1))
    first = digests.Digests(folder / "m").of_file("large")
    content = bytearray(10_000)
    content[-1] = 1
    path.write_bytes(content)
    os.utime(path, (1, 1))
    assert digests.Digests(folder / "m").of_file("large") != first


def test_broken_memory_and_records_are_ignored(copied, folder):
    copied()
    (folder / "log/digests.json").write_text("{")
    assert copied() == 1
    (folder / "log/copy.done").write_text("0123 -\nbash\n")  # as an earlier version wrote it
    assert copied() == 2


def test_missing_output_other_command_and_force_count(copied, folder):
    copied()
    (folder / "out").unlink()
    assert copied() == 2
    assert copied(COPY.replace("echo ran", "echo really ran")) == 3
    assert copied(COPY.replace("echo ran", "echo really ran"), force=True) == 4


def test_input_that_changes_while_the_step_runs_is_noticed(copied):
    changing = COPY + "; echo more >>in/a"
    assert copied(changing) == 1
    assert copied(changing) == 2


def test_reason_for_running_again_is_shown_and_logged(copied, folder, capfd):
    copied()
    (folder / "in/a").write_text("two\n")
    copied()
    assert "copy: runs again, since in/a changed" in capfd.readouterr().err
    (folder / "x").write_text("")
    steps = [bash(name, "true", inputs=("x",)) for name in ("one", "two", "three")]
    run(*steps)
    (folder / "x").write_text("x")
    run(*steps)
    assert capfd.readouterr().err == "    one and 2 more: run again, since x changed\n"
    assert "# runs again, since in/a changed" in (folder / "log/copy.log").read_text()


# -- code


def tool(**options) -> Step:
    """A step that runs the module `espnet_ext.tool`."""
    return bash(
        "tool", 'mkdir -p made; echo ran >>"$RUNS"', modules=("espnet_ext.tool",), **options
    )


def change_code(folder: Path) -> None:
    (folder.parent / "code/espnet_ext/tool.py").write_text("x = 2\n")


def test_changed_code_counts(folder, capfd):
    assert [run(tool()), run(tool())] == [1, 0]
    (folder.parent / "code/espnet_ext/tool.py").write_text('"""Says."""\nx = 1  # one\n')
    assert run(tool()) == 0  # comments and docstrings do not
    change_code(folder)
    assert [run(tool()), run(tool())] == [1, 0]
    assert "tool: runs again, since code changed: espnet_ext.tool" in capfd.readouterr().err


def test_finished_training_is_kept_when_its_code_changes(folder, capfd):
    step = tool(owns="made", outputs=("made",))
    assert run(step) == 1
    change_code(folder)
    for _ in range(2):  # each time, until it is trained again
        assert run(step) == 0
        message = capfd.readouterr().err
        assert "kept, though its code changed: espnet_ext.tool (--force true" in message
    assert run(step, force=True) == 1
    assert len(list(folder.glob("made.before-*"))) == 1
    capfd.readouterr()
    assert run(step) == 0 and capfd.readouterr().err == ""


def test_interrupted_training_resumes_with_changed_code(folder, capfd):
    step = tool(owns="made", outputs=("made/model",))
    with pytest.raises(UserError):
        run(step)
    change_code(folder)
    with pytest.raises(UserError):
        run(step)
    assert "resuming, though code changed: espnet_ext.tool since it began" in capfd.readouterr().err
    assert not list(folder.glob("made.before-*"))


def test_training_with_changed_data_moves_its_folder_aside(folder, capfd):
    (folder / "in").write_text("one")
    step = tool(owns="made", outputs=("made",), inputs=("in",))
    run(step)
    (folder / "made/checkpoint").touch()
    (folder / "in").write_text("two")
    assert run(step) == 1
    (aside,) = folder.glob("made.before-*")
    assert (aside / "checkpoint").exists() and not (folder / "made/checkpoint").exists()
    assert f"since in changed; the old folder is {aside}" in capfd.readouterr().err
    (folder / "in").write_text("three")
    assert run(step, resume_changed=True) == 1
    assert len(list(folder.glob("made.before-*"))) == 1


def test_training_that_compares_by_itself_keeps_its_folder(folder):
    """Such as a training with more epochs, which is continued."""
    step = tool(owns="made", outputs=("made",))
    run(step)
    (folder / "made" / COMPARED).touch()
    longer = replace(step, command=(*step.command, "--max_epoch", "9"))
    assert run(longer) == 1 and run(step) == 1 and run(step) == 0
    assert not list(folder.glob("made.before-*"))
    assert run(step, force=True) == 1
    assert len(list(folder.glob("made.before-*"))) == 1


@pytest.mark.parametrize("is_link", [True, False])
def test_folder_of_a_former_training_is_back_if_nothing_was_trained(folder, capfd, is_link):
    """For example because of a mistyped option."""
    if is_link:
        (folder / "elsewhere").mkdir()
        (folder / "made").symlink_to(folder / "elsewhere")
    step = bash(
        "s", "mkdir -p made; touch made/model.pth", owns="made", outputs=("made/model.pth",)
    )
    run(step)
    fail = "mkdir -p made; touch made/log made/diagnostics_start.pth; exit 2"
    mistyped = replace(step, command=("bash", "-c", fail))
    with pytest.raises(Stopped):
        run(mistyped)
    assert "the old folder is back" in capfd.readouterr().err
    assert [path.name for path in (folder / "made").iterdir()] == ["model.pth"]
    assert not list(folder.glob("*.before-*")) and (folder / "made").is_symlink() == is_link
    corrected = replace(step, command=("bash", "-c", "test ! -e made/model.pth && exit 3"))
    with pytest.raises(Stopped) as stopped:  # it still counts as another training
        run(corrected)
    assert stopped.value.status == 3
    interrupted = replace(
        step, command=("bash", "-c", "mkdir -p made; touch made/1epoch.pth; exit 1")
    )
    with pytest.raises(Stopped):
        run(interrupted)
    assert len(list(folder.glob("*.before-*"))) == 1


def test_file_before_the_first_epoch_is_that_of_the_diagnostics():
    assert BEFORE_TRAINING == (START_FILE,)


def test_linked_folder_is_moved_aside_behind_its_link(folder):
    (folder / "elsewhere").mkdir()
    (folder / "made").symlink_to(folder / "elsewhere")
    step = tool(owns="made", outputs=("made",))
    run(step)
    run(step, force=True)
    assert (folder / "made").is_symlink() and len(list(folder.glob("elsewhere.before-*"))) == 1


# -- failures and messages


def test_failure_keeps_exit_code_and_log_and_is_not_done(folder, capfd):
    with pytest.raises(Stopped) as stopped:
        run(bash("sub/bad", "echo the reason; exit 7"))
    message = capfd.readouterr().err
    assert stopped.value.status == 7
    assert "  | the reason" in message and "the end of log/sub/bad.log" in message
    assert not (folder / "log/sub/bad.done").exists()
    assert (
        (folder / "log/sub/bad.log").read_text().startswith("bash -c 'echo the reason; exit 7'\n")
    )


def test_interrupted_step_that_saved_its_state_is_no_failure(capfd):
    with pytest.raises(Stopped) as stopped:
        run(bash("train", "exit 75"))
    assert stopped.value.status == 75
    message = capfd.readouterr().err
    assert "train: interrupted; its state is saved: run the same command" in message
    assert "failed" not in message


def test_killed_command_has_the_exit_code_of_a_shell():
    with pytest.raises(Stopped) as stopped:
        run(bash("killed", "kill -KILL $$"))
    assert stopped.value.status == 137


def test_command_that_does_not_make_its_outputs_is_an_error(folder):
    for script in ("true", "touch made"):
        with pytest.raises(UserError, match="did not make all of: never\n") as error:
            run(bash("idle", script, outputs=("made", "never") if "made" in script else ("never",)))
        assert "log/idle.log" in error.value.remedy


def test_command_that_does_not_exist_is_an_error():
    with pytest.raises(UserError, match="no_such_program: No such file"):
        run(Step("x", ("no_such_program",)))


def test_progress_and_notes_are_shown_and_the_rest_is_logged(folder, capfd):
    lines = (
        "x: 3/9 utt, 4 s, about 8 s left\\nnoise\\nwarning: few\\nnote: old\\nplain: split\\n"
        "  removed 3: x\\nerror: bad\\nepoch 3: good\\n"
        "(trainer:338) INFO: 3/5epoch started. Then\\n"
    )
    run(bash("a", f"printf '{lines}'", show="^[a-z]+: |^  removed "))
    assert capfd.readouterr().err.splitlines() == [
        f"    a: {line}"
        for line in (
            "x: 3/9 utt, 4 s, about 8 s left",
            "warning: few",
            "note: old",
            "plain: split",
            "removed 3: x",
            "epoch 3: good",
            "3/5epoch started. Then",
        )
    ]
    assert "noise" in (folder / "log/a.log").read_text()
    run(bash("b", "printf 'plain: split\\nwarning: few\\n'"))
    assert capfd.readouterr().err == "    b: warning: few\n"


def test_threads_are_shared_by_the_steps_that_run_together(folder, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    for limit, threads in ((1, "2"), (2, "1"), (8, "1")):
        run(bash(f"t{limit}", "echo $OMP_NUM_THREADS >threads"), limit=limit)
        assert (folder / "threads").read_text().strip() == threads


@pytest.mark.parametrize(("chosen", "threads"), [("3", "3"), ("0", "2"), ("many", "2")])
def test_threads_are_those_that_the_user_has_set(folder, monkeypatch, chosen, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", chosen)
    run(bash("t", "echo $OMP_NUM_THREADS $MKL_NUM_THREADS >threads"))
    assert (folder / "threads").read_text().split() == [threads, threads]


# -- several at a time


def test_several_steps_run_together():
    all_four = "until [[ -e s0 && -e s1 && -e s2 && -e s3 ]]; do sleep 0.05; done"
    steps = [bash(f"s{i}", f"touch s{i}; {all_four}") for i in range(4)]
    assert run(*steps, limit=4) == 4


def test_longest_step_starts_first(folder):
    steps = [bash(name, f"echo {name} >>order") for name in ("a", "b")]
    run(*steps)
    record = json.loads((folder / "log/b.done").read_text())
    (folder / "log/b.done").write_text(json.dumps({**record, "seconds": 1000.0}))
    run(*steps, force=True)
    assert (folder / "order").read_text().split() == ["a", "b", "b", "a"]


def test_step_with_the_largest_weight_starts_first_if_none_has_run(folder):
    steps = [bash(name, f"echo {name} >>order") for name in ("single", "dual", "other")]
    run(steps[0], replace(steps[1], weight=2), steps[2])
    assert (folder / "order").read_text().split() == ["dual", "single", "other"]


def test_failure_ends_the_other_steps(folder):
    slow = bash("slow", "trap 'touch ended' TERM; touch ready; sleep 1000 & wait")
    bad = bash("bad", "until [[ -e ready ]]; do sleep 0.05; done; exit 5")
    with pytest.raises(Stopped) as stopped:
        run(slow, bad, limit=2)
    assert stopped.value.status == 5
    assert (folder / "ended").exists() and not (folder / "log/slow.done").exists()


def test_warnings_are_shown_with_one_remedy_and_their_number(folder, capsys):
    findings = [
        Finding(WARNING, "odd", "d/text", line, "", "is odd", "fix it") for line in range(1, 37)
    ]
    findings += [Finding(WARNING, "long", "d/text", 0, "", "is long", f"{i} it") for i in (1, 2)]
    findings += [Finding(NOTE, "none", "d/text", 0, "", "is a note", "none") for _ in (1, 2)]
    lines = "\n".join(["x: warning: w", "  remedy: other", "noise", *describe(findings)])
    Path("lines").write_text(lines + "\n")
    steps = [bash(name, "cat lines", show=": warning: ") for name in ("a", "b")]
    run(*steps)
    shown = [line.strip() for line in capsys.readouterr().err.splitlines()]
    first = [line.removeprefix("a: ").strip() for line in shown if line.startswith("a:")]
    assert first == [
        "x: warning: w",
        *(f"d/text:{n}: warning: is odd [odd]" for n in (1, 2, 3)),
        "remedy: fix it",
        "… and 33 more of [odd]",
        "d/text: warning: is long [long]",
        "remedy: 1 it",
        "d/text: warning: is long [long]",
    ]
    second = [line for line in shown if line.startswith("b:")]
    assert "b:   … and 33 more of [odd]" in second and len(second) == 7
    assert not any("remedy" in line for line in second)  # the remedies were shown


def test_step_that_still_runs_is_not_started_twice(folder):
    (folder / "log").mkdir()
    with open(folder / "log/s.log", "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="an earlier run of this step is still going"):
            run(bash("s", "true"))


def test_command_holds_the_lock_when_its_runner_was_killed(folder):
    """A killed run leaves nothing behind that a second run could collide with unnoticed."""
    code = (
        "import sys; from pathlib import Path\n"
        "from espnet_ext.pipeline import pool, steps, launcher\n"
        "records = steps.Records(Path('log'), Path('../code'), 'python')\n"
        "step = steps.Step('s', ('sleep', '30'))\n"
        "pool.Pool(records, launcher.Launcher(), 1).run([step])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=environment())
    log = folder / "log/s.log"
    wait_for(lambda: log.exists() and "# process" in log.read_text())
    process.kill()
    process.wait()
    with pytest.raises(UserError, match="still going"):
        run(Step("s", ("sleep", "30")))
    number = int(log.read_text().split("# process ")[1].split()[0])
    os.killpg(number, signal.SIGTERM)

    def runs_again() -> bool:
        try:
            return run(bash("s", "true")) == 1
        except UserError:  # the process has not ended yet
            return False

    wait_for(runs_again)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("ending", ["signal", "parent"])
def test_signal_or_the_end_of_run_sh_ends_all_processes_of_all_steps(folder, ending):
    trap = "trap 'touch {0}_ended; exit' TERM; sleep 30 & touch {0}; wait"
    steps = {
        "leader": trap.format("leader"),
        "group": f'bash -c "{trap.format("child")}" & wait',
    }
    words = [[name, "--", "bash", "-c", script] for name, script in steps.items()]
    parts = [part for step in words for part in (str(len(step)), *step)]
    (folder / "steps").write_text("".join(f"{part}\0" for part in parts))
    (folder / "request").write_text("2 steps\n")
    program = f"'{sys.executable}' -m espnet_ext.pipeline.run --log_dir log <request"
    shell = subprocess.Popen(
        ["bash", "-c", f"{program} & echo $! >pid; wait $!"], env=environment()
    )
    wait_for(lambda: (folder / "leader").exists() and (folder / "child").exists())
    if ending == "signal":
        os.kill(int((folder / "pid").read_text()), signal.SIGTERM)
        assert shell.wait(timeout=120) == 143
    else:
        shell.kill()
        shell.wait()
    wait_for(lambda: (folder / "leader_ended").exists() and (folder / "child_ended").exists())


def test_words_of_a_step():
    text = (
        "x --in a --in b --out c --owns d --show e --code f --launch --cpus 2 --gpus 1 -- "
        "cmd --in y"
    )
    step = parse_step(text.split())
    assert (
        step.inputs == ("a", "b")
        and step.outputs == ("c",)
        and step.command
        == (
            "cmd",
            "--in",
            "y",
        )
    )
    assert (step.owns, step.show, step.modules) == ("d", "e", ("f",))
    assert (step.launch, step.cpus, step.gpus) == (True, 2, 1)
    with pytest.raises(ValueError, match="unknown word --inn"):
        parse_step(["x", "--inn", "a", "--", "true"])


def test_steps_with_the_same_name_are_refused(folder):
    (folder / "steps").write_text("3\0a\0--\0true\0" * 2)
    with pytest.raises(ValueError, match="same name: a"):
        read_steps(folder / "steps")
