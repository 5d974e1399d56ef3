"""Limits of the server: size, duration, requests per minute and client, and waiting requests.

The answers to requests beyond a limit are `Refusal`s: an HTTP status, a code, a message, a remedy.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

MAX_CLIENTS = 10_000  # whose rate is remembered


class Refusal(Exception):
    """A request that is not answered with a judgement.

    Args:
        status: HTTP status code.
        code: the reason for programs.
        message, remedy: the reason and what to do, for people.
        retry_after: seconds after which the request may be repeated; None if that does not help.
    """

    def __init__(
        self, status: int, code: str, message: str, remedy: str, retry_after: int | None = None
    ):
        super().__init__(message)
        self.status, self.code, self.message, self.remedy = status, code, message, remedy
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """What the server accepts.

    Args:
        megabytes: largest upload.
        upload_seconds: longest time that an upload may take.
        requests_per_minute: limit for one client (IP address); 0: none.
        waiting: requests that wait while the model judges another one.
        prompt_characters: longest prompt.
    """

    megabytes: float = 10.0
    upload_seconds: float = 20.0
    requests_per_minute: int = 60
    waiting: int = 16
    prompt_characters: int = 500

    @property
    def bytes(self) -> int:
        """Largest upload in bytes."""
        return int(self.megabytes * 1e6)


class RateLimiter:
    """Counts requests of each client: a token bucket that holds the requests of one minute.

    Args:
        per_minute: requests per minute; 0: any number.
        clock: returns seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # client → tokens left, time

    def admit(self, client: str) -> None:
        """Count a request.

        Raises:
            Refusal: 429, if the client has sent too many.
        """
        if not self._per_minute:
            return
        now = self._clock()
        tokens, last = self._buckets.pop(client, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - last) * self._per_minute / 60.0)
        if len(self._buckets) >= MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]  # the one that was silent longest
        self._buckets[client] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            seconds = int((1 - tokens) * 60.0 / self._per_minute) + 1
            raise Refusal(
                429,
                "too_many_requests",
                f"more than {self._per_minute} requests per minute",
                f"send the next one in {seconds} s",
                seconds,
            )


class Admission:
    """Counts the requests that are received, wait or are judged; a context manager.

    Args:
        waiting: how many may wait while another one is judged.
    """

    def __init__(self, waiting: int):
        self._capacity = waiting + 1
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self._capacity:
            raise Refusal(
                503,
                "busy",
                f"{self.count} recordings are being received or judged, or wait",
                "send it again in a few seconds",
                5,
            )
        self.count += 1

    def __exit__(self, *error: object) -> None:
        self.count -= 1
