"""The verbs query, columns and runs on a small published root."""

import json

import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from tests.helpers.published import published


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def tables(root):
    return {name: table.to_pandas() for name, table in published(root).items()}


def test_answers_are_printed_and_written_to_files(root, tables, tmp_path, distspec):
    distspec = distspec.at(root)
    sql = "SELECT object_id, anomaly_rank FROM objects ORDER BY anomaly_rank LIMIT 5"
    ids = tables["objects"].sort_values("anomaly_rank").object_id[:5].tolist()
    for suffix in ("csv", "json", "parquet", "fits", "vot"):
        distspec("query", sql, "--to", str(tmp_path / f"a.{suffix}"))
    assert pyarrow.csv.read_csv(tmp_path / "a.csv")["object_id"].to_pylist() == ids
    assert [row["object_id"] for row in json.loads((tmp_path / "a.json").read_text())] == ids
    assert pq.read_table(tmp_path / "a.parquet")["object_id"].to_pylist() == ids
    assert [str(name) for name in Table.read(tmp_path / "a.fits")["object_id"]] == ids
    assert list(Table.read(tmp_path / "a.vot", format="votable")["object_id"]) == ids
    printed = distspec("query", sql, "--run", "r-made")
    assert all(name in printed for name in ids)


def test_impossible_formats_are_refused(root, tables, distspec):
    distspec = distspec.at(root)
    distspec.fails("query", "SELECT 1", "--format", "parquet", match="name a file with --to", status=2)
    distspec.fails("query", "SELECT 1", "--to", "a.txt", match="or set the format", status=2)
    distspec.fails("query", "SELECT nothing FROM objects", match="nothing", status=1)


def test_columns_have_units(root, tables, distspec):
    assert "erg s-1 cm-2 Angstrom-1" in distspec.at(root)("columns")


def test_runs_are_listed(root, tables, distspec):
    lines = distspec.at(root)("runs").splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["*", "1", "r-made"]
