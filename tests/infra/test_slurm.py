"""The Slurm script, run with substitutes for Slurm, Ray and distspec that record how they were called."""

import os
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.infra.deployment import GUIDE, TOP
from tests.infra.launching import start_problems

SCRIPT = TOP / "infra/slurm/distspec.sbatch"
RECORD = 'echo "$(basename "$0") $*" >> "$CALLS"\n'
SUBSTITUTES = {
    "scontrol": "echo n1; /bin/sleep 0.1; echo n2; echo n3",  # as if asked over a network
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "srun": 'while [[ "$1" == -* ]]; do shift; done; exec "$@"',
    # The first question is asked before the head has started.
    "ray": '[ "$1" = start ] && exec sleep 60; [ "$(grep -c "^ray status" "$CALLS")" -gt 1 ]',
    "distspec": 'echo "token ${#RAY_AUTH_TOKEN} $RAY_AUTH_MODE" >> "$CALLS"; eval "$RUN"',
    "sleep": '[ "$1" = 2 ] || exec /bin/sleep "$@"',
}


@pytest.fixture
def job(tmp_path):
    """Return a function that starts the script, and the path of the record of calls."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name, body in SUBSTITUTES.items():
        (programs / name).write_text(f"#!/bin/bash\n{RECORD}{body}\n")
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"

    def start(run, nodes=3):
        variables = {"HOME": str(tmp_path), "CALLS": str(calls), "RUN": run, "PATH": os.environ["PATH"]}
        variables |= {"DISTSPEC_VENV": str(tmp_path / "venv"), "SLURM_JOB_ID": "1234567"}
        variables |= {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_CPUS_PER_TASK": "16"}
        variables |= {"SLURM_JOB_NUM_NODES": str(nodes)}
        return subprocess.Popen(
            ["bash", str(SCRIPT), "dja", "--root", "/shared/my root"],
            env=variables,
            start_new_session=True,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start, calls


def list_calls(path, name):
    return [line for line in path.read_text().splitlines() if line.startswith(f"{name} ")]


def test_a_cluster_is_started_and_the_run_gets_its_address(job, tmp_path):
    start, calls = job
    process = start('until [ "$(grep -c "^ray start" "$CALLS")" = 2 ]; do /bin/sleep 0.05; done; exit 3')
    assert process.wait(timeout=30) == 3, process.stderr.read()
    head, workers = list_calls(calls, "ray start")
    assert "--head --node-ip-address=10.0.0.1 --port=34567 --dashboard-host=127.0.0.1" in head
    assert "--address=10.0.0.1:34567" in workers
    assert all("--num-cpus=16" in command for command in (head, workers))
    assert [list(start_problems(command)) for command in (head, workers)] == [[], []]
    assert list_calls(calls, "distspec") == [
        "distspec run dja --root /shared/my root --ray.address 10.0.0.1:34567"
    ]
    assert list_calls(calls, "srun")[-1].startswith("srun --nodes=2 --ntasks=2 --exclude=n1 ")
    token = tmp_path / ".distspec/token/auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) == 64
    assert "token 0 token" in calls.read_text(), "the token is in the file alone"
    with pytest.raises(ProcessLookupError):  # nothing of the cluster is left
        os.killpg(process.pid, 0)


def test_one_node_needs_no_workers(job):
    start, calls = job
    assert start("true", nodes=1).wait(timeout=30) == 0
    assert len(list_calls(calls, "ray start")) == 1


def test_the_signal_before_the_time_limit_stops_the_run(job):
    """The status is that of the run, which ends after its last commit."""
    start, calls = job
    process = start(
        "trap 'echo stopping >> $CALLS; exit 143' TERM; echo running >> $CALLS; while :; do :; done"
    )
    deadline = time.monotonic() + 30
    while not (calls.exists() and "running" in calls.read_text()):
        assert time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert "stopping" in calls.read_text()


def test_a_head_that_fails_ends_the_job(job):
    start, calls = job
    ray = calls.parent / "venv/bin/ray"
    ray.write_text("#!/bin/bash\nexit 1\n")
    assert start("true").wait(timeout=30) == 1
    assert "distspec" not in calls.read_text()


def test_the_syntax_is_that_of_bash_and_slurm():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    options = [line.split()[1] for line in SCRIPT.read_text().splitlines() if line.startswith("#SBATCH")]
    known = {"job-name", "nodes", "ntasks-per-node", "cpus-per-task", "mem", "time", "signal"}
    assert {option.removeprefix("--").partition("=")[0] for option in options} == known


def test_ray_accepts_the_commands_of_the_guide():
    lines = [line.strip() for line in Path(TOP, GUIDE).read_text().splitlines()]
    commands = [line for line in lines if line.startswith("ray start")]
    assert len(commands) == 2
    assert [list(start_problems(command)) for command in commands] == [[], []]
    assert [shlex.split(command)[2] for command in commands] == ["--head", "--address=HEAD:6379"]
