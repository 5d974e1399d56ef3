"""Wrong usage of a command: what is wrong, and what to write instead. Exit code 2.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from espnet_ext.errors import UserError


class UsageError(UserError):
    """A mistake on the command line or in recipe.conf; commands exit with code 2."""


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a question for the known word that is most similar to a mistyped one; "" for none.

    >>> did_you_mean("stop_stag", ["stage", "stop_stage"], "--"), did_you_mean("xyz", ["stage"])
    ('did you mean --stop_stage? ', '')
    """
    similar = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {prefix}{similar[0]}? " if similar else ""
