"""Check data directories and list everything that is wrong with them."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser(__doc__)
    options.add_argument("directories", nargs="+", metavar="DIR", help="data directory")
    options.add_argument("--json", help="write the findings to this file too")
    options.add_argument("--sample_rate", type=int, help="rate in Hz that all audio must have")
    options.add_argument(
        "--outputs", type=cli.words, default=[], help="outputs that must have transcripts"
    )
    options.add_argument(
        "--check_audio", type=cli.boolean, default=True, help="look at sound headers"
    )
    options.add_argument(
        "--read_samples", type=cli.boolean, default=False, help="decode all audio: slow, thorough"
    )
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    chosen = options.parse_args(argv)

    from espnet_ext import files
    from espnet_ext.data.findings import as_json, describe
    from espnet_ext.data.validate import check_directory
    from espnet_ext.errors import UserError

    failed = False
    report = []
    for directory in chosen.directories:
        try:
            check = check_directory(
                directory,
                sample_rate=chosen.sample_rate,
                check_audio=chosen.check_audio,
                outputs=chosen.outputs,
                allow_pipes=chosen.allow_pipes,
                read_samples=chosen.read_samples,
            )
        except UserError as error:  # not a data directory; the others are still worth a look
            print(f"error: {error}", file=sys.stderr)
            failed = True
            report.append({"directory": directory, "error": error.message, "findings": []})
            continue
        for line in describe(check.findings):
            print(line)
        print(check.summary())
        failed = failed or bool(check.errors)
        report.append({"directory": directory, "findings": as_json(check.findings)})
    if chosen.json:
        files.write_json(chosen.json, report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
