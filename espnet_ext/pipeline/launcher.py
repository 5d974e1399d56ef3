"""Where a step's command runs: on this machine, or as one slurm job that is waited for."""

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from espnet_ext.pipeline.steps import Step

SUBMISSION = 10.0  # seconds within which sbatch prints the number of a job


@dataclass(frozen=True)
class Launcher:
    """How steps are launched.

    The options are those of `sbatch`: for all jobs, for jobs without a GPU, for jobs with one.
    ESPnet's recipes have them in cmd.sh and conf/slurm.conf; here they are options of run.sh.
    """

    cmd: str = "local"  # or slurm
    slurm_options: Sequence[str] = ()
    slurm_cpu_options: Sequence[str] = ()
    slurm_gpu_options: Sequence[str] = ()

    def start(self, step: Step, log: BinaryIO, environment: dict[str, str]) -> "Job":
        """Start a step's command. Its output is appended to the log, which it keeps open."""
        if not (step.launch and self.cmd == "slurm"):
            return Job(_start(step.command, log, log, environment))
        base = Path(log.name.removesuffix(".log"))
        script, job_id = base.with_name(base.name + ".sbatch"), base.with_name(base.name + ".job")
        script.write_text(
            "#!/usr/bin/env bash\nset -euo pipefail\n"
            f"cd {shlex.quote(str(Path.cwd()))}\n"
            "export SLURM_KILL_BAD_EXIT=1  # if a process fails, srun ends the others\n"
            f"{shlex.join(['srun', *step.command])}\n",
            encoding="utf-8",
        )
        with open(job_id, "wb") as output:
            command = self.sbatch(step, log.name, str(script))
            return SlurmJob(_start(command, output, log, environment), job_id)

    def sbatch(self, step: Step, log: str, script: str) -> list[str]:
        """Return the command that submits a step, waits for it and exits with its exit code.

        `--parsable` prints the job's number as soon as it is queued.
        """
        return [
            *("sbatch", "--parsable", "--wait", "--job-name", step.name.replace("/", ".")),
            *("--output", log, "--open-mode", "append"),
            *("--nodes", str(step.nodes), "--ntasks-per-node", "1"),
            *("--cpus-per-task", str(step.cpus)),
            *(("--gpus-per-node", str(step.gpus)) if step.gpus else ()),
            *self.slurm_options,
            *(self.slurm_gpu_options if step.gpus else self.slurm_cpu_options),
            script,
        ]


def _start(
    command: Sequence[str], stdout: BinaryIO, stderr: BinaryIO, environment: dict[str, str]
) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        start_new_session=True,  # a process group, so that a signal reaches all that it starts
    )


class Job:
    """A running command."""

    def __init__(self, process: subprocess.Popen):
        self.process = process

    def status(self) -> int | None:
        """Return the exit code as a shell gives it, or None while the command runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def stop(self, signal: int) -> None:
        """Send a signal to all processes of the command."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal)


class SlurmJob(Job):
    """A command that runs as a slurm job; the process is `sbatch --wait`."""

    def __init__(self, process: subprocess.Popen, job_id: Path):
        super().__init__(process)
        self.job_id = job_id

    def stop(self, signal: int) -> None:
        """Cancel the job, and end sbatch.

        A job that is just being submitted has no number yet, and would stay in the queue.
        """
        deadline = time.monotonic() + SUBMISSION
        while not (number := self._number()) and self.process.poll() is None:
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if number:
            subprocess.run(["scancel", number], check=False)
        super().stop(signal)

    def _number(self) -> str:
        """Return the number of the job; "" until sbatch has printed it with the end of its line."""
        line, end, _ = self.job_id.read_text(encoding="utf-8").partition("\n")
        return line.partition(";")[0].strip() if end else ""
