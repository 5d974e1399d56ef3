"""All that is wrong with a source, told at once: by kind, each with its number and its remedy."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from espnet_ext.errors import UserError
from espnet_ext.progress import say

SHOWN = 20  # of each kind


class Faults:
    """Notes faults while reading goes on; what has one remedy is one kind.

    >>> faults = Faults("cuts.jsonl")
    >>> for name in ("u1", "u2"):
    ...     with faults.noting():
    ...         raise UserError(f"{name}: has no audio", "remove it")
    >>> print(faults.error())
    cuts.jsonl: 2 faults, and nothing is imported:
      u1: has no audio
      u2: has no audio
        remedy: remove it
      remedy: mend what is listed, and import again
    """

    def __init__(self, source: str):
        self.source = source
        self._shown: dict[str, list[str]] = {}  # remedy → the first messages
        self._counts: Counter = Counter()  # remedy → how many there are

    def __bool__(self) -> bool:
        return bool(self._counts)

    def note(self, error: UserError) -> None:
        self._counts[error.remedy] += 1
        if len(shown := self._shown.setdefault(error.remedy, [])) < SHOWN:
            shown.append(error.message)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is wrong with one thing, so that the next one can be looked at."""
        first = not self
        try:
            yield
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # our own disk is full: no fault of the source
                raise
            self.note(error)
            if first:
                say(f"{self.source}: has a fault; reading on, to tell of all at once")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """What ends the reading is told together with what was noted before."""
        try:
            yield
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                raise
            self.note(error)
            raise self.error() from None

    def error(self) -> UserError:
        """All that was noted, as one error; a single one stays as it was."""
        total = sum(self._counts.values())
        if total == 1:
            ((remedy, (message,)),) = self._shown.items()
            return UserError(message, remedy)
        kinds = f" of {len(self._counts)} kinds" if len(self._counts) > 1 else ""
        lines = [f"{self.source}: {total} faults{kinds}, and nothing is imported:"]
        for remedy, shown in self._shown.items():
            lines += ["  " + message.replace("\n", "\n  ") for message in shown]
            if more := self._counts[remedy] - len(shown):
                lines.append(f"  … and {more} more of this kind")
            lines.append(f"    remedy: {remedy}")
        return UserError("\n".join(lines), "mend what is listed, and import again")
