"""Collect all errors of a source, to report them together by kind, with their number and remedy."""

import contextlib
from collections import Counter
from collections.abc import Iterator

from espnet_ext.errors import UserError
from espnet_ext.progress import say

MAX_LISTED = 20  # errors of each kind


class ErrorCollector:
    """Collects errors while a source is read; errors with the same remedy are one kind.

    >>> errors = ErrorCollector("cuts.jsonl")
    >>> for name in ("u1", "u2"):
    ...     with errors.collecting():
    ...         raise UserError(f"{name}: has no audio", "remove it")
    >>> print(errors.combined())
    cuts.jsonl: 2 errors, and nothing is imported:
      u1: has no audio
      u2: has no audio
        remedy: remove it
      remedy: correct what is listed, and import again
    """

    def __init__(self, source: str):
        self.source = source
        self._messages: dict[str, list[str]] = {}  # remedy → the first messages
        self._counts: Counter = Counter()  # remedy → number of errors

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, error: UserError) -> None:
        """Add an error."""
        self._counts[error.remedy] += 1
        messages = self._messages.setdefault(error.remedy, [])
        if len(messages) < MAX_LISTED:
            messages.append(error.message)

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Add an error that the block raises, so that reading can continue after it."""
        first = not self
        try:
            yield
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # our disk is full, which is not of the source
                raise
            self.add(error)
            if first:
                say(f"{self.source}: has an error; reading on, to report all errors together")

    @contextlib.contextmanager
    def reraising(self) -> Iterator[None]:
        """Raise an error of the block together with those that were collected before."""
        try:
            yield
        except UserError as error:
            if isinstance(error.__cause__, OSError):
                raise
            self.add(error)
            raise self.combined() from None

    def combined(self) -> UserError:
        """Return the collected errors as one; a single error is returned as it is."""
        total = sum(self._counts.values())
        if total == 1:
            ((remedy, (message,)),) = self._messages.items()
            return UserError(message, remedy)
        kinds = f" of {len(self._counts)} kinds" if len(self._counts) > 1 else ""
        lines = [f"{self.source}: {total} errors{kinds}, and nothing is imported:"]
        for remedy, messages in self._messages.items():
            lines += ["  " + message.replace("\n", "\n  ") for message in messages]
            if more := self._counts[remedy] - len(messages):
                lines.append(f"  … and {more} more of this kind")
            lines.append(f"    remedy: {remedy}")
        return UserError("\n".join(lines), "correct what is listed, and import again")
