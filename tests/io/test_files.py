import threading

import pyarrow as pa

from distspec.io.files import (
    exists,
    get,
    get_json,
    get_table,
    names,
    put,
    put_json,
    put_table,
    remove,
    remove_folder,
)
from distspec.io.paths import catalog_url, model_url, run_url, store_url


def test_what_is_put_can_be_got(tmp_path):
    root = str(tmp_path / "r")
    url = model_url(root, "m-1") + "/model.json"
    assert not exists(url)
    put_json(url, {"Å": [1, 2]})
    assert get_json(url) == {"Å": [1, 2]}
    put_json(url, {"now": 3})
    assert get_json(url) == {"now": 3}
    table = pa.table({"a": [1.0, 2.0]})
    put_table(run_url(root, "r-1") + "/t.parquet", table)
    assert get_table(run_url(root, "r-1") + "/t.parquet").equals(table)


def test_everything_lies_below_the_root():
    for place in (store_url, catalog_url):
        assert place("s3://b/root/").startswith("s3://b/root/")


def test_a_reader_sees_old_or_new_never_a_part(tmp_path):
    url = str(tmp_path / "current.json")
    contents = {bytes([letter]) * 200_000 for letter in b"ab"}
    put(url, b"a" * 200_000)
    done = threading.Event()

    def write():
        for i in range(200):
            put(url, (b"a", b"b")[i % 2] * 200_000)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = 0
    while not done.is_set():
        assert get(url) in contents
        seen += 1
    writer.join()
    assert seen > 10
    assert [path.name for path in tmp_path.iterdir()] == ["current.json"], "nothing is left beside it"


def test_names_are_below_a_folder_and_go(tmp_path):
    url = str(tmp_path / "folder")
    assert names(url) == []
    for name in ("b", "a/x", "a/y"):
        put(f"{url}/{name}", b"1")
    assert names(url) == ["a/x", "a/y", "b"]
    remove(f"{url}/a/x")
    remove(f"{url}/a/x")
    assert names(url) == ["a/y", "b"]
    remove_folder(url)
    remove_folder(url)
    assert names(url) == []
