"""Write a recipe for a new corpus, egs2/NAME/dual1, with a toy corpus so that it runs as it is.

    espnet-ext new-corpus my_corpus
    ./run.sh --recipe egs2/my_corpus/dual1 --quick true

egs2/TEMPLATE/dual1/README.md goes on from there.
"""

import sys
from collections.abc import Sequence

from espnet_ext.bin import cli


def main(argv: Sequence[str] | None = None) -> int | None:
    options = cli.parser(__doc__.partition("\n")[0])
    options.add_argument("name", metavar="NAME", help="small letters, digits and _")
    options.add_argument("--lang", default="en", help="language of the corpus")
    options.add_argument("--title", default="", help="heading of its report (default: the name)")
    options.add_argument("--root", default="", help="the repository (default: the one you are in)")
    chosen = options.parse_args(argv)

    from espnet_ext.corpora import skeleton

    recipe = skeleton.create(chosen.name, chosen.root, lang=chosen.lang, title=chosen.title)
    if missing := skeleton.unsupported(chosen.lang):
        print(missing)
    print(f"{recipe}: wrote it; to try it, in the repository's root:")
    print(f"  ./run.sh --recipe egs2/{chosen.name}/dual1 --quick true")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
