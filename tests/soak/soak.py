"""A pipeline's nights on a cluster where something breaks every night, held against one where nothing does.

    python -m tests.soak --runs 40 --seed 0

Each run the archive grows; on three machines without a shared disk the pipeline is submitted again and again
until it ends with status 0; an undisturbed twin goes over the same archive, and both catalogues must agree.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil

from distspec.catalog import editions
from distspec.core.errors import TRANSIENT_REASONS
from distspec.ingest.source import read_source
from distspec.io.files import list_files, read_bytes
from distspec.io.lease import hold_lease, read_holder
from distspec.io.paths import join_url, store_url
from distspec.pipeline.config import Config
from distspec.pipeline.recipes import parse
from distspec.pipeline.runner import STAGES, run_stages
from distspec.stages.config import RayConfig
from distspec.stages.ingest import ingest
from distspec.stages.session import ray_session
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.cluster.nodes import REPOSITORY, Machines, machines
from tests.cluster.proxy import before
from tests.helpers.seaweed import S3, serve
from tests.soak.archive import FOUND, Archive
from tests.soak.sabotage import KINDS, LATEST, Saboteur

ATTEMPTS = 8
"""A run is submitted so often at most."""
RAYS_OWN = "_AutoscalingCoordinatorActor"
"""Ray Train starts one a cluster, which lasts as long and takes no CPU."""
GONE = 60.0
"""What a job held is gone so long [s] after it at the latest."""


@dataclass
class Night:
    """What became of one run."""

    number: int
    listed: int
    seconds: float
    attempts: list[str] = field(default_factory=list[str])
    """Of each submission what befell it and its end, in words."""
    retried: bool = False

    def __str__(self) -> str:
        retried = "; distspec retry" if self.retried else ""
        return (
            f"run {self.number:2d}  {self.listed:5d} listed  {self.seconds:5.0f} s  "
            f"{'; '.join(self.attempts)}{retried}"
        )


def soak(
    runs: int,
    seed: int,
    say: Callable[[str], None] = print,
    kinds: Sequence[str] = (),
    minutes: float = float("inf"),
    latest: float = LATEST,
) -> list[Night]:
    """Go through so many nights.

    Parameters
    ----------
    runs : int
    seed : int
    say : callable
        Takes a line.
    kinds : sequence of str
        What befalls the runs, in turn; empty: chosen at random.
    minutes : float
        No run begins later [min].
    latest : float
        What befalls a job comes so long [s] after its begin at the latest.

    Raises
    ------
    AssertionError
        When the catalogues differ, something is left held, or a reader failed.
    """
    rng, until = np.random.default_rng(seed), time.monotonic() + 60.0 * minutes
    with ExitStack() as stack:
        server = stack.enter_context(serve())
        s3 = S3(*server, uuid.uuid4().hex[:8])
        # Of the twin; the cluster goes through the proxy.
        os.environ.update({**s3.environment, "RAY_LOG_TO_DRIVER": "0"})
        proxy = stack.enter_context(before(s3.endpoint))
        archive = Archive.make(s3, runs, seed)
        root, twin = s3.url("root"), s3.url("twin")
        # The code is there, as in an image: each job would have it compiled anew.
        where = {**s3.environment, "AWS_ENDPOINT_URL": proxy.url}
        there = stack.enter_context(machines(has_code=True, **where))
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="ds-", dir="/tmp", ignore_cleanup_errors=True)
        )
        stack.enter_context(ray_session(RayConfig("local", 2, folder), s3.environment))
        weed = next(each for each in psutil.Process().children() if "weed" in each.name())
        saboteur = Saboteur(there, proxy, weed, rng, latest)
        reader = _reader(root)
        stack.callback(reader.kill)
        nights: list[Night] = []
        for number in range(runs):
            if time.monotonic() > until:
                break
            listed = archive.grow(number)
            kind = kinds[number % len(kinds)] if kinds else ""
            if healed := there.heal():
                say(f"{healed} machines had gone by themselves")
            nights.append(_night(saboteur, archive, root, number, listed, kind))
            _undisturbed(archive, twin, number)
            say(str(nights[-1]))
            _agree(root, twin)
        _nothing_to_do(there, archive, root)
        seen = _read(reader)
        say(f"reader: {seen['looks']} looks at {seen['editions']} editions, {len(seen['failed'])} failed")
        assert not seen["failed"], seen["failed"][:3]
        assert seen["looks"] > len(nights)
        _nothing_is_left(there, root)
        problems = verify_store(root)[1]
        assert problems == [], problems
        _nothing_is_told(there, root)
        say(summary(nights, saboteur))
        return nights


def _night(saboteur: Saboteur, archive: Archive, root: str, number: int, listed: int, kind: str) -> Night:
    """Submit until it ends with status 0; something befalls the first attempt, and half of the others."""
    start, night = time.monotonic(), Night(number, listed, 0.0)
    while True:
        job = f"run-{number}-{len(night.attempts)}"
        is_hurt = not night.attempts or (not kind and saboteur.rng.random() < 0.5)
        wait = saboteur.begin(job, kind) if is_hurt else str
        ended = saboteur.machines.submit(job, *_pipeline(archive, root))
        befell = wait() or "nothing"
        if "SUCCEEDED" in saboteur.machines.status(job).upper():  # `submit` ends with 0 of a stopped job, too
            night.attempts.append(befell)
            break
        night.attempts.append(f"{befell}: {_why(ended.stdout)}")
        assert len(night.attempts) < ATTEMPTS, ended.stdout[-3000:]
    if (number % FOUND == 0 and number) or _passing(root):
        night.retried = True
        again = saboteur.machines.submit(f"retry-{number}", "distspec", "retry", "--root", root)
        assert not again.returncode, again.stdout[-3000:]
    night.seconds = time.monotonic() - start
    return night


def _nothing_to_do(there: Machines, archive: Archive, root: str) -> None:
    """Submit once more what was submitted last."""
    published = editions.find_record(root)
    ended = there.submit("once-more", *_pipeline(archive, root))
    assert "SUCCEEDED" in there.status("once-more").upper(), ended.stdout[-3000:]
    assert "Nothing to do: the catalogue is up to date" in ended.stdout
    assert editions.find_record(root) == published


def _pipeline(archive: Archive, root: str) -> list[str]:
    return ["python", "-m", "jobs.pipeline", "soak", "--root", root, *archive.arguments()]


def _why(log: str) -> str:
    """Return what a job that failed says of it last."""
    said = re.findall(r"error: .{0,100}|exit code \d+|was stopped", log)
    return said[-1] if said else "ended"


def _passing(root: str) -> bool:
    """Tell whether a fault that has passed has kept spectra out, other than files that are not there yet."""
    reasons = set(open_store(store_url(root)).read_quarantine()["reason"].to_pylist())
    return bool(reasons & {str(reason) for reason in TRANSIENT_REASONS} - {"not_found"})


def _undisturbed(archive: Archive, root: str, number: int) -> None:
    """Do the same for the twin, in this process, where nothing befalls it."""
    config: Config = parse(["soak", "--root", root, *archive.arguments()])
    run_stages(config, list(STAGES))
    if number % FOUND == 0 and number:
        with hold_lease(root, "retry") as lease:
            ingest(root, read_source(root), lease, retry_transient=True)


def _agree(root: str, twin: str) -> None:
    """Hold what is published against the twin's: run, identities, counts, labels, quarantine."""
    one, two = (editions.find_record(each) for each in (root, twin))
    assert one.run_id == two.run_id, "of the same data by the same model"
    tables = [editions.open_record_tables(each, record) for each, record in ((root, one), (twin, two))]
    for name, columns, by in COMPARED:
        mine, theirs = (each[name].results_to_table(columns=columns).sort_by(by) for each in tables)
        assert mine.equals(theirs), f"{name} differ in run {one.run_id}"


COMPARED = (
    (
        "objects",
        ["object_id", "source_id", "cluster_label", "class_id", "previous_class_id", "split"],
        "object_id",
    ),
    ("classes", ["cluster_label", "class_id", "change", "n_spectra", "n_sources"], "cluster_label"),
    ("quarantine", ["object_id", "version", "reason"], "object_id"),
)


def _reader(root: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.soak.reader", root]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def _read(reader: subprocess.Popen[str]) -> dict[str, Any]:
    reader.terminate()
    return json.loads(reader.communicate(timeout=120)[0])


def _nothing_is_left(there: Machines, root: str) -> None:
    """Show that no lease is held, no placement group or actor stands, no file lies about."""
    held = read_holder(root)
    assert held is not None
    assert held.released, held
    until = time.monotonic() + GONE
    while standing := _standing(there):
        assert time.monotonic() < until, standing
        time.sleep(1.0)
    vouched = {file for record in editions.read_edition_records(root) for file in record.files.values()}
    lying = [
        name
        for name in list_files(root)
        if "/checkpoints/" in name
        or "/work/" in name
        or (
            name.startswith("catalog/")
            and name.endswith(".parquet")
            and name.removeprefix("catalog/") not in vouched
        )
    ]
    assert not lying, lying


def _nothing_is_told(there: Machines, root: str) -> None:
    """Show that neither the cluster's token nor the store's key is in a log or a record."""
    texts = {str(path): path.read_bytes() for path in there.logs()}
    assert any("job-driver-run" in name for name in texts), "those of jobs are among them"
    texts |= {name: read_bytes(join_url(root, name)) for name in list_files(root)}
    confidential = there.confidential()
    told = [name for name, text in texts.items() if any(secret in text for secret in confidential)]
    assert not told, told


def _standing(there: Machines) -> list[str]:
    """Return the placement groups and actors that are not gone."""
    found: list[str] = []
    for kind, gone in (("placement-groups", "REMOVED"), ("actors", "DEAD")):
        listed = there.ray("list", kind, "--format", "json", "--limit", "10000", "--detail")
        found += [
            f"{each.get('class_name', kind)} {each['state']} of job {each.get('job_id')}"
            for each in json.loads(listed.stdout[listed.stdout.index("[") :])
            if each["state"] != gone and each.get("class_name") != RAYS_OWN
        ]
    return found


def summary(nights: Sequence[Night], saboteur: Saboteur) -> str:
    """Return the figures of a soak in words."""
    befell = [each.rpartition(" after ")[0] for each in saboteur.done]
    counts = ", ".join(f"{kind} {befell.count(kind)} times" for kind in KINDS if kind in befell)
    seconds = np.array([night.seconds for night in nights])
    again = sum(len(night.attempts) - 1 for night in nights)
    return (
        f"{len(nights)} runs, {again} submitted again, {sum(night.retried for night in nights)} retried; "
        f"{counts}; {np.median(seconds):.0f} s a run (median), {seconds.max():.0f} s at most, "
        f"{seconds.sum() / 60:.0f} min in all"
    )
