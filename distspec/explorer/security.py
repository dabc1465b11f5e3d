"""Access control of the explorer: only the page that was opened with this launch's address is served.

A random token is the first part of every path. It is no cookie, because cookies of 127.0.0.1 are sent to
every port. Requests with another Host header are refused, against DNS rebinding, and requests that change
something must come from the page itself. A proxy, such as jupyter-server-proxy, is one more host and origin,
which the user names; pages of other origins may show the explorer in a frame only if the user says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import compare_digest
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distspec.core.errors import ConfigError

MAX_BODY_BYTES = 32 * 2**20
"""Largest size of a request [bytes]: a selection of a few million spectra."""
NO_FRAMES = "'none'"
LOCAL_FRAMES = "http://127.0.0.1:* http://localhost:*"
"""Pages of this machine, such as those of a local Jupyter server."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors "
)
CONTENT_SECURITY_POLICY = f"{_POLICY}{NO_FRAMES}"
"""Policy of every response, unless a notebook or a proxy shows the page in a frame."""
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True)
class Proxy:
    """Address at which a proxy shows the explorer.

    Attributes
    ----------
    url : str
        Address that the browser opens, without the token; it ends with a slash.
    """

    url: str

    @classmethod
    def parse(cls, url: str, port: int) -> Proxy:
        """Return the proxy with an address.

        Parameters
        ----------
        url : str
            Address; "{port}" is replaced by the port of the explorer.
        port : int
            Port of the explorer.

        Raises
        ------
        ConfigError
            If it is no address of HTTP or HTTPS, or has a query or fragment.

        Examples
        --------
        >>> proxy = Proxy.parse("https://hub.example.org/user/ann/proxy/{port}", 8123)
        >>> proxy.url, proxy.host, proxy.origin
        ('https://hub.example.org/user/ann/proxy/8123/', 'hub.example.org', 'https://hub.example.org')
        """
        parts = urlsplit(url.replace("{port}", str(port)))
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
            raise ConfigError(
                f"--proxy {url}: give the address in the browser, such as "
                "https://hub.example.org/user/ann/proxy/{port}/"
            )
        return cls(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/")

    @property
    def host(self) -> str:
        """Host header of the browser's requests."""
        return urlsplit(self.url).netloc

    @property
    def origin(self) -> str:
        """Origin header of the requests of the page."""
        return f"{urlsplit(self.url).scheme}://{self.host}"


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
    proxy : Proxy or None
        Proxy through which the page is opened, too.
    frame_ancestors : str
        Origins whose pages may show the explorer in a frame, as in a content security policy.
    """

    app: ASGIApp
    token: str
    port: int
    proxy: Proxy | None = None
    frame_ancestors: str = NO_FRAMES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        security_headers = {
            "content-security-policy": f"{_POLICY}{self.frame_ancestors}",
            **SECURITY_HEADERS,
            **({"x-frame-options": "DENY"} if self.frame_ancestors == NO_FRAMES else {}),
        }

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in security_headers.items()]
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
        origins = {name: f"http://{name}" for name in (f"127.0.0.1:{self.port}", f"localhost:{self.port}")}
        if self.proxy is not None:
            origins[self.proxy.host] = self.proxy.origin
        host = b",".join(headers.get(b"host", [])).decode("latin-1")
        if host not in origins:
            return PlainTextResponse(f"this server is available at {' and '.join(origins)} only\n", 421), ""
        # A proxy may put the explorer's own host in place of its own.
        allowed = {origins[host], *([self.proxy.origin] if self.proxy is not None else [])}
        token, slash, rest = scope["path"].removeprefix("/").partition("/")
        if not (slash and compare_digest(token.encode(), self.token.encode())):
            return PlainTextResponse("open the address that `distspec explore` printed\n", 403), ""
        path = "/" + rest
        if scope["method"] in ("GET", "HEAD"):
            return None, path
        if b",".join(headers.get(b"origin", [])).decode("latin-1") not in allowed:
            return PlainTextResponse("the request does not come from this page\n", 403), ""
        if headers.get(b"content-type", []) != [b"application/json"]:
            return PlainTextResponse("the request must be JSON\n", 415), ""
        length = headers.get(b"content-length", [b""])[0]
        if not length.isdigit():
            return PlainTextResponse("the request has no Content-Length\n", 411), ""
        if int(length) > MAX_BODY_BYTES:
            return PlainTextResponse(f"the request is larger than {MAX_BODY_BYTES:,} bytes\n", 413), ""
        return None, path
