"""Archives behind the proxy of an institute."""

import asyncio

import pytest

from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import open_archive_client
from tests.faults.servers import serving


@pytest.fixture
def server(monkeypatch):
    """A server that knows /a.fits, without settings of a proxy."""
    for name in ("http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as server:
        server.serve("/a.fits", b"content")
        yield server


def read(url):
    async def once():
        async with open_archive_client(url, AccessConfig(attempts=1, timeout=5.0)) as client:
            return (await client.get_file(f"{url}/a.fits").read_all()).data

    return asyncio.run(once())


def test_a_proxy_of_the_environment_is_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    assert read("http://archive.invalid") == b"content"
    assert server.requests[0].headers["Host"] == "archive.invalid"


def test_no_proxy_is_asked_for_excepted_hosts(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert read(server.url) == b"content"
