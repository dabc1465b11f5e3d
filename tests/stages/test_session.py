import os
import subprocess
import sys

TWICE = """
import ray
from distspec.stages.session import RayConfig, n_cpus, session
for _ in range(2):
    with session(RayConfig(address="local", cpus=1)):
        assert n_cpus() == 1
        env = ray.get(ray.remote(lambda: __import__("os").environ["OMP_NUM_THREADS"]).remote())
        assert env == "1", env
    assert not ray.is_initialized()
print("twice")
"""


def test_a_process_can_have_one_ray_after_another():
    """In a process of its own: the test session has a Ray already."""
    env = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=180, env=env
    )
    assert ended.stdout.endswith("twice\n"), ended.stderr[-2000:]
