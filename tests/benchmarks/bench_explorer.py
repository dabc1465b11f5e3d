"""The explorer's page in headless Chromium with its software renderer, without a GPU.

First paint is the time from the navigation until the map is drawn. Click is the time from the release of the
mouse button until the frame after the spectrum is drawn. The command ``distspec explore`` is started several
times: its first page is opened as soon as it prints the address, and clicked as soon as the map is drawn. The
other pages and clicks are those of the last start. 100,000 spectra of 64 pixels and an untrained model; the
environment variable `ROWS` sets another number. Server and browser share the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np

from distspec.explorer.data import ExplorerData, open_explorer_data
from tests.benchmarks.timing import Row
from tests.explorer.build_root import publish_root
from tests.explorer.conftest import SWITCHES
from tests.explorer.test_page import place

N_ROWS = int(os.environ.get("ROWS", "100000"))
N_STARTS, N_PAINTS, N_CLICKS = 5, 5, 15
COMMAND = (sys.executable, "-c", "from distspec.cli.main import main; main()", "explore", "--no-browser")


def run() -> list[Row]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="ds-") as root, sync_playwright() as playwright:
        data = open_explorer_data(publish_root(root, N_ROWS))
        path = os.environ.get("DISTSPEC_TEST_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        rows = _measure(browser, data)
        browser.close()
        return rows


@contextmanager
def _start_explorer(root: str) -> Generator[str]:
    """Start the command, and yield the address of its page."""
    with subprocess.Popen([*COMMAND, "--root", root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGINT)


def _measure(browser: Any, data: ExplorerData) -> list[Row]:
    picked = np.random.default_rng(0).integers(0, N_ROWS, N_STARTS + 1 + N_CLICKS).tolist()
    first_paints, paints, first_clicks, clicks = (list[float]() for _ in range(4))
    for start in range(N_STARTS):
        with _start_explorer(data.root) as address:
            page, seconds = _open_page(browser, address)
            first_paints.append(seconds)
            first_clicks.append(_time_click(page, data, picked.pop()))
            if start == N_STARTS - 1:
                for _ in range(N_PAINTS):
                    page.close()
                    page, seconds = _open_page(browser, address)
                    paints.append(seconds)
                clicks = [_time_click(page, data, row) for row in picked]
            page.close()
    n = f"{len(data):,} spectra"
    return [
        Row(f"first paint after the start, {n}", "s", tuple(first_paints)),
        Row(f"click to spectrum, first click after the start, {n}", "s", tuple(first_clicks)),
        Row(f"first paint, {n}", "s", tuple(paints)),
        Row("click to spectrum, first click on a page", "s", (clicks[0],)),
        Row(f"click to spectrum, {n}", "s", tuple(clicks[1:])),
    ]


def _open_page(browser: Any, address: str) -> tuple[Any, float]:
    """Open a page; return it, and the time from the navigation until the map is drawn [s]."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(address)
    page.locator("#map[data-painted]").wait_for()
    page.evaluate("document.addEventListener('pointerup', () => performance.mark('click'), true)")
    return page, 1e-3 * page.evaluate("performance.getEntriesByName('map')[0].startTime")


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
