"""Snapshots of the store: every commit is one; tags keep some of them, the others expire."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import icechunk
import pyarrow as pa
from tqdm import tqdm

from distspec.core.errors import StoreError
from distspec.io.files import list_files, read_bytes, url_exists, write_bytes
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.store.store import Store, open_repository, open_store
from distspec.store.transactions import parse_commit_record

RETENTION = timedelta(days=30)
"""Age up to which a snapshot without a tag can be read."""
N_COPY_THREADS = 8
"""Number of files that are copied at a time."""


@dataclass(frozen=True)
class GarbageSummary:
    """What a garbage collection deleted.

    Parameters
    ----------
    n_expired : int
        Snapshots that can no longer be read.
    n_tags : int
        Tags of models and runs that no longer exist.
    n_chunks : int
        Chunks that only expired snapshots used.
    n_bytes : int
        Size of all deleted files.
    """

    n_expired: int
    n_tags: int
    n_chunks: int
    n_bytes: int


def tag_snapshot(root: str, tag: str, snapshot_id: str) -> None:
    """Tag a snapshot, which protects it from garbage collection; repeating a tag has no effect.

    Parameters
    ----------
    root : str
        Root of the store.
    tag : str
        Name of the tag.
    snapshot_id : str
        Id of the snapshot.

    Raises
    ------
    StoreError
        If another snapshot has the tag.
    """
    repository = open_repository(store_url(root))
    if tag in repository.list_tags():
        if repository.lookup_tag(tag) != snapshot_id:
            raise StoreError(f"{root} has another snapshot named {tag}: choose another name")
        return
    repository.create_tag(tag, snapshot_id)


def model_tag(model_id: str) -> str:
    """Return the tag of the snapshot that a model was trained on.

    Parameters
    ----------
    model_id : str
        Id of the model.

    Returns
    -------
    str
    """
    return f"model-{model_id}"


def run_tag(run_id: str, snapshot_id: str) -> str:
    """Return the tag of a snapshot from which a run was published.

    Parameters
    ----------
    run_id : str
        Id of the run.
    snapshot_id : str
        Id of the snapshot that the run read.

    Returns
    -------
    str
    """
    return f"run-{run_id}-{snapshot_id[:8]}"


def clone_store(root: str, snapshot_id: str, target_root: str) -> Store:
    """Copy the store of a root to another root, as it was at a snapshot.

    Hold the lease of `root`: files of a commit in progress would be copied incompletely.

    Parameters
    ----------
    root : str
        Root of the store to copy.
    snapshot_id : str
        Identifier of the snapshot.
    target_root : str
        Root without a store.

    Returns
    -------
    Store
        The copy.

    Raises
    ------
    StoreError
        If `target_root` has a store, or the snapshot does not exist.
    """
    source, target = store_url(root), store_url(target_root)
    open_store(source, snapshot_id)
    if list_files(target):
        raise StoreError(f"{target} exists already: name a new root")
    files = list_files(source)

    def copy(name: str) -> None:
        write_bytes(join_url(target, name), read_bytes(join_url(source, name)))

    with ThreadPoolExecutor(N_COPY_THREADS) as pool:
        for _ in tqdm(pool.map(copy, files), total=len(files), desc="store", unit="file", disable=None):
            pass
    open_repository(target).reset_branch("main", snapshot_id)
    return open_store(target)


def list_snapshots(root: str) -> pa.Table:
    """Return the snapshots that can be read, newest first.

    Parameters
    ----------
    root : str
        Root of the store.

    Returns
    -------
    pyarrow.Table
        Columns snapshot_id, written (UTC), n_rows (null for commits that are not of ingest), message, and
        tags (separated by spaces).
    """
    repository = open_repository(store_url(root))
    tags: dict[str, list[str]] = {}
    for name in sorted(repository.list_tags()):
        tags.setdefault(repository.lookup_tag(name), []).append(name)
    infos = {info.id: info for info in repository.ancestry(branch="main")}
    for names in list(tags.values()):  # an expired snapshot with a tag is not an ancestor of the branch
        infos |= {info.id: info for info in list(repository.ancestry(tag=names[0]))[:1]}
    rows = [
        {
            "snapshot_id": info.id,
            "written": info.written_at,
            "n_rows": record.n_rows if (record := parse_commit_record(info.metadata)) else None,
            "message": info.message,
            "tags": " ".join(tags.get(info.id, [])),
        }
        for info in sorted(infos.values(), key=lambda info: info.written_at, reverse=True)
    ]
    fields = {"snapshot_id": pa.string(), "written": pa.timestamp("s", "UTC"), "n_rows": pa.int64()}
    return pa.Table.from_pylist(rows, pa.schema({**fields, "message": pa.string(), "tags": pa.string()}))


def collect_garbage(
    root: str, retention: timedelta = RETENTION, now: datetime | None = None
) -> GarbageSummary:
    """Delete old snapshots without a tag, and the files that only they use.

    The newest snapshot, the snapshots of existing models and runs, and those that the user has tagged are
    kept. Hold the lease of `root`: files of a commit in progress would be deleted.

    Parameters
    ----------
    root : str
        Root of the store.
    retention : timedelta, optional
        Age from which snapshots without a tag expire.
    now : datetime, optional
        Time from which ages are counted; the current time by default.

    Returns
    -------
    GarbageSummary
        Numbers of deleted items.
    """
    repository = open_repository(store_url(root))
    orphans = [name for name in repository.list_tags() if _is_orphan_tag(root, name)]
    for name in orphans:
        repository.delete_tag(name)
    before = (now or datetime.now(UTC)) - retention
    expired = repository.expire_snapshots(older_than=before)
    summary: icechunk.GCSummary = repository.garbage_collect(delete_object_older_than=before)
    return GarbageSummary(len(expired), len(orphans), summary.chunks_deleted, summary.bytes_deleted)


def _is_orphan_tag(root: str, tag: str) -> bool:
    """Return whether a tag was made for a model or a run that no longer exists."""
    owner, _, rest = tag.partition("-")
    if owner == "model":
        return not url_exists(join_url(model_url(root, rest), "model.json"))
    if owner == "run":
        return not url_exists(join_url(run_url(root, rest.rpartition("-")[0]), "run.json"))
    return False
