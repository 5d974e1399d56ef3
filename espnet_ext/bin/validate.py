"""Check data directories and list everything that is wrong with them."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli

if TYPE_CHECKING:
    from espnet_ext.data.checks.context import Checked, CheckOptions


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument("directories", nargs="+", metavar="DIR", help="data directory")
    parser.add_argument("--json", help="JSON file to write with all findings")
    parser.add_argument("--sample_rate", type=int, help="rate in Hz that all audio must have")
    parser.add_argument(
        "--outputs", type=cli.words, default=[], help="outputs that must have transcripts"
    )
    parser.add_argument(
        "--check_audio",
        type=cli.boolean,
        default=True,
        help="read the headers of sound files, and find recordings that occur twice",
    )
    parser.add_argument(
        "--read_samples",
        type=cli.boolean,
        default=False,
        help="decode all audio to find damage, silence and clipping (slow)",
    )
    parser.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    parser.add_argument(
        "--empty_texts",
        type=cli.boolean,
        default=False,
        help="accept empty transcripts as silence (for sets to decode): every recognised token "
        "is then an insertion",
    )
    parser.add_argument(
        "--nj", type=audio_options.count, default=8, help="recordings that are read in parallel"
    )
    parser.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="DIR",
        help="report what the directories share with these, e.g. with the training set",
    )
    parser.add_argument(
        "--tokens",
        type=cli.words,
        default=[],
        help='token types, with or without token lists: "surface=phone:tokens.txt meaning=char"',
    )
    parser.add_argument(
        "--config",
        default="",
        help="training configuration, to find transcripts that are too long for CTC",
    )
    parser.add_argument(
        "--fix", metavar="DIR", help="write a repaired copy there, and its changes.tsv"
    )
    parser.add_argument(
        "--strict", type=cli.boolean, default=False, help="exit with 1 for warnings too"
    )
    parser.add_argument("--notes", type=cli.boolean, default=False, help="print notes too")
    cli.add_overwrite(parser)
    args = parser.parse_args(argv)
    if args.fix and len(args.directories) > 1:
        parser.error("--fix repairs one directory at a time")

    from espnet_ext import files
    from espnet_ext.data.checks.context import CheckOptions
    from espnet_ext.data.checks.findings import ERROR, NOTE, describe
    from espnet_ext.data.checks.tokens import parse_token_options, read_frame_options
    from espnet_ext.data.validate import check_directory
    from espnet_ext.errors import UserError

    options = CheckOptions(
        sample_rate=args.sample_rate,
        check_audio=args.check_audio,
        outputs=args.outputs,
        allow_pipes=args.allow_pipes,
        read_samples=args.read_samples,
        empty_severity=NOTE if args.empty_texts else ERROR,
        nj=args.nj,
        tokens=parse_token_options(args.tokens),
        frames=read_frame_options(args.config) if args.config else None,
        against=args.against,
    )
    if args.json:
        _require_report(args.json, args.directories, args.overwrite)
    failed = False
    report = []
    for directory in args.directories:
        try:
            checked = check_directory(directory, options)
        except UserError as error:  # not a data directory; check the others all the same
            print(f"error: {error}", file=sys.stderr)
            failed = True
            report.append({"directory": directory, "error": error.message, "findings": []})
            continue
        problems = [finding for finding in checked.findings if finding.severity != NOTE]
        for line in describe(checked.findings if args.notes else problems):
            print(line)
        print(checked.summary())
        report.append(checked.as_json())
        has_errors = (
            _fix(checked, args.fix, options, args.overwrite) if args.fix else bool(checked.errors)
        )
        failed = failed or has_errors or (args.strict and bool(problems))
    if args.json:
        files.write_json(args.json, report)
    return 1 if failed else 0


def _require_report(path: str, directories: Sequence[str], overwrite: bool) -> None:
    """Raise a `UserError` if --json names a file that is not a report of this command."""
    from espnet_ext import files
    from espnet_ext.errors import UserError
    from espnet_ext.overwriting import require_new_file

    try:
        reports = files.read_json(path)
        is_report = isinstance(reports, list) and all("findings" in item for item in reports)
    except (OSError, TypeError, UserError):
        is_report = False
    require_new_file(path, inputs=directories, overwrite=overwrite or is_report)


def _fix(checked: "Checked", target: str, options: "CheckOptions", overwrite: bool) -> bool:
    """Write the repaired copy and check it; return whether it still has errors."""
    from collections import Counter

    from espnet_ext.data.checks.findings import describe
    from espnet_ext.data.fixing import CHANGES, NOT_COPIED, fix_directory
    from espnet_ext.data.validate import check_directory

    changes = fix_directory(checked, target, overwrite=overwrite)
    print(f"{target}: a repaired copy; {len(changes)} changes, listed in {target}/{CHANGES}")
    for what, count in Counter(change.what for change in changes).most_common():
        names = [c.before for c in changes if c.what == what and what in NOT_COPIED]
        print(f"  {what}: {count}{': ' if names else ''}{', '.join(names)}")
    copy = check_directory(target, options)
    for line in describe(copy.errors):
        print(line)
    print(copy.summary())
    return bool(copy.errors)


if __name__ == "__main__":
    sys.exit(cli.run(main))
