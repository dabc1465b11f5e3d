"""An HTTP server on the loopback interface that misbehaves by a script per path and then serves normally."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

Behavior = Callable[["_Handler", bytes], None]
NONE = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"


class Request(NamedTuple):
    """A request that the server received."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class Server:
    """The files of a server, how it behaves for each path, and the requests that it received."""

    def __init__(self, scheme: str, port: int) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._files: dict[str, bytes] = {}
        self._scripts: dict[str, list[Behavior]] = {}
        self._always: dict[str, Behavior] = {}
        self._lock = threading.Lock()

    def serve(self, path: str, content: bytes, *script: Behavior, always: Behavior | None = None) -> None:
        """Serve a file: each behavior of the script once, then `always`, by default correct responses."""
        with self._lock:
            self._files[path] = content
            self._scripts[path] = list(script)
            self._always[path] = always or serve_ranges

    def asked(self, path: str) -> list[Request]:
        """Return the requests for a path, in order."""
        return [request for request in self.requests if request.path == path]

    def answer(self, handler: _Handler) -> None:
        """Answer one request."""
        parts = urlsplit(handler.path)
        path = unquote(parts.path)
        with self._lock:
            self.requests.append(
                Request(
                    handler.command,
                    path,
                    parts.query,
                    {k.title(): v for k, v in handler.headers.items()},
                )
            )
            script = self._scripts.get(path, [])
            behavior = script.pop(0) if script else self._always.get(path, status(404, NONE))
            content = self._files.get(path, b"")
        behavior(handler, content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10.0

    def do_GET(self) -> None:
        self.state.answer(self)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.state.answer(self)

    do_HEAD = do_GET

    @property
    def state(self) -> Server:
        return self.server.state  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, code: int, body: bytes, length: int | None = -1, **headers: str) -> None:
        """Send a response; with `length` None it has no length and ends with the connection."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def span(handler: _Handler, content: bytes) -> tuple[int, int]:
    """Return the first byte of the requested range and the byte after its last one."""
    first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, len(content))


def serve_ranges(handler: _Handler, content: bytes) -> None:
    """Respond correctly."""
    start, stop = span(handler, content)
    if start >= len(content):
        handler.reply(416, b"", Content_Range=f"bytes */{len(content)}")
        return
    handler.reply(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")


def status(code: int, body: bytes = b"", **headers: str) -> Behavior:
    """Return a behavior that responds with a status."""
    return lambda handler, content: handler.reply(code, body, **headers)


def redirect(where: str, code: int = 302) -> Behavior:
    """Return a behavior that redirects."""
    return status(code, Location=where)


def ignore_ranges(handler: _Handler, content: bytes) -> None:
    """Send the whole file, whatever range was requested."""
    handler.reply(200, content)


def tell_no_length(handler: _Handler, content: bytes) -> None:
    """Send the whole file without stating its length."""
    handler.reply(200, content, length=None)


def cut_short(handler: _Handler, content: bytes) -> None:
    """Announce the whole range, send half of it and close the connection."""
    start, stop = span(handler, content)
    handler.close_connection = True
    content_range = f"bytes {start}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start : (start + stop) // 2], length=stop - start, Content_Range=content_range)


def short_whole(handler: _Handler, content: bytes) -> None:
    """Announce the whole file with status 200, send a part and close the connection."""
    handler.close_connection = True
    handler.reply(200, content[:9000], length=len(content))


def reset(handler: _Handler, content: bytes) -> None:
    """Reset the connection within the body."""
    cut_short(handler, content)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang(handler: _Handler, content: bytes) -> None:
    """Send nothing until the test ends."""
    handler.state.released.wait(20.0)
    handler.close_connection = True


def trickle(handler: _Handler, content: bytes) -> None:
    """Send the first bytes, then nothing more."""
    start, stop = span(handler, content)
    content_range = f"bytes {start}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start : start + 100], length=stop - start, Content_Range=content_range)
    hang(handler, content)


def other_range(handler: _Handler, content: bytes) -> None:
    """Send another range than the requested one, with its true Content-Range."""
    start, stop = span(handler, content)
    content_range = f"bytes {start + 1}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start + 1 : stop], Content_Range=content_range)


def less(handler: _Handler, content: bytes) -> None:
    """Send a part of the requested range, with its true Content-Range."""
    start, stop = span(handler, content)
    stop = min(stop, start + 1000)
    handler.reply(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")


@contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """Run a server on a free port; over TLS if a certificate and its key are given."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.block_on_close = False
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    state = Server("https" if certificate else "http", http.server_address[1])
    http.state = state  # type: ignore[attr-defined]
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        http.shutdown()
        http.server_close()
        thread.join(5.0)
