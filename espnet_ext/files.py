"""Read and write files. Files are written to a temporary name in the same folder, then renamed."""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from espnet_ext.errors import UserError

_JSON_PARTS = 10_000  # parts of a JSON text that are written together


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the target's folder, and rename it to `path` on success.

    The temporary name has the target's suffix, from which sound libraries choose the format.

    Raises:
        UserError: the file cannot be written, for example because the disk is full.
    """
    target = Path(path)
    temporary = None
    try:
        with _user_error(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".tmp-", suffix=target.suffix)
            os.close(handle)
            temporary = Path(name)
            # mkstemp makes private files; set the permissions that open() would set.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            yield temporary
            temporary.replace(target)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file for writing text ("w") or bytes ("wb"); rename it on success."""
    binary = "b" in mode
    encoding, newline = (None, None) if binary else ("utf-8", "\n")
    with (
        atomic_path(path) as temporary,
        open(temporary, mode, encoding=encoding, newline=newline) as handle,
    ):
        yield handle


@contextlib.contextmanager
def atomic_append(path: str | os.PathLike) -> Iterator[Callable[[str], None]]:
    """Yield a function that appends text to a temporary file; rename the file on success.

    The file is open only while it is written, so that any number of files can be written in turn.
    """
    with atomic_path(path) as temporary:

        def append(text: str) -> None:
            with _user_error(path), open(temporary, "ab") as handle:
                handle.write(text.encode())

        yield append


@contextlib.contextmanager
def _user_error(target: str | os.PathLike) -> Iterator[None]:
    """Raise a `UserError` if the file cannot be written, for example because the disk is full."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{target}: cannot write: {error.strerror or error}",
            "free space on that disk, or check the folder's permissions, and run again",
        ) from error


def write_link(path: str | os.PathLike, target: str) -> None:
    """Make `path` a symbolic link to `target`, replacing an existing file in one step."""
    with atomic_path(path) as temporary:
        temporary.unlink()
        temporary.symlink_to(target)


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic_write(path) as handle:
        handle.write(text)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as JSON, in parts: the text of a large value would not fit into memory."""
    parts = json.JSONEncoder(ensure_ascii=False, indent=1).iterencode(value)
    with atomic_write(path) as handle:
        while text := "".join(itertools.islice(parts, _JSON_PARTS)):
            handle.write(text)
        handle.write("\n")


def read_json(path: str | os.PathLike) -> Any:
    """Return the content of a JSON file; raise `UserError` if it is missing or not valid."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}", "remove it and run its stage") from None


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """Return the values of a JSON Lines file; raise `UserError` if it is missing or not valid.

    A last line without line feed is left out: it is being written, or its writer was killed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file", "run the stage that writes it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8: {error}", "remove it and run its stage") from None
    values = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            message = f"{path}:{number}: not valid JSON: {error}"
            raise UserError(message, "remove it and run its stage") from None
    return values


def read_yaml(
    path: str | os.PathLike, *, missing: str | None = None, exponents: bool = True
) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty mapping.

    Only plain values are read: no tag can construct an object.

    Args:
        missing: the remedy if there is no such file. By default it lists the YAML files beside it.
        exponents: read `1e-3` as a number, which YAML 1.1 reads as text. Give False for files that
            a program wrote: PyYAML writes the text `1e3` (a token, say) without quotes.
    Raises:
        UserError: if the file is missing, unreadable, not YAML or not a mapping.
    """
    import yaml

    try:
        with open(path, encoding="utf-8") as handle:
            value = yaml.load(handle, Loader=_yaml_loader(exponents))  # a safe loader
    except FileNotFoundError:
        names = sorted(file.name for file in Path(path).parent.glob("*.yaml"))
        remedy = missing or f"files there: {', '.join(names) or 'none'}"
        raise UserError(f"{path}: no such file", remedy) from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}", "name a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}", "correct the file") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(
            f"{path}: must be a mapping of keys to values", "write `key: value` on each line"
        )
    return value


@functools.cache
def _yaml_loader(exponents: bool) -> type:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # faster where libyaml is installed

    class Loader(base):
        """A safe loader of its own, so that resolvers added to it have no effect elsewhere."""

    if exponents:
        Loader.add_implicit_resolver(
            "tag:yaml.org,2002:float",
            re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
            list("-+0123456789"),
        )
    return Loader


def sha256_of(path: str | os.PathLike) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def flat_items(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of nested mappings. An empty mapping has no keys.

    >>> dict(flat_items({"lr": 1, "optim_conf": {"eps": 2}}))
    {'lr': 1, 'optim_conf.eps': 2}
    """
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from flat_items(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
