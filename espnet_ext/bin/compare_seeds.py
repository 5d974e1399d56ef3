"""Compare two systems, each trained with several seeds, with intervals over speakers and seeds.

espnet-ext compare_seeds --a exp/en/do_seed0 exp/en/do_seed1 --b exp/en/do_tops_seed0 \
    exp/en/do_tops_seed1 --set test
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from espnet_ext.bin import cli


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

    from espnet_ext.report.markdown import section_markdown
    from espnet_ext.study.seed_comparison import compare_seeds, read_scores

    names = args.names or [_common_name(folders) for folders in (args.a, args.b)]
    a, b = (read_scores(folders, args.set, args.inference_tag) for folders in (args.a, args.b))
    print(section_markdown(compare_seeds(a, b, (names[0], names[1]), args.set)))
    return 0


def _common_name(folders: Sequence[str]) -> str:
    """Return the name of the first folder without its tag (`do_seed0` → `do`)."""
    name = Path(folders[0]).resolve().name
    return name.rpartition("_")[0] or name


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
