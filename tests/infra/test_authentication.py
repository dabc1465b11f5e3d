"""A Ray that distspec starts answers nobody who lacks its token, in words of Ray's own."""

import os
import subprocess
import sys
import tempfile

import pytest

OURS = """
import sys, ray
from distspec.stages.config import RayConfig
from distspec.stages.session import ray_session
with ray_session(RayConfig(address="local", num_cpus=1, temp_dir=sys.argv[1])):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""
THEIRS = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("let in:", ray.get(ray.put("pixels")))
"""


def environment(home, **said):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **said}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Ray of our own, and the home where its token lies."""
    home = tmp_path_factory.mktemp("home")
    with tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", OURS, folder],
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        yield process.stdout.readline().strip(), home
        process.communicate(timeout=60)


def connect(address, home, **said):
    return subprocess.run(
        [sys.executable, "-c", THEIRS, address],
        env=environment(home, RAY_NUM_REDIS_GET_RETRIES="1", **said),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_who_has_the_token_is_let_in(cluster):
    address, home = cluster
    said = connect(address, home, RAY_AUTH_MODE="token")
    assert "let in: pixels" in said.stdout, said.stderr


@pytest.mark.parametrize(
    "said", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}]
)
def test_who_has_not_is_refused(cluster, tmp_path, said):
    address, home = cluster
    token = (home / ".ray" / "auth_token").read_text().strip()
    answer = connect(address, tmp_path, **said)
    assert answer.returncode != 0
    assert "let in" not in answer.stdout
    assert "auth" in answer.stderr.lower()
    assert token not in answer.stderr
