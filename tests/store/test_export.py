"""Export of the store as plain Zarr."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import xarray
import zarr

from distspec.cli.main import main
from distspec.core.errors import QuarantineReason, QuarantineRecord, StoreError
from distspec.core.spectrum import compute_row_checksums
from distspec.io.paths import store_url
from distspec.store import export
from distspec.store import store as store_module
from distspec.store.columns import METADATA_COLUMNS
from distspec.store.export import export_zarr
from distspec.store.store import open_store
from distspec.store.transactions import Transaction
from tests.helpers.small_stores import grow, names, new_store

REJECTED = [QuarantineRecord("bad", "v1", "file:///bad", QuarantineReason.NO_OVERLAP, "5–6 Å")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A root with forty-one rows, one superseded and one withdrawn, in chunks of sixteen."""
    root = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "CHUNK_BYTES", 4 * 32 * 16)
        store = grow(grow(new_store(root), names(0, 40), REJECTED), names(3, 1), version="v2")
    transaction = Transaction(store)
    transaction.set_withdrawn(np.array([5]), True)
    transaction.commit("one withdrawn")
    return root


@pytest.fixture
def store(saved, tmp_path):
    """The store of a copy of the root."""
    return open_store(store_url(str(shutil.copytree(saved, tmp_path / "root"))))


def test_a_copy_has_all_arrays(store, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "COPY_ROWS", 20)  # more than one chunk, and not a multiple
    url = str(tmp_path / "copy")
    assert export_zarr(store, url) == 41
    copy = zarr.open_group(url, mode="r")
    for path, node in store.group.members(max_depth=None):
        if isinstance(node, zarr.Array):
            assert copy[path].dtype == node.dtype, path
            assert copy[path].chunks == node.chunks, path
            assert np.array_equal(copy[path][:], node[:]), path
            assert copy[path].metadata.dimension_names == node.metadata.dimension_names, path
    assert dict(copy.attrs) == {**dict(store.group.attrs), "snapshot_id": store.snapshot_id}
    assert np.flatnonzero(copy["is_current"][:]).tolist() == store.current_rows().tolist()
    assert not {3, 5} & set(store.current_rows().tolist())
    assert np.array_equal(compute_row_checksums(copy["flux"][:], copy["ivar"][:]), copy["checksum"][:])


def test_xarray_reads_the_consolidated_metadata(store, tmp_path):
    url = str(tmp_path / "copy")
    export_zarr(store, url)
    data = xarray.open_zarr(url, consolidated=True)
    assert data.flux.dims == ("row", "wave_rest")
    assert data.sizes == {"row": 41, "wave_rest": 32}
    assert set(METADATA_COLUMNS) <= set(data.variables)
    assert data.wave_rest.attrs["units"] == "Angstrom"
    assert data.isel(row=data.is_current.values).object_id.values.tolist() == sorted(
        [*names(0, 3), *names(4, 1), *names(6, 34)]
    ) + names(3, 1)


def test_an_earlier_snapshot_can_be_exported(store, tmp_path):
    url = str(tmp_path / "copy")
    grown = grow(store, names(50, 4))
    assert grown.n_rows == 45
    assert export_zarr(store, url) == 41


def test_nothing_is_overwritten(store, tmp_path):
    url = str(tmp_path / "copy")
    export_zarr(store, url)
    with pytest.raises(StoreError, match="export to another place"):
        export_zarr(store, url)


def test_an_incomplete_copy_has_no_consolidated_metadata(store, tmp_path, monkeypatch):
    url = str(tmp_path / "copy")
    monkeypatch.setattr(type(store), "current_rows", lambda self: {}["interrupted"])
    with pytest.raises(KeyError):
        export_zarr(store, url)
    with pytest.raises(ValueError, match="onsolidated"):
        xarray.open_zarr(url, consolidated=True)


def test_an_empty_store_can_be_exported(tmp_path):
    assert export_zarr(new_store(tmp_path / "root"), str(tmp_path / "copy")) == 0
    assert zarr.open_group(str(tmp_path / "copy"), mode="r")["flux"].shape == (0, 32)


def test_the_command(store, tmp_path, monkeypatch, capsys):
    args = ["--root", str(tmp_path / "root"), "--format", "zarr", "--to", str(tmp_path / "copy")]
    monkeypatch.setattr(sys, "argv", ["distspec", "export", *args])
    main()
    assert capsys.readouterr().out.startswith("41 rows in ")
    with pytest.raises(SystemExit):
        main()
    assert "export to another place" in capsys.readouterr().err
