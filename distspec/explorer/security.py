"""Access control of the explorer: only the page that was opened with this launch's address is served.

A random token is the first part of every path. It is no cookie, because cookies of 127.0.0.1 are sent to
every port. Requests with another Host header are refused, against DNS rebinding, and requests that change
something must come from the page itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import compare_digest

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 32 * 2**20
"""Largest size of a request [bytes]: a selection of a few million spectra."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class TokenAuthMiddleware:
    """ASGI middleware that passes on only the requests of its own page.

    Attributes
    ----------
    app : ASGI application
        Application behind the middleware; it receives paths without the token.
    token : str
        First part of every valid path.
    port : int
        Port on the loopback address.
    """

    app: ASGIApp
    token: str
    port: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *extra]}
            await send(message)

        refusal, path = self._check_request(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        scope = {**scope, "path": path, "raw_path": path.encode(), "root_path": f"/{self.token}"}
        await self.app(scope, receive, send_with_headers)

    def _check_request(self, scope: Scope) -> tuple[PlainTextResponse | None, str]:
        """Return the refusal of a request, or None, and its path without the token."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = [f"{name}:{self.port}".encode() for name in ("127.0.0.1", "localhost")]
        if (host := headers.get(b"host", [])) not in [[name] for name in hosts]:
            return PlainTextResponse("this server is available at 127.0.0.1 only\n", 421), ""
        token, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not (slash and compare_digest(token.encode(), self.token.encode())):
            return PlainTextResponse("open the address that `distspec explore` printed\n", 403), ""
        path = "/" + rest
        if scope["method"] in ("GET", "HEAD"):
            return None, path
        if headers.get(b"origin", []) != [b"http://" + host[0]]:
            return PlainTextResponse("the request does not come from this page\n", 403), ""
        if headers.get(b"content-type", []) != [b"application/json"]:
            return PlainTextResponse("the request must be JSON\n", 415), ""
        length = headers.get(b"content-length", [b""])[0]
        if not length.isdigit():
            return PlainTextResponse("the request has no Content-Length\n", 411), ""
        if int(length) > MAX_BODY_BYTES:
            return PlainTextResponse(f"the request is larger than {MAX_BODY_BYTES:,} bytes\n", 413), ""
        return None, path
