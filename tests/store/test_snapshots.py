"""Which snapshots are kept, which go, and what goes with them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icechunk
import pytest
import zarr

from distspec.cli.main import main
from distspec.io.files import write_json
from distspec.io.paths import model_url, run_url
from distspec.store.snapshots import collect_garbage, list_snapshots, model_tag, run_tag, tag_snapshot
from distspec.store.store import Store, open_repository, open_store
from distspec.store.verify import verify_store
from tests.growth.build_archive import grow, names, new_store

NOW = timedelta(0)
LATER = datetime.now(UTC) + timedelta(days=400)


@pytest.fixture
def states(tmp_path: Path) -> list[Store]:
    """Five states, with 0, 8 … 32 rows."""
    states = [new_store(tmp_path)]
    for first in range(0, 32, 8):
        states.append(grow(states[-1], names(first, 8)))
    return states


def rows_at(store: Store, snapshot: str) -> int:
    return open_store(store.url, snapshot).read_spectra(slice(None))[0].shape[0]


def test_every_commit_can_be_read_by_its_id(states, tmp_path):
    table = list_snapshots(str(tmp_path))
    assert table["snapshot_id"].to_pylist()[:5] == [state.snapshot_id for state in reversed(states)]
    assert table["n_rows"].to_pylist()[:5] == [32, 24, 16, 8, None]
    assert [rows_at(states[-1], state.snapshot_id) for state in states] == [0, 8, 16, 24, 32]


def test_what_has_no_name_and_is_old_goes_and_the_newest_stays(states, tmp_path):
    counts = collect_garbage(str(tmp_path), NOW, LATER)
    assert counts["expired"] >= 3
    assert counts["chunks_deleted"] > 0
    assert counts["bytes_deleted"] > 0
    assert verify_store(str(tmp_path))[1] == []
    assert open_store(states[-1].url).n_rows == 32
    for state in states[1:-1]:
        with pytest.raises(ValueError, match="no snapshot or tag"):
            open_store(state.url, state.snapshot_id)


def test_what_is_young_stays(states, tmp_path):
    assert collect_garbage(str(tmp_path), timedelta(days=30))["expired"] == 0
    assert [rows_at(states[-1], state.snapshot_id) for state in states] == [0, 8, 16, 24, 32]


def test_a_name_keeps_a_snapshot(states, tmp_path):
    root = str(tmp_path)
    tag_snapshot(root, "release-1", states[2].snapshot_id)
    collect_garbage(root, NOW, LATER)
    kept = open_store(states[2].url, "release-1")
    assert kept.n_rows == 16
    assert kept.ledger(["object_id"])["object_id"].to_pylist() == names(0, 16)
    assert verify_store(root, "release-1")[1] == []
    table = list_snapshots(root).to_pylist()
    assert {row["tags"]: row["n_rows"] for row in table if row["tags"]} == {"release-1": 16}
    with pytest.raises(ValueError, match="no snapshot or tag"):
        open_store(states[3].url, states[3].snapshot_id)
    # It stays through what comes after, and after another collection.
    grow(open_store(states[2].url), names(32, 4))
    collect_garbage(root, NOW, LATER)
    assert verify_store(root, "release-1")[1] == []
    assert verify_store(root)[1] == []


def test_names_of_models_and_runs_that_are_gone_go_too(states, tmp_path):
    root = str(tmp_path)
    there = {model_tag("m-1"): states[1], run_tag("r-1", states[2].snapshot_id): states[2]}
    gone = {model_tag("m-2"): states[1], run_tag("r-2", states[3].snapshot_id): states[3]}
    for name, state in {**there, **gone}.items():
        tag_snapshot(root, name, state.snapshot_id)
    write_json(
        f"{model_url(root, 'm-1')}/model.json", {"model_id": "m-1", "snapshot_id": states[1].snapshot_id}
    )
    write_json(f"{run_url(root, 'r-1')}/run.json", {})
    counts = collect_garbage(root, NOW, LATER)
    assert counts["names_dropped"] == 2
    assert set(open_repository(states[0].url).list_tags()) == set(there)
    assert [rows_at(states[0], name) for name in there] == [8, 16]
    with pytest.raises(ValueError, match="no snapshot or tag"):
        open_store(states[3].url, states[3].snapshot_id)
    assert verify_store(root)[1] == []


def test_a_name_names_one_snapshot_for_ever(states, tmp_path):
    root = str(tmp_path)
    tag_snapshot(root, "release-1", states[2].snapshot_id)
    tag_snapshot(root, "release-1", states[2].snapshot_id)
    with pytest.raises(ValueError, match="another snapshot named release-1"):
        tag_snapshot(root, "release-1", states[3].snapshot_id)


def test_an_unknown_snapshot_is_refused(states, tmp_path):
    for unknown in ("release-9", "0" * 20):
        with pytest.raises(ValueError, match="distspec snapshots"):
            open_store(states[0].url, unknown)


def test_a_store_grows_after_a_collection(states, tmp_path):
    collect_garbage(str(tmp_path), NOW, LATER)
    grow(open_store(states[-1].url), names(32, 8))
    assert verify_store(str(tmp_path))[1] == []
    assert open_store(states[-1].url).n_rows == 40


def test_what_a_killed_run_left_behind_is_collected(states, tmp_path):
    """Chunks that no commit ever named."""
    session = open_repository(states[-1].url).writable_session("main")
    zarr.open_group(session.store, mode="r+")["flux"][:] = 7.0
    before = sum(path.stat().st_size for path in (tmp_path / "store" / "chunks").iterdir())
    del session
    assert collect_garbage(str(tmp_path), NOW, LATER)["chunks_deleted"] > 0
    assert sum(path.stat().st_size for path in (tmp_path / "store" / "chunks").iterdir()) < before
    assert verify_store(str(tmp_path))[1] == []


def test_the_commands(states, tmp_path, monkeypatch, capsys):
    def distspec(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["distspec", *args, "--root", str(tmp_path)])
        main()
        return capsys.readouterr().out

    assert "dr1" in distspec("snapshots", "--name", "dr1", "--snapshot", states[1].snapshot_id)
    assert distspec("snapshots").count("spectra") == 4
    assert "expired" in distspec("gc", "--keep-days", "0")
    assert rows_at(states[0], "dr1") == 8
    with pytest.raises(SystemExit, match="another snapshot named dr1"):
        distspec("snapshots", "--name", "dr1")


def test_reading_goes_on_while_garbage_is_collected(states, tmp_path):
    """A reader that opened a state before it expired may fail, but never reads zeros for its chunks."""
    old = open_store(states[1].url, states[1].snapshot_id)
    new = open_store(states[-1].url)
    collect_garbage(str(tmp_path), NOW, LATER)
    assert new.read_spectra(slice(None))[0].any(axis=1).all()
    with pytest.raises(icechunk.IcechunkError):
        old.read_spectra(slice(None))
