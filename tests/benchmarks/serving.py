"""A server of byte ranges on the loopback interface that is not the bottleneck of a benchmark of clients.

It is nginx if that is installed, else ``python -m tests.benchmarks.serving FOLDER PORT``, which holds whole
files in memory.
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
from dataclasses import dataclass
from pathlib import Path

NGINX_CONFIG = """\
daemon off; master_process off; pid {scratch}/pid; error_log {scratch}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {scratch}; proxy_temp_path {scratch}; fastcgi_temp_path {scratch};
  uwsgi_temp_path {scratch}; scgi_temp_path {scratch};
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""
REQUEST_PATTERN = re.compile(
    rb"GET /([^? ]*)[^\r]*\r\n.*?^range: bytes=(\d+)-(\d+)\r$.*\r\n\r\n",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
STARTUP_TIMEOUT = 60.0
"""Longest time until the server answers [s]."""


@dataclass(frozen=True)
class Server:
    """A running server: its URL and the name of its software."""

    url: str
    software: str


@contextmanager
def serve_folder(folder: str) -> Generator[Server]:
    """Serve the files in a folder."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    port = find_free_port()
    with tempfile.TemporaryDirectory(prefix="ds-") as scratch:
        config = Path(scratch) / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(scratch=scratch, port=port, folder=folder))
        if nginx:
            command = [nginx, "-e", f"{scratch}/error", "-c", str(config)]
        else:
            command = [sys.executable, "-m", "tests.benchmarks.serving", folder, str(port)]
        process = subprocess.Popen(command)
        try:
            wait_until_listening(port)
            yield Server(f"http://127.0.0.1:{port}", "nginx" if nginx else "asyncio")
        finally:
            process.terminate()
            process.wait()


def find_free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_listening(port: int) -> None:
    """Wait until a server listens on a port of the loopback interface."""
    deadline = time.monotonic() + STARTUP_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


class RangeProtocol(asyncio.Protocol):
    """Answers requests of byte ranges, one after the other on each connection."""

    transport: asyncio.Transport

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while match := REQUEST_PATTERN.match(self.received):
            self.received = self.received[match.end() :]
            content, start, last = self.files[match[1].decode()], int(match[2]), int(match[3])
            part = content[start : last + 1]
            content_range = f"{start}-{start + len(part) - 1}/{len(content)}"
            head = (
                f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(part)}\r\n"
                f"Content-Range: bytes {content_range}\r\n"
                'ETag: "0"\r\nLast-Modified: Mon, 24 Nov 2025 00:00:00 GMT\r\n\r\n'
            )
            self.transport.write(head.encode() + part)


async def _serve_from_memory(folder: Path, port: int) -> None:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: RangeProtocol(files), "127.0.0.1", port)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Serve a folder until the process is terminated."""
    asyncio.run(_serve_from_memory(Path(arguments[0]), int(arguments[1])))


if __name__ == "__main__":
    main(sys.argv[1:])
