from itertools import pairwise

import icechunk
import numpy as np
import pytest
import xarray
import zarr

from distspec.core.errors import ConfigError, NotFoundError, QuarantineReason, QuarantineRecord, StoreError
from distspec.core.spectrum import SpectrumBatch, WavelengthGrid
from distspec.store.columns import METADATA_COLUMNS, QUARANTINE_COLUMNS
from distspec.store.config import StoreConfig
from distspec.store.store import create_store, open_repository, open_store, store_exists
from tests.conftest import append, batch_of, identity_of
from tests.helpers.content import content_checksum

REJECTED = [QuarantineRecord("bad", "v1", "file:///bad", QuarantineReason.NO_OVERLAP, "5–6 Å")]


def test_rows_are_read_as_they_were_written(tmp_path, small_grid, rng):
    url = str(tmp_path / "store")
    store = create_store(url, StoreConfig(small_grid, 1500.0, -1.7))
    batch, identity = batch_of(10, 32, rng), identity_of(10)
    store = append(store, batch, identity, REJECTED)
    reopened = open_store(url)
    assert reopened.snapshot_id == store.snapshot_id
    flux, ivar = reopened.read_spectra(slice(None))
    assert np.array_equal(flux, batch.flux)
    assert np.array_equal(ivar, batch.ivar)
    assert reopened.ledger().schema.names == list(METADATA_COLUMNS)
    assert reopened.ledger()["object_id"].to_pylist() == batch.object_id
    assert reopened.ledger()["source_id"].to_pylist() == identity["source_id"]
    assert reopened.read_quarantine().schema.names == list(QUARANTINE_COLUMNS)
    values = ["bad", "v1", "file:///bad", "no_overlap", "5–6 Å", 0]
    assert list(reopened.read_quarantine().to_pylist()[0].values()) == values
    assert reopened.config == StoreConfig(small_grid, 1500.0, -1.7)


def test_the_size_of_a_chunk_is_about_a_megabyte(tmp_path):
    for n_pixels in (640, 2667):
        grid = WavelengthGrid("log", 1100.0, 8400.0, n_pixels)
        store = create_store(str(tmp_path / str(n_pixels)), StoreConfig(grid, 1500.0, -2.0))
        assert 1e6 <= 4 * n_pixels * store.chunk_rows <= 2e6


def test_rows_can_be_read_in_any_order(small_store):
    flux, ivar = small_store.read_spectra(slice(None))
    rows = np.array([40, 3, 3, 59])
    selected_flux, selected_ivar = small_store.read_spectra(rows)
    assert np.array_equal(selected_flux, flux[rows])
    assert np.array_equal(selected_ivar, ivar[rows])


def test_zarr_and_xarray_can_read_it(small_store):
    storage = icechunk.local_filesystem_storage(small_store.url)
    session = icechunk.Repository.open(storage).readonly_session("main")
    assert zarr.open_group(session.store, mode="r")["flux"].shape == (60, 32)
    data = xarray.open_zarr(session.store, consolidated=False)
    assert data.sizes["row"] == 60
    assert data.flux.dims == ("row", "wave_rest")
    assert data.wave_rest.attrs["units"] == "Angstrom"


def test_an_uncommitted_write_is_invisible(small_store):
    storage = icechunk.local_filesystem_storage(small_store.url)
    session = icechunk.Repository.open(storage).writable_session("main")
    zarr.open_group(session.store, mode="r+")["flux"][:] = 0.0
    assert np.any(open_store(small_store.url).read_spectra(slice(None))[0])


def test_the_checksum_depends_on_rows_and_settings(small_store, tmp_path, small_grid, rng):
    checksum = small_store.dataset_checksum()
    assert append(small_store, batch_of(1, 32, rng, "p"), identity_of(1)).dataset_checksum() != checksum
    other = create_store(str(tmp_path / "other"), StoreConfig(small_grid, 1600.0, -2.0))
    other = append(other, batch_of(60, 32, rng), identity_of(60))
    assert other.dataset_checksum() != checksum


def test_an_earlier_snapshot_can_be_opened(small_store, rng):
    grown = append(small_store, batch_of(1, 32, rng, "p"), identity_of(1))
    assert open_store(small_store.url, small_store.snapshot_id).n_rows == 60
    open_repository(small_store.url).create_tag("first", small_store.snapshot_id)
    assert open_store(small_store.url, "first").n_rows == 60
    assert open_store(small_store.url).snapshot_id == grown.snapshot_id
    with pytest.raises(StoreError, match="distspec snapshots"):
        open_store(small_store.url, "no-such")


def test_the_content_does_not_depend_on_commits(tmp_path, small_grid):
    batch, identity = batch_of(10, 32, np.random.default_rng(0)), identity_of(10)
    hashes = set()
    for cuts in ([0, 10], [0, 3, 10], [0, 1, 9, 10]):
        store = create_store(str(tmp_path / str(len(cuts))), StoreConfig(small_grid, 1500.0, -2.0))
        for start, stop in pairwise(cuts):
            part = {name: values[start:stop] for name, values in identity.items()}
            store = append(store, SpectrumBatch(**{k: v[start:stop] for k, v in fields(batch)}), part)
        hashes.add(content_checksum(store))
    assert len(hashes) == 1
    changed = SpectrumBatch(**dict(fields(batch)) | {"checksum": batch.checksum + np.uint64(1)})
    store = create_store(str(tmp_path / "changed"), StoreConfig(small_grid, 1500.0, -2.0))
    assert content_checksum(append(store, changed, identity)) not in hashes


def fields(batch):
    return [(name, getattr(batch, name)) for name in SpectrumBatch.__dataclass_fields__]


@pytest.mark.parametrize("attribute", ["format_version", "distspec_store"])
def test_a_store_of_another_format_is_refused(small_store, attribute):
    session = open_repository(small_store.url).writable_session("main")
    attributes = zarr.open_group(session.store, mode="r+").attrs
    del attributes["format_version"]
    attributes[attribute] = 2
    session.commit("old")
    with pytest.raises(StoreError, match=r"format 2, this distspec reads 3: .* new --root"):
        open_store(small_store.url)


def test_a_missing_store_is_an_error_with_a_remedy(tmp_path):
    assert not store_exists(str(tmp_path / "none"))
    with pytest.raises(NotFoundError, match="distspec run ingest"):
        open_store(str(tmp_path / "none"))


def test_an_interrupted_creation_can_be_repeated(tmp_path, small_grid):
    url = str(tmp_path / "store")
    icechunk.Repository.create(icechunk.local_filesystem_storage(url))
    assert not store_exists(url)
    assert create_store(url, StoreConfig(small_grid, 1500.0, -2.0)).n_rows == 0


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ConfigError, match="s3://"):
        store_exists("ftp://host/x")
