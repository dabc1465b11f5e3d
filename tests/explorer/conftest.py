import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from distspec.core.lines import GALAXY_LINES
from distspec.explorer.app import make_app
from distspec.explorer.data import ExplorerData, open_explorer_data
from distspec.explorer.security import TokenAuthMiddleware
from distspec.explorer.server import listen
from distspec.explorer.session import open_annotation_session
from tests.explorer.build_root import publish_root

TOKEN = "token-of-this-launch"
EVIL = "<img src=x onerror=document.title='owned'>"
SWITCHES = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four hundred spectra; the identifier of the first is a script if it is taken for HTML."""
    return publish_root(str(tmp_path_factory.mktemp("explored")), 400, [EVIL])


@pytest.fixture
def root(published: str, tmp_path: Path) -> str:
    """A copy that one test may change."""
    shutil.copytree(published, tmp_path / "root")
    return str(tmp_path / "root")


@pytest.fixture
def explorer_data(root: str) -> ExplorerData:
    return open_explorer_data(root)


@pytest.fixture
def address(root: str, explorer_data: ExplorerData) -> Iterator[str]:
    """A running explorer."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
        app = TokenAuthMiddleware(
            make_app(explorer_data, open_annotation_session(root, "ann"), GALAXY_LINES), TOKEN, port
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait(lambda: server.started)
        yield f"http://127.0.0.1:{port}/{TOKEN}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")  # its event loop runs as long as it is open, and no test can run another
def chromium() -> Iterator[Any]:
    path = (
        os.environ.get("DISTSPEC_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    )
    if path is None:
        pytest.skip("no Chromium: install Debian's `chromium`, or set DISTSPEC_TEST_CHROMIUM to one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


def wait(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.02)
