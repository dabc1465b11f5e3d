"""Ingest of two real releases of the DJA's catalog, one after the other, with simulated files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from pyarrow import csv

from distspec.ingest.source import ArchiveSource
from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.stages.result import StageResult
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.sources import SourceMatcher
from distspec.store.store import Store, open_store
from distspec.store.verify import verify_store
from tests.conftest import real_data
from tests.growth.archives import (
    SELECT_ALL,
    PooledArchive,
    list_file_times,
    make_source,
    write_files,
)
from tests.helpers.content import content_checksum


def read_prism_rows(catalogs: Path, release: int) -> pa.Table:
    """Return the PRISM rows of a release, read without distspec."""
    table = csv.read_csv(catalogs / f"DJA_v{release}.csv")
    if "grating" in table.column_names:  # other spectra of the source in later releases
        return table.filter(pc.field("grating") == "PRISM")
    return table.filter(pa.array(["_prism-clear_" in file for file in table["file"].to_pylist()]))


def get_positions(table: pa.Table) -> SkyCoord:
    return SkyCoord(table["ra"].to_numpy() * units.deg, table["dec"].to_numpy() * units.deg)


N_JOINED = {0.3: 2774, 0.5: 2781}
"""Rows of the second release whose source is in the first, by radius [arcsec]; counted once with astropy."""


@dataclass(frozen=True)
class Replay:
    """The snapshots and results of both ingests."""

    root: str
    source: ArchiveSource
    first: Store
    second: Store
    results: tuple[StageResult, StageResult]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> tuple[str, tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("pool")
    return str(folder), tuple(write_files(folder, 300))


@pytest.fixture(scope="module")
def replay(pool, tmp_path_factory, local_ray) -> Replay:
    catalogs, (folder, names) = real_data("catalogs"), pool
    root = str(tmp_path_factory.mktemp("root"))
    stores, results = [], []
    for release in (1, 2):
        archive = PooledArchive(str(catalogs / f"DJA_v{release}.csv"), folder, pool=names, **SELECT_ALL)
        source = make_source(archive, join_radius=0.3, max_withdrawn=1.0)
        results.append(ingest(root, source))
        stores.append(open_store(store_url(root)))
    return Replay(root, source, *stores, tuple(results))


def test_every_row_of_the_catalogs_is_in_the_store(replay, dja_catalogs):
    v1, v2 = read_prism_rows(dja_catalogs, 1), read_prism_rows(dja_catalogs, 2)
    assert (len(v1), len(v2)) == (3653, 8218)
    assert np.isfinite(np.concatenate([v1["z"].to_numpy(), v2["z"].to_numpy()])).all()
    for table, store, start in ((v1, replay.first, 0), (v2, replay.second, 3653)):
        stored = store.ledger(["object_id", "ra", "dec", "z", "grade"]).slice(start)
        order = table.sort_by("file")
        assert stored["object_id"].to_pylist() == order["file"].to_pylist()
        for name in ("ra", "dec", "z", "grade"):
            assert np.array_equal(stored[name].to_numpy(), order[name].to_numpy()), name
        assert len(store.read_quarantine()) == 0


def test_counts_are_consistent(replay):
    one, two = (dict(result.summary) for result in replay.results)
    assert one.pop("catalog") == "6,118 rows read: 3,653 selected, 2,465 deselected (grating 2,465)"
    assert two.pop("catalog") == "8,974 rows read: 8,218 selected, 756 deselected (grating 756)"
    expected = {"listed": 3653, "new": 3653, "stored": 3653, "quarantined": 0, "withdrawn": 0, "returned": 0}
    expected["key_conflicts"] = 0
    assert one == {**expected, "in_store": 3653}
    expected |= {"listed": 8218, "new": 8218, "stored": 8218, "withdrawn": 3653}
    assert two == {**expected, "in_store": 11871}


def test_the_first_release_is_withdrawn_and_the_second_is_current(replay):
    assert replay.first.current_rows().tolist() == list(range(3653))
    assert replay.second.current_rows().tolist() == list(range(3653, 11871))
    assert replay.second.withdrawn_mask().sum() == 3653


def have_neighbor(catalogs: Path, radius: float) -> NDArray[np.bool_]:
    """Return which rows of the second release have a neighbor in the first, by astropy."""
    v1, v2 = read_prism_rows(catalogs, 1).sort_by("file"), read_prism_rows(catalogs, 2).sort_by("file")
    _, distance, _ = get_positions(v2).match_to_catalog_sky(get_positions(v1))
    return distance.arcsec <= radius


def have_known_source(source_id: Sequence[str], n_before: int) -> NDArray[np.bool_]:
    """Return which rows from `n_before` on have a source that earlier rows have."""
    known = set(source_id[:n_before])
    return np.array([name in known for name in source_id[n_before:]])


def test_sources_persist_by_position(replay, dja_catalogs):
    joined = have_known_source(replay.second.ledger(["source_id"])["source_id"].to_pylist(), 3653)
    assert np.array_equal(joined, have_neighbor(dja_catalogs, 0.3))
    assert (joined.sum(), (~joined).sum()) == (N_JOINED[0.3], 5444)


def test_sources_persist_with_the_default_radius(dja_catalogs):
    sources = SourceMatcher()
    source_id: list[str] = []
    for release in (1, 2):
        table = read_prism_rows(dja_catalogs, release).sort_by("file")
        source_id += sources.assign_sources(table["ra"].to_numpy(), table["dec"].to_numpy())
    joined = have_known_source(source_id, 3653)
    assert np.array_equal(joined, have_neighbor(dja_catalogs, 0.5))
    assert (joined.sum(), (~joined).sum()) == (N_JOINED[0.5], 5437)


def test_rows_of_the_first_release_are_unchanged(replay):
    before, after = replay.first, replay.second
    rows = slice(0, 3653)
    for name in (*METADATA_COLUMNS, "ledger_checksum", "flux", "ivar"):
        one, two = before.open_array(name)[rows], after.open_array(name)[rows]
        same = one == two if one.dtype.kind == "T" else one.view(np.uint8) == two.view(np.uint8)
        assert np.all(same), name


def test_an_earlier_snapshot_is_unchanged(replay):
    reopened = open_store(store_url(replay.root), replay.first.snapshot_id)
    assert reopened.n_rows == 3653
    assert content_checksum(reopened) == content_checksum(replay.first)
    assert not reopened.withdrawn_mask().any()
    assert verify_store(replay.root, replay.first.snapshot_id)[1] == []


def test_a_third_run_writes_nothing(replay):
    before = list_file_times(replay.root)
    result = ingest(replay.root, replay.source)
    assert not result.did_work
    assert list_file_times(replay.root) == before
    assert open_store(store_url(replay.root)).snapshot_id == replay.second.snapshot_id


def test_the_store_is_intact(replay):
    assert verify_store(replay.root)[1] == []
