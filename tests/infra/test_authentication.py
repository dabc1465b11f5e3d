"""Ray that distspec starts rejects connections without its token."""

import os
import subprocess
import sys
import tempfile

import pytest

SERVER = """
import sys, ray
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
with ray_session(RayConfig(address="local", num_cpus=1, temp_dir=sys.argv[1])):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""
CLIENT = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("connected:", ray.get(ray.put("pixels")))
"""


def make_environment(home, **variables):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**inherited, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **variables}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Address of a Ray that distspec started, and the home directory with its token."""
    home = tmp_path_factory.mktemp("home")
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, folder],
            env=make_environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        yield process.stdout.readline().strip(), home
        process.communicate(timeout=60)


def connect(address, home, **variables):
    return subprocess.run(
        [sys.executable, "-c", CLIENT, address],
        env=make_environment(home, RAY_NUM_REDIS_GET_RETRIES="1", **variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_connection_with_the_token_is_accepted(cluster):
    address, home = cluster
    ended = connect(address, home, RAY_AUTH_MODE="token")
    assert "connected: pixels" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    "variables", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}]
)
def test_connection_without_the_token_is_refused(cluster, tmp_path, variables):
    address, home = cluster
    token = (home / ".ray" / "auth_token").read_text().strip()
    ended = connect(address, tmp_path, **variables)
    assert ended.returncode != 0
    assert "connected" not in ended.stdout
    assert "auth" in ended.stderr.lower()
    assert token not in ended.stderr
