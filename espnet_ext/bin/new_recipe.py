"""Write run.sh, its configurations and recipes into a folder, for an installed package.

    espnet-ext new_recipe my_experiments
    cd my_experiments
    ./run.sh --quick

In a clone of the repository this is not needed: run.sh and the recipes are there.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("folder", metavar="DIR", help="a new folder; no file is overwritten")
    parser.add_argument(
        "--recipes",
        type=cli.words,
        default=[],
        metavar="LIST",
        help='corpora whose recipes are written, such as "mini_l2 l2arctic" (default: all)',
    )
    args = parser.parse_args(argv)

    from espnet_ext.corpora import recipe_files

    written, kept = recipe_files.copy_recipes(args.folder, args.recipes)
    note = f"; {kept} were there already" if kept else ""
    print(f"wrote {written} files to {args.folder}{note}; next:")
    print(f"  cd {args.folder}")
    recipe = "" if not args.recipes or "mini_l2" in args.recipes else args.recipes[0]
    if recipe:
        print(f"  less egs2/{recipe}/dual1/README.md    # how to get the corpus")
        print(f"  ./run.sh --recipe egs2/{recipe}/dual1 --help")
    else:
        print("  ./run.sh --quick                      # all stages, on the embedded corpus")
    print("  espnet-ext new_corpus my_corpus       # a recipe for a corpus of your own")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
