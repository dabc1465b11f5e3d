"""The server of the explorer on the loopback address."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Mapping

import uvicorn

from distspec.core.errors import ConfigError
from distspec.explorer.app import make_app
from distspec.explorer.data import ExplorerData
from distspec.explorer.security import TokenAuthMiddleware
from distspec.explorer.session import AnnotationSession

LOOPBACK = "127.0.0.1"


def serve(
    data: ExplorerData,
    session: AnnotationSession,
    lines: Mapping[str, float],
    port: int = 0,
    open_browser: bool = True,
) -> None:
    """Serve the explorer until it is interrupted, and print its address.

    Parameters
    ----------
    data : ExplorerData
        Catalog to show.
    session : AnnotationSession
        Annotations; compacted when the server ends.
    lines : mapping of str to float
        Rest wavelengths of the spectral features to name [Angstrom].
    port : int
        Port on 127.0.0.1; 0 for any free port.
    open_browser : bool
        Whether to open the page in the user's browser.

    Raises
    ------
    ConfigError
        If the port is in use.
    """
    with listen(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        app = TokenAuthMiddleware(make_app(data, session, lines), token, port)
        url = f"http://{LOOPBACK}:{port}/{token}/"
        print(f"{len(data):,} spectra of run {data.record.run_id}: {url}\nPress Ctrl-C to end", flush=True)
        if open_browser:
            # Some browsers return only when they end; the socket listens already, so none comes too early.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True, name="browser").start()
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address.

    Parameters
    ----------
    port : int
        Port; 0 for any free port.

    Raises
    ------
    ConfigError
        If the port is in use.
    """
    try:
        return socket.create_server((LOOPBACK, port), backlog=128)
    except OSError as error:
        raise ConfigError(f"--port {port}: {error.strerror}; use 0 for any free port") from error
