"""Every reader finds the rows, and the units where it looks for them."""

import io
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import votable
from astropy.table import Table
from astropy.units import Unit

from distspec.io import parquet
from distspec.io.files import write_table
from distspec.io.storage import url_to_fs
from tests.helpers import published
from tests.helpers.seaweed import s3, seaweed  # noqa: F401

MADE = published.tables(200)


def same(one, two):
    """Return whether tables are equal, with equal NaN."""
    return one.schema.names == two.schema.names and one.to_pandas().equals(two.to_pandas())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, table in MADE.items():
        parquet.write_voparquet(str(folder / f"{name}.parquet"), table)
    return folder


@pytest.mark.parametrize("name", MADE)
def test_pyarrow_finds_units_in_the_fields(files, name):
    found = pq.read_table(files / f"{name}.parquet")
    assert found.schema.equals(MADE[name].schema, check_metadata=False)
    for field in MADE[name].schema:
        assert found.schema.field(field.name).metadata == field.metadata
    assert same(found, MADE[name])


@pytest.mark.parametrize("name", MADE)
def test_astropy_finds_units_and_descriptions(files, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Table.read(files / f"{name}.parquet", format="parquet")
    assert len(found) == len(MADE[name])
    for field in MADE[name].schema:
        stored = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert found[field.name].unit == (Unit(stored["unit"]) if stored["unit"] else None), field.name
        assert found[field.name].description == stored["description"]


@pytest.mark.parametrize("name", ["objects", "classes", "class_medians", "anomalies", "bad_pixels"])
def test_vo_tools_find_units_and_descriptions(files, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # vstack's, of columns without values
        found = Table.read(files / f"{name}.parquet", format="parquet.votable")
    assert len(found) == len(MADE[name])
    for field in MADE[name].schema:
        stored = {key.decode(): value.decode() for key, value in field.metadata.items()}
        assert found[field.name].unit == (Unit(stored["unit"]) if stored["unit"] else None), field.name
        assert " ".join(found[field.name].description.split()) == stored["description"]
    assert found["object_id" if "object_id" in found.colnames else "cluster_label"][0] is not None


@pytest.mark.parametrize("name", MADE)
def test_the_votable_header_is_valid_and_has_ucds(files, name):
    stored = pq.read_metadata(files / f"{name}.parquet").metadata
    assert stored[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fields = votable.parse(io.BytesIO(stored[b"IVOA.VOTable-Parquet.content"])).get_first_table().fields
    assert [field.name for field in fields] == MADE[name].schema.names
    if name == "objects":
        assert {f.name: f.ucd for f in fields if f.name in ("ra", "z")} == {
            "ra": "pos.eq.ra;meta.main",
            "z": "src.redshift",
        }


def test_pandas_polars_and_duckdb_find_every_value(files):
    import duckdb

    polars = pytest.importorskip("polars", reason="polars is not installed: pip install --group test")
    file = str(files / "objects.parquet")
    rank = MADE["objects"]["anomaly_rank"].to_numpy()
    first = MADE["objects"]["object_id"].to_pylist()[int(np.argmin(rank))]
    assert pd.read_parquet(file).set_index("anomaly_rank").loc[1, "object_id"] == first
    assert polars.read_parquet(file).filter(polars.col("anomaly_rank") == 1)["object_id"].to_list() == [first]
    assert duckdb.sql(f"SELECT object_id FROM '{file}' WHERE anomaly_rank = 1").fetchall() == [(first,)]
    for found in (pd.read_parquet(file), polars.read_parquet(file).to_pandas()):
        assert found.shape == MADE["objects"].shape
        assert np.array_equal(found["lya_ew"], MADE["objects"]["lya_ew"].to_numpy(), equal_nan=True)


def test_nan_matches_no_comparison(files):
    """DuckDB trusts the bounds of a column, which leave NaN out."""
    import duckdb

    width, file = MADE["objects"]["lya_ew"].to_numpy(), files / "objects.parquet"
    for asked, n in (
        ("lya_ew > 20", np.sum(width > 20)),
        ("lya_ew < 20", np.sum(width < 20)),
        ("lya_ew > lya_ew_err", np.sum(width > MADE["objects"]["lya_ew_err"].to_numpy())),
        ("lya_ew IS NULL", np.sum(np.isnan(width))),
    ):
        assert duckdb.sql(f"SELECT count(*) FROM '{file}' WHERE {asked}").fetchall() == [(n,)], asked
    assert np.isnan(width).any()


def test_rows_are_reordered_one_row_group_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_SIZE", 64)
    order = np.argsort(MADE["objects"]["anomaly_rank"].to_numpy())
    url = str(tmp_path / "objects.parquet")
    footer = parquet.write_voparquet(url, MADE["objects"], order).footer
    assert footer.num_row_groups == 4
    assert pq.read_table(url)["anomaly_rank"].to_pylist() == list(range(1, 201))
    assert pq.read_metadata(url).num_rows == footer.num_rows == 200


def test_an_empty_table_is_a_file(tmp_path):
    for name, table in MADE.items():
        parquet.write_voparquet(str(tmp_path / name), table.slice(0, 0))
        assert pq.read_table(tmp_path / name).schema.names == table.schema.names
        assert len(Table.read(tmp_path / name, format="parquet")) == 0


def test_a_failed_write_leaves_no_file(tmp_path):
    broken = MADE["objects"]
    with pytest.raises(IndexError):
        parquet.write_voparquet(str(tmp_path / "objects.parquet"), broken, np.array([0, 10_000]))
    assert list(tmp_path.iterdir()) == []


def test_files_in_a_bucket(s3):  # noqa: F811
    parquet.write_voparquet(s3.url("objects.parquet"), MADE["objects"])
    write_table(s3.url("small.parquet"), pa.table({"a": [1]}))
    fs, path = url_to_fs(s3.url("objects.parquet"))
    assert same(pq.read_table(path, filesystem=fs), MADE["objects"])
