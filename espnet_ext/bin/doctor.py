"""Check the environment: Python, PyTorch, ESPnet, GPU, disk, audio, extras, hub; with remedies."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from espnet_ext.bin import cli
from espnet_ext.progress import say

MAX_PARALLEL = 4  # checks at a time; each process with PyTorch takes a few hundred MB


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(f"{__doc__} Exit code 1 if something that is needed is broken.")
    parser.add_argument("--json", default=None, metavar="FILE", help="also write the findings")
    parser.add_argument(
        "--hub_timeout",
        type=float,
        default=3.0,
        help="seconds to wait for the Hugging Face hub; 0: do not ask it",
    )
    args = parser.parse_args(argv)
    if args.hub_timeout < 0:
        parser.error("--hub_timeout must be 0 or more")

    from espnet_ext.files import read_json, write_text
    from espnet_ext.overwriting import require_result_file
    from espnet_ext.pipeline import doctor

    if args.json:
        require_result_file(args.json, lambda path: doctor.is_report(read_json(path)))
    findings = []
    say("importing PyTorch, ESPnet and the optional packages, which can take a minute or more")
    # Checks wait for their processes, so threads are enough. Findings are printed in order.
    executor = ThreadPoolExecutor(min(MAX_PARALLEL, max(2, os.cpu_count() or 1)))
    try:
        for finding in executor.map(lambda check: check(), doctor.checks(args.hub_timeout)):
            findings.append(finding)
            print(finding, flush=True)
    finally:
        executor.shutdown(cancel_futures=True)
    print(f"\n{doctor.summary(findings)}")
    if args.json:
        write_text(args.json, doctor.to_json(findings) + "\n")
    return int(any(finding.state == doctor.PROBLEM for finding in findings))


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
