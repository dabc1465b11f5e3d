import icechunk
import numpy as np
import pytest
import xarray
import zarr

from distspec.spectrum import Reason, Rejected, WaveGrid
from distspec.store import LEDGER, Frozen, create_store, known_sources, open_store, store_exists
from tests.conftest import batch_of, identity_of

REJECTED = [Rejected("bad", "v1", "file:///bad", Reason.NO_OVERLAP, "5–6 Å")]


def test_rows_come_back_as_they_went_in(tmp_path, small_grid, rng):
    url = str(tmp_path / "store")
    store = create_store(url, Frozen(small_grid, 1500.0, -1.7))
    batch, identity = batch_of(10, 32, rng), identity_of(10)
    store = store.append(batch, identity, REJECTED, "ten")
    again = open_store(url)
    assert again.snapshot_id == store.snapshot_id
    flux, ivar = again.spectra(slice(None))
    assert np.array_equal(flux, batch.flux)
    assert np.array_equal(ivar, batch.ivar)
    assert again.ledger().schema.names == list(LEDGER)
    assert again.ledger()["object_id"].to_pylist() == batch.object_id
    assert again.ledger()["source_id"].to_pylist() == identity["source_id"]
    assert again.quarantine().to_pylist() == [
        {"object_id": "bad", "version": "v1", "uri": "file:///bad", "reason": "no_overlap", "seen": "5–6 Å"}
    ]
    assert again.frozen == Frozen(small_grid, 1500.0, -1.7)


def test_it_grows_and_never_changes_what_is_there(small_store, rng):
    before, _ = small_store.spectra(slice(None))
    grown = small_store.append(batch_of(7, 32, rng, "p"), identity_of(7), [], "seven more")
    after, _ = grown.spectra(slice(None))
    assert grown.n_rows == 67
    assert np.array_equal(after[:60], before)
    assert small_store.n_rows == 60, "the old state still reads as it was"


def test_chunks_are_of_about_a_megabyte(tmp_path):
    for n_pixels in (640, 2667):
        grid = WaveGrid("log", 1100.0, 8400.0, n_pixels)
        store = create_store(str(tmp_path / str(n_pixels)), Frozen(grid, 1500.0, -2.0))
        assert 1e6 <= 4 * n_pixels * store.chunk_rows <= 2e6


def test_rows_in_any_order(small_store):
    flux, ivar = small_store.spectra(slice(None))
    rows = np.array([40, 3, 3, 59])
    some, some_ivar = small_store.spectra(rows)
    assert np.array_equal(some, flux[rows])
    assert np.array_equal(some_ivar, ivar[rows])


def test_a_run_that_fell_behind_appends_nothing(small_store, rng):
    small_store.append(batch_of(5, 32, rng, "early"), identity_of(5), [], "the other run")
    with pytest.raises(RuntimeError, match="another run committed"):
        small_store.append(batch_of(5, 32, rng, "late"), identity_of(5), [], "the late run")
    assert open_store(small_store.url).n_rows == 65


def test_others_can_read_it(small_store):
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
    assert np.any(open_store(small_store.url).spectra(slice(None))[0])


def test_a_lost_race_is_an_error_and_loses_nothing(small_store, rng, monkeypatch):
    late = batch_of(3, 32, rng, "late")
    original = icechunk.Session.commit

    def commit_after_another(session, message, **kwargs):
        monkeypatch.setattr(icechunk.Session, "commit", original)
        small_store.append(batch_of(5, 32, rng, "early"), identity_of(5), [], "the other run")
        return original(session, message, **kwargs)

    monkeypatch.setattr(icechunk.Session, "commit", commit_after_another)
    with pytest.raises(RuntimeError, match="another run committed"):
        small_store.append(late, identity_of(3), [], "the late run")
    names = open_store(small_store.url).ledger(["object_id"])["object_id"].to_pylist()
    assert len(names) == 65
    assert not any(name.startswith("late") for name in names)


def test_the_digest_names_the_data_set(small_store, tmp_path, small_grid, rng):
    digest = small_store.digest()
    assert small_store.append(batch_of(1, 32, rng, "p"), identity_of(1), [], "one").digest() != digest
    other = create_store(str(tmp_path / "other"), Frozen(small_grid, 1600.0, -2.0))
    other = other.append(batch_of(60, 32, rng), identity_of(60), [], "sixty")
    assert other.digest() != digest


def test_without_a_store_it_says_what_to_run(tmp_path):
    assert not store_exists(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match=r"jobs\.ingest"):
        open_store(str(tmp_path / "none"))


def test_a_creation_cut_short_can_be_done_again(tmp_path, small_grid):
    url = str(tmp_path / "store")
    icechunk.Repository.create(icechunk.local_filesystem_storage(url))
    assert not store_exists(url)
    assert create_store(url, Frozen(small_grid, 1500.0, -2.0)).n_rows == 0


def test_an_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="s3://"):
        store_exists("ftp://host/x")


def test_known_sources_are_first_positions(tmp_path, small_grid, rng):
    store = create_store(str(tmp_path / "store"), Frozen(small_grid, 1500.0, -2.0))
    identity = identity_of(3) | {"source_id": ["b", "a", "b"], "ra": [1.0, 2.0, 1.1]}
    store = store.append(batch_of(3, 32, rng), identity, [], "three")
    ra, _, names = known_sources(store.ledger())
    assert dict(zip(names, ra, strict=True)) == {"a": 2.0, "b": 1.0}
