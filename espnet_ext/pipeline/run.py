"""Run the steps of `run.sh`'s stages: one process serves a whole run.

    python -m espnet_ext.pipeline.run --log_dir exp/log …

Each line of standard input, `<limit> <file>`, asks to run the steps of a file (see
`steps.read_steps`), at most `<limit>` of them in parallel. The answer on standard output is a line
`<exit code> <number of steps that ran>`.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.errors import UserError
from espnet_ext.pipeline.launcher import Launcher
from espnet_ext.pipeline.pool import Pool, Stopped, say
from espnet_ext.pipeline.steps import Records, read_steps

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}  # and the exit codes


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--log_dir", type=Path, required=True, help="logs and records of steps")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the commands")
    parser.add_argument("--cores", type=int, default=1, help="processor cores")
    parser.add_argument("--force", default="false", help="run steps that are done, too")
    parser.add_argument("--resume_changed", default="false", help="never move a folder aside")
    parser.add_argument("--cmd", default="local", help="local or slurm")
    for jobs in ("", "cpu_", "gpu_"):
        parser.add_argument(f"--slurm_{jobs}option", action="append", default=[], metavar="WORD")
    args = parser.parse_args(argv)
    records = Records(
        args.log_dir,
        Path(__file__).resolve().parents[2],
        args.python,
        force=args.force == "true",
        resume_changed=args.resume_changed == "true",
    )
    launcher = Launcher(args.cmd, args.slurm_option, args.slurm_cpu_option, args.slurm_gpu_option)
    pool = Pool(records, launcher, args.cores)
    for number, status in SIGNALS.items():
        signal.signal(number, lambda *_, status=status: pool.stop(status))
    while request := sys.stdin.readline():
        limit, _, file = request.rstrip("\n").partition(" ")
        status, count = serve(pool, Path(file), int(limit))
        print(status, count, flush=True)
        if status:
            return status
    return 0


def serve(pool: Pool, file: Path, limit: int) -> tuple[int, int]:
    """Run the steps of a file; return the exit code and how many ran."""
    try:
        return 0, pool.run(read_steps(file), limit)
    except Stopped as stopped:
        return stopped.status, 0
    except UserError as error:
        say(f"error: {error}")
        return 1, 0


if __name__ == "__main__":
    code = main()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (run.sh may have gone)
    sys.exit(code)
