"""A published root for tests of the explorer, made without Ray and without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from distspec.anomaly.score import compute_anomaly_scores
from distspec.catalog.build import build_tables
from distspec.catalog.config import CatalogConfig
from distspec.catalog.editions import publish
from distspec.catalog.runs import build_clustering_table, save_run
from distspec.clustering.labeler import Assignment
from distspec.core import schema
from distspec.core.spectrum import WavelengthGrid
from distspec.io.paths import model_url, run_url, store_url
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS
from distspec.models.latents import append_latents
from distspec.models.record import read_model_record
from distspec.redshifts import RedshiftConfig, RedshiftPosterior
from distspec.redshifts.measured import (
    MEASURED_SCHEMA,
    append_measured,
    make_record,
    tabulate_posterior,
    write_current,
)
from distspec.store.config import StoreConfig
from distspec.store.store import create_store
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models
from tests.helpers.small_run import build_run_record

GRID = WavelengthGrid("log", 1100.0, 8400.0, 64)
RAW = ("recon", "line", "log_prob")
MEASURED_ROW = 1
"""Spectrum whose redshift was measured."""
POSTERIOR = RedshiftPosterior(np.array([2.0, 2.01, 7.0]), np.array([0.2, 0.7, 0.1]), 2.01, 7.0, 4.5)
N_CLASSES = 3
LATENTS = 3


def publish_root(root: str, n: int, names: Sequence[str] = (), grid: WavelengthGrid = GRID) -> str:
    """Publish a run of three classes and 10 % of noise; `names` are the identifiers of the first spectra.

    The classes are separate in the UMAP embedding and in latent space; positions are 0.01 deg apart.
    """
    rng = np.random.default_rng(0)
    batch, identity = batch_of(n, grid.n_pixels, rng), identity_of(n)
    batch.object_id[: len(names)] = list(names)
    identity["z"] = rng.uniform(4.0, 9.0, n).tolist()
    identity["ra"] = [150.0 + 1e-2 * (i % 1000) for i in range(n)]
    identity["dec"] = [2.0 + 1e-2 * (i // 1000) for i in range(n)]
    store = append(create_store(store_url(root), StoreConfig(grid, 1500.0, -2.0)), batch, identity)
    models.save(store, root)
    labels = (np.arange(n) % (N_CLASSES + 1)).astype(np.int32)
    labels[labels == N_CLASSES] = np.where(np.arange(n)[labels == N_CLASSES] % 5 < 2, -1, 0)
    centres = np.array([[0.0, 0.0], [9.0, 1.0], [3.0, 8.0], [5.0, 3.0]])[labels]
    points = centres + rng.normal(size=(n, 2))
    latents = {
        "z_mean": np.hstack([points, rng.normal(size=(n, LATENTS - 2))]).astype(np.float32),
        "z_log_var": np.full((n, LATENTS), -2.0, np.float32),
        "amplitude": np.ones(n, np.float32),
        "recon_mse": rng.random(n).astype(np.float32),
        "recon_chi2_red": rng.random(n).astype(np.float32) + 0.5,
        **{name: np.zeros(n, np.float32) for name in BAD_PIXEL_COLUMNS},
    }
    store = append_latents(store, "m-1", 0, latents)
    assignment = Assignment(labels, np.full((n, N_CLASSES), 1 / N_CLASSES), np.zeros(n), np.ones(n), points)
    anomalies = compute_anomaly_scores(
        {name: rng.random(n).astype(np.float32) for name in RAW}, batch.snr, labels, np.zeros(n)
    )
    tables = {
        "sweep": schema.SWEEP_SCHEMA,
        "null_tests": schema.NULL_TESTS_SCHEMA,
        "confusion": schema.CONFUSION_SCHEMA,
    }
    tables["latent_pairs"] = schema.LATENT_PAIRS_SCHEMA
    found = {
        name: schema.build_table({c.name: [] for c in columns}, columns, {})
        for name, columns in tables.items()
    }
    found["clustering"] = build_clustering_table(
        pa.chunked_array([batch.object_id]), assignment, anomalies, {}, ()
    )
    record = build_run_record(store, read_model_record(model_url(root, "m-1")))
    save_run(run_url(root, "r-1"), found, record)
    measured = tabulate_posterior(POSTERIOR, float(identity["z"][MEASURED_ROW])) | {
        "object_id": batch.object_id[MEASURED_ROW],
        "version": identity["version"][MEASURED_ROW],
        "z_archive": identity["z"][MEASURED_ROW],
        "z_class": "galaxy",
        "ln_bayes_factor": 9.0,
    }
    measurement = make_record(root, "m-1", RedshiftConfig())
    append_measured(root, measurement.measurement_id, pa.Table.from_pylist([measured], MEASURED_SCHEMA))
    write_current(root, measurement)
    publish(
        root, build_tables(root, "r-1", store, CatalogConfig(n_anomalies=10)), "r-1", store.snapshot_id, {}
    )
    return root
