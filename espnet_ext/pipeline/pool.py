"""Run steps, several at a time: logs, progress for the reader, failures and signals."""

import contextlib
import fcntl
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from espnet_ext.errors import UserError
from espnet_ext.pipeline.launcher import Job, Launcher
from espnet_ext.pipeline.remedies import translations
from espnet_ext.pipeline.steps import Decision, Records, Step, missing, summary

INTERVAL = 0.05  # seconds between looks at the running steps
# Seconds that a step has to end by itself when it is stopped: a training finishes its update and
# saves its state. Slurm allows 30 s.
PATIENCE = 25.0
INTERRUPTED = 75  # exit code of a step that saved its state (`errors.Interrupted`)
LAST_LINES = 15  # of a log, shown for a failed step

_PROGRESS = re.compile(r"(warning: |note: |epoch [0-9]+)|.* left$")
# How `data.checks.findings.describe` prints a finding, its remedy, and how many more there are.
_FINDING = re.compile(r".*: (error|warning|note): .* \[(?P<code>[a-z0-9-]+)\]$")
_REMEDY = "  remedy: "
_MORE = re.compile(r"  … and [0-9]+ more of \[(?P<code>[a-z0-9-]+)\]$")
_EPOCH = re.compile(r".*\(trainer:[0-9]+\) INFO: ([0-9]+/[0-9]+epoch started.*)")


def say(line: str) -> None:
    """Print a line for the reader, on standard error.

    A reader that has ended, such as a pager, stops no step: the logs have everything.
    """
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def shown(line: str, show: str) -> str | None:
    """Return the part of a log line that is shown to the user, or None.

    Shown are warnings, notes, progress, the beginning of ESPnet's epochs, and lines that match the
    step's own pattern.

    >>> shown("[host] 2026-11-25 (trainer:338) INFO: 2/5epoch started. Estimated", "")
    '2/5epoch started. Estimated'
    """
    if line.startswith("error: "):  # shown when the step has failed
        return None
    if _PROGRESS.match(line):
        return line
    if show and re.search(show, line):
        return line.lstrip(" ")
    match = _EPOCH.match(line)
    return match[1] if match else None


class Excerpt:
    """The lines of a step's log that are shown to the user, in order.

    After the warnings of a kind come their first remedy, unless it was shown before, and how many
    more there are in the log.

    Args:
        show: the step's own pattern of lines to show.
        remedies: those that were shown, of any step; this adds to them.
    """

    def __init__(self, show: str, remedies: set[str]):
        self.show = show
        self.remedies = remedies
        self.code = ""  # kind of the last shown findings
        self.needs_remedy = False  # of that kind, none was shown

    def line(self, line: str) -> str | None:
        """Return what is shown of the next line, or None.

        >>> excerpt = Excerpt(": warning: ", set())
        >>> lines = ["d/text:1: warning: odd [x]", "  remedy: fix it", "  … and 2 more of [x]"]
        >>> [excerpt.line(line) for line in lines]
        ['d/text:1: warning: odd [x]', '  remedy: fix it', '  … and 2 more of [x]']
        """
        if line.startswith(_REMEDY):
            is_new = self.needs_remedy and line not in self.remedies
            self.needs_remedy = False
            self.remedies.update([line] if is_new else [])
            return line if is_new else None
        if more := _MORE.match(line):
            return line if more["code"] == self.code else None
        text = shown(line, self.show)
        finding = _FINDING.match(line)
        code = finding["code"] if finding and text else ""
        if code != self.code or not finding:
            self.code, self.needs_remedy = code, bool(code)
        return text


class Running:
    """A running step: its job, its log, and the position up to which the log was shown."""

    def __init__(self, step: Step, decision: Decision, log: BinaryIO, job: Job, remedies: set[str]):
        self.step = step
        self.decision = decision
        self.log = log
        self.job = job
        self.started = time.monotonic()
        self.reader = open(log.name, "rb")  # noqa: SIM115  (closed by `close`)
        self.unfinished = b""
        self.excerpt = Excerpt(step.show, remedies)

    def show_progress(self) -> None:
        """Show new lines of the log that are for the reader."""
        *lines, self.unfinished = (self.unfinished + self.reader.read()).split(b"\n")
        for line in lines:
            if text := self.excerpt.line(line.decode("utf-8", "replace")):
                say(f"    {self.step.name}: {text}")

    def close(self) -> None:
        self.reader.close()
        self.log.close()


class Pool:
    """Runs steps, at most `limit` at a time.

    Args:
        records: Decides which steps are done.
        launcher: Starts their commands.
        cores: Processor cores, shared by the steps that run together, unless OMP_NUM_THREADS says
            how many threads each step has.
    """

    def __init__(self, records: Records, launcher: Launcher, cores: int):
        self.records = records
        self.launcher = launcher
        self.cores = cores
        self.running: list[Running] = []
        self.remedies: set[str] = set()  # lines that were shown
        self.stop_status = 0  # exit code after a signal
        self.parent = os.getppid()

    def stop(self, status: int) -> None:
        """End everything soon; a signal handler may call this."""
        self.stop_status = status

    def run(self, steps: Sequence[Step], limit: int = 1) -> int:
        """Run the steps that are not done. Longer ones start first.

        How long a step takes is known if it ran before. The others start first of all, in order of
        their weights.

        Returns:
            How many steps ran.

        Raises:
            Stopped: A step failed or a signal came; all other steps have ended.
        """
        decisions = [(step, self.records.decide(step)) for step in steps]
        for step, decision in decisions:
            for note in decision.notes:
                say(f"    {step.name}: {note}")
        waiting = [(step, decision) for step, decision in decisions if decision.run]
        _show_reasons(waiting)
        count = len(waiting)
        seconds = {step.name: self.records.seconds(step) for step, _ in waiting}
        waiting.sort(key=lambda item: (-(seconds[item[0].name] or float("inf")), -item[0].weight))
        try:
            self._run(waiting, limit, _environment(self.cores // limit))
        finally:
            self._stop_all()
            self.records.digests.save()
        return count

    def _run(
        self, waiting: list[tuple[Step, Decision]], limit: int, environment: Mapping[str, str]
    ) -> None:
        while waiting or self.running:
            if os.getppid() != self.parent:  # run.sh was killed
                self.stop_status = 129
            if self.stop_status:
                raise Stopped(self.stop_status)
            while waiting and len(self.running) < limit:
                step, decision = waiting.pop(0)
                self.running.append(self._start(step, decision, environment))
            time.sleep(INTERVAL)
            for running in list(self.running):
                code = running.job.status()
                running.show_progress()
                if code is not None:
                    self.running.remove(running)
                    self._finish(running, code)

    def _start(self, step: Step, decision: Decision, environment: Mapping[str, str]) -> Running:
        path = self.records.log(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = open(path, "ab")  # noqa: SIM115  (the command holds it while it runs)
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.close()
            raise UserError(
                f"{step.name}: an earlier run of this step is still going",
                f"wait for it, or end it ({path} names its process)",
            ) from None
        except OSError:  # a file system without locks
            pass
        notes = self.records.begin(step, decision.state)
        for note in notes:
            say(f"    {step.name}: {note}")
        if decision.reason:
            notes.append(f"runs again, since {decision.reason}")
        log.truncate(0)
        place = f"in {os.getcwd()}, on {os.uname().nodename}, {time.strftime('%F %T')}"
        lines = [shlex.join(step.command), f"# {place}", *(f"# {note}" for note in notes)]
        header = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        log.write(header)
        log.flush()
        names = {"step_name": step.name, "step_log": str(path)}
        try:
            job = self.launcher.start(step, log, {**environment, **names})
        except OSError as error:
            raise UserError(f"{step.name}: {step.command[0]}: {error.strerror}", "") from None
        log.write(f"# process {job.process.pid}\n".encode())
        log.flush()
        running = Running(step, decision, log, job, self.remedies)
        running.reader.seek(len(header))
        return running

    def _finish(self, running: Running, status: int) -> None:
        step = running.step
        running.close()
        if status == INTERRUPTED:
            say(f"{step.name}: interrupted; its state is saved: run the same command to continue")
            raise Stopped(status)
        if status:
            lines = Path(running.log.name).read_bytes().decode("utf-8", "replace").splitlines()
            shown_lines = [f"  | {line}" for line in lines[-LAST_LINES:]]
            head = f"error: {step.name} failed (exit code {status}); the end of {running.log.name}:"
            hints = [f"  {hint}" for hint in translations(step.command, lines[-LAST_LINES:])]
            note = self.records.undo_begin(step)
            say("\n".join([head, *shown_lines, *hints, *([f"  {note}"] if note else [])]))
            raise Stopped(status)
        if lost := missing(step):
            raise UserError(
                f"{step.name} ended well but did not make all of: {' '.join(lost)}",
                f"see in {running.log.name} what it made instead, and correct the names",
            )
        self.records.finish(step, running.decision.state, time.monotonic() - running.started)

    def _stop_all(self) -> None:
        """End all running steps with all their processes."""
        for running in self.running:
            running.job.stop(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while self.running and time.monotonic() < deadline:
            active = [running for running in self.running if running.job.status() is None]
            for running in self.running:
                running.show_progress()
            self.running = active
            time.sleep(INTERVAL)
        for running in self.running:
            running.job.stop(signal.SIGKILL)
            running.job.process.wait()
        self.running = []


def _show_reasons(waiting: Sequence[tuple[Step, Decision]]) -> None:
    """Show why steps that were done run again: one line per reason."""
    names: dict[str, list[str]] = {}
    for step, decision in waiting:
        if decision.reason and not step.owns:  # `begin` has notes on a folder that a step owns
            names.setdefault(decision.reason, []).append(step.name)
    for reason, steps in names.items():
        verb = "runs" if len(steps) == 1 else "run"
        say(f"    {summary(steps)}: {verb} again, since {reason}")


class Stopped(Exception):
    """A step failed, or a signal came; `status` is the exit code."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def _environment(threads: int) -> dict[str, str]:
    """Return the environment of steps: threads by the user's OMP_NUM_THREADS, else this number."""
    chosen = os.environ.get("OMP_NUM_THREADS", "")
    each = chosen if chosen.isdecimal() and int(chosen) > 0 else str(max(1, threads))
    return {**os.environ, "OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each}
