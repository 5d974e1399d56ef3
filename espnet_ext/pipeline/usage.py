"""Wrong usage of a command: what is wrong, and what to write instead. Exit code 2.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from espnet_ext.errors import UserError


class UsageError(UserError):
    """A mistake on the command line or in recipe.conf; commands exit with code 2."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is most similar to a mistyped one.

    >>> nearest("stop_stag", ["stage", "stop_stage"])
    'stop_stage'
    """
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0)[0]
