"""Snapshots of the store: every commit is one; which are kept by name, and which may go."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import icechunk
import pyarrow as pa
from tqdm import tqdm

from distspec.io.files import list_files, read_bytes, url_exists, write_bytes
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.store.store import Store, open_repository, open_store

RETENTION = timedelta(days=30)
"""A snapshot without a name may be read for so long."""
N_COPY_THREADS = 8
"""Files copied at a time."""


def tag_snapshot(root: str, tag: str, snapshot_id: str) -> None:
    """Give a snapshot a name, which keeps it; a name that it has already stays.

    Raises
    ------
    ValueError
        When another snapshot has that name.
    """
    repo = open_repository(store_url(root))
    if tag in repo.list_tags():
        if repo.lookup_tag(tag) != snapshot_id:
            raise ValueError(f"{root} has another snapshot named {tag}: choose another name")
        return
    repo.create_tag(tag, snapshot_id)


def model_tag(model_id: str) -> str:
    """Return the name that keeps the snapshot which a model was trained on."""
    return f"model-{model_id}"


def run_tag(run_id: str, snapshot_id: str) -> str:
    """Return the name that keeps a snapshot from which a run was published."""
    return f"run-{run_id}-{snapshot_id[:8]}"


def clone_store(root: str, snapshot_id: str, target_root: str) -> Store:
    """Copy the store of a root below another, as it was at a snapshot; return the copy.

    Run it under the root's lease: what a commit in the making writes would be half there.

    Parameters
    ----------
    root : str
    snapshot_id : str
    target_root : str
        A root without a store.

    Raises
    ------
    FileExistsError
        When there is one.
    ValueError
        When the snapshot is gone.
    """
    mine, theirs = store_url(root), store_url(target_root)
    open_store(mine, snapshot_id)
    if list_files(theirs):
        raise FileExistsError(f"{theirs} is there already: name a new root")
    files = list_files(mine)

    def copy(name: str) -> None:
        write_bytes(join_url(theirs, name), read_bytes(join_url(mine, name)))

    with ThreadPoolExecutor(N_COPY_THREADS) as pool:
        for _ in tqdm(pool.map(copy, files), total=len(files), desc="store", unit="file", disable=None):
            pass
    open_repository(theirs).reset_branch("main", snapshot_id)
    return open_store(theirs)


def list_snapshots(root: str) -> pa.Table:
    """Return the snapshots that can be read, newest first.

    Columns: snapshot_id, written (UTC), n_rows (null before the first batch), message, tags.
    """
    repo = open_repository(store_url(root))
    tags: dict[str, list[str]] = {}
    for name in sorted(repo.list_tags()):
        tags.setdefault(repo.lookup_tag(name), []).append(name)
    infos = {info.id: info for info in repo.ancestry(branch="main")}
    for same in list(tags.values()):  # what only a name keeps stands on no branch any more
        infos |= {info.id: info for info in list(repo.ancestry(tag=same[0]))[:1]}
    rows = [
        {
            "snapshot_id": info.id,
            "written": info.written_at,
            "n_rows": info.metadata.get("n_rows"),
            "message": info.message,
            "tags": " ".join(tags.get(info.id, [])),
        }
        for info in sorted(infos.values(), key=lambda info: info.written_at, reverse=True)
    ]
    fields = {"snapshot_id": pa.string(), "written": pa.timestamp("s", "UTC"), "n_rows": pa.int64()}
    return pa.Table.from_pylist(rows, pa.schema({**fields, "message": pa.string(), "tags": pa.string()}))


def collect_garbage(
    root: str, retention: timedelta = RETENTION, now: datetime | None = None
) -> Mapping[str, int]:
    """Let snapshots go that are older than `retention` and have no name, and what only they held.

    The newest state, snapshots of models and runs that are there, and those with a name of the user's own
    stay. Run it under the root's lease: what a commit in the making has written looks like garbage.

    Returns
    -------
    mapping
        Counts of snapshots expired, names dropped, and bytes and chunks deleted.
    """
    repo = open_repository(store_url(root))
    dropped = [name for name in repo.list_tags() if _is_orphan_tag(root, name)]
    for name in dropped:
        repo.delete_tag(name)
    before = (now or datetime.now(UTC)) - retention
    expired = repo.expire_snapshots(older_than=before)
    summary: icechunk.GCSummary = repo.garbage_collect(delete_object_older_than=before)
    return {
        "expired": len(expired),
        "names_dropped": len(dropped),
        "chunks_deleted": summary.chunks_deleted,
        "bytes_deleted": summary.bytes_deleted,
    }


def _is_orphan_tag(root: str, tag: str) -> bool:
    """Tell whether a name was given for a model or a run that is not there any more."""
    kind, _, rest = tag.partition("-")
    if kind == "model":
        return not url_exists(join_url(model_url(root, rest), "model.json"))
    if kind == "run":
        return not url_exists(join_url(run_url(root, rest.rpartition("-")[0]), "run.json"))
    return False
