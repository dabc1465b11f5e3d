import threading

import pyarrow as pa

from distspec.io.files import (
    delete_file,
    delete_folder,
    list_files,
    read_bytes,
    read_json,
    read_table,
    url_exists,
    write_bytes,
    write_json,
    write_table,
)
from distspec.io.paths import catalog_url, model_url, run_url, store_url


def test_what_is_written_can_be_read(tmp_path):
    root = str(tmp_path / "r")
    url = model_url(root, "m-1") + "/model.json"
    assert not url_exists(url)
    write_json(url, {"Å": [1, 2]})
    assert read_json(url) == {"Å": [1, 2]}
    write_json(url, {"now": 3})
    assert read_json(url) == {"now": 3}
    table = pa.table({"a": [1.0, 2.0]})
    write_table(run_url(root, "r-1") + "/t.parquet", table)
    assert read_table(run_url(root, "r-1") + "/t.parquet").equals(table)


def test_urls_are_below_the_root():
    for place in (store_url, catalog_url):
        assert place("s3://b/root/").startswith("s3://b/root/")


def test_a_reader_sees_the_old_or_the_new_content(tmp_path):
    url = str(tmp_path / "current.json")
    contents = {bytes([letter]) * 200_000 for letter in b"ab"}
    write_bytes(url, b"a" * 200_000)
    done = threading.Event()

    def write():
        for i in range(200):
            write_bytes(url, (b"a", b"b")[i % 2] * 200_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        assert read_bytes(url) in contents
        seen += 1
    writer.join()
    assert seen > 10
    assert [path.name for path in tmp_path.iterdir()] == ["current.json"], "nothing is left beside it"


def test_files_are_listed_and_deleted(tmp_path):
    url = str(tmp_path / "folder")
    assert list_files(url) == []
    for name in ("b", "a/x", "a/y"):
        write_bytes(f"{url}/{name}", b"1")
    assert list_files(url) == ["a/x", "a/y", "b"]
    delete_file(f"{url}/a/x")
    delete_file(f"{url}/a/x")
    assert list_files(url) == ["a/y", "b"]
    delete_folder(url)
    delete_folder(url)
    assert list_files(url) == []
