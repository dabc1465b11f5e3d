"""A published catalog of random values: every table and column of recipe ``dja``, without store or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.archives.dja import DJA
from distspec.catalog.editions import publish
from distspec.catalog.healpix import radec_to_healpix
from distspec.core import schema

N, N_LATENTS, N_CLASSES = 600, 3, 4
FIELD = 53.16, -27.79
GALAXY_TYPES = ("LRD", "LAE", "star-forming", "unknown")


def random_values(column: schema.Column, n: int, rng: np.random.Generator) -> Any:
    """Return values of the type of a column."""
    if pa.types.is_list(column.type):
        is_text = pa.types.is_string(column.type.value_type)
        return [["Å", "b"] if is_text else [1, 2, 3]] * n
    if pa.types.is_string(column.type):
        return [f"{column.name} {i % 7}" for i in range(n)]
    if pa.types.is_boolean(column.type):
        return np.arange(n) % 2 == 0
    if pa.types.is_integer(column.type):
        return rng.integers(0, 5, n)
    return rng.normal(size=n)


def table(
    columns: Sequence[schema.Column], n: int, values: Mapping[str, Any], rng: np.random.Generator
) -> pa.Table:
    filled = {c.name: values[c.name] if c.name in values else random_values(c, n, rng) for c in columns}
    return schema.build_table(filled, columns, {"run_id": "r-made"})


def tables(n: int = N, seed: int = 0) -> dict[str, pa.Table]:
    """Return all tables; two thirds of the spectra are in one field, the others all over the sky."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0.0, 360.0, n), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    in_field = np.arange(n) % 3 > 0
    ra[in_field], dec[in_field] = (center + rng.normal(0.0, 0.05, in_field.sum()) for center in FIELD)
    label = rng.integers(-1, N_CLASSES, n)
    rank = rng.permutation(n) + 1
    source = np.arange(n) // 2
    values = {
        "object_id": [f"jades-{i:05d}" for i in range(n)],
        "source_id": [f"J{i:05d}" for i in source],
        "store_row": np.arange(n),
        "ra": ra,
        "dec": dec,
        "_healpix_29": radec_to_healpix(ra, dec),
        "z": rng.uniform(4.0, 9.0, n),
        "snr": rng.lognormal(1.0, 1.0, n),
        "cluster_label": label,
        "cluster_stability": rng.uniform(size=n),
        "cluster_prob": rng.uniform(0.3, 1.0, n),
        "cluster_entropy": rng.uniform(size=n),
        "anomaly_rank": rank,
        "anomaly_score": 3.0 - 3.0 * rank / n,
        "artefact_score": rng.uniform(0.0, 1.4, n),
        "galaxy_type": [GALAXY_TYPES[i % 4] for i in range(n)],
        "galaxy_type_confidence": rng.uniform(0.5, 1.0, n),
        "lya_ew": np.where(rng.random(n) < 0.2, np.nan, rng.normal(20.0, 30.0, n)),
        "lya_ew_err": rng.uniform(2.0, 10.0, n),
    }
    objects = table(
        schema.build_objects_schema(N_LATENTS, DJA.measurements.columns, N_CLASSES, DJA.observation_columns),
        n,
        values,
        rng,
    )
    labels = np.unique(label)
    wave = np.linspace(1100.0, 8400.0, 32)
    top_rows = np.argsort(rank)[:20]
    classes = {"cluster_label": labels, "n_spectra": [int((label == k).sum()) for k in labels]}
    medians = {"cluster_label": np.repeat(labels, 32), "wave_rest": np.tile(wave, len(labels))}
    top = {name: objects[name].take(pa.array(top_rows)) for name in objects.column_names}
    reasons = {"reason": ["no_overlap", "no_redshift", "no_redshift"]}
    trials = {"selected": np.arange(12) == 7, "trial": np.arange(12), "silhouette": np.linspace(0.1, 0.5, 12)}
    return {
        "objects": objects,
        "classes": table(schema.build_classes_schema(), len(labels), classes, rng),
        "class_medians": table(schema.CLASS_MEDIANS_SCHEMA, 32 * len(labels), medians, rng),
        "anomalies": table(schema.ANOMALIES_SCHEMA, 20, top, rng),
        "redshifts": table(schema.REDSHIFTS_SCHEMA, 5, {"status": ["doubtful"] * 2 + ["archive"] * 3}, rng),
        "bad_pixels": table(schema.BAD_PIXELS_SCHEMA, 20, top, rng),
        "changes": table(schema.CLASS_CHANGES_SCHEMA, 5, {}, rng),
        "class_ids": table(schema.CLASS_IDS_SCHEMA, 5, {}, rng),
        "predictions": table(
            schema.build_label_prediction_schema(["label"]), n, {"object_id": values["object_id"]}, rng
        ),
        "label_scores": table(schema.LABEL_SCORES_SCHEMA, 3, {}, rng),
        "sweep": table(schema.SWEEP_SCHEMA, 12, trials, rng),
        "null_tests": table(schema.NULL_TESTS_SCHEMA, 4, {}, rng),
        "confusion": table(schema.CONFUSION_SCHEMA, 3, {}, rng),
        "latent_pairs": table(schema.LATENT_PAIRS_SCHEMA, 3, {}, rng),
        "quarantine": table(schema.QUARANTINE_SCHEMA, 3, reasons, rng),
        "observation_groups": table(schema.OBSERVATION_GROUPS_SCHEMA, 3, {}, rng),
        "leakage": table(schema.LEAKAGE_SCHEMA, 3, {}, rng),
    }


def published(root: str, n: int = N, run: str = "r-made", seed: int = 0) -> dict[str, pa.Table]:
    """Publish the tables under a root and return them."""
    result = tables(n, seed)
    publish(root, result, run, "snapshot", {"n_anomalies": 20})
    return result
