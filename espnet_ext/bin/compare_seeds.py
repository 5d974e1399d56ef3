"""Compare two systems, each trained with several seeds, with intervals over speakers and seeds.

espnet-ext compare_seeds --a exp/en/do_seed0 exp/en/do_seed1 --b exp/en/do_tops_seed0 \
    exp/en/do_tops_seed1 --set test
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import cli
from espnet_ext.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser((__doc__ or "").partition("\n")[0])
    for name in ("a", "b"):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            required=True,
            metavar="DIR",
            help=f"model directories of system {name}, one per seed",
        )
    parser.add_argument("--set", required=True, help="a set that all of them were scored on")
    parser.add_argument(
        "--inference_tag", default="decode", help="folder of the decodings in a model directory"
    )
    parser.add_argument(
        "--names", type=cli.words, default=[], help="names of the systems (default: of the folders)"
    )
    args = parser.parse_args(argv)
    if len(args.names) not in (0, 2):
        parser.error(f"--names: {len(args.names)} names for two systems")
    if args.names and args.names[0] == args.names[1]:
        parser.error(f"--names: both systems have the name {args.names[0]}")
    _require_different_models(args.a, args.b)

    from espnet_ext.report.markdown import section_markdown
    from espnet_ext.study.seed_comparison import compare_seeds, read_scores

    names = args.names or _default_names(args.a, args.b)
    a, b = (read_scores(folders, args.set, args.inference_tag) for folders in (args.a, args.b))
    print(section_markdown(compare_seeds(a, b, (names[0], names[1]), args.set)))
    return 0


def _require_different_models(a: Sequence[str], b: Sequence[str]) -> None:
    """Raise a `UserError` if a model directory belongs to both systems."""
    models_of_a = {Path(folder).resolve() for folder in a}
    for folder in b:
        if Path(folder).resolve() in models_of_a:
            raise UserError(
                f"{folder}: is in --a and in --b", "name the trainings of two different systems"
            )


def _default_names(a: Sequence[str], b: Sequence[str]) -> tuple[str, str]:
    """Return the names of the first folders, without their tags if they differ without (`do`).

    Folders with equal names get as many parent folders as distinguish them.

    >>> _default_names(["exp/do_seed0"], ["exp/do_tops_seed0"])
    ('do', 'do_tops')
    >>> _default_names(["/exp/en/do_seed0"], ["/exp/ko/do_seed0"])
    ('en/do_seed0', 'ko/do_seed0')
    """
    first, second = (Path(folders[0]).resolve() for folders in (a, b))
    without_tags = [path.name.rpartition("_")[0] or path.name for path in (first, second)]
    if without_tags[0] != without_tags[1]:
        return without_tags[0], without_tags[1]
    names = first.name, second.name
    for parent_of_first, parent_of_second in zip(first.parents, second.parents, strict=False):
        if names[0] != names[1]:
            break
        names = f"{parent_of_first.name}/{names[0]}", f"{parent_of_second.name}/{names[1]}"
    return names


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
