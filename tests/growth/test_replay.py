"""Two real releases of the DJA's catalogue, one after the other, over made-up files."""

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
from tests.growth.archives import ALL, Pooled, files_of, source_of, write_files


def prism(catalogs: Path, release: int) -> pa.Table:
    """Return a release's PRISM rows, read without distspec."""
    table = csv.read_csv(catalogs / f"DJA_v{release}.csv")
    if "grating" in table.column_names:  # later releases name a source's other spectra there
        return table.filter(pc.field("grating") == "PRISM")
    return table.filter(pa.array(["_prism-clear_" in file for file in table["file"].to_pylist()]))


def positions(table: pa.Table) -> SkyCoord:
    return SkyCoord(table["ra"].to_numpy() * units.deg, table["dec"].to_numpy() * units.deg)


JOINED = {0.3: 2774, 0.5: 2781}
"""Rows of the second release whose source, by radius [arcsec], the first one had: counted by hand once."""


@dataclass(frozen=True)
class Replay:
    """What both releases made of a store."""

    root: str
    source: ArchiveSource
    first: Store
    second: Store
    outcomes: tuple[StageResult, StageResult]


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> tuple[str, tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("pool")
    return str(folder), tuple(write_files(folder, 300))


@pytest.fixture(scope="module")
def replay(pool, tmp_path_factory, local_ray) -> Replay:
    catalogs, (folder, names) = real_data("catalogs"), pool
    root = str(tmp_path_factory.mktemp("root"))
    stores, outcomes = [], []
    for release in (1, 2):
        archive = Pooled(str(catalogs / f"DJA_v{release}.csv"), folder, pool=names, **ALL)
        source = source_of(archive, join_radius=0.3)
        outcomes.append(ingest(root, source))
        stores.append(open_store(store_url(root)))
    return Replay(root, source, *stores, tuple(outcomes))


def test_every_row_of_the_catalogues_ends_in_the_store(replay, dja_catalogs):
    v1, v2 = prism(dja_catalogs, 1), prism(dja_catalogs, 2)
    assert (len(v1), len(v2)) == (3653, 8218)
    assert np.isfinite(np.concatenate([v1["z"].to_numpy(), v2["z"].to_numpy()])).all()
    for table, store, start in ((v1, replay.first, 0), (v2, replay.second, 3653)):
        stored = store.ledger(["object_id", "ra", "dec", "z", "grade"]).slice(start)
        order = table.sort_by("file")
        assert stored["object_id"].to_pylist() == order["file"].to_pylist()
        for name in ("ra", "dec", "z", "grade"):
            assert np.array_equal(stored[name].to_numpy(), order[name].to_numpy()), name
        assert len(store.read_quarantine()) == 0


def test_what_a_run_says_adds_up(replay):
    one, two = (outcome.counts for outcome in replay.outcomes)
    expected = {"listed": 3653, "new": 3653, "stored": 3653, "quarantined": 0, "withdrawn": 0, "returned": 0}
    assert one == {**expected, "in_store": 3653}
    expected |= {"listed": 8218, "new": 8218, "stored": 8218, "withdrawn": 3653}
    assert two == {**expected, "in_store": 11871}


def test_the_old_release_is_withdrawn_and_the_new_one_stands(replay):
    assert replay.first.current_rows().tolist() == list(range(3653))
    assert replay.second.current_rows().tolist() == list(range(3653, 11871))
    assert replay.second.withdrawn_mask().sum() == 3653


def is_near(catalogs: Path, radius: float) -> NDArray[np.bool_]:
    """Tell of which rows of the second release the first has one nearby, by astropy."""
    v1, v2 = prism(catalogs, 1).sort_by("file"), prism(catalogs, 2).sort_by("file")
    _, distance, _ = positions(v2).match_to_catalog_sky(positions(v1))
    return distance.arcsec <= radius


def are_known(source_id: Sequence[str], n_before: int) -> NDArray[np.bool_]:
    """Tell which rows from `n_before` on are of a source that rows before it had."""
    had = set(source_id[:n_before])
    return np.array([name in had for name in source_id[n_before:]])


def test_sources_persist_as_positions_say(replay, dja_catalogs):
    joined = are_known(replay.second.ledger(["source_id"])["source_id"].to_pylist(), 3653)
    assert np.array_equal(joined, is_near(dja_catalogs, 0.3))
    assert (joined.sum(), (~joined).sum()) == (JOINED[0.3], 5444)


def test_sources_persist_with_the_default_radius_too(dja_catalogs):
    sources = SourceMatcher()
    source_id: list[str] = []
    for release in (1, 2):
        table = prism(dja_catalogs, release).sort_by("file")
        source_id += sources.assign_sources(table["ra"].to_numpy(), table["dec"].to_numpy())
    joined = are_known(source_id, 3653)
    assert np.array_equal(joined, is_near(dja_catalogs, 0.5))
    assert (joined.sum(), (~joined).sum()) == (JOINED[0.5], 5437)


def test_rows_of_the_first_release_are_what_they_were(replay):
    before, after = replay.first, replay.second
    rows = slice(0, 3653)
    for name in (*METADATA_COLUMNS, "ledger_checksum", "flux", "ivar"):
        one, two = before.open_array(name)[rows], after.open_array(name)[rows]
        same = one == two if one.dtype.kind == "T" else one.view(np.uint8) == two.view(np.uint8)
        assert np.all(same), name


def test_an_old_snapshot_reads_as_before(replay):
    again = open_store(store_url(replay.root), replay.first.snapshot_id)
    assert again.n_rows == 3653
    assert content_checksum(again) == content_checksum(replay.first)
    assert not again.withdrawn_mask().any()
    assert verify_store(replay.root, replay.first.snapshot_id)[1] == []


def test_a_third_run_writes_nothing(replay):
    before = files_of(replay.root)
    outcome = ingest(replay.root, replay.source)
    assert not outcome.did_work
    assert files_of(replay.root) == before
    assert open_store(store_url(replay.root)).snapshot_id == replay.second.snapshot_id


def test_the_store_is_whole(replay):
    assert verify_store(replay.root)[1] == []
