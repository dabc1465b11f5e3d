"""A small root with a store, an untrained model and a run whose labels are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from distspec.anomaly.score import compute_anomaly_scores
from distspec.catalog.run_record import RunRecord, SelectionRecord
from distspec.catalog.runs import build_clustering_table, save_run
from distspec.clustering.labeler import Assignment
from distspec.core import schema
from distspec.core.records import collect_versions, utc_now_iso
from distspec.io.paths import model_url, run_url
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS, THRESHOLDS
from distspec.models.latents import append_latents
from distspec.models.record import ModelRecord, read_model_record
from distspec.store.store import Store
from tests.helpers import models

N = 60
CLASS_SIZES = {0: 30, 1: 20, 2: 7, -1: 3}
"""Spectra per class; -1 are noise."""
RAW_SCORES = ("recon", "line", "log_prob")


def empty(columns: Sequence[schema.Column]) -> pa.Table:
    return schema.build_table({column.name: [] for column in columns}, columns, {})


def build_run_record(store: Store, model: ModelRecord) -> RunRecord:
    """Build the record of run ``r-1`` of a model."""
    return RunRecord(
        run_id="r-1",
        recipe="made",
        model_id=model.model_id,
        models={model.model_id: model.checksum},
        weights_sha256=model.weights_sha256,
        snapshot_id=store.snapshot_id,
        dataset_checksum=store.dataset_checksum(),
        seed=0,
        created=utc_now_iso(),
        versions=collect_versions(),
        clustering=SelectionRecord("consensus", 0, 0.9, 1.0, "made for tests"),
        config={},
    )


def save_small_run(store: Store, rng: np.random.Generator) -> tuple[str, Store, np.ndarray]:
    """Save model ``m-1``, its latents and run ``r-1`` for a store of sixty spectra.

    Returns the root, the store with latents, and the label of each spectrum.
    """
    root = store.url.removesuffix("/store")
    models.save(store, root)
    latents = {
        "z_mean": rng.normal(size=(N, 3)).astype(np.float32),
        "z_log_var": np.zeros((N, 3), np.float32),
        "amplitude": np.full(N, 2.0, np.float32),
        "recon_mse": rng.random(N).astype(np.float32),
        "recon_chi2_red": rng.random(N).astype(np.float32) + 0.5,
        **{name: np.zeros(N, np.float32) for name in BAD_PIXEL_COLUMNS},
    }
    latents["artefact_edge"][7], latents["artefact_score"][7] = 2.0 * THRESHOLDS["artefact_edge"], 2.0
    latents["artefact_spikes"][9], latents["artefact_score"][9] = 3.0 * THRESHOLDS["artefact_spikes"], 3.0
    store = append_latents(store, "m-1", 0, latents)
    labels = np.repeat([*CLASS_SIZES], [*CLASS_SIZES.values()]).astype(np.int32)
    assignment = Assignment(labels, np.full((N, 3), 1 / 3), np.zeros(N), np.ones(N))
    ledger = store.ledger(["object_id", "snr"])
    object_id, snr = ledger["object_id"], ledger["snr"].to_numpy()
    raw_scores = {name: rng.random(N).astype(np.float32) for name in RAW_SCORES}
    anomalies = compute_anomaly_scores(raw_scores, snr, labels, latents["artefact_score"])
    tables = {
        "sweep": empty(schema.SWEEP_SCHEMA),
        "null_tests": empty(schema.NULL_TESTS_SCHEMA),
        "confusion": empty(schema.CONFUSION_SCHEMA),
        "latent_pairs": empty(schema.LATENT_PAIRS_SCHEMA),
        "clustering": build_clustering_table(
            object_id, replace(assignment, umap_coordinates=rng.normal(size=(N, 2))), anomalies, {}, ()
        ),
    }
    record = build_run_record(store, read_model_record(model_url(root, "m-1")))
    save_run(run_url(root, "r-1"), tables, record)
    return root, store, labels
