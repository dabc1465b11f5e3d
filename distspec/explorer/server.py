"""The server of the explorer on the loopback address, in this thread or behind a notebook."""

from __future__ import annotations

import atexit
import secrets
import socket
import threading
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import uvicorn

from distspec.core.errors import ConfigError
from distspec.explorer.app import make_app
from distspec.explorer.data import ExplorerData
from distspec.explorer.security import LOCAL_FRAMES, NO_FRAMES, Proxy, TokenAuthMiddleware
from distspec.explorer.session import AnnotationSession

LOOPBACK = "127.0.0.1"
SAME_ORIGIN_FRAMES = "'self'"
"""Pages of the proxy's own origin: a Jupyter server and jupyter-server-proxy share theirs."""


@dataclass(frozen=True)
class RunningExplorer:
    """The explorer in a notebook: served by a thread until `stop`, or until the notebook's kernel ends.

    Attributes
    ----------
    url : str
        Address of the page, with the token.
    height : int
        Height of the frame in the notebook [pixels].
    """

    url: str
    height: int
    _server: uvicorn.Server = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def stop(self) -> None:
        """End the server and compact the labels."""
        self._server.should_exit = True
        self._thread.join()

    def _repr_html_(self) -> str:
        url = escape(self.url)
        return (
            f'<iframe src="{url}" width="100%" height="{self.height}" title="distspec explorer" '
            'style="border: 1px solid #8888" allow="clipboard-write"></iframe>'
            f'<p><a href="{url}" target="_blank" rel="noopener">Open in a tab</a>. If the frame stays empty, '
            "the kernel runs on another machine: name its proxy, "
            "<code>explore(proxy=&quot;https://…/proxy/{port}/&quot;)</code>.</p>"
        )


def serve(
    data: ExplorerData,
    session: AnnotationSession,
    lines: Mapping[str, float],
    port: int = 0,
    open_browser: bool = True,
    proxy: str = "",
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
    proxy : str
        Address at which a proxy shows the explorer; see `distspec.explorer.security.Proxy.parse`.

    Raises
    ------
    ConfigError
        If the port is in use, or the proxy is no address.
    """
    with listen(port) as listener:
        server, url = _make_server(data, session, lines, listener, proxy, NO_FRAMES)
        print(f"{len(data):,} spectra of run {data.record.run_id}: {url}\nPress Ctrl-C to end", flush=True)
        if open_browser:
            # Some browsers return only when they end; the socket listens already, so none comes too early.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True, name="browser").start()
        server.run(sockets=[listener])


def start(
    data: ExplorerData,
    session: AnnotationSession,
    lines: Mapping[str, float],
    port: int = 0,
    proxy: str = "",
    height: int = 800,
) -> RunningExplorer:
    """Serve the explorer in a thread, for a frame in a notebook.

    Parameters
    ----------
    data, session, lines, port, proxy
        As for `serve`.
    height : int
        Height of the frame [pixels].

    Returns
    -------
    RunningExplorer

    Raises
    ------
    ConfigError
        If the port is in use, or the proxy is no address.
    """
    listener = listen(port)
    try:
        server, url = _make_server(data, session, lines, listener, proxy, LOCAL_FRAMES)
    except ConfigError:
        listener.close()
        raise
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="distspec-explorer"
    )
    thread.start()
    running = RunningExplorer(url, height, server, thread)
    atexit.register(running.stop)
    return running


def _make_server(
    data: ExplorerData,
    session: AnnotationSession,
    lines: Mapping[str, float],
    listener: socket.socket,
    proxy: str,
    frame_ancestors: str,
) -> tuple[uvicorn.Server, str]:
    """Return the server, which is not running yet, and the address of its page."""
    port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
    place = Proxy.parse(proxy, port) if proxy else None
    app = TokenAuthMiddleware(
        make_app(data, session, lines), token, port, place, SAME_ORIGIN_FRAMES if place else frame_ancestors
    )
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False
    )
    base = place.url if place else f"http://{LOOPBACK}:{port}/"
    return uvicorn.Server(config), f"{base}{token}/"


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
