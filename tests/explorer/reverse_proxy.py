"""A reverse proxy with a base path, as jupyter-server-proxy has one, and a page that shows the explorer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BASE_PATH = "/user/ann/proxy"
HOP_HEADERS = {"connection", "transfer-encoding", "date", "server", "content-length"}


class ProxyHandler(BaseHTTPRequestHandler):
    """Forwards ``/user/ann/proxy/PORT/…`` with all headers, and answers ``/lab`` with `notebook_page`."""

    protocol_version = "HTTP/1.1"
    notebook_page = b""

    def do_GET(self) -> None:
        if self.path == "/lab":
            self._reply(200, [("content-type", "text/html")], self.notebook_page)
        else:
            self._forward()

    def do_POST(self) -> None:
        self._forward()

    do_PUT = do_POST

    def _forward(self) -> None:
        port, _, path = self.path.removeprefix(f"{BASE_PATH}/").partition("/")
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        connection = HTTPConnection("127.0.0.1", int(port), timeout=60)
        connection.request(self.command, f"/{path}", body, dict(self.headers))
        with connection.getresponse() as response:
            headers = [pair for pair in response.getheaders() if pair[0].lower() not in HOP_HEADERS]
            self._reply(response.status, headers, response.read())
        connection.close()

    def _reply(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in [*headers, ("content-length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def reverse_proxy() -> Iterator[tuple[str, type[ProxyHandler]]]:
    """Run a proxy; yield its address and its handler, whose page can be set."""

    class Handler(ProxyHandler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", Handler
        server.shutdown()
        thread.join()
