"""Retention of snapshots, and garbage collection."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk
import pytest
import zarr

from distspec.cli.main import main
from distspec.core.errors import StoreError
from distspec.io.files import write_json
from distspec.io.paths import model_url, run_url, store_url
from distspec.store.snapshots import collect_garbage, list_snapshots, model_tag, run_tag, tag_snapshot
from distspec.store.store import Store, open_repository, open_store
from distspec.store.verify import verify_store
from tests.helpers.small_stores import grow, names, new_store

NO_TIME = timedelta(0)
LATER = datetime.now(UTC) + timedelta(days=400)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A root, and the identifiers of its five snapshots with 0, 8 … 32 rows."""
    root = tmp_path_factory.mktemp("snapshots")
    snapshots = [new_store(root)]
    for first in range(0, 32, 8):
        snapshots.append(grow(snapshots[-1], names(first, 8)))
    return root, [snapshot.snapshot_id for snapshot in snapshots]


@pytest.fixture
def snapshots(saved: tuple[Path, list[str]], tmp_path: Path) -> list[Store]:
    """The snapshots of a copy of the root."""
    shutil.copytree(saved[0], tmp_path, dirs_exist_ok=True)
    return [open_store(store_url(str(tmp_path)), snapshot_id) for snapshot_id in saved[1]]


def rows_at(store: Store, snapshot: str) -> int:
    return open_store(store.url, snapshot).read_spectra(slice(None))[0].shape[0]


def test_every_commit_can_be_opened_by_its_id(snapshots, tmp_path):
    table = list_snapshots(str(tmp_path))
    assert table["snapshot_id"].to_pylist()[:5] == [snapshot.snapshot_id for snapshot in reversed(snapshots)]
    assert table["n_rows"].to_pylist()[:5] == [32, 24, 16, 8, None]
    assert [rows_at(snapshots[-1], snapshot.snapshot_id) for snapshot in snapshots] == [0, 8, 16, 24, 32]


def test_old_snapshots_without_a_tag_expire_and_the_newest_is_kept(snapshots, tmp_path):
    summary = collect_garbage(str(tmp_path), NO_TIME, LATER)
    assert summary.n_expired >= 3
    assert summary.n_chunks > 0
    assert summary.n_bytes > 0
    assert verify_store(str(tmp_path))[1] == []
    assert open_store(snapshots[-1].url).n_rows == 32
    for snapshot in snapshots[1:-1]:
        with pytest.raises(StoreError, match="no snapshot or tag"):
            open_store(snapshot.url, snapshot.snapshot_id)


def test_recent_snapshots_are_kept(snapshots, tmp_path):
    assert collect_garbage(str(tmp_path), timedelta(days=30)).n_expired == 0
    assert [rows_at(snapshots[-1], snapshot.snapshot_id) for snapshot in snapshots] == [0, 8, 16, 24, 32]


def test_a_tag_keeps_a_snapshot(snapshots, tmp_path):
    root = str(tmp_path)
    tag_snapshot(root, "release-1", snapshots[2].snapshot_id)
    collect_garbage(root, NO_TIME, LATER)
    tagged = open_store(snapshots[2].url, "release-1")
    assert tagged.n_rows == 16
    assert tagged.ledger(["object_id"])["object_id"].to_pylist() == names(0, 16)
    assert verify_store(root, "release-1")[1] == []
    table = list_snapshots(root).to_pylist()
    assert {row["tags"]: row["n_rows"] for row in table if row["tags"]} == {"release-1": 16}
    with pytest.raises(StoreError, match="no snapshot or tag"):
        open_store(snapshots[3].url, snapshots[3].snapshot_id)
    # Later commits and another collection do not change that.
    grow(open_store(snapshots[2].url), names(32, 4))
    collect_garbage(root, NO_TIME, LATER)
    assert verify_store(root, "release-1")[1] == []
    assert verify_store(root)[1] == []


def test_tags_of_deleted_models_and_runs_are_deleted(snapshots, tmp_path):
    root = str(tmp_path)
    existing = {model_tag("m-1"): snapshots[1], run_tag("r-1", snapshots[2].snapshot_id): snapshots[2]}
    deleted = {model_tag("m-2"): snapshots[1], run_tag("r-2", snapshots[3].snapshot_id): snapshots[3]}
    for name, snapshot in {**existing, **deleted}.items():
        tag_snapshot(root, name, snapshot.snapshot_id)
    write_json(
        f"{model_url(root, 'm-1')}/model.json", {"model_id": "m-1", "snapshot_id": snapshots[1].snapshot_id}
    )
    write_json(f"{run_url(root, 'r-1')}/run.json", {})
    summary = collect_garbage(root, NO_TIME, LATER)
    assert summary.n_tags == 2
    assert set(open_repository(snapshots[0].url).list_tags()) == set(existing)
    assert [rows_at(snapshots[0], name) for name in existing] == [8, 16]
    with pytest.raises(StoreError, match="no snapshot or tag"):
        open_store(snapshots[3].url, snapshots[3].snapshot_id)
    assert verify_store(root)[1] == []


def test_a_tag_cannot_be_moved(snapshots, tmp_path):
    root = str(tmp_path)
    tag_snapshot(root, "release-1", snapshots[2].snapshot_id)
    tag_snapshot(root, "release-1", snapshots[2].snapshot_id)
    with pytest.raises(StoreError, match="another snapshot named release-1"):
        tag_snapshot(root, "release-1", snapshots[3].snapshot_id)


def test_an_unknown_snapshot_is_refused(snapshots, tmp_path):
    for unknown in ("release-9", "0" * 20):
        with pytest.raises(StoreError, match="distspec snapshots"):
            open_store(snapshots[0].url, unknown)


def test_a_store_can_grow_after_a_collection(snapshots, tmp_path):
    collect_garbage(str(tmp_path), NO_TIME, LATER)
    grow(open_store(snapshots[-1].url), names(32, 8))
    assert verify_store(str(tmp_path))[1] == []
    assert open_store(snapshots[-1].url).n_rows == 40


def test_chunks_of_a_killed_run_are_deleted(snapshots, tmp_path):
    """Such chunks belong to no commit."""
    session = open_repository(snapshots[-1].url).writable_session("main")
    zarr.open_group(session.store, mode="r+")["flux"][:] = 7.0
    before = sum(path.stat().st_size for path in (tmp_path / "store" / "chunks").iterdir())
    del session
    assert collect_garbage(str(tmp_path), NO_TIME, LATER).n_chunks > 0
    assert sum(path.stat().st_size for path in (tmp_path / "store" / "chunks").iterdir()) < before
    assert verify_store(str(tmp_path))[1] == []


def test_the_commands(snapshots, tmp_path, monkeypatch, capsys):
    def distspec(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["distspec", *args, "--root", str(tmp_path)])
        main()
        return capsys.readouterr().out

    assert "dr1" in distspec("snapshots", "--tag", "dr1", "--snapshot-id", snapshots[1].snapshot_id)
    assert distspec("snapshots").count("spectra") == 4
    assert "expired" in distspec("gc", "--keep-days", "0")
    assert rows_at(snapshots[0], "dr1") == 8
    with pytest.raises(SystemExit):
        distspec("snapshots", "--tag", "dr1")
    assert "another snapshot named dr1" in capsys.readouterr().err


def test_reading_during_a_collection(snapshots, tmp_path):
    """A reader of an expired snapshot may fail, but never reads zeros for its deleted chunks."""
    old = open_store(snapshots[1].url, snapshots[1].snapshot_id)
    new = open_store(snapshots[-1].url)
    collect_garbage(str(tmp_path), NO_TIME, LATER)
    assert new.read_spectra(slice(None))[0].any(axis=1).all()
    with pytest.raises(icechunk.IcechunkError):
        old.read_spectra(slice(None))
