"""Commands continue if the reader of their standard error ends, or if they have none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from espnet_ext import progress

sys.path.insert(0, str(Path(__file__).parent))
import tiny_recipe  # noqa: E402

TALK = """
import sys, time
from espnet_ext.bin import cli
from espnet_ext.progress import say, track

def main(argv=None):
    for _ in range(3):
        say("a line")
        print("a line of output")
        print("a message of a library", file=sys.stderr, flush=True)
        time.sleep(0.1)
    assert sum(track(range(5), "adding")) == 10
    print("result", file=open({path!r}, "w"))

sys.exit(cli.run(main, []))
"""


def run(path, **options):
    command = [sys.executable, "-c", TALK.format(path=str(path))]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, **options)


def test_command_survives_the_end_of_the_reader_of_its_messages(tmp_path):
    process = run(tmp_path / "out", stderr=subprocess.PIPE)
    process.stderr.close()
    assert process.wait(60) == 0
    assert (tmp_path / "out").read_text() == "result\n"


def test_command_survives_the_end_of_the_reader_of_its_output(tmp_path):
    """It does all of its work: exit code 0 must not hide results that are missing."""
    command = [sys.executable, "-u", "-c", TALK.format(path=str(tmp_path / "out"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert (tmp_path / "out").read_text() == "result\n"


def test_endless_output_ends_with_its_reader():
    """`yes … | espnet-ext g2p - - | head`."""
    command = 'yes "a cat" | "$0" -m espnet_ext.bin.g2p --lang en - - | head -1'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, timeout=60)
    assert done.stdout == b"AH K AE T\n" and done.stderr == b""


@pytest.mark.manual
def test_training_survives_the_end_of_the_readers_of_its_log(tmp_path):
    recipe = tiny_recipe.make(tmp_path)
    recipe.train(exp="first", options=["--max_epoch", "1"])  # writes the configurations
    command = [sys.executable, "-m", "espnet_ext.bin.train", *recipe.arguments("exp")]
    process = subprocess.Popen(
        [*command, "--", "--max_epoch", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    process.stderr.close()
    assert process.wait(300) == 0
    assert (tmp_path / "exp/train.json").exists()


def test_command_without_standard_error(tmp_path):
    """The file that is opened next must not receive the messages."""
    script = tmp_path / "talk.py"
    script.write_text(TALK.format(path=str(tmp_path / "out")))
    command = ["bash", "-c", 'exec "$0" "$1" 2>&-', sys.executable, str(script)]
    assert subprocess.run(command, timeout=60).returncode == 0
    assert (tmp_path / "out").read_text() == "result\n"


def test_bar_survives_the_end_of_its_reader(monkeypatch):
    """tqdm writes through the same guard."""
    reader, writer = os.pipe()
    saved = os.dup(2)
    try:
        os.dup2(writer, 2)
        os.close(writer)
        with open(2, "w", closefd=False) as stderr:
            monkeypatch.setattr(sys, "stderr", _Terminal(stderr))
            monkeypatch.setattr(progress, "_SILENT_SECONDS", 0)
            os.close(reader)
            assert sum(progress.track(range(3), "adding")) == 3
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class _Terminal:
    def __init__(self, stream):
        self.stream = stream

    def isatty(self):
        return True

    def __getattr__(self, name):
        return getattr(self.stream, name)
