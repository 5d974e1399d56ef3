"""Print the encoder layer up to which outputs should share, by CKA or by conflicts of gradients."""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__)
    parser.add_argument(
        "--cka",
        default=None,
        metavar="FILE",
        help="analysis/cka.json of stage 17: where the encoders of --systems part",
    )
    parser.add_argument(
        "--systems",
        type=cli.words,
        default="so_surface so_meaning",
        help="two single-output systems (default: so_surface so_meaning)",
    )
    parser.add_argument(
        "--diagnostics",
        default=None,
        metavar="FILE",
        help="diagnostics.jsonl of a training with diagnose_every: where the gradients of its "
        "outputs conflict in more steps",
    )
    args = parser.parse_args(argv)
    if args.cka is None and args.diagnostics is None:
        parser.error("give --cka or --diagnostics")
    if len(args.systems) != 2:
        parser.error(f"--systems: {len(args.systems)} names, but two encoders are compared")

    from espnet_ext.analysis import branching
    from espnet_ext.errors import UserError
    from espnet_ext.files import read_json, read_json_lines

    if args.cka is not None:
        a, b = args.systems
        result = read_json(args.cka)
        pairs = result.get("pairs") if isinstance(result, dict) else None
        if not isinstance(pairs, list):
            raise UserError(f"{args.cka}: not a result of the analysis cka", "run stage 17")
        if not any({pair["a"], pair["b"]} == {a, b} for pair in pairs):
            raise UserError(
                f"{args.cka}: does not compare {a} with {b}",
                "run stage 17 with both, or name others with --systems",
            )
        division = branching.by_similarity(result, a, b)
        _print(f"the encoders of {a} and {b}", "part", "CKA", division)
    if args.diagnostics is not None:
        records = read_json_lines(args.diagnostics)
        if not all(isinstance(r, dict) and "gradients" in r for r in records):
            raise UserError(f"{args.diagnostics}: not the diagnostics of a training", "see --help")
        shares = branching.conflict_shares(records)
        if not shares:
            raise UserError(
                f"{args.diagnostics}: no gradients of two outputs",
                "train a system with two outputs and diagnose_every",
            )
        division = branching.divide(shares, rises=True)
        _print("the gradients of the outputs", "conflict", "share of conflicts", division)
    return 0


def _print(subject: str, verb: str, what: str, division) -> None:
    from espnet_ext.analysis.branching import describe

    if division is None:
        print(f"{subject} do not {verb} more in upper layers than in lower ones")
        return
    where, *settings = describe(division, what)
    print(f"{subject} {verb} {'more ' if verb == 'conflict' else ''}{where}")
    for line in settings:
        print(f"  {line}")


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
