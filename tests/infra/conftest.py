"""The deployment of this repository, read once."""

import pytest

from tests.infra.deployment import Deployment, here


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    return here()
