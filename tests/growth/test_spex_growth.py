"""Growth of the SpeX Prism Library: real files, in the order of their observation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import csv

from distspec.archives.spex import SpeX
from distspec.ingest.source import ArchiveSource
from distspec.io.paths import store_url
from distspec.pipeline.recipes import spex
from distspec.stages.ingest import ingest
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.store import Store, open_store
from distspec.store.verify import verify_store
from tests.conftest import real_data
from tests.growth.archives import list_file_times

CUTS = (20040101, 20080101, 99999999)


@dataclass(frozen=True)
class Library:
    """A root, and the whole table of the library."""

    folder: Path
    table: pa.Table

    @property
    def root(self) -> str:
        return str(self.folder / "root")

    @property
    def store(self) -> Store:
        return open_store(store_url(self.root))

    def ingest(self, table: pa.Table) -> dict[str, int]:
        """Ingest the rows of a table, and return the counts of the run."""
        labels = self.folder / "labels.csv"
        csv.write_csv(table, labels)
        config = spex(self.root)
        archive = SpeX(str(real_data("spex")), str(labels))
        return dict(
            ingest(self.root, ArchiveSource(archive, config.access, config.grid, config.norm)).summary
        )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Every fourth row of the real table."""
    table = csv.read_csv(real_data("spex") / "labels.csv")
    return table.take(pa.array(np.arange(0, len(table), 4)))


@pytest.fixture(scope="module")
def grown(table, tmp_path_factory, local_ray) -> tuple[Library, list[Store]]:
    library = Library(tmp_path_factory.mktemp("spex"), table)
    stores: list[Store] = []
    for cut in CUTS:
        library.ingest(table.filter(pc.less(table["OBSERVATION_DATE"], cut)))
        stores.append(library.store)
    return library, stores


def get_object_ids(store: Store) -> list[str]:
    return store.ledger(["object_id"])["object_id"].to_pylist()


def test_the_store_grows_by_later_observations(grown):
    library, stores = grown
    dates = dict(zip(*(library.table[n].to_pylist() for n in ("DATA_FILE", "OBSERVATION_DATE")), strict=True))
    known: set[str] = set()
    for store, cut in zip(stores, CUTS, strict=True):
        found = {*get_object_ids(store), *store.read_quarantine()["object_id"].to_pylist()}
        assert found == {name for name, date in dates.items() if date < cut}
        assert set(get_object_ids(store)) > known, "each cut brings more"
        known = set(get_object_ids(store))
        assert len(store.current_rows()) == store.n_rows
    assert len(known) > 300


def test_rows_of_earlier_years_are_unchanged(grown):
    _, stores = grown
    for before in stores[:-1]:
        for name in (*METADATA_COLUMNS, "flux", "ivar"):
            one, two = before.open_array(name)[:], stores[-1].open_array(name)[: before.n_rows]
            same = one == two if one.dtype.kind == "T" else one.view(np.uint8) == two.view(np.uint8)
            assert np.all(same), name


def test_the_library_identifies_sources(grown):
    """Positions are not used, because stars move."""
    library, stores = grown
    keys = dict(zip(*(library.table[n].to_pylist() for n in ("DATA_FILE", "SOURCE_KEY")), strict=True))
    ledger = stores[-1].ledger(["object_id", "source_id"]).to_pylist()
    assert all(row["source_id"] == f"SPL {keys[row['object_id']]}" for row in ledger)
    assert len({row["source_id"] for row in ledger}) < len(ledger)


def test_growth_gives_the_same_rows_as_one_ingest(grown, tmp_path):
    """Only the default slope differs, which is measured when the store is created."""
    library, stores = grown
    assert stores[-1].config.default_slope == stores[0].config.default_slope
    whole = Library(tmp_path, library.table)
    whole.ingest(library.table)
    expected = whole.store.ledger(["object_id", "source_id", "version"]).sort_by("object_id")
    assert expected.equals(stores[-1].ledger(expected.column_names).sort_by("object_id"))


def test_changed_withdrawn_and_restored_files(grown, table):
    """One test, because each step continues the one before."""
    library, stores = grown
    n, names = stores[-1].n_rows, get_object_ids(stores[-1])
    changed, withdrawn = names[3], names[10]
    files = table["DATA_FILE"].to_pylist()
    dates = table["OBSERVATION_DATE"].to_pylist()
    dates[files.index(changed)] += 1
    newer = table.set_column(table.column_names.index("OBSERVATION_DATE"), "OBSERVATION_DATE", [dates])
    counts = library.ingest(newer)
    assert (counts["new"], counts["stored"], counts["in_store"]) == (1, 1, n + 1)
    store = library.store
    assert get_object_ids(store)[-1] == changed
    assert 3 not in store.current_rows()
    assert n in store.current_rows()
    ledger = store.ledger(["version", "checksum", "source_id"]).to_pylist()
    assert ledger[3]["version"] != ledger[n]["version"]
    assert {**ledger[3], "version": ""} == {**ledger[n], "version": ""}, "the same pixels, the same source"

    counts = library.ingest(newer.filter(pc.not_equal(newer["DATA_FILE"], withdrawn)))
    assert (counts["new"], counts["withdrawn"], counts["in_store"]) == (0, 1, n + 1)
    store = library.store
    assert np.flatnonzero(store.withdrawn_mask()).tolist() == [10]
    assert 10 not in store.current_rows()
    assert get_object_ids(store)[10] == withdrawn, "the row can still be read"

    counts = library.ingest(newer)
    assert (counts["new"], counts["returned"], counts["in_store"]) == (0, 1, n + 1)
    assert not library.store.withdrawn_mask().any()
    assert 10 in library.store.current_rows()

    before = list_file_times(library.root)
    assert "stored" not in library.ingest(newer)
    assert list_file_times(library.root) == before
    assert verify_store(library.root)[1] == []
