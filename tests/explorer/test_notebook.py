"""The explorer in a notebook, and behind a proxy with a base path, in a real browser."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

import distspec
from distspec.labels.annotations import current_annotations, read_annotations
from tests.explorer.conftest import wait
from tests.explorer.reverse_proxy import BASE_PATH, reverse_proxy

PAINT = 60_000  # timeout [ms], long for busy machines


@pytest.fixture
def notebook(monkeypatch):
    """A process that IPython's kernel runs in, for `distspec.project.inspection.is_notebook`."""
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PAINT)
    yield context.new_page()
    context.close()


def mark_in_frame(page, url, kernel_root):
    """Open a notebook page, mark a spectrum in its frame, and check that the mark arrived."""
    page.goto(url)
    frame = page.frame_locator("iframe")
    frame.locator("#map[data-painted='true']").wait_for()
    frame.locator("#query").fill("o0007")
    frame.locator("#query").press("Enter")
    frame.locator("#panel[data-painted]").wait_for()
    frame.locator("#points").press("i")
    wait(lambda: frame.locator("#annotations").inner_text().startswith("interesting"))
    marks = current_annotations(read_annotations(kernel_root), interest=True)
    assert marks.select(["object_id", "who"]).to_pylist() == [{"object_id": "o0007", "who": "ann"}]


def test_a_cell_shows_the_explorer_behind_a_proxy(notebook, root, page):
    with reverse_proxy() as (address, handler):
        running = distspec.open(root).explore(user="ann", proxy=f"{address}{BASE_PATH}/{{port}}/")
        try:
            assert running.url.startswith(f"{address}{BASE_PATH}/")
            handler.notebook_page = f"<!doctype html>{running._repr_html_()}".encode()
            mark_in_frame(page, f"{address}/lab", root)
        finally:
            running.stop()


def test_a_cell_of_a_local_notebook_shows_the_explorer(notebook, root, page):
    """The notebook's server has another port, so that its pages are of another origin."""
    running = distspec.open(root).explore(user="ann")
    with reverse_proxy() as (address, handler):
        try:
            assert running.url.startswith("http://127.0.0.1:")
            handler.notebook_page = f"<!doctype html>{running._repr_html_()}".encode()
            mark_in_frame(page, f"{address.replace('127.0.0.1', 'localhost')}/lab", root)
            port, token = running.url.split("/")[2].split(":")[1], running.url.split("/")[3]
            with pytest.raises(HTTPError, match="421"):
                urlopen(f"{address}{BASE_PATH}/{port}/{token}/")
        finally:
            running.stop()
    with pytest.raises(OSError, match="refused"):
        urlopen(running.url)


def test_outside_of_a_notebook_the_call_waits(root, monkeypatch):
    served = []
    monkeypatch.setattr("distspec.explorer.server.serve", lambda *args: served.append(args[3:]))
    assert distspec.open(root).explore(port=0, open_browser=False) is None
    assert served == [(0, False, "")]
