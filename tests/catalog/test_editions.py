"""Editions: whole, written once, all of them kept."""

import threading

import pytest

from distspec.catalog import editions
from distspec.catalog import editions as catalog
from distspec.catalog.query import query
from tests.helpers.published import published


def test_the_old_catalogue_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    root = str(tmp_path)
    published(root, 60)
    before = editions.read_current_record(root)
    write = editions.write_voparquet

    def disk_full(url, table, order=None):
        if "/sweep/" in url:
            raise OSError("no space left on device")
        return write(url, table, order)

    monkeypatch.setattr(catalog, "write", disk_full)
    with pytest.raises(OSError, match="no space"):
        published(root, 70, "r-2")
    assert editions.read_current_record(root) == before
    assert len(editions.read_edition_records(root)) == 1
    assert query(root, "SELECT count(*) AS n FROM objects").to_pylist() == [{"n": 60}]


def test_a_reader_sees_one_edition_whole(tmp_path):
    """While others are published, tables that are opened together are of the same spectra."""
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
    assert len(sizes) > 2, "it was read while it changed"
    assert max(sizes) == 48


def test_no_file_is_written_over(tmp_path):
    root = str(tmp_path)
    published(root, 50, "r-a")
    first = editions.read_current_record(root)
    published(root, 50, "r-b")
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    published(root, 50, "r-a")
    again = editions.read_current_record(root)
    assert again["run_id"] == first["run_id"]
    assert again["edition"] != first["edition"], "what was published between may have changed it"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert [editions.edition_name(record) for record in editions.read_edition_records(root)][
        2
    ] == f"r-a/{again['edition']}"
    assert editions.find_record(root, f"r-a/{first['edition']}") == first
    assert editions.find_record(root, "r-a") == again


def test_tables_that_stay_are_those_of_the_edition_before(tmp_path):
    root = str(tmp_path)
    made = published(root, 50)
    before = editions.read_current_record(root)
    kept = [name for name in made if name != "sweep"]
    editions.publish(root, {"sweep": made["null_tests"]}, "r-made", "snapshot", {"n": 1}, kept)
    after = editions.read_current_record(root)
    assert {name for name in made if before["files"][name] != after["files"][name]} == {"sweep"}
    assert after["rows"] == before["rows"] | {"sweep": len(made["null_tests"])}


def test_what_is_current_is_known(tmp_path):
    root = str(tmp_path)
    made_with = {"n_anomalies": 20}
    assert not editions.is_current(root, "r-made", "snapshot", made_with)
    published(root, 50)
    assert editions.is_current(root, "r-made", "snapshot", made_with)
    assert not editions.is_current(root, "r-made", "later", made_with)
    assert not editions.is_current(root, "r-made", "snapshot", {"n_anomalies": 30})


def test_files_of_an_older_format_are_published_anew(tmp_path, monkeypatch):
    published(str(tmp_path), 50)
    monkeypatch.setattr(editions, "FORMAT_VERSION", editions.FORMAT_VERSION + 1)
    assert not editions.is_current(str(tmp_path), "r-made", "snapshot", {"n_anomalies": 20})


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="n_anomalies"):
        editions.CatalogConfig(n_anomalies=0)
