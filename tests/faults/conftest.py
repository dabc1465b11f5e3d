"""Servers for the tests of what services do."""

import pytest

from tests.faults.servers import serving


@pytest.fixture
def server():
    with serving() as told:
        yield told


@pytest.fixture
def elsewhere():
    """A second server, to which nothing may lead."""
    with serving() as told:
        yield told
