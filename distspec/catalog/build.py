"""What a catalogue holds: a run's tables, put together from the store, what its model says, and the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from icechunk import IcechunkError
from numpy.typing import NDArray

from distspec.anomaly.score import PARTIAL_SCORES, explain_anomaly
from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.class_tracking import PublishedClasses, TrackedClasses, track_classes
from distspec.catalog.editions import CatalogConfig, open_record_tables, read_current_record
from distspec.catalog.healpix import radec_to_healpix
from distspec.catalog.runs import load_run
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32
from distspec.io.paths import model_url, run_url
from distspec.labels.annotations import (
    consensus_labels,
    current_annotations,
    format_class_name,
    read_annotations,
)
from distspec.labels.predict import predict_labels
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS as ARTEFACTS
from distspec.measurements.bad_pixels import THRESHOLDS, describe_worst_statistic
from distspec.measurements.features import list_reconstruction_columns
from distspec.measurements.galaxy_types import GalaxyTypeSuggestions, suggest_galaxy_types
from distspec.models.latents import SCALAR_COLUMNS, VECTOR_COLUMNS, read_latents
from distspec.models.model import Model, load_model
from distspec.store.splits import is_validation
from distspec.store.store import Store, open_store

MIN_SPECTRA_PER_PIXEL = 3
"""A class median needs this many valid spectra in a pixel."""
MAX_SPECTRA_PER_MEDIAN = 5_000
"""A class median is taken over at most this many of its spectra."""


def build_tables(root: str, run_id: str, store: Store, config: CatalogConfig) -> dict[str, pa.Table]:
    """Put a run's tables together.

    Parameters
    ----------
    root : str
    run_id : str
    store : Store
        The state whose rows the run's model has embedded.
    config : CatalogConfig

    Returns
    -------
    dict
        Tables ``objects``, ``classes``, ``class_medians``, ``anomalies``, ``bad_pixels``, ``changes``,
        ``class_ids``, ``sweep``, ``null_tests``, ``confusion``, ``latent_pairs``, ``quarantine`` and, where people
        labelled spectra, ``predictions`` and ``label_scores``.
    """
    record, found = load_run(run_url(root, run_id))
    model = str(record["model_id"])
    vae = load_model(model_url(root, model))
    wave = store.config.grid.wave_rest
    made_of = run_id, model, store.snapshot_id, str(vae.record["weights_sha256"])
    origin = dict(zip(schema.PROVENANCE_KEYS, made_of, strict=True))
    rows, archive = store.current_rows(), get_archive(store.config.archive_name)
    latents = {name: values[rows] for name, values in read_latents(store, model).items()}
    ledger = store.ledger().take(pa.array(rows))
    people = consensus_labels(current_annotations(read_annotations(root)))
    labels = found["clustering"]["cluster_label"].to_numpy()
    points = scale_by_posterior_width(latents["z_mean"], latents["z_log_var"])
    identities = _track_published_classes(root, run_id, ledger["object_id"], labels, points)
    objects = _build_objects(
        ledger,
        rows,
        latents,
        found["clustering"],
        _assign_splits(store, rows, vae),
        suggest_galaxy_types(archive.galaxy_types, latents, len(rows)),
        archive.measurements.columns,
        list_reconstruction_columns(archive.measurements),
        {
            "class_id": identities.map_labels(labels),
            "class_name": pa.nulls(len(rows), pa.string()),
            "previous_class_id": identities.previous_class_ids,
            "human_label": people["human_label"].take(pc.index_in(ledger["object_id"], people["object_id"])),
        },
        origin,
    )
    odd = np.argsort(objects["anomaly_rank"].to_numpy())[: config.n_anomalies]
    recon = vae.decode(latents["z_mean"][odd], objects["z"].to_numpy()[odd])
    recon *= latents["amplitude"][odd, None]
    medians = _build_class_medians(objects, rows, store, origin)
    core = float(record["clustering"]["core_stability"])
    of_medians = _measure_class_medians(medians, objects, store)
    classes = _build_classes(objects, core, of_medians, archive, identities.change_types, origin)
    return {
        "objects": _add_class_names(objects, classes),
        "classes": classes,
        "class_medians": medians,
        "anomalies": _build_anomalies(
            objects.take(pa.array(odd)), store.read_spectra(rows[odd]), recon, wave, origin
        ),
        "bad_pixels": _build_bad_pixels(objects, config.n_anomalies, origin),
        "changes": identities.changes.replace_schema_metadata(origin),
        "class_ids": identities.class_registry.replace_schema_metadata(origin),
        "sweep": schema.build_table(_columns(found["sweep"]), schema.SWEEP_SCHEMA, origin),
        "null_tests": schema.build_table(_columns(found["null_tests"]), schema.NULL_TESTS_SCHEMA, origin),
        "confusion": schema.build_table(_columns(found["confusion"]), schema.CONFUSION_SCHEMA, origin),
        "latent_pairs": schema.build_table(_columns(found["latent_pairs"]), schema.LATENT_PAIRS_SCHEMA, origin),
        "quarantine": schema.build_table(_columns(store.read_quarantine()), schema.QUARANTINE_SCHEMA, origin),
        **predict_labels(objects, archive.measurements, people, config.alpha, origin),
    }


def _track_published_classes(
    root: str, run_id: str, object_ids: pa.ChunkedArray, labels: NDArray[np.int32], points: Floats32
) -> TrackedClasses:
    """Tell who a run's classes are, from what is published; of the published run as it was told then."""
    now_current = read_current_record(root)
    if now_current is None or "class_ids" not in now_current["files"]:
        return track_classes(run_id, object_ids, labels, points, None)
    tables = open_record_tables(root, now_current)
    given = tables["class_ids"].to_table()
    objects = tables["objects"].to_table(columns=["object_id", "class_id", "previous_class_id"])
    if now_current["run_id"] != run_id:
        last = PublishedClasses(objects["object_id"], objects["class_id"], given)
        return track_classes(run_id, object_ids, labels, points, last)
    classes = tables["classes"].to_table(filter=pc.field("cluster_label") >= 0).sort_by("cluster_label")
    previous = objects["previous_class_id"].take(pc.index_in(object_ids, objects["object_id"]))
    ids, change = classes["class_id"].to_pylist(), classes["change"].to_pylist()
    return TrackedClasses(ids, change, previous, tables["changes"].to_table(), given)


def _add_class_names(objects: pa.Table, classes: pa.Table) -> pa.Table:
    """Return objects with the names of their classes."""
    at = objects.schema.get_field_index("class_name")
    names = classes["class_name"].take(pc.index_in(objects["cluster_label"], classes["cluster_label"]))
    return objects.set_column(at, objects.schema.field(at), names)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _build_objects(
    ledger: pa.Table,
    rows: NDArray[np.int64],
    latents: Mapping[str, Floats32],
    clustering: pa.Table,
    split: Sequence[str],
    galaxy_types: GalaxyTypeSuggestions,
    measurement_columns: Sequence[schema.Column],
    reconstruction_columns: Sequence[schema.Column],
    class_columns: Mapping[str, pa.Array],
    provenance: Mapping[str, str],
) -> pa.Table:
    n_latents = latents["z_mean"].shape[1]
    values: dict[str, Any] = {
        **_columns(ledger),
        **_columns(clustering.drop_columns("object_id")),
        **{f"{name}_{i:02d}": latents[name][:, i] for name in VECTOR_COLUMNS for i in range(n_latents)},
        **{
            name: latents[name]
            for name in (*SCALAR_COLUMNS, *ARTEFACTS, *(column.name for column in measurement_columns))
        },
        "store_row": rows,
        "_healpix_29": radec_to_healpix(ledger["ra"].to_numpy(), ledger["dec"].to_numpy()),
        "split": split,
        **_galaxy_type_columns(galaxy_types),
        **class_columns,
    }
    n_classes = sum(name.startswith("cluster_prob_") for name in clustering.column_names)
    beside = [column for column in reconstruction_columns if column.name in values]
    return schema.build_table(
        values, schema.build_objects_schema(n_latents, (*measurement_columns, *beside), n_classes), provenance
    )


def _assign_splits(store: Store, rows: NDArray[np.int64], model: Model) -> list[str]:
    """Say of each row whether the model was trained or validated on it, or has not seen it."""
    known = rows
    if model.record["data_digest"] != store.dataset_checksum():
        try:
            known = open_store(store.url, str(model.record["snapshot_id"])).current_rows()
        except (ValueError, IcechunkError):  # it was trained elsewhere
            known = rows[:0]
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(rows)).to_pylist()
    held_out = is_validation(sources, float(model.record["training"]["validation_fraction"]))
    seen = np.where(held_out, "validation", "train")
    return np.where(np.isin(rows, known), seen, "none").tolist()


def _galaxy_type_columns(galaxy_types: GalaxyTypeSuggestions) -> dict[str, Any]:
    return dict(zip((column.name for column in schema.GALAXY_TYPE_COLUMNS), galaxy_types, strict=True))


def _measure_class_medians(medians: pa.Table, objects: pa.Table, store: Store) -> dict[str, Floats32]:
    """Measure classes' median spectra at their median redshifts, in the order of `medians`.

    A median's error is that of a Gaussian's whose 68 % are as wide as the class.
    """
    shape = -1, store.config.grid.n_pixels
    low, flux, high = (medians[f"flux_p{p}"].to_numpy().reshape(shape) for p in (16, 50, 84))
    n_valid = np.maximum(medians["n_valid"].to_numpy().reshape(shape), 1)
    sigma = 0.5 * (high - low) * np.sqrt(np.pi / 2.0 / n_valid)
    ivar = np.where(sigma > 0.0, sigma, np.inf) ** -2.0
    labels, z = objects["cluster_label"].to_numpy(), objects["z"].to_numpy()
    at = np.array([np.median(z[labels == label]) for label in np.unique(labels)])
    spectra = np.nan_to_num(flux).astype(np.float32), ivar.astype(np.float32)
    return get_archive(store.config.archive_name).measurements.measure(*spectra, at, store.config.grid)


def _build_classes(
    objects: pa.Table,
    core_stability: float,
    median_measurements: Mapping[str, Floats32],
    archive: type[Archive],
    change_types: Sequence[str],
    provenance: Mapping[str, str],
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    labels = sorted(objects["cluster_label"].unique().to_pylist())
    kinds = suggest_galaxy_types(archive.galaxy_types, median_measurements, len(labels))
    for label, called in zip(labels, kinds.galaxy_type, strict=True):
        members = objects.filter(pc.field("cluster_label") == label)
        p16, p50, p84 = np.percentile(members["z"].to_numpy(), [16, 50, 84])
        rows.append(
            {
                "cluster_label": label,
                "class_id": members["class_id"][0].as_py(),
                "class_name": None
                if label < 0
                else format_class_name(called, members["human_label"].to_pylist()),
                "change": None if label < 0 else change_types[label],
                "n_spectra": len(members),
                "n_sources": len(members["source_id"].unique()),
                "share": len(members) / len(objects),
                "z_p16": p16,
                "z_p50": p50,
                "z_p84": p84,
                "snr_p50": np.median(members["snr"].to_numpy()),
                "recon_mse_p50": np.median(members["recon_mse"].to_numpy()),
                "stability_p50": np.median(members["cluster_stability"].to_numpy()),
                "core_share": np.mean(members["cluster_stability"].to_numpy() >= core_stability),
            }
        )
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {**median_measurements, **_galaxy_type_columns(kinds)}
    return schema.build_table(
        columns, schema.build_classes_schema(archive.measurements.columns), provenance
    )


def _build_class_medians(
    objects: pa.Table, store_rows: NDArray[np.int64], store: Store, provenance: Mapping[str, str]
) -> pa.Table:
    """`store_rows` of the store, (N,), one an object."""
    labels = objects["cluster_label"].to_numpy()
    wave = store.config.grid.wave_rest
    parts: list[pa.Table] = []
    for label in np.unique(labels):
        members = store_rows[labels == label]
        # Evenly spread over the class: the store's order is the archive's, so this is no biased sample.
        members = members[
            np.linspace(0, len(members) - 1, min(len(members), MAX_SPECTRA_PER_MEDIAN)).astype(np.int64)
        ]
        flux, ivar = store.read_spectra(members)
        n_valid = np.count_nonzero(ivar, axis=0)
        enough = n_valid >= min(MIN_SPECTRA_PER_PIXEL, len(members))
        percentiles = np.full((3, len(wave)), np.nan)
        stacked = np.where(ivar > 0, flux, np.nan)[:, enough & (n_valid > 0)]
        percentiles[:, enough & (n_valid > 0)] = np.nanpercentile(stacked, [16, 50, 84], axis=0)
        name = objects["class_id"][int(np.argmax(labels == label))].as_py()
        values = {
            "cluster_label": np.full(len(wave), label),
            "class_id": [name] * len(wave),
            "wave_rest": wave,
            **dict(zip(("flux_p16", "flux_p50", "flux_p84"), percentiles, strict=True)),
            "n_valid": n_valid,
        }
        parts.append(schema.build_table(values, schema.CLASS_MEDIANS_SCHEMA, provenance))
    return pa.concat_tables(parts)


def _build_anomalies(
    objects: pa.Table,
    spectra: tuple[Floats32, Floats32],
    recon: Floats32,
    wave_rest: Floats,
    provenance: Mapping[str, str],
) -> pa.Table:
    """`objects` objects in order of rank; their flux and ivar, and their reconstructions, (n, L)."""
    flux, ivar = spectra
    residual = (flux - recon) * np.sqrt(ivar)
    parts = objects.select([*PARTIAL_SCORES, "norm_snr"]).to_pylist()
    why = [
        explain_anomaly(part, part["norm_snr"], residual[i], ivar[i] > 0, wave_rest)
        for i, part in enumerate(parts)
    ]
    return schema.build_table({**_columns(objects), "reason": why}, schema.ANOMALIES_SCHEMA, provenance)


def _build_bad_pixels(objects: pa.Table, n_max: int, provenance: Mapping[str, str]) -> pa.Table:
    """Return the spectra that artefacts spoil, the worst first."""
    score = objects["artefact_score"].to_numpy()
    order = np.argsort(-score, kind="stable")
    bad = objects.take(pa.array(order[score[order] >= 1.0][:n_max]))
    why = [describe_worst_statistic(parts) for parts in bad.select(list(THRESHOLDS)).to_pylist()]
    return schema.build_table({**_columns(bad), "reason": why}, schema.BAD_PIXELS_SCHEMA, provenance)
