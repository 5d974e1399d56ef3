"""Find the sound files that a table names: relative, Windows and differently normalised paths."""

import os
import re
import unicodedata
from pathlib import Path

from espnet_ext.corpora.preparation import Report
from espnet_ext.data.audio import source_file
from espnet_ext.data.paths import hint_for_missing

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_HINTS = 20  # missing files for which similar names are looked for
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class SoundPaths:
    """Resolves the paths of sound files, which are relative to the folder of the table."""

    def __init__(self, folder: Path, report: Report):
        self.folder = folder.absolute()
        self.report = report
        self.remedy = ""  # what to do about the problems so far
        self._missing = 0

    def find(self, entry: str) -> tuple[str, str]:
        """Return the absolute entry for wav.scp, and why its file is not found ("" if it is).

        Paths with backslashes, and names in the other Unicode form (NFC or NFD), are resolved as
        well; the report counts them.
        """
        if _URL.match(entry):
            self._advise("give paths of files on this machine; files are not downloaded")
            return entry, f"audio '{entry}' is a URL"
        path = self._absolute(entry)
        if os.path.exists(source_file(path)):
            return path, ""
        for what, other in (
            ("audio paths with backslashes, read as /", entry.replace("\\", "/")),
            ("audio paths in another Unicode form than the file names", _other_form(entry)),
        ):
            other_path = self._absolute(other)
            if other != entry and os.path.exists(source_file(other_path)):
                self.report.counts[what] += 1
                return other_path, ""
        if _DRIVE.match(entry) or entry.startswith("\\\\"):
            self._advise(f"give paths of this machine, absolute or relative to {self.folder}")
            return path, f"audio '{entry}' is a path of Windows"
        problem = f"audio '{entry}': no such file"
        self._missing += 1
        self._advise(f"audio paths are relative to the folder of the table, {self.folder}")
        if not os.path.isabs(entry) and os.path.exists(source_file(entry)):
            problem += f", but there is one in the current folder, {os.getcwd()}"
        elif self._missing <= _HINTS and (name := self._same_name_in_other_case(path)):
            problem += f", but there is {name}"
        elif self._missing <= _HINTS and (hint := hint_for_missing(source_file(path))):
            problem += f": {hint}"
        return path, problem

    def _absolute(self, entry: str) -> str:
        return str(self.folder / os.path.expanduser(entry))

    def _same_name_in_other_case(self, path: str) -> str:
        """Return the name of a file that differs from `path` in case or suffix only, or ""."""
        folder, name = os.path.split(source_file(path))
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            return ""
        same = [other for other in names if other.lower() == name.lower()]
        stem = name.rpartition(".")[0] or name
        return next(iter(same + [one for one in names if one.rpartition(".")[0] == stem]), "")

    def _advise(self, remedy: str) -> None:
        if remedy not in self.remedy:
            self.remedy += ("; " if self.remedy else "") + remedy


def _other_form(entry: str) -> str:
    nfc = unicodedata.normalize("NFC", entry)
    return nfc if nfc != entry else unicodedata.normalize("NFD", entry)
