from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distspec import catalog, publishing, schema
from distspec.anomaly import combine
from distspec.artefacts import COLUMNS, LIMITS
from distspec.diagnostics import measured
from distspec.latents import append_latents, read_latents
from distspec.lineage import save_run
from distspec.model import load_model
from distspec.places import get_json, join, model_url, put_json, run_url
from distspec.runs import clustering_table
from tests import models
from tests.galaxies import GRID, WAVE, galaxy

RAW = ("recon", "line", "density", "neighbours", "forest")
ORIGIN = {"run_id": "r-1", "model_id": "m-1"}


def empty(columns):
    return schema.conform({column.name: [] for column in columns}, columns, {})


@pytest.fixture
def run(small_store, rng):
    """A root with a store of sixty, a model (untrained) and a run of three classes and some noise."""
    root = small_store.url.removesuffix("/store")
    models.save(small_store, root)
    latents = {
        "z_mean": rng.normal(size=(60, 3)).astype(np.float32),
        "z_log_var": np.zeros((60, 3), np.float32),
        "amplitude": np.full(60, 2.0, np.float32),
        "recon_mse": rng.random(60).astype(np.float32),
        "recon_chi2_red": rng.random(60).astype(np.float32) + 0.5,
        **{name: np.zeros(60, np.float32) for name in COLUMNS},
    }
    latents["artefact_edge"][7], latents["artefact_score"][7] = 2.0 * LIMITS["artefact_edge"], 2.0
    latents["artefact_spikes"][9], latents["artefact_score"][9] = 3.0 * LIMITS["artefact_spikes"], 3.0
    store = append_latents(small_store, "m-1", 0, latents)
    labels = np.repeat([0, 1, 2, -1], [30, 20, 7, 3]).astype(np.int32)
    said = {
        "label": labels,
        "prob": np.full((60, 3), 1 / 3),
        "entropy": np.zeros(60),
        "stability": np.ones(60),
    }
    ledger = store.ledger(["object_id", "snr"])
    object_id, snr = ledger["object_id"], ledger["snr"].to_numpy()
    raw = {name: rng.random(60).astype(np.float32) for name in RAW}
    odd = combine(raw, snr, labels, latents["artefact_score"])
    parts = {"sweep": schema.SWEEP, "nulls": schema.NULLS, "confusion": schema.CONFUSION}
    parts["latents"] = schema.LATENT_PAIRS
    found = {name: empty(columns) for name, columns in parts.items()}
    found["clustering"] = clustering_table(object_id, rng.normal(size=(60, 2)), said, odd, {}, ())
    record = {"model_id": "m-1", "seed": 0, "clustering": {"core_stability": 0.9}}
    save_run(run_url(root, "r-1"), found, record)
    return root, store, labels


@pytest.fixture
def tables(run):
    root, store, _ = run
    return catalog.build(root, "r-1", store, catalog.CatalogConfig(n_anomalies=10))


def test_a_row_a_spectrum(run, tables):
    _, store, labels = run
    objects = tables["objects"]
    assert objects["object_id"].to_pylist() == store.ledger()["object_id"].to_pylist()
    assert objects["cluster_label"].to_pylist() == labels.tolist()
    assert sorted(objects["anomaly_rank"].to_pylist()) == list(range(1, 61))
    assert np.allclose(objects["z_mean_01"].to_numpy(), read_latents(store, "m-1")["z_mean"][:, 1])
    assert set(objects["split"].to_pylist()) == {"train", "validation"}
    assert objects.schema.metadata[b"run_id"] == b"r-1"


def test_a_model_of_other_spectra_has_no_split(run):
    root, store, _ = run
    url = join(model_url(root, "m-1"), "model.json")
    put_json(url, get_json(url) | {"data_digest": "another"})
    objects = catalog.build(root, "r-1", store, catalog.CatalogConfig())["objects"]
    assert set(objects["split"].to_pylist()) == {"none"}


def test_what_is_measured_has_its_columns_where_it_is(run, tables):
    assert "lya_ew" not in tables["objects"].column_names, "not in archives of no kind"
    columns = schema.objects(3, measured("dja"))
    assert [(c.name, c.unit) for c in columns if c.name.startswith("lya")] == [
        ("lya_ew", "Angstrom"),
        ("lya_ew_err", "Angstrom"),
    ]


def test_residuals_are_against_the_reconstruction_times_its_amplitude(run, tables):
    root, store, _ = run
    latents = read_latents(store, "m-1")
    odd = tables["anomalies"].to_pylist()[0]
    row = store.ledger(["object_id"])["object_id"].to_pylist().index(odd["object_id"])
    flux, ivar = store.spectra(slice(row, row + 1))
    recon = 2.0 * load_model(model_url(root, "m-1")).decode(latents["z_mean"][row : row + 1], 5.0)
    residual = ((flux - recon) * np.sqrt(ivar))[0]
    worst = np.argmax(np.abs(residual))
    assert f"largest residual {residual[worst]:+.1f} σ" in odd["why"]


def test_classes_add_up(run, tables):
    classes = tables["classes"].to_pylist()
    assert [(row["cluster_label"], row["n_spectra"]) for row in classes] == [
        (-1, 3),
        (0, 30),
        (1, 20),
        (2, 7),
    ]
    assert sum(row["share"] for row in classes) == pytest.approx(1.0)


def test_class_medians_leave_masked_pixels_out(run, tables):
    _, store, labels = run
    medians = tables["class_medians"].to_pandas()
    flux, ivar = store.spectra(np.flatnonzero(labels == 1))
    expected = np.nanmedian(np.where(ivar > 0, flux, np.nan), axis=0)
    ours = medians[medians.cluster_label == 1]
    assert np.allclose(ours.flux_p50, expected, rtol=1e-6)
    assert np.array_equal(ours.n_valid, np.count_nonzero(ivar, axis=0))
    assert np.allclose(ours.wave_rest, store.frozen.grid.wave_rest)


def test_spoilt_spectra_are_listed_apart_and_not_left_out(tables):
    spoilt = tables["artefacts"].to_pylist()
    ids = tables["objects"]["object_id"].to_pylist()
    assert [row["object_id"] for row in spoilt] == [ids[9], ids[7]]
    assert [row["why"].split(" (")[0] for row in spoilt] == [
        "spikes sharper than the instrument",
        "flux runs away at an end",
    ]
    assert len(ids) == 60


def test_anomalies_are_the_top_ranks_with_reasons(tables):
    anomalies = tables["anomalies"].to_pylist()
    assert [row["anomaly_rank"] for row in anomalies] == list(range(1, 11))
    assert all("residual" in row["why"] for row in anomalies)
    scores = [row["anomaly_score"] for row in anomalies]
    assert scores == sorted(scores, reverse=True)


def test_every_column_has_a_meaning_and_a_unit_that_astropy_knows(tables):
    from astropy.units import Unit

    for table in tables.values():
        for row in schema.dictionary(table.schema).to_pylist():
            assert row["description"], row["column"]
            Unit(row["unit"])


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

    def disk_full(url, table, order):
        raise OSError("no space left on device")

    monkeypatch.setattr(publishing, "write", disk_full)
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


def test_spectra_and_classes_have_a_kind_or_say_why_not(tables):
    for name in ("objects", "classes"):
        rows = tables[name].to_pylist()
        assert {row["kind"] for row in rows} == {"unknown"}
        assert {row["kind_why"] for row in rows} == {"no rules for archives of kind "}


def test_a_class_is_named_by_its_median_spectrum_where_it_is_known():
    made = {0: galaxy({"Hα": 800.0}, -1.5, 1.0), 3: galaxy({"Hα": 300.0}), 4: galaxy({"Hα": 300.0})}
    parts, z = [], {0: [5.9, 6.0, 6.4], 3: [6.0, 6.0, 6.1], 4: [6.0, 6.0, 6.0]}
    for label, flux in made.items():
        values = {
            "cluster_label": np.full(640, label),
            "wave_rest": WAVE,
            **{f"flux_p{p}": flux + by for p, by in ((16, -0.05), (50, 0.0), (84, 0.05))},
            "n_valid": np.where(WAVE > 3000.0, 3, 0) if label == 4 else np.full(640, 3),
        }
        for p in (16, 50, 84):
            values[f"flux_p{p}"] = np.where(values["n_valid"] > 0, values[f"flux_p{p}"], np.nan)
        parts.append(schema.conform(values, schema.CLASS_MEDIANS, {}))
    labels = np.repeat(list(z), 3)
    objects = pa.table({"cluster_label": labels, "z": np.concatenate(list(z.values()))})
    store = SimpleNamespace(frozen=SimpleNamespace(kind="dja", grid=GRID))
    found = catalog._kinds_of(pa.concat_tables(parts), objects, store)
    assert found.kind == ["LRD", "star-forming", "star-forming"]
    assert "not covered: LRD, LAE, high-z analog" in found.why[2]
    assert found.confidence[2] < found.confidence[1]
