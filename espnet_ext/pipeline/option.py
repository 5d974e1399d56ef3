"""One option of `run.sh`: its name, its default, and the values that it allows.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One option of `run.sh`.

    Values are strings, as on a command line. `kind` says which values are allowed:

    - "text": any text;
    - "path": a file or folder, also relative to the user's current directory;
    - "boolean": true or false;
    - "whole": a whole number from 0; "count": a whole number from 1;
    - "real": a number from 0;
    - "words": words separated by spaces;
    - "arguments": options for another command, quoted as in a shell.
    """

    name: str
    default: str
    help: str
    kind: str = "text"
    choices: tuple[str, ...] = ()  # the only allowed values
    aliases: tuple[str, ...] = ()
    required: bool = False  # an empty value is an error

    def problem(self, value: str) -> tuple[str, str] | None:
        """Return (what is wrong with a value, how to correct it), or None.

        >>> Option("nj", "4", "", "count").problem("many")
        ('not a whole number', 'write, for example, --nj 4')
        """
        if self.required and not value.strip():
            return "empty", f"give a value, for example --{self.name} '{self.default or '...'}'"
        example = f"write, for example, --{self.name} {self.default or 1}"
        if self.kind == "boolean" and value not in ("true", "false"):
            return (
                "neither true nor false",
                f"write --{self.name} true or --{self.name} false",
            )
        if self.kind in ("whole", "count"):
            if value == "" and self.default == "":
                return None
            if not re.fullmatch("[0-9]+", value):
                return "not a whole number", example
            if self.kind == "count" and int(value) == 0:
                return "must be at least 1", f"write, for example, --{self.name} 1"
        if self.kind == "real" and not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value):
            return "not a number from 0", example
        if self.choices and value not in self.choices:
            allowed = ", ".join(choice or "'' (the default)" for choice in self.choices)
            return "not an allowed value", f"choose one of: {allowed}"
        if self.kind == "arguments":
            try:
                shlex.split(value)
            except ValueError as error:
                return str(error).lower(), "close every quote"
        return None

    def normalize(self, value: str) -> str:
        """Return a valid value in its one form: numbers without leading zeros.

        >>> Option("stage", "1", "", "whole").normalize("08")
        '8'
        """
        return str(int(value)) if self.kind in ("whole", "count") and value else value
