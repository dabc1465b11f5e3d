"""Repeated runs of the pipeline on a cluster with faults, compared with undisturbed runs.

    python -m tests.soak --runs 40 --seed 0

The archive grows before each run. The pipeline is submitted to three machines without a shared disk until it
ends with status 0. An undisturbed pipeline processes the same archive, and both catalogs must agree.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from distspec.catalog import editions
from distspec.core.errors import TRANSIENT_REASONS
from distspec.ingest.source import read_source
from distspec.io.files import list_files, read_bytes
from distspec.io.lease import LEASE_TIMEOUT, hold_lease, read_holder
from distspec.io.paths import join_url, store_url
from distspec.pipeline.recipes import parse
from distspec.pipeline.runner import STAGES, run_stages
from distspec.stages.config import RayConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import ray_session
from distspec.store.store import open_store, store_exists
from distspec.store.verify import verify_store
from tests.cluster.nodes import REPOSITORY, Machines, machines
from tests.cluster.proxy import run_proxy
from tests.helpers.seaweed import S3, serve
from tests.soak.archive import RECOVERY_INTERVAL, Archive
from tests.soak.faults import FAULTS, MAX_DELAY, FaultInjector

MAX_ATTEMPTS = 8
"""Largest number of submissions of a run."""
HELD = "exit code 75"
"""How a job ends while another one holds the lease."""
PERSISTENT_ACTOR = "_AutoscalingCoordinatorActor"
"""Actor that Ray Train starts once in a cluster; it is never stopped, and takes no CPU."""
CLEANUP_TIMEOUT = 60.0
"""Time after a job [s] by which all of its actors and placement groups must be gone."""
COMPARED_COLUMNS = {
    "objects": ["object_id", "source_id", "cluster_label", "class_id", "previous_class_id", "split"],
    "classes": ["cluster_label", "class_id", "change", "n_spectra", "n_sources"],
    "quarantine": ["object_id", "version", "reason"],
}
"""Columns by table in which the catalogs must agree; the first one sorts the rows."""


@dataclass(frozen=True)
class Retry:
    """One ``distspec retry`` within a run.

    Parameters
    ----------
    names : list of str
        Files that it read again.
    was_published : bool
        Whether a catalog without these files was published before.
    """

    names: list[str]
    was_published: bool


@dataclass
class RunReport:
    """Course of one run.

    Parameters
    ----------
    number : int
        Number of the run, from 0.
    n_listed : int
        Number of spectra in the archive.
    seconds : float
        Duration.
    attempts : list of str
        For each submission its fault and how it ended.
    retried : list of Retry
        Each ``distspec retry`` that read files again which a fault had kept from a job.
    """

    number: int
    n_listed: int
    seconds: float = 0.0
    attempts: list[str] = field(default_factory=list[str])
    retried: list[Retry] = field(default_factory=list["Retry"])

    def __str__(self) -> str:
        attempts = "; ".join(self.attempts)
        return f"run {self.number:2d}  {self.n_listed:5d} listed  {self.seconds:5.0f} s  {attempts}"


def soak(
    n_runs: int,
    seed: int,
    log: Callable[[str], None] = print,
    faults: Sequence[str] = (),
    minutes: float = float("inf"),
    max_delay: float = MAX_DELAY,
) -> list[RunReport]:
    """Run the pipeline repeatedly with faults, and compare each catalog with that of an undisturbed run.

    Parameters
    ----------
    n_runs : int
        Number of runs.
    seed : int
        Seed of the archive and of the faults.
    log : callable, optional
        Function that is called with each line of the log.
    faults : sequence of str, optional
        Keys of `tests.soak.faults.FAULTS`, used in turn; empty: random ones.
    minutes : float, optional
        Time after which no run starts [min].
    max_delay : float, optional
        Time after the start of a job [s] before which a fault is injected.

    Returns
    -------
    list of RunReport
        One report for each run.

    Raises
    ------
    AssertionError
        If the catalogs differ, a reader failed, or something was not cleaned up.
    """
    rng, deadline = np.random.default_rng(seed), time.monotonic() + 60.0 * minutes
    with ExitStack() as stack:
        s3 = S3(*stack.enter_context(serve()), uuid.uuid4().hex[:8])
        # The undisturbed pipeline accesses the server directly, the cluster through the proxy.
        os.environ.update({**s3.environment, "RAY_LOG_TO_DRIVER": "0"})
        proxy = stack.enter_context(run_proxy(s3.endpoint))
        archive = Archive.create(s3, n_runs, seed)
        root, undisturbed_root = s3.url("root"), s3.url("undisturbed")
        # The machines have the code, as an image has; otherwise every job would compile it again.
        cluster = stack.enter_context(
            machines(has_code=True, **{**s3.environment, "AWS_ENDPOINT_URL": proxy.url})
        )
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
        )
        stack.enter_context(ray_session(RayConfig("local", 2, folder), s3.environment))
        server = next(child for child in psutil.Process().children() if "weed" in child.name())
        stack.push(partial(keep_logs_of_a_failure, cluster))
        injector = FaultInjector(cluster, archive, root, proxy, server, rng, max_delay)
        reader = start_reader(root)
        stack.callback(reader.kill)
        reports: list[RunReport] = []
        for number in range(n_runs):
            if time.monotonic() > deadline:
                break
            report = RunReport(number, archive.grow(number))
            if n_replaced := cluster.replace_failed():
                log(f"{n_replaced} machines had failed without an injected fault")
            run_with_faults(injector, archive, root, report, faults[number % len(faults)] if faults else "")
            run_undisturbed(archive, undisturbed_root, report)
            reports.append(report)
            log(str(report))
            compare_catalogs(root, undisturbed_root)
        check_nothing_to_do(cluster, archive, root)
        check_reader(reader, len(reports), log)
        check_cleanup(cluster, root)
        problems = verify_store(root)[1]
        assert problems == [], problems
        check_secrets(cluster, root)
        log(summarize(reports, injector))
        return reports


def keep_logs_of_a_failure(
    cluster: Machines, kind: type[BaseException] | None, error: BaseException | None, traceback: object
) -> None:
    """Copy the logs of the machines, which are deleted at the end, if an error ends the series."""
    if error is None:
        return
    folder = Path(tempfile.mkdtemp(prefix="soak-logs-"))
    for path in cluster.logs():
        with suppress(OSError):
            shutil.copy(path, folder / "-".join(path.parts[2:]))
    status = cluster.head.process.poll()
    head = "runs" if status is None else f"ended with {status}"
    print(f"the head {head}; logs of the machines: {folder}", flush=True)


def run_with_faults(
    injector: FaultInjector, archive: Archive, root: str, report: RunReport, fault: str
) -> None:
    """Submit the pipeline until it succeeds; the first attempt and half of the others have a fault."""
    start, cluster = time.monotonic(), injector.machines
    is_complete = False
    while not is_complete:
        job = f"run-{report.number}-{len(report.attempts)}"
        has_fault = not report.attempts or (not fault and injector.rng.random() < 0.5)
        unread_before = list_unread_files(archive, root)
        end = injector.begin(job, fault) if has_fault else str
        ended = cluster.submit(job, *pipeline_command(archive, root))
        description = end() or "nothing"
        # `ray job submit` exits with status 0 for a stopped job too.
        has_succeeded = cluster.status(job) == "SUCCEEDED"
        failure = "" if has_succeeded else find_failure(ended.stdout)
        if HELD in ended.stdout:
            time.sleep(LEASE_TIMEOUT)
        # Not those that were missing in earlier runs and have appeared since.
        names = [name for name in list_unread_files(archive, root) if name not in unread_before]
        is_complete = has_succeeded and not names
        if names:
            retry(cluster, job, root)
            report.retried.append(Retry(names, has_succeeded))
            description += f", distspec retry of {len(names)} files"
        report.attempts.append(f"{description}: {failure}" if failure else description)
        found = f"{report}\n{ended.stdout[-3000:]}\n{ended.stderr[-3000:]}"
        assert has_succeeded or not description.startswith("clock jump"), found
        assert len(report.attempts) < MAX_ATTEMPTS, found
    if report.number % RECOVERY_INTERVAL == 0 and report.number:
        retry(cluster, f"run-{report.number}", root)
    report.seconds = time.monotonic() - start


def retry(cluster: Machines, job: str, root: str) -> None:
    """Submit ``distspec retry``, and check that it succeeds."""
    ended = cluster.submit(f"retry-{job}", "distspec", "retry", "--root", root)
    assert not ended.returncode, ended.stdout[-3000:]


def check_nothing_to_do(cluster: Machines, archive: Archive, root: str) -> None:
    """Submit the last run once more, and check that it publishes nothing."""
    published = editions.find_record(root)
    ended = cluster.submit("once-more", *pipeline_command(archive, root))
    assert cluster.status("once-more") == "SUCCEEDED", ended.stdout[-3000:]
    assert "Nothing to do: the catalog is up to date" in ended.stdout, ended.stdout[-3000:]
    assert editions.find_record(root) == published


def pipeline_command(archive: Archive, root: str) -> list[str]:
    return ["python", "-m", "jobs.pipeline", "soak", "--root", root, *archive.arguments()]


def find_failure(log: str) -> str:
    """Return the last line about a failure in the log of a job."""
    found = re.findall(r"error: .{0,100}", log) or re.findall(r"exit code \d+|was stopped", log)
    return found[-1] if found else "ended"


def list_unread_files(archive: Archive, root: str) -> list[str]:
    """Return the files that are in quarantine because of a fault, or because they were missing earlier."""
    if not store_exists(store_url(root)):
        return []
    quarantine = open_store(store_url(root)).read_quarantine()
    is_transient = pc.is_in(quarantine["reason"], value_set=pa.array([*map(str, TRANSIENT_REASONS)]))
    names = [uri.rpartition("/")[2] for uri in quarantine["uri"].filter(is_transient).to_pylist()]
    return [name for name in names if archive.defects.get(name) != "missing"]


def run_undisturbed(archive: Archive, root: str, report: RunReport) -> None:
    """Run the pipeline in this process, without faults.

    Files that a fault kept from the other root are missing here until they are read again, because the order
    of the spectra in the store decides about the weights of the model.
    """
    config = parse(["soak", "--root", root, *archive.arguments()])
    for retried in report.retried:
        with archive.without(retried.names):
            run_stages(config, list(STAGES) if retried.was_published else ["ingest"])
        read_again(root)
    run_stages(config, list(STAGES))
    if report.number % RECOVERY_INTERVAL == 0 and report.number:
        read_again(root)


def read_again(root: str) -> None:
    """Do in this process what ``distspec retry`` does."""
    with hold_lease(root, "retry") as lease:
        ingest(root, read_source(root), lease, retry_transient=True)


def compare_catalogs(root: str, undisturbed_root: str) -> None:
    """Check that two roots have published the same run, identities, counts, labels and quarantine."""
    records = [editions.find_record(url) for url in (root, undisturbed_root)]
    assert records[0].run_id == records[1].run_id, "the runs differ in data or model"
    tables = [
        editions.open_record_tables(url, record)
        for url, record in zip((root, undisturbed_root), records, strict=True)
    ]
    for name, columns in COMPARED_COLUMNS.items():
        found, expected = (edition[name].to_table(columns=columns).sort_by(columns[0]) for edition in tables)
        assert found.equals(expected), f"{name} differ in run {records[0].run_id}:\n{found}\n{expected}"


def start_reader(root: str) -> subprocess.Popen[str]:
    """Start `tests.soak.reader`."""
    command = [sys.executable, "-m", "tests.soak.reader", root]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def check_reader(reader: subprocess.Popen[str], n_runs: int, log: Callable[[str], None]) -> None:
    """Stop the reader, and check that no read failed."""
    reader.terminate()
    result = json.loads(reader.communicate(timeout=120)[0])
    failures = result["failures"]
    log(f"reader: {result['n_reads']} reads of {result['n_editions']} editions, {len(failures)} failed")
    assert not failures, failures[:3]
    assert result["n_reads"] > n_runs


def check_cleanup(cluster: Machines, root: str) -> None:
    """Check that no lease is held, and that no actor, placement group or unpublished file is left."""
    holder = read_holder(root)
    assert holder is not None
    assert holder.released, holder
    deadline = time.monotonic() + CLEANUP_TIMEOUT
    while remaining := list_remaining(cluster):
        assert time.monotonic() < deadline, remaining
        time.sleep(1.0)
    published = {file for record in editions.read_edition_records(root) for file in record.files.values()}
    leftover = [
        name
        for name in list_files(root)
        if "/checkpoints/" in name
        or "/work/" in name
        or (
            name.startswith("catalog/")
            and name.endswith(".parquet")
            and name.removeprefix("catalog/") not in published
        )
    ]
    assert not leftover, leftover


def check_secrets(cluster: Machines, root: str) -> None:
    """Check that no log or record contains the cluster's token or the object store's key."""
    contents = {str(path): path.read_bytes() for path in cluster.logs()}
    assert any("job-driver-run" in name for name in contents), "no log of a job was found"
    contents |= {name: read_bytes(join_url(root, name)) for name in list_files(root)}
    secrets = cluster.read_secrets()
    leaking = [name for name, content in contents.items() if any(secret in content for secret in secrets)]
    assert not leaking, leaking


def list_remaining(cluster: Machines) -> list[str]:
    """Return the placement groups and actors that are not removed."""
    found: list[str] = []
    for kind, final_state in (("placement-groups", "REMOVED"), ("actors", "DEAD")):
        listed = cluster.ray("list", kind, "--format", "json", "--limit", "10000", "--detail")
        found += [
            f"{item.get('class_name', kind)} {item['state']} of job {item.get('job_id')}"
            for item in json.loads(listed.stdout[listed.stdout.index("[") :])
            if item["state"] != final_state and item.get("class_name") != PERSISTENT_ACTOR
        ]
    return found


def summarize(reports: Sequence[RunReport], injector: FaultInjector) -> str:
    """Return counts of runs, attempts and faults, and durations, as text."""
    kinds = [description.rpartition(" after ")[0] for description in injector.injected]
    counts = ", ".join(f"{kind} {kinds.count(kind)} times" for kind in FAULTS if kind in kinds)
    seconds = np.array([report.seconds for report in reports])
    n_repeated = sum(len(report.attempts) - 1 for report in reports)
    return (
        f"{len(reports)} runs, {n_repeated} submitted again, {sum(len(r.retried) for r in reports)} retried; "
        f"{counts}; {np.median(seconds):.0f} s per run (median), {seconds.max():.0f} s at most, "
        f"{seconds.sum() / 60:.0f} min in all"
    )
