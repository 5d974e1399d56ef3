"""`espnet-ext <verb> …`: one entry to all commands; imports only the verb that is asked for."""

import ast
import difflib
import importlib
import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from espnet_ext.bin import cli

FOLDER = Path(__file__).parent


def verbs() -> dict[str, str]:
    """Every command beside this file with the first line of its docstring, none imported.

    A verb that is a word of Python's own (`import`) has its file's name end in `_`.

    >>> "score" in verbs()
    True
    """
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "main" in functions and path.stem != "main":
            found[path.stem.rstrip("_")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def usage() -> str:
    known = verbs()
    width = max(map(len, known))
    lines = [f"  {verb:<{width}}  {about}" for verb, about in known.items()]
    return "usage: espnet-ext <verb> [options]; espnet-ext <verb> --help\n\n" + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    verb = arguments[0].replace("-", "_")
    if verb not in (known := verbs()):
        near = difflib.get_close_matches(verb, known, n=1, cutoff=0)
        remedy = f"did you mean {near[0]}?" if near else "see espnet-ext --help"
        print(f"error: no command '{arguments[0]}'\n  remedy: {remedy}", file=sys.stderr)
        return 2
    # A command reads its own arguments and names itself in its messages, as if it had been called.
    sys.argv = [f"espnet-ext {verb}", *arguments[1:]]
    return cli.run(module_of(verb).main)


def module_of(verb: str) -> ModuleType:
    """The module of a verb."""
    name = verb + "_" * keyword.iskeyword(verb)
    return importlib.import_module(f"espnet_ext.bin.{name}")


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
