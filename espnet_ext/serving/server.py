"""Run the application by uvicorn, without a log of requests."""

import ipaddress
import socket

import numpy as np
import uvicorn
from fastapi import FastAPI

from espnet_ext.errors import UserError
from espnet_ext.feedback.expected import expect
from espnet_ext.feedback.judge import Judge
from espnet_ext.progress import say

MAX_CONNECTIONS = 200
KEEP_ALIVE_SECONDS = 5
SHUTDOWN_SECONDS = 5
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_EXAMPLES = {"en": "hello", "ko": "안녕"}


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: name or address of an interface.
        port: 0: any free one.

    Raises:
        UserError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(host, port, error) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise _unusable(host, port, error) from None
    return listener


def _unusable(host: str, port: int, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(
        f"cannot listen on {host}, port {port}: {reason}",
        "choose another --port, or an address of this machine as --host",
    )


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach an address.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(listener: socket.socket) -> str:
    """Return the address of the page, for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified or host == "127.0.0.1":
        host = "localhost"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def warm_up(judge: Judge) -> None:
    """Load the dictionaries and run the model once, so that the first answer is not slower."""
    expect(_EXAMPLES[judge.language], judge.language)
    noise = np.random.default_rng(0).standard_normal(judge.recogniser.sample_rate)
    judge.decode((0.01 * noise).astype(np.float32))


def configured_server(app: FastAPI) -> uvicorn.Server:
    """Return a server of the application, which does not log requests."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="error",
            lifespan="off",
            ws="none",
            http="h11",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )


def run(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until the process is interrupted."""
    say(f"serving on {address_of(listener)} (Ctrl-C ends it; the API is documented under /api)")
    configured_server(app).run(sockets=[listener])
