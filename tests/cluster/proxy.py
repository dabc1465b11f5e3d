"""Proxy of an object store that forwards all connections, or responds 503 to all requests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from contextlib import contextmanager

BODY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>"
RESPONSE = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n" % len(BODY)
RESPONSE += b"Connection: close\r\n\r\n" + BODY


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
        self._refusing = False
        self.refused = 0
        """Number of requests that were refused."""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def refuse(self) -> None:
        """Respond 503 from now on, and close all connections."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._abort_connections)

    def accept(self) -> None:
        """Forward connections again."""
        self._refusing = False

    def close(self) -> None:
        """Stop the proxy."""
        self._loop.call_soon_threadsafe(self._abort_connections)
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _abort_connections(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                self.refused += 1
                writer.write(RESPONSE)
                await writer.drain()
            writer.close()
            return
        self._open.add(writer)
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
            self._open.add(target_writer)
            await asyncio.gather(_forward(reader, target_writer), _forward(target_reader, writer))
            self._open.discard(target_writer)
        except OSError:
            writer.close()
        finally:
            self._open.discard(writer)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def run_proxy(server: str) -> Generator[Proxy]:
    """Yield a proxy of a server."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
