"""Export of the catalog as HATS, read by LSDB."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distspec.catalog import hats
from distspec.catalog.editions import publish
from distspec.catalog.hats import (
    MAX_PARTITION_ORDER,
    MAX_ROWS_PER_FILE,
    HealpixPixel,
    export_hats,
    partition_sky,
)
from distspec.catalog.healpix import degrade_to_order
from distspec.cli.main import main
from distspec.core.errors import CatalogError
from tests.catalog.test_queries import separation
from tests.helpers.published import published, tables
from tests.helpers.seaweed import s3, seaweed  # noqa: F401


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the table ``objects`` and its HATS export in files of at most 60 rows."""
    folder = tmp_path_factory.mktemp("hats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hats, "MAX_ROWS_PER_FILE", 60)
        objects = published(str(folder / "root"))["objects"]
        assert export_hats(str(folder / "root"), str(folder / "galaxies")) == 600
    return objects, folder / "galaxies"


def test_every_spectrum_is_in_the_file_of_its_pixel(exported):
    objects, folder = exported
    found = []
    for path in (folder / "dataset").glob("Norder=*/Dir=*/Npix=*.parquet"):
        order, pixel = int(path.parts[-3][7:]), int(path.stem[5:])
        table = pq.read_table(path, partitioning=None)
        assert len(table) <= 60 or order == MAX_PARTITION_ORDER
        cells = table["_healpix_29"].to_numpy()
        assert (degrade_to_order(cells, order) == pixel).all()
        assert (np.diff(cells) >= 0).all()
        assert table.schema.field("ra").metadata[b"unit"] == b"deg"
        found += table["object_id"].to_pylist()
    assert sorted(found) == sorted(objects["object_id"].to_pylist())
    info = (folder / "partition_info.csv").read_text().splitlines()
    assert info[0] == "Norder,Npix"
    assert len(info) == 1 + len(list((folder / "dataset").rglob("Npix=*.parquet")))
    assert pq.read_metadata(folder / "dataset" / "_metadata").num_rows == 600
    assert pq.read_schema(folder / "dataset" / "_common_metadata").names == objects.schema.names


def test_spectra_without_a_position_are_left_out_and_counted(tmp_path, caplog):
    root = str(tmp_path / "root")
    made = tables(60)
    column = made["objects"].schema.get_field_index("_healpix_29")
    cells = made["objects"]["_healpix_29"].to_numpy()
    for n_without, run_id in ((7, "r-some"), (len(cells), "r-all")):
        without = pa.array(cells, mask=np.arange(len(cells)) < n_without)
        objects = made["objects"].set_column(column, made["objects"].schema.field(column), without)
        publish(root, {**made, "objects": objects}, run_id, "s", {})
        if n_without < len(cells):
            assert export_hats(root, str(tmp_path / run_id)) == len(cells) - n_without
            assert f"7 of {len(cells)} spectra have no position" in caplog.text
        else:
            with pytest.raises(CatalogError, match="no spectrum has a position"):
                export_hats(root, str(tmp_path / run_id))


def test_pixels_are_divided_until_they_hold_few_rows(rng):
    where = np.sort(rng.integers(0, 12 << 58, 2_000_000))
    cells = list(partition_sky(where, MAX_ROWS_PER_FILE))
    bounds = [cell.healpix_range for cell in cells]
    assert sum(np.diff(np.searchsorted(where, b))[0] for b in bounds) == len(where)
    assert {cell.order for cell in cells} == {0}
    crowded = list(partition_sky(np.zeros(300_000, np.int64), MAX_ROWS_PER_FILE))
    assert crowded == [HealpixPixel(MAX_PARTITION_ORDER, 0)]


def test_existing_files_are_not_overwritten(exported):
    with pytest.raises(CatalogError, match="export to a new folder"):
        export_hats(str(exported[1].parent / "root"), str(exported[1]))


def test_export_command(exported, tmp_path, monkeypatch, capsys):
    args = ["--root", str(exported[1].parent / "root"), "--format", "hats", "--to", str(tmp_path / "copy")]
    monkeypatch.setattr(sys, "argv", ["distspec", "export", *args])
    main()
    assert capsys.readouterr().out.startswith("600 rows in ")
    assert (tmp_path / "copy" / "hats.properties").exists()


def test_export_to_a_bucket(exported, s3):  # noqa: F811
    root = str(exported[1].parent / "root")
    assert export_hats(root, s3.url("galaxies")) == 600
    keys = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=s3.key("galaxies"))["Contents"]
    assert any(item["Key"].endswith("/hats.properties") for item in keys)


def test_lsdb_opens_nested_spectra(small_store, tmp_path, monkeypatch):
    lsdb = pytest.importorskip("lsdb", reason="LSDB is not installed: pip install 'distspec[hats]'")
    monkeypatch.setattr(hats, "MAX_NESTED_ROWS_PER_FILE", 20)
    monkeypatch.setattr(hats, "NESTED_ROW_GROUP_SIZE", 7)
    root = small_store.url.removesuffix("/store")
    publish(root, tables(60), "r-made", small_store.snapshot_id, {})
    assert export_hats(root, str(tmp_path / "nested"), with_spectra=True) == 60
    found = lsdb.open_catalog(tmp_path / "nested").compute()
    assert found.nested_columns == ["spectrum"]
    assert list(found["spectrum"].nest.columns) == ["wave", "flux", "ivar"]
    flux, ivar = small_store.read_spectra(slice(None))
    for position in (0, 30, 59):
        row = found.iloc[position]
        assert np.array_equal(row["spectrum"]["wave"], small_store.config.grid.wave_rest)
        assert np.array_equal(row["spectrum"]["flux"], flux[row["store_row"]])
        assert np.array_equal(row["spectrum"]["ivar"], ivar[row["store_row"]])
    valid = found.query("spectrum.ivar > 0")
    assert valid["spectrum.flux"].size == np.count_nonzero(ivar)


def test_lsdb_opens_it_and_cone_searches_match_brute_force(exported):
    lsdb = pytest.importorskip("lsdb", reason="LSDB is not installed: pip install 'distspec[hats]'")
    from hats.io.validation import is_valid_catalog

    objects, folder = exported
    assert is_valid_catalog(folder, strict=True)
    catalog = lsdb.open_catalog(folder)
    assert len(catalog) == 600
    ra, dec = (objects[name].to_numpy() for name in ("ra", "dec"))
    for at in ((53.16, -27.79, 0.05), (200.0, 10.0, 30.0)):
        found = catalog.cone_search(at[0], at[1], at[2] * 3600.0).compute()
        near = separation(ra, dec, *at[:2]) <= at[2]
        assert set(found["object_id"]) == set(np.array(objects["object_id"].to_pylist())[near])
        assert len(found) > 0
