"""Wrong usage of a command: what is wrong, and what to write instead. Exit code 2.

Needs only the standard library of Python 3.9.
"""

from __future__ import annotations

from espnet_ext.errors import UserError


class UsageError(UserError):
    """A mistake on the command line or in recipe.conf; commands exit with code 2."""
