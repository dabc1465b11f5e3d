"""What a catalogue holds: a run's tables, put together from the store, what its model says, and the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from icechunk import IcechunkError
from numpy.typing import NDArray

from distspec.anomaly.score import PARTS, explain
from distspec.catalog.class_tracking import Identities, Published, identify
from distspec.catalog.editions import CatalogConfig, current, tables_of
from distspec.catalog.healpix import healpix
from distspec.catalog.runs import load_run
from distspec.clustering.feature_space import in_posterior_widths
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats, Floats32
from distspec.io.paths import model_url, run_url
from distspec.labels.annotations import class_name, history, standing, verdicts
from distspec.labels.predict import predict
from distspec.measurements.bad_pixels import COLUMNS as ARTEFACTS
from distspec.measurements.bad_pixels import LIMITS, worst
from distspec.measurements.features import reconstructed
from distspec.measurements.galaxy_types import Suggested, suggest
from distspec.measurements.measure import measure, measured
from distspec.models.latents import SCALARS, VECTORS, read_latents
from distspec.models.model import Model, load_model
from distspec.store.splits import in_validation
from distspec.store.store import Store, open_store

MIN_STACK = 3
"""A class median needs this many valid spectra in a pixel."""
MAX_STACK = 5_000
"""A class median is taken over at most this many of its spectra."""


def build(root: str, run_id: str, store: Store, config: CatalogConfig) -> dict[str, pa.Table]:
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
        Tables ``objects``, ``classes``, ``class_medians``, ``anomalies``, ``artefacts``, ``changes``,
        ``class_ids``, ``sweep``, ``nulls``, ``confusion``, ``latents``, ``quarantine`` and, where people
        labelled spectra, ``predictions`` and ``label_scores``.
    """
    record, found = load_run(run_url(root, run_id))
    model = str(record["model_id"])
    vae = load_model(model_url(root, model))
    wave = store.frozen.grid.wave_rest
    made_of = run_id, model, store.snapshot_id, str(vae.record["weights_sha256"])
    origin = dict(zip(schema.ORIGIN, made_of, strict=True))
    rows = store.standing()
    latents = {name: values[rows] for name, values in read_latents(store, model).items()}
    ledger = store.ledger().take(pa.array(rows))
    people = verdicts(standing(history(root)))
    labels = found["clustering"]["cluster_label"].to_numpy()
    points = in_posterior_widths(latents["z_mean"], latents["z_log_var"])
    identities = _identities(root, run_id, ledger["object_id"], labels, points)
    objects = _objects(
        ledger,
        rows,
        latents,
        found["clustering"],
        _split(store, rows, vae),
        suggest(store.frozen.kind, latents, len(rows)),
        measured(store.frozen.kind),
        reconstructed(store.frozen.kind),
        {
            "class_id": identities.of(labels),
            "class_name": pa.nulls(len(rows), pa.string()),
            "previous_class_id": identities.previous,
            "human_label": people["human_label"].take(pc.index_in(ledger["object_id"], people["object_id"])),
        },
        origin,
    )
    odd = np.argsort(objects["anomaly_rank"].to_numpy())[: config.n_anomalies]
    recon = vae.decode(latents["z_mean"][odd], objects["z"].to_numpy()[odd])
    recon *= latents["amplitude"][odd, None]
    medians = _class_medians(objects, rows, store, origin)
    core = float(record["clustering"]["core_stability"])
    of_medians, kind = _measures_of(medians, objects, store), store.frozen.kind
    classes = _classes(objects, core, of_medians, kind, identities.change, origin)
    return {
        "objects": _with_names(objects, classes),
        "classes": classes,
        "class_medians": medians,
        "anomalies": _anomalies(objects.take(pa.array(odd)), store.spectra(rows[odd]), recon, wave, origin),
        "artefacts": _artefacts(objects, config.n_anomalies, origin),
        "changes": identities.changes.replace_schema_metadata(origin),
        "class_ids": identities.given.replace_schema_metadata(origin),
        "sweep": schema.conform(_columns(found["sweep"]), schema.SWEEP, origin),
        "nulls": schema.conform(_columns(found["nulls"]), schema.NULLS, origin),
        "confusion": schema.conform(_columns(found["confusion"]), schema.CONFUSION, origin),
        "latents": schema.conform(_columns(found["latents"]), schema.LATENT_PAIRS, origin),
        "quarantine": schema.conform(_columns(store.quarantine()), schema.QUARANTINE, origin),
        **predict(objects, store.frozen.kind, people, config.error, origin),
    }


def _identities(
    root: str, run_id: str, object_id: pa.ChunkedArray, labels: NDArray[np.int32], points: Floats32
) -> Identities:
    """Tell who a run's classes are, from what is published; of the published run as it was told then."""
    now_current = current(root)
    if now_current is None or "class_ids" not in now_current["files"]:
        return identify(run_id, object_id, labels, points, None)
    tables = tables_of(root, now_current)
    given = tables["class_ids"].to_table()
    objects = tables["objects"].to_table(columns=["object_id", "class_id", "previous_class_id"])
    if now_current["run_id"] != run_id:
        last = Published(objects["object_id"], objects["class_id"], given)
        return identify(run_id, object_id, labels, points, last)
    classes = tables["classes"].to_table(filter=pc.field("cluster_label") >= 0).sort_by("cluster_label")
    previous = objects["previous_class_id"].take(pc.index_in(object_id, objects["object_id"]))
    ids, change = classes["class_id"].to_pylist(), classes["change"].to_pylist()
    return Identities(ids, change, previous, tables["changes"].to_table(), given)


def _with_names(objects: pa.Table, classes: pa.Table) -> pa.Table:
    """Return objects with the names of their classes."""
    at = objects.schema.get_field_index("class_name")
    names = classes["class_name"].take(pc.index_in(objects["cluster_label"], classes["cluster_label"]))
    return objects.set_column(at, objects.schema.field(at), names)


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _objects(
    ledger: pa.Table,
    rows: NDArray[np.int64],
    latents: Mapping[str, Floats32],
    clustering: pa.Table,
    split: Sequence[str],
    kinds: Suggested,
    measures: Sequence[schema.Column],
    reconstructed: Sequence[schema.Column],
    named: Mapping[str, pa.Array],
    origin: Mapping[str, str],
) -> pa.Table:
    n_latents = latents["z_mean"].shape[1]
    values: dict[str, Any] = {
        **_columns(ledger),
        **_columns(clustering.drop_columns("object_id")),
        **{f"{name}_{i:02d}": latents[name][:, i] for name in VECTORS for i in range(n_latents)},
        **{name: latents[name] for name in (*SCALARS, *ARTEFACTS, *(column.name for column in measures))},
        "store_row": rows,
        "_healpix_29": healpix(ledger["ra"].to_numpy(), ledger["dec"].to_numpy()),
        "split": split,
        **_named(kinds),
        **named,
    }
    n_classes = sum(name.startswith("cluster_prob_") for name in clustering.column_names)
    beside = [column for column in reconstructed if column.name in values]
    return schema.conform(values, schema.objects(n_latents, (*measures, *beside), n_classes), origin)


def _split(store: Store, rows: NDArray[np.int64], model: Model) -> list[str]:
    """Say of each row whether the model was trained or validated on it, or has not seen it."""
    known = rows
    if model.record["data_digest"] != store.digest():
        try:
            known = open_store(store.url, str(model.record["snapshot_id"])).standing()
        except (ValueError, IcechunkError):  # it was trained elsewhere
            known = rows[:0]
    sources = store.ledger(["source_id"])["source_id"].take(pa.array(rows)).to_pylist()
    held_out = in_validation(sources, float(model.record["training"]["validation_share"]))
    seen = np.where(held_out, "validation", "train")
    return np.where(np.isin(rows, known), seen, "none").tolist()


def _named(kinds: Suggested) -> dict[str, Any]:
    return dict(zip((column.name for column in schema.KINDS), kinds, strict=True))


def _measures_of(medians: pa.Table, objects: pa.Table, store: Store) -> dict[str, Floats32]:
    """Measure classes' median spectra at their median redshifts, in the order of `medians`.

    A median's error is that of a Gaussian's whose 68 % are as wide as the class.
    """
    shape = -1, store.frozen.grid.n_pixels
    low, flux, high = (medians[f"flux_p{p}"].to_numpy().reshape(shape) for p in (16, 50, 84))
    n_valid = np.maximum(medians["n_valid"].to_numpy().reshape(shape), 1)
    sigma = 0.5 * (high - low) * np.sqrt(np.pi / 2.0 / n_valid)
    ivar = np.where(sigma > 0.0, sigma, np.inf) ** -2.0
    labels, z = objects["cluster_label"].to_numpy(), objects["z"].to_numpy()
    at = np.array([np.median(z[labels == label]) for label in np.unique(labels)])
    spectra = np.nan_to_num(flux).astype(np.float32), ivar.astype(np.float32)
    return measure(store.frozen.kind, *spectra, at, store.frozen.grid)


def _classes(
    objects: pa.Table,
    core: float,
    of_medians: Mapping[str, Floats32],
    kind: str,
    change: Sequence[str],
    origin: Mapping[str, str],
) -> pa.Table:
    rows: list[dict[str, Any]] = []
    labels = sorted(objects["cluster_label"].unique().to_pylist())
    kinds = suggest(kind, of_medians, len(labels))
    for label, called in zip(labels, kinds.kind, strict=True):
        members = objects.filter(pc.field("cluster_label") == label)
        p16, p50, p84 = np.percentile(members["z"].to_numpy(), [16, 50, 84])
        rows.append(
            {
                "cluster_label": label,
                "class_id": members["class_id"][0].as_py(),
                "class_name": None if label < 0 else class_name(called, members["human_label"].to_pylist()),
                "change": None if label < 0 else change[label],
                "n_spectra": len(members),
                "n_sources": len(members["source_id"].unique()),
                "share": len(members) / len(objects),
                "z_p16": p16,
                "z_p50": p50,
                "z_p84": p84,
                "snr_p50": np.median(members["snr"].to_numpy()),
                "recon_mse_p50": np.median(members["recon_mse"].to_numpy()),
                "stability_p50": np.median(members["cluster_stability"].to_numpy()),
                "core_share": np.mean(members["cluster_stability"].to_numpy() >= core),
            }
        )
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns |= {**of_medians, **_named(kinds)}
    return schema.conform(columns, schema.classes(measured(kind)), origin)


def _class_medians(
    objects: pa.Table, rows: NDArray[np.int64], store: Store, origin: Mapping[str, str]
) -> pa.Table:
    """`rows` of the store, (N,), one an object."""
    labels = objects["cluster_label"].to_numpy()
    wave = store.frozen.grid.wave_rest
    parts: list[pa.Table] = []
    for label in np.unique(labels):
        members = rows[labels == label]
        # Evenly spread over the class: the store's order is the archive's, so this is no biased sample.
        members = members[np.linspace(0, len(members) - 1, min(len(members), MAX_STACK)).astype(np.int64)]
        flux, ivar = store.spectra(members)
        n_valid = np.count_nonzero(ivar, axis=0)
        enough = n_valid >= min(MIN_STACK, len(members))
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
        parts.append(schema.conform(values, schema.CLASS_MEDIANS, origin))
    return pa.concat_tables(parts)


def _anomalies(
    top: pa.Table,
    spectra: tuple[Floats32, Floats32],
    recon: Floats32,
    wave_rest: Floats,
    origin: Mapping[str, str],
) -> pa.Table:
    """`top` objects in order of rank; their flux and ivar, and their reconstructions, (n, L)."""
    flux, ivar = spectra
    residual = (flux - recon) * np.sqrt(ivar)
    parts = top.select([*PARTS, "norm_snr"]).to_pylist()
    why = [
        explain(part, part["norm_snr"], residual[i], ivar[i] > 0, wave_rest) for i, part in enumerate(parts)
    ]
    return schema.conform({**_columns(top), "why": why}, schema.ANOMALIES, origin)


def _artefacts(objects: pa.Table, most: int, origin: Mapping[str, str]) -> pa.Table:
    """Return the spectra that artefacts spoil, the worst first."""
    score = objects["artefact_score"].to_numpy()
    order = np.argsort(-score, kind="stable")
    bad = objects.take(pa.array(order[score[order] >= 1.0][:most]))
    why = [worst(parts) for parts in bad.select(list(LIMITS)).to_pylist()]
    return schema.conform({**_columns(bad), "why": why}, schema.SPOILT, origin)
