"""Ray sessions: environment and resources of the workers."""

import errno
import os
import socket
import subprocess
import sys

import pytest
import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException

from distspec.core.errors import ConfigError, StorageError
from distspec.stages import session
from distspec.stages.config import RayConfig

SESSIONS_IN_TURN = """
import os
import ray
from distspec.io.storage import StorageConfig, get_storage, resolve_storage, use_storage
from distspec.stages.config import RayConfig
from distspec.stages.session import DRIVER_ENV, LOCAL_DRIVER_ENV, can_autoscale, n_cpus, ray_session

def inspect():
    return os.environ["OMP_NUM_THREADS"], os.environ.get("AWS_ENDPOINT_URL"), resolve_storage().endpoint_url

for port in (9000, 9001):
    storage = StorageConfig(endpoint_url=f"http://127.0.0.1:{port}")
    with use_storage(storage), ray_session(RayConfig(address="local", num_cpus=1)):
        assert n_cpus() == 1
        assert not can_autoscale()
        found = ray.get(ray.remote(inspect).remote())
        assert found == ("1", None, storage.endpoint_url), found
    assert not ray.is_initialized()
    assert get_storage() == StorageConfig()
    assert can_autoscale()
left = {*DRIVER_ENV, *LOCAL_DRIVER_ENV, "AWS_ENDPOINT_URL"} & os.environ.keys()
assert not left, left
print("two sessions")
"""


@pytest.mark.slow
def test_sessions_in_turn_pass_their_storage_settings_and_leave_no_environment():
    """In a process of its own, because the test session is connected to Ray already."""
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "AWS_", "DISTSPEC_"))
    }
    result = subprocess.run(
        [sys.executable, "-c", SESSIONS_IN_TURN], capture_output=True, text=True, timeout=180, env=env
    )
    assert result.stdout.endswith("two sessions\n"), result.stderr[-2000:]


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "none.invalid:6379"])
def test_an_address_where_no_cluster_answers_is_refused_naming_its_source(address, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        session.check_cluster_address(f"127.0.0.1:{port}", "--ray.address")
    address = address.format(port=port)
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    for config, source in ((RayConfig(), r"\$RAY_ADDRESS"), (RayConfig(address=address), r"--ray\.address")):
        refused = pytest.raises(ConfigError, match=f"no Ray cluster answers at .* unset {source}")
        with refused, session.ray_session(config):
            pytest.fail("connected")


@pytest.mark.parametrize("address", ["local", "auto", "k8s://cluster"])
def test_addresses_without_a_port_are_left_to_ray(address):
    session.check_cluster_address(address, "--ray.address")


def test_a_folder_with_a_long_path_is_refused_naming_the_option(monkeypatch):
    def fail(**_):
        raise OSError("AF_UNIX path length cannot exceed 107 bytes: /scratch/…")

    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(session.ray, "init", fail)
    refused = pytest.raises(ConfigError, match=r"cannot exceed 107 bytes.*shorter path with --ray\.temp-dir")
    with refused, session.ray_session(RayConfig(address="local")):
        pytest.fail("connected")


@pytest.fixture
def no_temp_dir(monkeypatch):
    for name in session.TEMP_DIR_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["$TMPDIR", "$RAY_TMPDIR"])
@pytest.mark.parametrize("path", ["none", "file", "none/"])
def test_an_unusable_temporary_folder_is_refused_naming_the_variable(
    name, path, no_temp_dir, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv(name[1:], f"{tmp_path}/{path}")
    monkeypatch.setattr(session.ray, "is_initialized", lambda: False)
    problem = (
        rf"\{name} {tmp_path}/{path.rstrip('/')}: no temporary file .*(No such|Not a dir).*--ray\.temp-dir"
    )
    with pytest.raises(ConfigError, match=problem), session.ray_session(RayConfig(address="local")):
        pytest.fail("connected")


def test_a_temporary_folder_without_room_is_refused(no_temp_dir, tmp_path, monkeypatch):
    def fail(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(session.tempfile, "TemporaryFile", fail)
    with pytest.raises(ConfigError, match=r"default /tmp: .*No space left on device.*free some space"):
        session.choose_temp_dir("")


def test_temporary_folders_are_absolute_and_those_of_the_option_are_created(
    no_temp_dir, tmp_path, monkeypatch
):
    assert session.choose_temp_dir("") == "/tmp/ray"
    monkeypatch.setenv("TMPDIR", "")
    assert session.choose_temp_dir("") == "/tmp/ray"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", "./")
    assert session.choose_temp_dir("") == f"{tmp_path}/ray"
    assert session.choose_temp_dir("new/folder") == f"{tmp_path}/new/folder"
    assert (tmp_path / "new" / "folder").is_dir()


def test_small_shared_memory_is_a_warning_and_none_is_an_error(tmp_path, monkeypatch, caplog):
    session.warn_small_shared_memory(2e9, 2e9)
    assert not caplog.text
    session.warn_small_shared_memory(64e6, 2e9)
    assert "/dev/shm has 0.064 GB free, less than the 2 GB of Ray's object store" in caplog.text
    assert "--shm-size" in caplog.text
    monkeypatch.setattr(session, "SHARED_MEMORY", str(tmp_path / "shm"))
    with pytest.raises(ConfigError, match=r"Ray keeps its objects in .*/shm \(No such file.*mount a tmpfs"):
        session.measure_shared_memory()


def test_a_node_without_room_for_objects_is_a_storage_error():
    for error in (OutOfDiskError("full"), ObjectStoreFullError("full")):
        full = pytest.raises(StorageError, match=rf"{type(error).__name__}\): free .*--ray\.temp-dir")
        with full, session._object_store_errors():
            raise error


def nodes_of(*resources):
    return lambda: [{"Alive": alive, "Resources": node} for alive, node in resources]


def test_a_worker_that_fits_no_node_is_refused(monkeypatch):
    node, dead = {"CPU": 8.0, "memory": 4e9}, {"CPU": 8.0, "memory": 64e9}
    monkeypatch.setattr(session.ray, "nodes", nodes_of((True, node), (True, {"CPU": 0.0}), (False, dead)))
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 1.5e9}, "lower it") == 2
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 1e8}, "lower it") == 8
    with pytest.raises(ConfigError, match=r"an actor needs 5,000 MB .* 4,000 MB: lower it"):
        session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 5e9}, "lower it")


def test_one_worker_is_requested_if_no_node_is_present(monkeypatch):
    monkeypatch.setattr(session.ray, "nodes", nodes_of((True, {"CPU": 0.0, "memory": 1e9})))
    assert session.require_worker_slots("an actor", {"CPU": 1.0, "memory": 5e9}, "lower it") == 1


def test_requests_to_the_missing_dashboard_of_a_local_ray_fail_at_once(local_ray):
    """Ray Train sends one at the end of each training, and would retry it for 12 s."""

    @ray.remote(num_cpus=0)
    def query_dashboard() -> str:
        try:
            get_actor("0" * 32)
        except RayStateApiException as error:
            return type(error).__name__
        return "answered"

    assert ray.get(query_dashboard.remote()) == "ServerUnavailable"


def test_a_ray_that_did_not_start_in_time_is_started_again(monkeypatch, caplog):
    """Ray waits at most 30 s for its own processes, which is too short on a busy machine."""
    errors = [RuntimeError("The current node timed out during startup."), RuntimeError("another error")]
    started = []

    def init(**options):
        started.append(options)
        if len(started) != 2:
            raise errors[len(started) // 2]

    monkeypatch.setattr(session.ray, "init", init)
    monkeypatch.setattr(session.ray, "shutdown", lambda: None)  # other tests use this process's Ray
    session._init_ray(num_cpus=1)
    assert started == [{"num_cpus": 1}] * 2
    assert "starting it again" in caplog.text
    with pytest.raises(RuntimeError, match="another"):
        session._init_ray()
