"""The code that a command runs: digests of the modules of this package that it can import.

A module counts with its imports, wherever they stand in it. So do modules that it names in strings
(`"espnet_ext.corpora.plain"`), modules that `import_module(f"espnet_ext.model.{kind}")` may import,
and data files that it names (`"cmudict.dict.xz"`, `f"frames_{lang}.txt"`, a folder `"templates"`).
Comments, docstrings and layout do not count. The entries of a registry (corpora, analyses) count
only for a command that runs them, because every command imports the registry and runs one entry.
"""

import ast
import fnmatch
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from espnet_ext.corpora.registry import CORPORA
from espnet_ext.pipeline.digests import Digests

PACKAGE = "espnet_ext"
ESPNET = "espnet"  # in the digests of a command that imports it: its version
WITH_ESPNET = f"{PACKAGE}.model.espnet"  # the one module that imports ESPnet
REGISTRIES = (f"{PACKAGE}.analysis.registry", f"{PACKAGE}.corpora.registry")
_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")
_NAME_IN_STRING = re.compile(rf"({PACKAGE}(\.\w+)+)(:\w+)?")  # also module:attribute
_FILE_NAME = re.compile(r"[\w.*-]+\.\w{1,8}")  # with * for {…}


class Code:
    """Digests of the package's modules, and which of them a command reaches.

    Args:
        root: Folder that holds the package.
        digests: Cache of each module's digest and of the names found in it.
    """

    def __init__(self, root: Path, digests: Digests):
        self.root = root
        self.digests = digests
        self.module_files: dict[str, Path] = {}
        self.data_files: list[Path] = []
        for path in sorted((root / PACKAGE).rglob("*")):
            if path.suffix == ".py":
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                self.module_files[name] = path
            elif path.suffix and path.is_file() and path.parent.name != "__pycache__":
                self.data_files.append(path)
        self.module = functools.cache(self._module)
        self.listed = {corpus.module for corpus in CORPORA.values()}

    def of_command(self, command: Iterable[str], modules: Iterable[str] = ()) -> dict[str, str]:
        """Return the digests of the modules that a command can reach, by module.

        Args:
            command: `python -m espnet_ext…`, or a script that names modules of the package.
            modules: Further modules that it runs.
        """
        words = list(command)
        entries = [*modules]
        uses_espnet = False
        for before, word in zip(["", *words], words, strict=False):
            if before == "-m" and _NAME.fullmatch(word):
                entries.append(word)
            elif before == "-m" and word.startswith("espnet2.bin."):
                uses_espnet = True
            elif word.endswith((".sh", ".py")) and Path(word).is_file():
                text = Path(word).read_text(encoding="utf-8", errors="replace")
                entries += [match.group() for match in _NAME.finditer(text)]
        digests = self.reachable(entries)
        if uses_espnet or WITH_ESPNET in digests:
            digests[ESPNET] = _espnet_version()
        return digests

    def reachable(self, entries: Iterable[str]) -> dict[str, str]:
        """Return the digests of modules and of all that they import, by module."""
        waiting = [name for name in entries if name in self.module_files]
        digests: dict[str, str] = {}
        while waiting:
            name = waiting.pop()
            if name not in digests:
                digests[name], named = self.module(name)
                if name in REGISTRIES:
                    named = []
                elif name.startswith(f"{PACKAGE}.bin."):
                    named = [module for module in named if module not in self.listed]
                waiting += named
        return dict(sorted(digests.items()))

    def _module(self, name: str) -> tuple[str, list[str]]:
        """Return a module's digest, data files included, and the modules that it names."""
        path = self.module_files[name]
        source = self.digests.of_file(str(path))
        known = self.digests.modules.get(name)
        if known is None or known[0] != source:
            known = [source, *_read(path, name)]
            self.digests.modules[name] = known
            self.digests.changed = True
        _, digest, names, file_names = known
        modules = {module for word in names for module in self._modules_named(word)} - {name}
        files = [
            file
            for file in self.data_files
            if (
                file.parent == path.parent
                and any(fnmatch.fnmatch(file.name, n) for n in file_names)
            )
            or (file.parent.parent == path.parent and file.parent.name in file_names)
        ]
        total = hashlib.sha256(digest.encode())
        for file in files:
            total.update(self.digests.of_file(str(file)).encode())
        return total.hexdigest()[:16], sorted(modules)

    def _modules_named(self, word: str) -> Iterator[str]:
        """Yield the modules that a dotted name stands for: `espnet_ext.files.write_text` → files.

        `espnet_ext.model.heads.`, the beginning of a name, stands for all modules in there.
        """
        if word.endswith("."):
            yield from (name for name in self.module_files if name.startswith(word))
            return
        while word and word not in self.module_files:
            word = word.rpartition(".")[0]
        if word and word != PACKAGE:
            yield word


@functools.cache
def _espnet_version() -> str:
    """Return the version of ESPnet that is installed; "" without one."""
    try:
        return metadata.version("espnet")
    except metadata.PackageNotFoundError:
        return ""


def _read(path: Path, name: str) -> tuple[str, list[str], list[str]]:
    """Return the digest of a module, the modules that it may name, and files that it may name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _remove_docstrings(tree)
    nodes = list(ast.walk(tree))
    strings = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    names = {match[1] for word in strings if (match := _NAME_IN_STRING.fullmatch(word))}
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if _NAME.fullmatch(alias.name)}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names |= _dynamic_imports(node, name)
    formats = {_pattern(node) for node in nodes if isinstance(node, ast.JoinedStr)}
    files = {word for word in strings | formats if _FILE_NAME.fullmatch(word)}
    files |= {
        word for word in strings if word.isidentifier() and _is_data_folder(path.parent / word)
    }
    return _digest(tree), sorted(names - {PACKAGE}), sorted(files)


def _is_data_folder(path: Path) -> bool:
    return path.is_dir() and not (path / "__init__.py").exists()


def _pattern(node: ast.JoinedStr) -> str:
    """Return a formatted string as a pattern: `f"frames_{lang}.txt"` as `frames_*.txt`."""
    parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
    return "".join(map(str, parts))


def _dynamic_imports(call: ast.Call, name: str) -> set[str]:
    """Return the beginnings of names in import_module(f"espnet_ext.model.{kind}") and the like."""
    words = {name.rpartition(".")[0] + "." for n in ast.walk(call) if _is_package(n)}
    for node in ast.walk(call):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and text.startswith(f"{PACKAGE}.") and text.endswith("."):
            words.add(text)
    return words


def _is_package(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "__package__"


def _remove_docstrings(tree: ast.AST) -> None:
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, holders) and ast.get_docstring(node) is not None:
            del node.body[0]


def _digest(tree: ast.AST) -> str:
    """Return a digest of a syntax tree without positions; the same in all versions of Python."""
    words: list[str] = []

    def add(value: object) -> None:
        if isinstance(value, ast.AST):
            words.append(f"({type(value).__name__}")
            for name in value._fields:
                item = getattr(value, name, None)
                if item is not None and item != [] and name != "kind":
                    words.append(f" {name}=")
                    add(item)
            words.append(")")
        elif isinstance(value, list):
            words.append("[")
            for item in value:
                add(item)
            words.append("]")
        else:
            words.append(repr(value))

    add(tree)
    return hashlib.sha256("".join(words).encode("utf-8", "backslashreplace")).hexdigest()
