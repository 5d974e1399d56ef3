"""Write a recipe for a new corpus, egs2/NAME/dual1, with example recordings so that it runs.

    espnet-ext new_corpus my_corpus
    ./run.sh --recipe egs2/my_corpus/dual1 --quick true

egs2/TEMPLATE/dual1/README.md describes the next steps.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int | None:
    parser = cli.parser(__doc__.partition("\n")[0])
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and _")
    parser.add_argument("--lang", default="en", help="language of the corpus")
    parser.add_argument("--title", default="", help="heading of its report (default: the name)")
    parser.add_argument(
        "--root", default="", help="folder of run.sh (default: the current one, or one above it)"
    )
    args = parser.parse_args(argv)

    from espnet_ext.corpora import new_recipe

    recipe = new_recipe.create(args.name, args.root, lang=args.lang, title=args.title)
    if missing := new_recipe.missing_support(args.lang):
        print(missing)
    print(f"wrote {recipe}; to try it, run in {recipe.parents[2]}:")
    print(f"  ./run.sh --recipe egs2/{args.name}/dual1 --quick true")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
