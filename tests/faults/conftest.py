"""Fixtures: servers that misbehave."""

import pytest

from tests.faults.servers import serving


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def elsewhere():
    """A second server, to which the archive may not redirect."""
    with serving() as server:
        yield server
