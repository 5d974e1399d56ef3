"""Import every module of the package with only what `pip install espnet-ext` installs.

Prints the modules that cannot be imported, with the reason. The distributions of the optional
extras are hidden, unless a required one needs them too.
"""

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

import espnet_ext


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(roots: list[Requirement]) -> set[str]:
    """Return the names of installed distributions that requirements bring, with their extras."""
    seen: set[tuple[str, str]] = set()
    queue = [(normalised(r.name), extra) for r in roots for extra in ("", *r.extras)]
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            listed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # only for another platform
        for requirement in map(Requirement, listed):
            marker = requirement.marker
            if marker is None or marker.evaluate({"extra": extra}):
                queue += [(normalised(requirement.name), e) for e in ("", *requirement.extras)]
    return {name for name, _ in seen}


class Filtered:
    """A finder of modules, for which some do not exist."""

    def __init__(self, finder, hidden: set[str]):
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name: str, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str):
        return getattr(self.finder, name)


def main() -> None:
    tree = ast.parse((Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8"))
    (listed,) = (
        ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "REQUIRES"
    )
    base = required([Requirement(line) for line in listed])
    hidden = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if not {normalised(name) for name in distributions} & {*base, "espnet-ext"}
    }
    sys.meta_path[:] = [Filtered(finder, hidden) for finder in sys.meta_path]
    for module in pkgutil.walk_packages(espnet_ext.__path__, "espnet_ext."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(f"{module.name}: {error}")
    print(f"hidden: {' '.join(sorted(hidden))}")


if __name__ == "__main__":
    main()
