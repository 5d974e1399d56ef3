"""Check data directories and list everything that is wrong with them."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from espnet_ext.bin import audio_options, cli

if TYPE_CHECKING:
    from espnet_ext.data.checking import Check


def main(argv: Sequence[str] | None = None) -> int:
    options = cli.parser(__doc__)
    options.add_argument("directories", nargs="+", metavar="DIR", help="data directory")
    options.add_argument("--json", help="write everything to this file too (its folder is made)")
    options.add_argument("--sample_rate", type=int, help="rate in Hz that all audio must have")
    options.add_argument(
        "--outputs", type=cli.words, default=[], help="outputs that must have transcripts"
    )
    options.add_argument(
        "--check_audio",
        type=cli.boolean,
        default=True,
        help="look at sound headers, and for the same recording twice",
    )
    options.add_argument(
        "--read_samples",
        type=cli.boolean,
        default=False,
        help="decode all audio, for damage, silence and clipping: slow, thorough",
    )
    options.add_argument(
        "--allow_pipes", type=cli.boolean, default=False, help="run commands in wav.scp"
    )
    options.add_argument("--nj", type=audio_options.count, default=8, help="recordings at a time")
    options.add_argument(
        "--against",
        nargs="*",
        default=[],
        metavar="DIR",
        help="say what the directories share with these, as a test set with its training set",
    )
    options.add_argument(
        "--tokens",
        type=cli.words,
        default=[],
        help='units, with or without lists: "surface=phone:tokens.txt meaning=char"',
    )
    options.add_argument(
        "--config", default="", help="training configuration, to see what CTC cannot align"
    )
    options.add_argument(
        "--fix", metavar="DIR", help="write a mended copy there, and changes.tsv, which lists all"
    )
    options.add_argument(
        "--strict", type=cli.boolean, default=False, help="warnings count as errors"
    )
    options.add_argument(
        "--notes", type=cli.boolean, default=False, help="print what is good to know, too"
    )
    chosen = options.parse_args(argv)
    if chosen.fix and len(chosen.directories) > 1:
        options.error("--fix mends one directory at a time")

    from espnet_ext import files
    from espnet_ext.data.checking import Checks
    from espnet_ext.data.findings import NOTE, describe
    from espnet_ext.data.pair_checks import read_frames, read_units
    from espnet_ext.data.validate import check_directory
    from espnet_ext.errors import UserError

    rule = Checks(
        sample_rate=chosen.sample_rate,
        check_audio=chosen.check_audio,
        outputs=chosen.outputs,
        allow_pipes=chosen.allow_pipes,
        read_samples=chosen.read_samples,
        nj=chosen.nj,
        tokens=read_units(chosen.tokens),
        frames=read_frames(chosen.config) if chosen.config else None,
        against=chosen.against,
    )
    failed = False
    report = []
    for directory in chosen.directories:
        try:
            check = check_directory(directory, rule)
        except UserError as error:  # not a data directory; the others are still worth a look
            print(f"error: {error}", file=sys.stderr)
            failed = True
            report.append({"directory": directory, "error": error.message, "findings": []})
            continue
        told = [one for one in check.findings if one.severity != NOTE]
        for line in describe(check.findings if chosen.notes else told):
            print(line)
        print(check.summary())
        report.append(check.as_json())
        bad = bool(check.errors)
        if chosen.fix:
            bad = _fix(check, chosen.fix, rule)
        failed = failed or bad or (chosen.strict and bool(told))
    if chosen.json:
        files.write_json(chosen.json, report)
    return 1 if failed else 0


def _fix(check: "Check", target: str, rule) -> bool:
    """Write the mended copy and check it again; whether errors are left in it."""
    from collections import Counter

    from espnet_ext.data.findings import describe, errors_of
    from espnet_ext.data.fixing import CHANGES, NOT_COPIED, fix_directory
    from espnet_ext.data.validate import check_directory

    changes = fix_directory(check, target)
    print(f"{target}: a mended copy; {len(changes)} changes, listed in {target}/{CHANGES}")
    for what, count in Counter(change.what for change in changes).most_common():
        names = [one.before for one in changes if one.what == what and one.what in NOT_COPIED]
        print(f"  {what}: {count}{': ' * bool(names)}{', '.join(names)}")
    again = check_directory(target, rule)
    for line in describe(errors_of(again.findings)):
        print(line)
    print(again.summary())
    return bool(again.errors)


if __name__ == "__main__":
    sys.exit(cli.run(main))
