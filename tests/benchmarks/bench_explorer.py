"""The explorer's page in headless Chromium with its software renderer, without a GPU.

First paint is the time from the navigation until the map is drawn. Click is the time from the release of the
mouse button until the frame after the spectrum is drawn. 100,000 spectra of 64 pixels and an untrained model;
the environment variable `ROWS` sets another number. Server and browser share the machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn

from distspec.core.lines import GALAXY_LINES
from distspec.explorer.app import make_app
from distspec.explorer.data import ExplorerData, open_explorer_data
from distspec.explorer.security import TokenAuthMiddleware
from distspec.explorer.server import listen
from distspec.explorer.session import open_annotation_session
from tests.benchmarks.timing import Row
from tests.explorer.build_root import publish_root
from tests.explorer.conftest import SWITCHES, TOKEN, wait
from tests.explorer.test_page import place

N_ROWS = int(os.environ.get("ROWS", "100000"))
N_PAINTS, N_CLICKS = 5, 15


def run() -> list[Row]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="ds-") as root, sync_playwright() as playwright:
        data = open_explorer_data(publish_root(root, N_ROWS))
        with _serve_explorer(root, data) as address:
            path = os.environ.get("DISTSPEC_TEST_CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
            rows = _measure(browser, address, data)
            browser.close()
            return rows


@contextmanager
def _serve_explorer(root: str, data: ExplorerData) -> Generator[str]:
    """Serve the explorer from a thread, and yield the address of its page."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
        session = open_annotation_session(root, "nobody")
        app = TokenAuthMiddleware(make_app(data, session, GALAXY_LINES), TOKEN, port)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{port}/{TOKEN}/"
        finally:
            server.should_exit = True
            thread.join()


def _measure(browser: Any, address: str, data: ExplorerData) -> list[Row]:
    paints: list[float] = []
    page: Any = None
    for _ in range(N_PAINTS):
        if page is not None:
            page.close()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.locator("#map[data-painted]").wait_for()
        paints.append(1e-3 * page.evaluate("performance.getEntriesByName('map')[0].startTime"))
    page.evaluate("document.addEventListener('pointerup', () => performance.mark('click'), true)")
    rows = np.random.default_rng(0).integers(0, N_ROWS, N_CLICKS + 1)
    clicks = [_time_click(page, data, row) for row in rows]
    n = f"{len(data):,} spectra"
    return [
        Row(f"first paint, {n}", "s", tuple(paints)),
        Row("click to spectrum, first click", "s", (clicks[0],)),
        Row(f"click to spectrum, {n}", "s", tuple(clicks[1:])),
    ]


def _time_click(page: Any, data: ExplorerData, row: int) -> float:
    """Click on the position of a row; return the time until the topmost spectrum there is drawn [s]."""
    page.evaluate("delete document.querySelector('#panel').dataset.painted")
    page.mouse.click(*place(page, data, row))
    page.locator("#panel[data-painted]").wait_for()
    return 1e-3 * page.evaluate(
        "row => performance.getEntriesByName(`spectrum ${row}`).at(-1).startTime"
        " - performance.getEntriesByName('click').at(-1).startTime",
        page.locator("#panel").get_attribute("data-painted"),
    )
