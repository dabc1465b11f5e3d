"""Serving the explorer on the loopback address until it is interrupted."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Mapping

import uvicorn

from distspec.explorer.app import make_app
from distspec.explorer.exploring import Explored
from distspec.explorer.guard import Guard
from distspec.explorer.notebook import Notebook

LOOPBACK = "127.0.0.1"


def serve(
    explored: Explored, notebook: Notebook, lines: Mapping[str, float], port: int = 0, browser: bool = True
) -> None:
    """Print the page's address, open it, and answer until interrupted; then compact what was said.

    Parameters
    ----------
    explored : Explored
    notebook : Notebook
    lines : mapping
        Features to name: rest wavelength [Å].
    port : int
        0: any that is free.
    browser : bool
        Open the page in the user's browser.

    Raises
    ------
    ValueError
        When something else listens there.
    """
    with listen(port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(32)
        app = Guard(make_app(explored, notebook, lines), token, port)
        url = f"http://{LOOPBACK}:{port}/{token}/"
        print(f"{len(explored):,} spectra of run {explored.record['run_id']}: {url}\nCtrl-C ends", flush=True)
        if browser:
            webbrowser.open(url)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, proxy_headers=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback address; port 0: any that is free.

    Raises
    ------
    ValueError
        When something else listens there.
    """
    try:
        return socket.create_server((LOOPBACK, port), backlog=128)
    except OSError as error:
        raise ValueError(f"--port {port}: {error.strerror}; 0 takes one that is free") from error
