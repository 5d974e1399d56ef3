"""Steps: commands that are skipped when they are done and nothing that they depend on has changed.

A step depends on its command, on the content of its inputs and on the code that it runs. Beside its
log `<log_dir>/<name>.log` lies `<name>.done`: all of these as they were when it was done.
"""

import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from espnet_ext.files import write_text
from espnet_ext.overwriting import records_of
from espnet_ext.pipeline.code import ESPNET, Code
from espnet_ext.pipeline.digests import AUDIO, Digests

# Options that do not affect results. Each takes one value.
NO_RESULT = ("--nj", "--ngpu", "--num_nodes", "--resume_changed", "--overwrite")
VERSION = 1
# What a training writes before its first epoch: no result (`training.diagnostics.START_FILE`)
BEFORE_TRAINING = ("diagnostics_start.pth",)
_EMPTY = hashlib.sha256().hexdigest()
# A training records what it began with in its folder, and compares that when it continues.
COMPARED = "trained_with.json"


@dataclass(frozen=True)
class Step:
    """A command with its inputs and outputs, written in `run.sh` as `step NAME … -- …`."""

    name: str
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()  # files, or folders for the files directly in them
    outputs: tuple[str, ...] = ()  # must exist afterwards
    # Folder of a command that resumes by itself: when its options or data have changed since it
    # began, the folder is moved aside first, or old work would be resumed. If the folder contains
    # COMPARED, the command does this itself.
    owns: str = ""
    show: str = ""  # regular expression: matching lines of the log are shown
    modules: tuple[str, ...] = ()  # modules that the command runs, unless it names them
    launch: bool = False  # may run elsewhere than on this machine
    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    # Of steps that never ran, those with the largest weight start first. Any unit.
    weight: int = 1


_LISTS = {"--in": "inputs", "--out": "outputs", "--code": "modules"}
_TEXTS = {"--owns": "owns", "--show": "show"}
_NUMBERS = {"--cpus": "cpus", "--gpus": "gpus", "--nodes": "nodes", "--weight": "weight"}


def parse_step(words: Sequence[str]) -> Step:
    """Return the step of `NAME [--in PATH] … -- command …`.

    >>> parse_step(["tokens", "--in", "text", "--", "sort", "text"]).command
    ('sort', 'text')
    """
    name, i = words[0], 1
    fields: dict[str, Any] = {}
    while words[i] != "--":
        word = words[i]
        if word == "--launch":
            fields["launch"] = True
            i += 1
            continue
        value = words[i + 1]
        if word in _LISTS:
            fields[_LISTS[word]] = (*fields.get(_LISTS[word], ()), value)
        elif word in _TEXTS:
            fields[_TEXTS[word]] = value
        elif word in _NUMBERS:
            fields[_NUMBERS[word]] = int(value)
        else:
            raise ValueError(f"step {name}: unknown word {word}")
        i += 2
    return Step(name, tuple(words[i + 1 :]), **fields)


def read_steps(path: Path) -> list[Step]:
    """Return the steps of a file: for each, the number of its words, and the words.

    All are followed by a zero byte.
    """
    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
    steps, i = [], 0
    while i < len(words):
        count = int(words[i])
        steps.append(parse_step(words[i + 1 : i + 1 + count]))
        i += 1 + count
    names = [step.name for step in steps]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"steps with the same name: {', '.join(sorted(twice))}")
    return steps


def without_parallelism(command: Sequence[str], python: str) -> str:
    """Return a command as one line, without options that change no result.

    >>> without_parallelism(["/env/bin/python", "-m", "x", "--nj", "4", "--a b"], "/env/bin/python")
    "python -m x '--a b'"
    """
    words = list(command)
    for option in NO_RESULT:
        while option in words:
            i = words.index(option)
            del words[i : i + 2]
    return shlex.join("python" if word == python else word for word in words)


@dataclass
class State:
    """The command of a step, and the digests of its inputs and code, at one time."""

    command: str
    inputs: dict[str, str]  # path → digest
    code: dict[str, str]  # module → digest
    seconds: float = 0.0  # that the step took

    def data_changes(self, before: "State") -> Iterator[str]:
        """Yield a description of each change since an earlier state, except changes of code."""
        if self.command != before.command:
            yield "its options changed"
        for path in sorted(self.inputs.keys() | before.inputs.keys()):
            if path.endswith(AUDIO) and path not in before.inputs:
                continue  # recorded by an earlier version, which ignored audio
            if self.inputs.get(path, "missing") != before.inputs.get(path, "missing"):
                yield f"{path} changed"

    def code_changes(self, before: "State") -> Iterator[str]:
        """Yield the modules that differ from an earlier state."""
        for name in sorted(self.code.keys() | before.code.keys()):
            if name == ESPNET and name not in before.code:
                continue  # recorded by an earlier version, which ignored it
            if self.code.get(name) != before.code.get(name):
                yield name


def summary(changes: Sequence[str], count: int = 1, noun: str = "") -> str:
    """Return the first changes and how many more there are; `noun` says what they are.

    >>> summary(["a", "b", "c"])
    'a and 2 more'
    >>> summary(["its options changed", "b changed"], noun="change")
    'its options changed, and 1 more change'
    """
    more = f" and {len(changes) - count} more" if len(changes) > count else ""
    if more and noun:
        more = f",{more} {noun}{'s' * (len(changes) - count > 1)}"
    return ", ".join(changes[:count]) + more


@dataclass
class Decision:
    """What to do with a step."""

    run: bool
    state: State
    reason: str = ""  # why a step that was done runs again
    notes: list[str] = field(default_factory=list)  # for the reader


class Records:
    """The records of steps in a log directory, and decisions that follow from them."""

    def __init__(
        self,
        log_dir: Path,
        root: Path,
        python: str,
        *,
        force: bool = False,
        resume_changed: bool = False,
    ):
        self.log_dir = log_dir
        self.python = python
        self.force = force
        self.resume_changed = resume_changed
        self.digests = Digests(log_dir / "digests.json")
        self.code = Code(root, self.digests)
        # Name of a step → its folder, the new name of that folder, and when it had begun
        self._moved: dict[str, tuple[Path, Path, State]] = {}

    def log(self, step: Step) -> Path:
        return self.log_dir / f"{step.name}.log"

    def state(self, step: Step) -> State:
        """Return the current state of a step."""
        code = self.code.of_command(step.command, step.modules)
        inputs: dict[str, str] = {}
        for path in step.inputs:
            inputs.update(self.digests.of(path))
        return State(without_parallelism(step.command, self.python), inputs, code)

    def decide(self, step: Step) -> Decision:
        """Return whether a step must run.

        A finished training is kept if only its code changed, because it may have taken days. A
        note says so in every run, until `--force true` trains again.
        """
        now = self.state(step)
        before = self._read(step, "done")
        if self.force or before is None:
            return Decision(True, now)
        if lost := missing(step):
            return Decision(True, now, f"{summary(lost)} is missing or empty")
        if changes := list(now.data_changes(before)):
            return Decision(True, now, summary(changes, noun="change"))
        if modules := list(now.code_changes(before)):
            text = f"code changed: {summary(modules)}"
            if not step.owns:
                return Decision(True, now, text)
            note = f"note: kept, though its {text} (--force true starts again)"
            return Decision(False, now, notes=[note])
        return Decision(False, now, notes=self._notes_on_edited(step))

    def _notes_on_edited(self, step: Step) -> list[str]:
        """Return a note on outputs that were edited since the step wrote them."""
        edited = [
            path
            for path, digest in recorded_outputs(step)
            if digest and not path.endswith(".yaml") and self.digests.of_file(path) != digest
        ]
        if not edited:
            return []
        return [
            f"note: kept, though edited since: {summary(edited, 3)} (--force true --overwrite true "
            "writes it again)"
        ]

    def seconds(self, step: Step) -> float | None:
        """Return how long a step took when it was last done."""
        before = self._read(step, "done")
        return before.seconds if before else None

    def begin(self, step: Step, state: State) -> list[str]:
        """Mark a step as not done; move its folder aside if options or data changed since it began.

        Returns:
            Notes for the reader.
        """
        self._path(step, "done").unlink(missing_ok=True)
        if not step.owns:
            return []
        notes = []
        before = self._read(step, "begun")
        folder = Path(step.owns).resolve()  # it may be a link, see --asr_exp
        if (folder / COMPARED).exists() and not self.force:
            pass  # the command compares, and renames the folder itself
        elif before is not None and folder.exists():
            changes = ["--force"] if self.force else list(state.data_changes(before))
            modules = list(state.code_changes(before))
            if changes and not self.resume_changed:
                aside = _unused(f"{folder}.before-{time.strftime('%Y%m%d-%H%M%S')}")
                folder.rename(aside)
                self._moved[step.name] = (folder, aside, before)
                if Path(step.owns).is_symlink():
                    folder.mkdir()
                why = summary(changes, noun="change")
                notes.append(f"starting again, since {why}; the old folder is {aside}")
            elif changes or modules:
                what = summary(changes or [f"code changed: {summary(modules)}"])
                notes.append(f"note: resuming, though {what} since it began")
        elif folder.exists() and self._path(step, "begun").exists():
            notes.append("note: resuming work that an earlier version of this pipeline began")
        self._write(step, "begun", state)
        return notes

    def undo_begin(self, step: Step) -> str:
        """Move the folder of a failed step back if the step made no weights; return a note.

        This happens after a mistyped option, for example.
        """
        if step.name not in self._moved:
            return ""
        folder, aside, before = self._moved.pop(step.name)
        if any(path.name not in BEFORE_TRAINING for path in folder.glob("*.pth")):
            return ""
        try:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        except OSError:
            return ""
        self._write(step, "begun", before)
        return f"note: the old folder is back in {folder}, as nothing was trained"

    def finish(self, step: Step, state: State, seconds: float) -> None:
        """Record that a step is done.

        The record is of the state before the step ran. An input that changed meanwhile is noticed
        by the next run.
        """
        self._write(step, "done", State(state.command, state.inputs, state.code, round(seconds, 1)))

    def _path(self, step: Step, kind: str) -> Path:
        return self.log_dir / f"{step.name}.{kind}"

    def _read(self, step: Step, kind: str) -> State | None:
        """Return a recorded state; None without one, or for one of another version."""
        try:
            saved = json.loads(self._path(step, kind).read_text(encoding="utf-8"))
            if saved.pop("version") == VERSION:
                return State(**saved)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            pass
        return None

    def _write(self, step: Step, kind: str, state: State) -> None:
        saved = {"version": VERSION, **vars(state)}
        write_text(self._path(step, kind), json.dumps(saved, indent=0) + "\n")


def missing(step: Step) -> list[str]:
    """Return the outputs of a step that do not exist, or that were emptied.

    A command that records what it writes has further outputs, for example `text.meaning` beside
    `decode.json`.
    """
    lost = [path for path in step.outputs if not Path(path).exists()]
    for path, digest in recorded_outputs(step):
        file = Path(path)
        if not file.exists() or (file.stat().st_size == 0 and digest not in ("", _EMPTY)):
            lost.append(path)
    return list(dict.fromkeys(lost))


def recorded_outputs(step: Step) -> Iterator[tuple[str, str]]:
    """Yield (path, SHA-256) of what the step's command recorded as written with an output."""
    for output in step.outputs:
        folder, name = os.path.split(output)
        for files in records_of(folder or "."):
            if name in files:
                yield from ((os.path.join(folder, file), sha) for file, sha in files.items())


def _unused(path: str) -> Path:
    number = 0
    while Path(f"{path}{'-' * bool(number)}{number or ''}").exists():
        number += 1
    return Path(f"{path}{'-' * bool(number)}{number or ''}")
