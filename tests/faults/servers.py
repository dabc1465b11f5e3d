"""A loopback HTTP server that misbehaves as it is told: a script of behaviours a path, then it serves."""

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

Behaviour = Callable[["_Handler", bytes], None]
NONE = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"


class Request(NamedTuple):
    """What was asked for."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class Server:
    """Files by path, what the server does before it serves each, and what it was asked for."""

    def __init__(self, scheme: str, port: int) -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.requests: list[Request] = []
        self.released = threading.Event()
        self._files: dict[str, bytes] = {}
        self._scripts: dict[str, list[Behaviour]] = {}
        self._always: dict[str, Behaviour] = {}
        self._lock = threading.Lock()

    def serve(self, path: str, content: bytes, *script: Behaviour, always: Behaviour | None = None) -> None:
        """Serve a file: its script once, behaviour by behaviour, then `always`, or as a server should."""
        with self._lock:
            self._files[path] = content
            self._scripts[path] = list(script)
            self._always[path] = always or serve_ranges

    def asked(self, path: str) -> list[Request]:
        """Return the requests for a path."""
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
            behaviour = script.pop(0) if script else self._always.get(path, status(404, NONE))
            content = self._files.get(path, b"")
        behaviour(handler, content)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10.0

    def do_GET(self) -> None:
        self.told.answer(self)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.told.answer(self)

    do_HEAD = do_GET

    @property
    def told(self) -> Server:
        return self.server.told  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass

    def reply(self, code: int, body: bytes, length: int | None = -1, **headers: str) -> None:
        """Send an answer; a `length` of None is not told, and the body ends with the connection."""
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
    """Return first byte and end of the range that is asked for."""
    first, _, last = handler.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, len(content))


def serve_ranges(handler: _Handler, content: bytes) -> None:
    """Do as a server should."""
    start, stop = span(handler, content)
    if start >= len(content):
        handler.reply(416, b"", Content_Range=f"bytes */{len(content)}")
        return
    handler.reply(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")


def status(code: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer with a status alone."""
    return lambda handler, content: handler.reply(code, body, **headers)


def redirect(where: str, code: int = 302) -> Behaviour:
    """Send elsewhere."""
    return status(code, Location=where)


def ignore_ranges(handler: _Handler, content: bytes) -> None:
    """Send the whole file, whatever was asked for."""
    handler.reply(200, content)


def tell_no_length(handler: _Handler, content: bytes) -> None:
    """Send the whole file without saying how long it is."""
    handler.reply(200, content, length=None)


def cut_short(handler: _Handler, content: bytes) -> None:
    """Promise all of a range, send half and end."""
    start, stop = span(handler, content)
    handler.close_connection = True
    says = f"bytes {start}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start : (start + stop) // 2], length=stop - start, Content_Range=says)


def short_whole(handler: _Handler, content: bytes) -> None:
    """Say 200, promise all of a file, send a part and end."""
    handler.close_connection = True
    handler.reply(200, content[:9000], length=len(content))


def reset(handler: _Handler, content: bytes) -> None:
    """Reset the connection in the middle of the body."""
    cut_short(handler, content)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang(handler: _Handler, content: bytes) -> None:
    """Say nothing, until the test ends."""
    handler.told.released.wait(20.0)
    handler.close_connection = True


def trickle(handler: _Handler, content: bytes) -> None:
    """Begin, and then say nothing more."""
    start, stop = span(handler, content)
    says = f"bytes {start}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start : start + 100], length=stop - start, Content_Range=says)
    hang(handler, content)


def other_range(handler: _Handler, content: bytes) -> None:
    """Send another range than was asked for, and say so."""
    start, stop = span(handler, content)
    says = f"bytes {start + 1}-{stop - 1}/{len(content)}"
    handler.reply(206, content[start + 1 : stop], Content_Range=says)


def less(handler: _Handler, content: bytes) -> None:
    """Send less of a range than there is of it, and say so."""
    start, stop = span(handler, content)
    stop = min(stop, start + 1000)
    handler.reply(206, content[start:stop], Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")


@contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """Run a server on a port of the system's; over TLS with a certificate and its key."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    http.daemon_threads = True
    http.block_on_close = False
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    told = Server("https" if certificate else "http", http.server_address[1])
    http.told = told  # type: ignore[attr-defined]
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        told.released.set()
        http.shutdown()
        http.server_close()
        thread.join(5.0)
