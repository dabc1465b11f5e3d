"""Between a cluster and its object store: passes everything on, or answers 503 to everything."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Generator
from contextlib import contextmanager

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>"
ANSWER = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n" % len(BUSY)
ANSWER += b"Connection: close\r\n\r\n" + BUSY


class Proxy:
    """Runs in a thread of its own; `refuse` and `relent` at any time."""

    def __init__(self, behind: str) -> None:
        host, _, port = behind.removeprefix("http://").partition(":")
        self._behind = host, int(port)
        self._refusing = False
        self.refused = 0
        """Requests that were answered 503."""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def refuse(self) -> None:
        """Answer 503 from now on, and cut what is under way."""
        self._refusing = True
        self._loop.call_soon_threadsafe(self._cut)

    def relent(self) -> None:
        """Pass on again."""
        self._refusing = False

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._cut)
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\n")
                self.refused += 1
                writer.write(ANSWER)
                await writer.drain()
            writer.close()
            return
        self._open.add(writer)
        try:
            there, back = await asyncio.open_connection(*self._behind)
            self._open.add(back)
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
            self._open.discard(back)
        except OSError:
            writer.close()
        finally:
            self._open.discard(writer)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@contextmanager
def before(server: str) -> Generator[Proxy]:
    """Yield a proxy before a server's address."""
    proxy = Proxy(server)
    try:
        yield proxy
    finally:
        proxy.close()
