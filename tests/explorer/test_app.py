"""What the page is told, against the catalogue and the store themselves."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from starlette.testclient import TestClient

from distspec.catalog.editions import open_tables
from distspec.core.lines import GALAXY_LINES
from distspec.explorer.app import make_app
from distspec.explorer.session import open_annotation_session
from distspec.io.files import list_files
from distspec.io.paths import store_url
from distspec.labels.annotations import Annotation, add_annotations, annotations_url, read_annotations
from distspec.store.store import open_store
from tests.explorer.conftest import EVIL


@pytest.fixture
def client(explored, root):
    add_annotations(root, [Annotation("o0007", "LAE", "bob", "broad?")])
    with TestClient(make_app(explored, open_annotation_session(root, "ann"), GALAXY_LINES)) as client:
        yield client


@pytest.fixture
def objects(root):
    return open_tables(root)["objects"].to_table()


@pytest.fixture
def row(objects) -> list[int]:
    """Of every row of the store, o0000 and on, its row in the catalogue."""
    return np.argsort(objects["store_row"].to_numpy()).tolist()


def floats(answer):
    assert answer.status_code == 200
    return np.frombuffer(answer.content, "<f4")


def test_the_map_and_columns_are_those_of_the_catalogue(client, objects):
    map_ = floats(client.get("/api/map")).reshape(3, -1)
    for values, name in zip(map_, ("umap_0", "umap_1", "cluster_label"), strict=True):
        assert np.array_equal(values, objects[name].to_numpy().astype(np.float32))
    for name in ("z", "ra", "z_mean_01", "grade"):
        assert np.array_equal(
            floats(client.get(f"/api/column/{name}")), objects[name].to_numpy().astype(np.float32)
        )
    assert client.get("/api/names").text.split("\0") == objects["object_id"].to_pylist()


def test_categories_come_as_codes(client, objects):
    columns = {column["name"]: column for column in client.get("/api/catalogue").json()["columns"]}
    split = columns["split"]
    assert split["kind"] == "category"
    codes = floats(client.get("/api/column/split")).astype(int)
    assert [split["categories"][code] for code in codes] == objects["split"].to_pylist()
    assert columns["object_id"]["kind"] == "text"
    assert client.get("/api/column/object_id").status_code == 404
    assert columns["ra"]["unit"] == "deg"


def test_the_catalogue_says_lines_and_scale(client, root):
    said = client.get("/api/catalogue").json()
    store = open_store(store_url(root))
    assert said["lines"] == dict(GALAXY_LINES)
    assert said["wave_rest"] == store.config.grid.wave_rest.tolist()
    assert (said["n"], said["reference"], said["who"]) == (400, 1500.0, "ann")
    assert [row["cluster_label"] for row in said["classes"]] == [-1, 0, 1, 2]
    ranks = open_tables(root)["objects"].to_table()["anomaly_rank"].to_numpy()
    assert [odd["row"] for odd in said["oddest"]] == np.argsort(ranks)[:12].tolist()


def test_a_spectrum_is_the_stores_with_its_reconstruction(client, explored, root, objects, row):
    i = row[42]
    flux, ivar, recon = floats(client.get(f"/api/spectrum/{i}")).reshape(3, -1)
    store = open_store(store_url(root))
    stored = store.read_spectra(np.array([42]))
    assert np.array_equal(flux, stored[0][0])
    assert np.array_equal(ivar, stored[1][0])
    decoded = explored.model.decode(explored.z_mean[i : i + 1], objects["z"][i].as_py())
    assert np.allclose(recon, decoded[0] * objects["amplitude"][i].as_py())


def test_what_is_not_there_is_not_found(client):
    for path in (
        "spectrum/400",
        "object/400",
        "column/nothing",
        "containing/z?text=1",
        "spectrum/-1",
        "spectrum/x",
    ):
        assert client.get(f"/api/{path}").status_code == 404, path


def test_an_object_its_neighbours_and_what_was_said(client, explored, row):
    i = row[7]
    found = client.get(f"/api/object/{i}").json()
    assert found["facts"]["object_id"] == "o0007"
    assert found["page"] == ""
    apart = np.linalg.norm(explored.latents.astype(float) - explored.latents[i], axis=1)
    nearest = np.argsort(apart, kind="stable")[1:13]
    assert [near["row"] for near in found["neighbours"]] == nearest.tolist()
    assert [near["distance"] for near in found["neighbours"]] == pytest.approx(apart[nearest])
    [said] = found["said"]
    assert (said["who"], said["human_label"], said["note"]) == ("bob", "LAE", "broad?")


def test_find_by_id_and_by_position(client, row):
    assert client.get("/api/find", params={"text": "O0012"}).json()["rows"] == [row[12]]
    assert client.get("/api/find", params={"text": "s399"}).json()["rows"] == [row[399]], "source ids as well"
    assert client.get("/api/find", params={"text": "<IMG"}).json()["rows"] == [row[0]]
    assert client.get("/api/find", params={"text": "150.05 2.0"}).json()["rows"] == [row[5]]
    assert client.get("/api/find", params={"text": "150.05 2.0 40"}).json()["rows"][0] == row[5]
    assert set(client.get("/api/find", params={"text": "150.05 2.0 40"}).json()["rows"]) == {
        row[4],
        row[5],
        row[6],
    }
    assert client.get("/api/find", params={"text": "10:00:12 +02:00:00 1"}).json()["rows"] == [row[5]]
    assert client.get("/api/find", params={"text": "151 -40"}).json()["total"] == 0
    assert client.get("/api/find", params={"text": "999 0"}).json()["total"] == 0, "no place, and no id"


def test_texts_are_found_as_they_are_written(client, row):
    rows = client.get("/api/containing/object_id", params={"text": "o001"})
    assert np.frombuffer(rows.content, "<u4").tolist() == sorted(row[10:20])
    assert client.get("/api/containing/object_id", params={"text": ".*"}).content == b""


def test_labels_are_kept_at_once_and_compacted_at_the_end(client, root, row):
    assert client.post("/api/labels", json={"rows": [row[3], row[4]], "label": "LRD"}).status_code == 200
    assert client.post("/api/labels", json={"rows": [row[3]], "label": "interesting"}).status_code == 200
    said = client.get("/api/labels").json()
    assert said["labels"] == {str(row[3]): "LRD", str(row[4]): "LRD", str(row[7]): "LAE"}
    assert said["marks"] == {str(row[3]): "interesting"}
    assert len(read_annotations(root)) == 4
    assert "labels.parquet" not in list_files(annotations_url(root))
    client.__exit__(None, None, None)
    assert [name for name in list_files(annotations_url(root)) if name.endswith("parquet")] == [
        "labels.parquet"
    ]
    assert len(read_annotations(root)) == 4


@pytest.mark.parametrize(
    "asked", [{}, {"rows": []}, {"rows": [1]}, {"rows": [1], "label": " "}, {"rows": 1, "label": "LRD"}]
)
def test_half_a_label_is_refused(client, root, asked):
    assert client.post("/api/labels", json=asked).status_code == 400
    assert client.post("/api/labels", json={"rows": [400], "label": "LRD"}).status_code == 404
    assert len(read_annotations(root)) == 1


def test_what_is_no_json_is_refused(client):
    assert client.post("/api/labels", content=b"{").status_code == 400
    assert client.post("/api/labels", content=b"[1]").status_code == 400


def test_names_of_keys_are_kept_below_the_root(client, root):
    answer = client.put("/api/labels", json={"names": ["LRD", " LAE ", "", "LRD"]})
    assert answer.json() == {"names": ["LRD", "LAE"]}
    assert open_annotation_session(root, "bob").read_label_names() == ["LRD", "LAE"]
    assert client.get("/api/catalogue").json()["label_names"] == ["LRD", "LAE"]
    assert client.put("/api/labels", json={"names": [str(i) for i in range(10)]}).status_code == 400
    assert client.put("/api/labels", json={"names": ["ordinary"]}).status_code == 400
    assert len(read_annotations(root)) == 1, "the list is no label"


def test_an_export_is_the_rows_asked_for(client, objects, row):
    client.post("/api/labels", json={"rows": [row[0]], "label": "LRD"})
    answer = client.post("/api/export", json={"rows": [row[5], row[0]]})
    table = pa.csv.read_csv(io.BytesIO(answer.content))
    assert table["object_id"].to_pylist() == ["o0005", EVIL]
    assert table["human_label"].to_pylist() == ["", "LRD"]
    assert np.allclose(table["z"].to_numpy(), objects["z"].take([row[5], row[0]]).to_numpy())
    assert {"ra", "dec", "cluster_label", "anomaly_score"} <= set(table.column_names)
