import pyarrow.parquet as pq
import pytest

from distspec import catalog
from distspec.places import join


def test_published_tables_can_be_queried(run, tables):
    root, store, _ = run
    catalog.publish(root, tables, "r-1", store.snapshot_id, {})
    answer = catalog.query(root, "SELECT count(*) AS n FROM objects JOIN classes USING (cluster_label)")
    assert answer.to_pylist() == [{"n": 60}]
    file = join(root, "catalog", catalog.current(root)["files"]["objects"])
    assert pq.read_table(file).schema.field("norm").metadata[b"unit"] == b"erg s-1 cm-2 Angstrom-1"


def test_the_old_catalogue_stays_until_the_new_one_is_whole(run, tables, monkeypatch):
    root, store, _ = run
    catalog.publish(root, tables, "r-1", store.snapshot_id, {})
    before = catalog.current(root)

    def disk_full(url, table, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(catalog, "put_table", disk_full)
    with pytest.raises(OSError, match="no space"):
        catalog.publish(root, tables, "r-2", "later", {})
    assert catalog.current(root) == before
    assert catalog.query(root, "SELECT count(*) AS n FROM objects").to_pylist() == [{"n": 60}]


def test_a_bad_query_says_what_duckdb_says(run, tables):
    root, store, _ = run
    catalog.publish(root, tables, "r-1", store.snapshot_id, {})
    with pytest.raises(ValueError, match="redshift"):
        catalog.query(root, "SELECT redshift FROM objects")


def test_a_query_without_an_answer_says_so(run, tables):
    root, store, _ = run
    catalog.publish(root, tables, "r-1", store.snapshot_id, {})
    with pytest.raises(ValueError, match="gives no table"):
        catalog.query(root, "")


def test_before_anything_is_published_it_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"jobs\.pipeline"):
        catalog.query(str(tmp_path), "SELECT 1")


def test_the_duckdb_line_runs_in_any_duckdb(run, tables):
    import duckdb

    root, store, _ = run
    catalog.publish(root, tables, "r-1", store.snapshot_id, {})
    rows = duckdb.sql(catalog.duckdb_line(root)).fetchall()
    assert [(label, n) for label, n, _ in rows] == [(0, 30), (1, 20), (2, 7), (-1, 3)]


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="n_anomalies"):
        catalog.CatalogConfig(n_anomalies=0)
