"""Find a file under the name that it has on disk, which can differ from the name in a table.

macOS, and archives that were made on it, store names decomposed (NFD: 한 as three letters), while
tables contain them composed (NFC). Both look the same.
"""

import functools
import os
import re
import sys
import unicodedata


def existing_path(path: str) -> str:
    """Return the path under which a file exists; the path itself if it exists under none.

    Tried are the path, other Unicode forms of each of its parts, and, where the file system's
    encoding is not UTF-8, the bytes of the path in UTF-8.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     decomposed = os.path.join(folder, unicodedata.normalize("NFD", "한"))
    ...     open(decomposed, "w").close()
    ...     existing_path(os.path.join(folder, "한")) == decomposed
    True
    """
    if path.isascii() or os.path.exists(path):
        return path
    if sys.getfilesystemencoding() != "utf-8":
        in_utf8 = os.fsdecode(path.encode("utf-8", "surrogateescape"))
        if os.path.exists(in_utf8):
            return in_utf8
    resolved = "/" if path.startswith("/") else ""
    for part in path.split("/"):
        candidate = os.path.join(resolved, part)
        if not os.path.exists(candidate):
            names = _names_by_nfc(resolved)
            if (name := names.get(unicodedata.normalize("NFC", part))) is None:
                return path
            candidate = os.path.join(resolved, name)
        resolved = candidate
    return resolved


def hint_for_missing(path: str) -> str:
    """Return what may be the cause that a file does not exist; "" if nothing is known.

    >>> hint_for_missing("/nowhere/a.wav")
    'the folder /nowhere does not exist'
    """
    folder, name = os.path.split(path)
    if re.match(r"[A-Za-z]:[\\/]", path) or path.startswith("\\\\"):
        return "this is a path of Windows: write where the file is on this machine"
    if re.match(r"file:/", path):
        return "write the path alone, without file:"
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path):
        return "this is a URL: download the file, and write its path"
    if path.startswith("~") and os.path.expanduser(path) != path:
        return f"~ is not expanded here: write {os.path.expanduser(path)}"
    if "\\" in path:
        return "write / between folders, not \\"
    if folder and not os.path.isdir(existing_path(folder)):
        return f"the folder {folder} does not exist"
    for entry in _names_by_nfc(existing_path(folder)).values():
        if entry.casefold() == name.casefold():
            return f"there is {entry}, which differs in upper and lower case"
        if _decode_cp949(entry) == name:
            command = f"convmv -f cp949 -t utf8 --notest {folder or '.'}/*"
            return f"a file has this name in the encoding CP949: {command} renames it"
    return ""


def _decode_cp949(name: str) -> str:
    """Decode a name that is not UTF-8."""
    if name.isprintable():  # no surrogates, which stand for other bytes
        return name
    return os.fsencode(name).decode("cp949", "replace")


def _names_by_nfc(folder: str) -> dict[str, str]:
    """Return the names in a folder by their composed form."""
    folder = folder or "."
    try:
        return _list_names(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@functools.lru_cache(maxsize=64)
def _list_names(folder: str, changed: int) -> dict[str, str]:
    return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}
