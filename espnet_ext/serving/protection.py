"""Protection against other web pages: security headers, and checks of the Host and Origin headers.

A page of another site can send requests to a server on this machine. Its requests have an Origin
header with another host; a page that has changed the address of its own name (DNS rebinding) sends
its own name as Host.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Protection:
    """ASGI middleware that refuses requests of other sites and adds `HEADERS`.

    Args:
        app: the application.
        hosts: accepted names in the Host header, without port; (): any name.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] = ()):
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        message = self._problem(Headers(scope=scope))
        if message is None:
            await self.app(scope, receive, send_with_headers)
            return
        remedy = "open the page under the address that the server printed"
        error = {"code": "other_site", "message": message, "remedy": remedy}
        await JSONResponse({"error": error}, 403)(scope, receive, send_with_headers)

    def _problem(self, headers: Headers) -> str | None:
        """Return why a request is refused; None if it is not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts and _host_name(f"//{host}") not in self.hosts:
            return f"this server is not called {host[:100]}"
        if origin is not None and urlsplit(origin).netloc != host:
            return "the request comes from a page of another site"
        return None


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
