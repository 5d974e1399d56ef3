"""What an option of a corpus is; see `registry`.

Needs nothing but the standard library of Python 3.9.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ALL_SETS = "all"  # value of the option `sets`
KINDS = ("text", "path", "boolean", "count", "real", "words")


@dataclass(frozen=True)
class Option:
    """One option of a corpus: `--name` of `espnet-ext prepare <corpus>`.

    Values are strings, as on a command line. `kind` says what they may be: "text", "path" (a file
    or folder), "boolean" (true or false), "count" (a whole number above 0), "real" (a number from
    0) or "words" (separated by spaces).
    """

    name: str
    default: str | None = ""  # None: the option must be given
    help: str = ""
    kind: str = "text"
    # The only allowed values (of "words": the only allowed words); empty: any value of the kind.
    choices: tuple[str, ...] = ()
    # A recipe needs a value for at least one option of each group. "": the option is not needed.
    required_group: str = ""
    # Name in recipes (`run.sh`, `local/data.sh`). None: the same name; "": recipes do not have it.
    recipe_name: str | None = None

    @property
    def name_in_recipes(self) -> str:
        """The option's name in `run.sh` and `local/data.sh`; "" if recipes do not have it."""
        return self.name if self.recipe_name is None else self.recipe_name

    def problem(self, value: str) -> str:
        """Return what is wrong with a value, or "".

        >>> Option("split", "auto", choices=("auto", "standard")).problem("standart")
        "'standart' is not one of auto, standard"
        """
        values = value.split() if self.kind == "words" else [value]
        if self.choices and (wrong := [one for one in values if one not in self.choices]):
            return f"'{wrong[0]}' is not one of {', '.join(self.choices)}"
        if self.choices and not values:
            return f"is empty; choose among {', '.join(self.choices)}"
        if self.kind == "boolean" and value.lower() not in BOOLEANS:
            return f"'{value}' is neither true nor false"
        if self.kind == "count" and not (value.isascii() and value.isdigit() and int(value) > 0):
            return f"'{value}' is not a whole number above 0"
        if self.kind == "real" and not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", value):
            return f"'{value}' is not a number from 0"
        return ""


BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
