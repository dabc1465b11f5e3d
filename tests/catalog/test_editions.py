"""Editions of the catalog are consistent, written once and kept."""

import threading

import pytest

from distspec.catalog import editions
from distspec.catalog.config import CatalogConfig
from distspec.catalog.queries import query
from distspec.core.errors import CatalogError, ConfigError
from distspec.io.files import read_json, write_json
from distspec.io.paths import catalog_url, join_url
from tests.helpers.published import published


def test_the_old_catalog_remains_current_if_publishing_fails(tmp_path, monkeypatch):
    root = str(tmp_path)
    published(root, 60)
    before = editions.read_current_record(root)
    write = editions.write_voparquet

    def disk_full(url, table, order=None):
        if "/sweep/" in url:
            raise OSError("no space left on device")
        return write(url, table, order)

    monkeypatch.setattr(editions, "write_voparquet", disk_full)
    with pytest.raises(OSError, match="no space"):
        published(root, 70, "r-2")
    assert editions.read_current_record(root) == before
    assert len(editions.read_edition_records(root)) == 1
    assert query(root, "SELECT count(*) AS n FROM objects").to_pylist() == [{"n": 60}]


def test_a_reader_sees_the_tables_of_one_edition(tmp_path):
    """Tables that are opened together describe the same spectra while other editions are published."""
    root, done = str(tmp_path), threading.Event()
    published(root, 40, "r-0")

    def publish_others():
        for i in range(1, 9):
            published(root, 40 + i, f"r-{i}", seed=i)
        done.set()

    writer = threading.Thread(target=publish_others)
    writer.start()
    sizes, last = set(), False
    while not last:
        last = done.is_set()
        found = editions.open_tables(root)
        n = found["objects"].count_rows()
        assert found["predictions"].count_rows() == n
        runs = query(root, "SELECT count(*) AS n, (SELECT count(*) FROM predictions) AS p FROM objects")
        assert runs["n"] == runs["p"]
        sizes.add(n)
    writer.join()
    assert len(sizes) > 2, "the catalog changed while it was read"
    assert max(sizes) == 48


def test_no_file_is_overwritten(tmp_path):
    root = str(tmp_path)
    published(root, 50, "r-a")
    first = editions.read_current_record(root)
    published(root, 50, "r-b")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    published(root, 50, "r-a")
    again = editions.read_current_record(root)
    assert again.run_id == first.run_id
    assert again.edition != first.edition, "the edition published in between is one of its inputs"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert editions.read_edition_records(root)[2].name == f"r-a/{again.edition}"
    assert editions.find_record(root, f"r-a/{first.edition}") == first
    assert editions.find_record(root, "r-a") == again


def test_reused_tables_are_those_of_the_previous_edition(tmp_path):
    root = str(tmp_path)
    published_tables = published(root, 50)
    before = editions.read_current_record(root)
    reused = [name for name in published_tables if name != "sweep"]
    editions.publish(root, {"sweep": published_tables["null_tests"]}, "r-made", "snapshot", {"n": 1}, reused)
    after = editions.read_current_record(root)
    assert {name for name in published_tables if before.files[name] != after.files[name]} == {"sweep"}
    assert after.rows == {**before.rows, "sweep": len(published_tables["null_tests"])}


def test_is_current_compares_run_snapshot_and_inputs(tmp_path):
    root = str(tmp_path)
    inputs = {"n_anomalies": 20}
    assert not editions.is_current(root, "r-made", "snapshot", inputs)
    published(root, 50)
    assert editions.is_current(root, "r-made", "snapshot", inputs)
    assert editions.is_current(root, "r-made", "snapshot", inputs, ["objects", "leakage"])
    assert not editions.is_current(root, "r-made", "snapshot", inputs, ["objects", "newer_table"])
    assert not editions.is_current(root, "r-made", "later", inputs)
    assert not editions.is_current(root, "r-made", "snapshot", {"n_anomalies": 30})


def test_a_catalog_of_another_format_is_refused(tmp_path):
    root = str(tmp_path)
    published(root, 50)
    url = join_url(catalog_url(root), editions.CURRENT_RECORD_FILE)
    write_json(url, read_json(url) | {"format_version": editions.FORMAT_VERSION - 1})
    with pytest.raises(CatalogError, match="use a new --root"):
        editions.open_tables(root)


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="n_anomalies"):
        CatalogConfig(n_anomalies=0)
    with pytest.raises(ConfigError, match="alpha"):
        CatalogConfig(alpha=1.0)
