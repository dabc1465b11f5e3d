"""Construction of the published tables from the store, the model's latents and the tables of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from icechunk import IcechunkError
from numpy.typing import NDArray

from distspec.anomaly.score import PARTIAL_SCORES, explain_anomaly, explain_redshift, lower_doubtful_redshifts
from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.class_tables import (
    build_class_medians,
    build_classes,
    galaxy_type_columns,
    measure_class_medians,
)
from distspec.catalog.class_tracking import PublishedClasses, TrackedClasses, track_classes
from distspec.catalog.config import CatalogConfig
from distspec.catalog.editions import open_record_tables, read_current_record
from distspec.catalog.healpix import radec_to_healpix
from distspec.catalog.observations import build_leakage, build_observation_groups
from distspec.catalog.redshifts import build_redshifts, match_objects, read_newest_measured
from distspec.catalog.run_record import RunRecord
from distspec.catalog.runs import load_run
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32
from distspec.io.paths import model_url, run_url
from distspec.labels.annotations import current_annotations, read_annotations
from distspec.labels.consensus import consensus_labels
from distspec.labels.predict import predict_labels
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS, THRESHOLDS, describe_worst_statistic
from distspec.measurements.features import list_reconstruction_columns
from distspec.measurements.galaxy_types import suggest_galaxy_types
from distspec.models.latents import SCALAR_COLUMNS, VECTOR_COLUMNS, read_latents
from distspec.models.model import Model, load_model
from distspec.store.columns import REDSHIFT_SOURCE
from distspec.store.splits import is_validation
from distspec.store.store import Store, open_store


@dataclass(frozen=True)
class _RunInputs:
    """What the tables of a run are built from.

    Attributes
    ----------
    store : Store
        Store of the spectra.
    archive : type of Archive
        Archive of the spectra.
    model : Model
        Model of the run.
    record : RunRecord
        Record of the run.
    tables : mapping of str to Table
        Tables of the run.
    rows : ndarray of shape (n_spectra,)
        Rows of the store.
    ledger : Table
        Metadata of the spectra.
    latents : mapping of str to ndarray
        Latents, reconstruction statistics and measurements, one entry per spectrum.
    consensus : Table
        Majority labels.
    measured : Table
        Measured redshifts.
    provenance : mapping of str to str
        Metadata of every table.
    """

    store: Store
    archive: type[Archive]
    model: Model
    record: RunRecord
    tables: Mapping[str, pa.Table]
    rows: NDArray[np.int64]
    ledger: pa.Table
    latents: Mapping[str, Floats32]
    consensus: pa.Table
    measured: pa.Table
    provenance: Mapping[str, str]

    @property
    def labels(self) -> NDArray[np.int32]:
        """Class of each spectrum; -1 for noise."""
        return self.tables["clustering"]["cluster_label"].to_numpy()


def build_tables(root: str, run_id: str, store: Store, config: CatalogConfig) -> dict[str, pa.Table]:
    """Build the tables that are published for a run.

    Parameters
    ----------
    root : str
        Root URL.
    run_id : str
        Identifier of the run.
    store : Store
        Snapshot of the store whose spectra the run's model has embedded.
    config : CatalogConfig
        Settings of the catalog.

    Returns
    -------
    dict of str to Table
        Tables ``objects``, ``classes``, ``class_medians``, ``anomalies``, ``redshifts``, ``bad_pixels``,
        ``changes``, ``class_ids``, ``observation_groups``, ``leakage``, ``sweep``, ``null_tests``,
        ``confusion``, ``latent_pairs`` and ``quarantine``; if there are labels also ``label_scores`` and, if
        they suffice, ``predictions``.
    """
    inputs = _load_inputs(root, run_id, store)
    provenance = inputs.provenance
    classes = _track_published_classes(root, run_id, inputs)
    objects = _build_objects(inputs, classes)
    medians = build_class_medians(objects, inputs.rows, store, provenance)
    class_table = build_classes(
        objects,
        inputs.record.clustering.min_core_stability,
        measure_class_medians(medians, objects, store),
        inputs.archive,
        classes.change_types,
        provenance,
    )
    copied = {
        "sweep": (inputs.tables["sweep"], schema.SWEEP_SCHEMA),
        "null_tests": (inputs.tables["null_tests"], schema.NULL_TESTS_SCHEMA),
        "confusion": (inputs.tables["confusion"], schema.CONFUSION_SCHEMA),
        "latent_pairs": (inputs.tables["latent_pairs"], schema.LATENT_PAIRS_SCHEMA),
        "quarantine": (store.read_quarantine(), schema.QUARANTINE_SCHEMA),
    }
    return {
        "objects": _add_class_names(objects, class_table),
        "classes": class_table,
        "class_medians": medians,
        "anomalies": _build_anomalies(inputs, objects, config.n_anomalies),
        "redshifts": build_redshifts(inputs.measured, objects, provenance),
        "bad_pixels": _build_bad_pixels(objects, config.n_anomalies, provenance),
        "observation_groups": build_observation_groups(
            objects, inputs.archive.observation_columns, provenance
        ),
        "leakage": build_leakage(
            objects,
            inputs.archive.observation_columns,
            store.config.grid.n_pixels,
            inputs.record.seed,
            provenance,
        ),
        "changes": classes.changes.replace_schema_metadata(provenance),
        "class_ids": classes.class_registry.replace_schema_metadata(provenance),
        **{
            name: schema.build_table(_columns(table), columns, provenance)
            for name, (table, columns) in copied.items()
        },
        **predict_labels(objects, inputs.archive.measurements, inputs.consensus, config.alpha, provenance),
    }


def _load_inputs(root: str, run_id: str, store: Store) -> _RunInputs:
    """Read everything that the tables of a run are built from."""
    record, tables = load_run(run_url(root, run_id))
    model_id = record.model_id
    model = load_model(model_url(root, model_id))
    rows = store.current_rows()
    origin = run_id, model_id, store.snapshot_id, model.record.weights_sha256
    return _RunInputs(
        store=store,
        archive=get_archive(store.config.archive_name),
        model=model,
        record=record,
        tables=tables,
        rows=rows,
        ledger=store.ledger().take(pa.array(rows)),
        latents={name: values[rows] for name, values in read_latents(store, model_id).items()},
        consensus=consensus_labels(current_annotations(read_annotations(root))),
        measured=read_newest_measured(root),
        provenance=dict(zip(schema.PROVENANCE_KEYS, origin, strict=True)),
    )


def _track_published_classes(root: str, run_id: str, inputs: _RunInputs) -> TrackedClasses:
    """Assign identifiers to the classes; read the published ones if this run is published already."""
    object_ids, labels = inputs.ledger["object_id"], inputs.labels
    points = scale_by_posterior_width(inputs.latents["z_mean"], inputs.latents["z_log_var"])
    current = read_current_record(root)
    if current is None or "class_ids" not in current.files:
        return track_classes(run_id, object_ids, labels, points, None)
    tables = open_record_tables(root, current)
    registry = tables["class_ids"].to_table()
    objects = tables["objects"].to_table(columns=["object_id", "class_id", "previous_class_id"])
    if current.run_id != run_id:
        previous = PublishedClasses(objects["object_id"], objects["class_id"], registry)
        return track_classes(run_id, object_ids, labels, points, previous)
    previous_ids = objects["previous_class_id"].take(pc.index_in(object_ids, objects["object_id"]))
    # A class of the consensus may have no spectra; it has an identifier, but no row in the table of classes.
    known = registry.filter(pc.equal(registry["run_id"], run_id)).sort_by("cluster_label")
    classes = tables["classes"].to_table(columns=["class_id", "change"])
    change = dict(zip(classes["class_id"].to_pylist(), classes["change"].to_pylist(), strict=True))
    ids = known["class_id"].to_pylist()
    change_types = [change.get(class_id, "new") for class_id in ids]
    return TrackedClasses(ids, change_types, previous_ids, tables["changes"].to_table(), registry)


def _add_class_names(objects: pa.Table, classes: pa.Table) -> pa.Table:
    """Fill the column ``class_name`` of ``objects``."""
    column = objects.schema.get_field_index("class_name")
    names = classes["class_name"].take(pc.index_in(objects["cluster_label"], classes["cluster_label"]))
    return objects.set_column(column, objects.schema.field(column), names)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _build_objects(inputs: _RunInputs, classes: TrackedClasses) -> pa.Table:
    """Build ``objects``; the column ``class_name`` is left empty."""
    ledger, latents, clustering = inputs.ledger, inputs.latents, inputs.tables["clustering"]
    measurements, observation_columns = inputs.archive.measurements, inputs.archive.observation_columns
    n_latents = latents["z_mean"].shape[1]
    people = inputs.consensus
    scalars = (*SCALAR_COLUMNS, *BAD_PIXEL_COLUMNS, *(column.name for column in measurements.columns))
    observations = _columns(inputs.store.read_observations().take(pa.array(inputs.rows)))
    z_source = observations.get(REDSHIFT_SOURCE, pa.nulls(len(ledger), pa.string()))
    redshifts = match_objects(inputs.measured, ledger)
    values: dict[str, Any] = {
        **{column.name: pa.nulls(len(ledger), column.type) for column in observation_columns},
        **observations,
        **_columns(ledger),
        **redshifts,
        "z_source": z_source.fill_null("archive"),
        **_columns(clustering.drop_columns("object_id")),
        **_lower_doubtful_redshifts(clustering, redshifts),
        **{f"{name}_{i:02d}": latents[name][:, i] for name in VECTOR_COLUMNS for i in range(n_latents)},
        **{name: latents[name] for name in scalars},
        "store_row": inputs.rows,
        "_healpix_29": _find_healpix_cells(ledger["ra"].to_numpy(), ledger["dec"].to_numpy()),
        "split": _assign_splits(inputs),
        **galaxy_type_columns(suggest_galaxy_types(inputs.archive.galaxy_types, latents, len(ledger))),
        "class_id": classes.map_labels(inputs.labels),
        "class_name": pa.nulls(len(ledger), pa.string()),
        "previous_class_id": classes.previous_class_ids,
        "human_label": people["human_label"].take(pc.index_in(ledger["object_id"], people["object_id"])),
    }
    n_classes = sum(name.startswith("cluster_prob_") for name in clustering.column_names)
    of_reconstructions = [
        column for column in list_reconstruction_columns(measurements) if column.name in values
    ]
    columns = schema.build_objects_schema(
        n_latents, (*measurements.columns, *of_reconstructions), n_classes, observation_columns
    )
    return schema.build_table(values, columns, inputs.provenance)


def _lower_doubtful_redshifts(clustering: pa.Table, redshifts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the anomaly scores with the redshifts: those of the run if no redshift was measured.

    A spectrum that resembles no galaxy at any redshift keeps its score.
    """
    p_outlier = redshifts["p_outlier"]
    if p_outlier.null_count == len(p_outlier):
        return {"anomaly_redshift": pa.nulls(len(clustering), pa.float32())}
    scores: Any = {name: clustering[name].to_numpy() for name in (*PARTIAL_SCORES, "anomaly_score")}
    is_galaxy = pc.equal(redshifts["z_class"], "galaxy")
    known = pc.if_else(is_galaxy, p_outlier, None).fill_null(np.nan).to_numpy()
    lowered = lower_doubtful_redshifts(scores, known)
    redshift = pa.array(lowered["anomaly_redshift"], pa.float32(), from_pandas=True)
    return {**lowered, "anomaly_redshift": redshift}


def _find_healpix_cells(ra: Floats, dec: Floats) -> pa.Array:
    """Return the HEALPix cell of each position, null where it is unknown."""
    located = np.isfinite(ra) & np.isfinite(dec)
    cells = radec_to_healpix(np.where(located, ra, 0.0), np.where(located, dec, 0.0))
    return pa.array(cells, mask=~located)


def _assign_splits(inputs: _RunInputs) -> list[str]:
    """Return for each spectrum whether the model was trained or validated on it, or has not seen it."""
    store, record = inputs.store, inputs.model.record
    known_rows = store.trusted_rows()
    if record.dataset_checksum != store.dataset_checksum():
        try:
            known_rows = open_store(store.url, record.snapshot_id).trusted_rows()
        except (ValueError, IcechunkError):  # the model was trained on another root
            known_rows = inputs.rows[:0]
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(inputs.rows)).to_pylist()
    held_out = is_validation(sources, float(record.training["validation_fraction"]))
    split = np.where(held_out, "validation", "train")
    return np.where(np.isin(inputs.rows, known_rows), split, "none").tolist()


def _build_anomalies(inputs: _RunInputs, objects: pa.Table, n_anomalies: int) -> pa.Table:
    """Build ``anomalies``: the top-ranked spectra with an explanation of their scores."""
    top = np.argsort(objects["anomaly_rank"].to_numpy())[:n_anomalies]
    latents = inputs.latents
    recon = inputs.model.decode(latents["z_mean"][top], objects["z"].to_numpy()[top])
    recon *= latents["amplitude"][top, None]
    flux, ivar = inputs.store.read_spectra(inputs.rows[top])
    residual = (flux - recon) * np.sqrt(ivar)
    wave_rest = inputs.store.config.grid.wave_rest
    anomalies = objects.take(pa.array(top))
    scores = anomalies.select([*PARTIAL_SCORES, "norm_snr"]).to_pylist()
    reasons = [
        explain_anomaly(score, score["norm_snr"], residual[i], ivar[i] > 0, wave_rest)
        for i, score in enumerate(scores)
    ]
    redshifts = anomalies.select(["z", "z_model", "p_outlier", "z_class"]).to_pylist()
    reasons = [
        "; ".join(filter(None, (explain_redshift(**each), reason)))
        for each, reason in zip(redshifts, reasons, strict=True)
    ]
    values = {**_columns(anomalies), "reason": reasons}
    return schema.build_table(values, schema.ANOMALIES_SCHEMA, inputs.provenance)


def _build_bad_pixels(objects: pa.Table, n_max: int, provenance: Mapping[str, str]) -> pa.Table:
    """Build ``bad_pixels``: the spectra that are flagged for bad pixels, highest score first."""
    score = objects["artefact_score"].to_numpy()
    order = np.argsort(-score, kind="stable")
    flagged = objects.take(pa.array(order[score[order] >= 1.0][:n_max]))
    reasons = [describe_worst_statistic(row) for row in flagged.select(list(THRESHOLDS)).to_pylist()]
    values = {**_columns(flagged), "reason": reasons}
    return schema.build_table(values, schema.BAD_PIXELS_SCHEMA, provenance)
