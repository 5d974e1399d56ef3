"""`espnet-ext <verb> …`: run a command; only the module of that command is imported."""

import ast
import importlib
import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from espnet_ext.bin import cli
from espnet_ext.corpora.registry import suggestion

FOLDER = Path(__file__).parent


def verbs() -> dict[str, str]:
    """Return all commands with the first line of their docstrings, without importing them.

    A command whose name is a Python keyword (`import`) has a module that ends in `_`.

    >>> "score" in verbs()
    True
    """
    commands = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if "main" in functions and path.stem != "main":
            commands[path.stem.rstrip("_")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return commands


def usage() -> str:
    commands = verbs()
    width = max(map(len, commands))
    lines = [f"  {verb:<{width}}  {summary}" for verb, summary in commands.items()]
    return (
        "usage: espnet-ext <verb> [options]; espnet-ext <verb> --help; --version\n\n"
        + "\n".join(lines)
    )


def version_line() -> str:
    """Return the version of the package with its commit, and those of what it depends on."""
    from espnet_ext import __version__
    from espnet_ext.provenance import commit, versions

    known = commit()
    parts = [f"{name} {version}" for name, version in versions().items()]
    return f"espnet-ext {__version__}{f' (commit {known})' if known else ''}; {', '.join(parts)}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if arguments == ["--version"]:
        print(version_line())
        return 0
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    verb = arguments[0].replace("-", "_")
    commands = verbs()
    if verb not in commands:
        remedy = suggestion(verb, commands)
        print(f"error: no command '{arguments[0]}'\n  remedy: {remedy}", file=sys.stderr)
        return 2
    # The command parses sys.argv and shows its name in messages, as if it were run directly.
    sys.argv = [f"espnet-ext {verb}", *arguments[1:]]
    return cli.run(module_of(verb).main)


def module_of(verb: str) -> ModuleType:
    """Import the module of a command."""
    name = verb + "_" * keyword.iskeyword(verb)
    return importlib.import_module(f"espnet_ext.bin.{name}")


def entry() -> int:
    return cli.run(main)


if __name__ == "__main__":
    sys.exit(entry())
