"""Proxy of an object store that forwards connections, or refuses all or some of the requests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


def make_response(status: str, code: str) -> bytes:
    """Return a response of S3 with an error, after which the connection is closed."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n{body}".encode()


SLOW_DOWN = make_response("503 Slow Down", "SlowDown")
DENIED = make_response("403 Forbidden", "AccessDenied")


class Proxy:
    """TCP proxy in a thread.

    Parameters
    ----------
    server : str
        URL of the object store.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._find_response: Callable[[str], bytes] | None = None
        self.refused = 0
        """Number of requests that were refused."""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._listen(0)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """Respond 503 from now on, and close all connections."""
        self._respond(lambda _: SLOW_DOWN)

    def deny(self, is_denied: Callable[[str], bool]) -> None:
        """Respond 403 from now on to requests for some paths, and close all connections."""
        self._respond(lambda path: DENIED if is_denied(path) else b"")

    def accept(self) -> None:
        """Forward connections again."""
        self._find_response = None

    def stop(self) -> None:
        """Close all connections and refuse new ones, like a proxy whose process has ended."""
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._abort_connections)

    def restart(self) -> None:
        """Accept connections on the same port again."""
        self._server = self._listen(self._port)

    def close(self) -> None:
        """Stop the proxy for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _listen(self, port: int) -> asyncio.Server:
        server = asyncio.start_server(self._serve, "127.0.0.1", port)
        return asyncio.run_coroutine_threadsafe(server, self._loop).result()

    def _respond(self, find_response: Callable[[str], bytes]) -> None:
        self._find_response = find_response
        self._loop.call_soon_threadsafe(self._abort_connections)

    def _abort_connections(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        head = b""
        try:
            if find_response := self._find_response:
                head = await reader.readuntil(b"\r\n\r\n")
                if response := find_response(head.split(b" ", 2)[1].decode()):
                    self.refused += 1
                    writer.write(response)
                    await writer.drain()
                    return
                # The next request comes on another connection, and is looked at too.
                head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            self._open.add(target_writer)
            target_writer.write(head)
            await asyncio.gather(_forward(reader, target_writer), _forward(target_reader, writer))
            self._open.discard(target_writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._open.discard(writer)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()


@contextmanager
def run_proxy(server: str) -> Generator[Proxy]:
    """Yield a proxy of a server."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
