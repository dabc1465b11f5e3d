from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from distspec.archives.registry import get_archive
from distspec.catalog.build import build_tables
from distspec.catalog.class_tables import measure_class_medians
from distspec.catalog.config import CatalogConfig
from distspec.catalog.editions import publish
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.io.files import read_json, write_json
from distspec.io.paths import join_url, model_url
from distspec.measurements.galaxy_types import suggest_galaxy_types
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.store.store import open_repository
from tests.helpers import small_run
from tests.helpers.galaxies import GRID, WAVE, galaxy


def test_objects_has_one_row_per_spectrum(run, tables):
    _, store, labels = run
    objects = tables["objects"]
    assert objects["object_id"].to_pylist() == store.ledger()["object_id"].to_pylist()
    assert objects["cluster_label"].to_pylist() == labels.tolist()
    assert sorted(objects["anomaly_rank"].to_pylist()) == list(range(1, 61))
    assert np.allclose(objects["z_mean_01"].to_numpy(), read_latents(store, "m-1")["z_mean"][:, 1])
    assert set(objects["split"].to_pylist()) == {"train", "validation"}
    assert objects.schema.metadata[b"run_id"] == b"r-1"


def test_split_tells_which_spectra_the_model_has_seen(run, tables):
    """The model's snapshot gives its spectra; a model of another root has seen none."""
    root, store, _ = run
    url = join_url(model_url(root, "m-1"), "model.json")
    split = tables["objects"]["split"].to_pylist()
    for snapshot, words in ((store.snapshot_id, split), ("Z" * 20, ["none"] * 60)):
        write_json(url, read_json(url) | {"dataset_checksum": "another", "snapshot_id": snapshot})
        objects = build_tables(root, "r-1", store, CatalogConfig())["objects"]
        assert objects["split"].to_pylist() == words
    before = list(open_repository(store.url).ancestry(branch="main"))[-1].id  # an empty store
    write_json(url, read_json(url) | {"snapshot_id": before})
    objects = build_tables(root, "r-1", store, CatalogConfig())["objects"]
    assert set(objects["split"].to_pylist()) == {"none"}


def test_measurements_depend_on_the_archive(run, tables):
    assert "lya_ew" not in tables["objects"].column_names, "the store has no archive"
    columns = schema.build_objects_schema(3, get_archive("dja").measurements.columns)
    assert [(c.name, c.unit) for c in columns if c.name.startswith("lya")] == [
        ("lya_ew", "Angstrom"),
        ("lya_ew_err", "Angstrom"),
    ]


def test_residuals_use_the_reconstruction_times_its_amplitude(run, tables):
    root, store, _ = run
    latents = read_latents(store, "m-1")
    top = tables["anomalies"].to_pylist()[0]
    row = store.ledger(["object_id"])["object_id"].to_pylist().index(top["object_id"])
    flux, ivar = store.read_spectra(slice(row, row + 1))
    recon = 2.0 * load_model(model_url(root, "m-1")).decode(latents["z_mean"][row : row + 1], 5.0)
    residual = ((flux - recon) * np.sqrt(ivar))[0]
    worst = np.argmax(np.abs(residual))
    assert f"largest residual {residual[worst]:+.1f} σ".replace("-", "−") in top["reason"]


def test_classes_contain_all_spectra(run, tables):
    classes = tables["classes"].to_pylist()
    assert [(row["cluster_label"], row["n_spectra"]) for row in classes] == [
        (-1, 3),
        (0, 30),
        (1, 20),
        (2, 7),
    ]
    assert sum(row["share"] for row in classes) == pytest.approx(1.0)


def test_class_medians_ignore_masked_pixels(run, tables):
    _, store, labels = run
    medians = tables["class_medians"].to_pandas()
    flux, ivar = store.read_spectra(np.flatnonzero(labels == 1))
    expected = np.nanmedian(np.where(ivar > 0, flux, np.nan), axis=0)
    ours = medians[medians.cluster_label == 1]
    assert np.allclose(ours.flux_p50, expected, rtol=1e-6)
    assert np.array_equal(ours.n_valid, np.count_nonzero(ivar, axis=0))
    assert np.allclose(ours.wave_rest, store.config.grid.wave_rest)


def test_flagged_spectra_are_listed_and_remain_in_objects(tables):
    flagged = tables["bad_pixels"].to_pylist()
    ids = tables["objects"]["object_id"].to_pylist()
    assert [row["object_id"] for row in flagged] == [ids[9], ids[7]]
    assert [row["reason"].split(" (")[0] for row in flagged] == [
        "spikes or plateaus sharper than the instrument's line-spread function",
        "excess flux at an end of the spectrum",
    ]
    assert len(ids) == 60


def test_anomalies_are_the_top_ranked_spectra_with_reasons(tables):
    anomalies = tables["anomalies"].to_pylist()
    assert [row["anomaly_rank"] for row in anomalies] == list(range(1, 11))
    assert all("residual" in row["reason"] for row in anomalies)
    scores = [row["anomaly_score"] for row in anomalies]
    assert scores == sorted(scores, reverse=True)


def test_every_column_has_a_description_and_a_valid_unit(tables):
    from astropy.units import Unit

    for table in tables.values():
        for row in schema.build_data_dictionary(table.schema).to_pylist():
            assert row["description"], row["column"]
            Unit(row["unit"])


def test_galaxy_types_are_unknown_without_an_archive(tables):
    for name in ("objects", "classes"):
        rows = tables[name].to_pylist()
        assert {row["galaxy_type"] for row in rows} == {"unknown"}
        assert {row["galaxy_type_reason"] for row in rows} == {"the archive has no galaxy type rules"}


def test_class_medians_give_galaxy_types_where_they_are_covered():
    fluxes = {0: galaxy({"Hα": 800.0}, -1.5, 1.0), 3: galaxy({"Hα": 300.0}), 4: galaxy({"Hα": 300.0})}
    parts, z = [], {0: [5.9, 6.0, 6.4], 3: [6.0, 6.0, 6.1], 4: [6.0, 6.0, 6.0]}
    for label, flux in fluxes.items():
        values = {
            "cluster_label": np.full(640, label),
            "class_id": [f"c-{label:04d}"] * 640,
            "wave_rest": WAVE,
            **{f"flux_p{p}": flux + by for p, by in ((16, -0.05), (50, 0.0), (84, 0.05))},
            "n_valid": np.where(WAVE > 3000.0, 3, 0) if label == 4 else np.full(640, 3),
        }
        for p in (16, 50, 84):
            values[f"flux_p{p}"] = np.where(values["n_valid"] > 0, values[f"flux_p{p}"], np.nan)
        parts.append(schema.build_table(values, schema.CLASS_MEDIANS_SCHEMA, {}))
    labels = np.repeat(list(z), 3)
    objects = pa.table({"cluster_label": labels, "z": np.concatenate(list(z.values()))})
    store = SimpleNamespace(config=SimpleNamespace(archive_name="dja", grid=GRID))
    values = measure_class_medians(pa.concat_tables(parts), objects, store)
    found = suggest_galaxy_types(get_archive("dja").galaxy_types, values, len(z))
    assert found.galaxy_type == ["LRD", "star-forming", "star-forming"]
    assert "not covered: LRD, LAE, high-z analog" in found.reason[2]
    assert found.confidence[2] < found.confidence[1]


def test_a_run_with_an_empty_class_is_published_again(small_store, rng, monkeypatch):
    """New labels change the catalog of the same run; one of its classes has no spectra."""
    monkeypatch.setattr(small_run, "CLASS_SIZES", {0: 30, 2: 27, -1: 3})
    root, store, _ = small_run.save_small_run(small_store, rng)
    first = build_tables(root, "r-1", store, CatalogConfig())
    publish(root, first, "r-1", store.snapshot_id, {})
    assert first["class_ids"]["n_spectra"].to_pylist() == [30, 0, 27]
    again = build_tables(root, "r-1", store, CatalogConfig())
    for column in ("class_id", "previous_class_id"):
        assert again["objects"][column].equals(first["objects"][column])
    for column in ("class_id", "change", "n_spectra"):
        assert again["classes"][column].equals(first["classes"][column])
    smallest = again["objects"].filter(pc.field("cluster_label") == 2)
    assert set(smallest["class_id"].to_pylist()) == {"c-0002"}
