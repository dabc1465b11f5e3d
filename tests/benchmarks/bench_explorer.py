"""The explorer's page in headless Chromium, drawn by its software renderer: no GPU.

First paint: from opening the address until the map has been drawn, not only asked for. Click: from letting
the mouse go until the frame after the spectrum's curves. 100,000 spectra of 64 pixels, untrained model;
`COPY_ROWS` in the environment for another number. Server and browser share the machine.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
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

ROWS = int(os.environ.get("ROWS", "100000"))
OPENINGS, CLICKS = 5, 15


def run() -> list[Row]:
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory(prefix="ds-") as root,
        listen(0) as listener,
        sync_playwright() as playwright,
    ):
        explored = open_explorer_data(publish_root(root, ROWS))
        port = listener.getsockname()[1]
        app = TokenAuthMiddleware(
            make_app(explored, open_annotation_session(root, "nobody"), GALAXY_LINES), TOKEN, port
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait(lambda: server.started)
        path = os.environ.get("DISTSPEC_TEST_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        rows = _measure(browser, f"http://127.0.0.1:{port}/{TOKEN}/", explored)
        browser.close()
        server.should_exit = True
        thread.join()
        return rows


def _measure(browser: Any, address: str, explored: ExplorerData) -> list[Row]:
    paints: list[float] = []
    page: Any = None
    for _ in range(OPENINGS):
        if page is not None:
            page.close()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.locator("#map[data-painted]").wait_for()
        paints.append(1e-3 * page.evaluate("performance.getEntriesByName('map')[0].startTime"))
    marking = "document.addEventListener('pointerup', () => performance.mark('click'), true)"
    page.evaluate(marking)
    clicks = [_click(page, explored, row) for row in np.random.default_rng(0).integers(0, ROWS, CLICKS + 1)]
    n = f"{len(explored):,} spectra"
    return [
        Row(f"first paint, {n}", "s", tuple(paints)),
        Row("click to spectrum, the first", "s", (clicks[0],)),
        Row(f"click to spectrum, {n}", "s", tuple(clicks[1:])),
    ]


def _click(page: Any, explored: ExplorerData, row: int) -> float:
    """Click where a row lies; return how long the spectrum of what lies on top there takes [s]."""
    page.evaluate("delete document.querySelector('#panel').dataset.painted")
    page.mouse.click(*place(page, explored, row))
    page.locator("#panel[data-painted]").wait_for()
    return 1e-3 * page.evaluate(
        "row => performance.getEntriesByName(`spectrum ${row}`).at(-1).startTime"
        " - performance.getEntriesByName('click').at(-1).startTime",
        page.locator("#panel").get_attribute("data-painted"),
    )
