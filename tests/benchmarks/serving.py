"""Serving a folder over HTTP on loopback, ranges and all, from a process that is no bottleneck.

nginx where there is one, else ``python -m tests.benchmarks.serving FOLDER PORT``: whole files from memory.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

NGINX = """\
daemon off; master_process off; pid {scratch}/pid; error_log {scratch}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {scratch}; proxy_temp_path {scratch}; fastcgi_temp_path {scratch};
  uwsgi_temp_path {scratch}; scgi_temp_path {scratch};
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
REQUEST = re.compile(
    rb"GET /([^? ]*)[^\r]*\r\n.*?^range: bytes=(\d+)-(\d+)\r$.*\r\n\r\n",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
STARTS = 60.0
"""A server must have started within so long [s]."""


@contextmanager
def served(folder: str) -> Generator[tuple[str, str]]:
    """Serve a folder: yield the server's URL and what it is."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="ds-") as scratch:
        config = Path(scratch) / "nginx.conf"
        config.write_text(NGINX.format(scratch=scratch, port=port, folder=folder))
        own = [sys.executable, "-m", "tests.benchmarks.serving", folder, str(port)]
        server = subprocess.Popen([nginx, "-e", f"{scratch}/error", "-c", str(config)] if nginx else own)
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}", "nginx" if nginx else "asyncio"
        finally:
            server.terminate()
            server.wait()


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    """Wait until somebody listens at a port of loopback."""
    until = time.monotonic() + STARTS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


class Ranges(asyncio.Protocol):
    """Answers GETs of ranges, one after the other on a connection."""

    transport: asyncio.Transport

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while match := REQUEST.match(self.received):
            self.received = self.received[match.finish() :]
            content, start, last = self.files[match[1].decode()], int(match[2]), int(match[3])
            part = content[start : last + 1]
            span = f"{start}-{start + len(part) - 1}/{len(content)}"
            head = (
                f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(part)}\r\nContent-Range: bytes {span}"
                '\r\nETag: "0"\r\nLast-Modified: Mon, 24 Nov 2025 00:00:00 GMT\r\n\r\n'
            )
            self.transport.write(head.encode() + part)


async def _serve(folder: Path, port: int) -> None:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    server = await asyncio.get_running_loop().create_server(lambda: Ranges(files), "127.0.0.1", port)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Serve until ended."""
    asyncio.run(_serve(Path(arguments[0]), int(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
