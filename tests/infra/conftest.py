"""Fixture with the deployment files of this repository."""

import pytest

from tests.infra.deployment import Deployment, read_deployment


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    return read_deployment()
