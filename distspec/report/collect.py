"""Collection of the data of a run's report from its root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, metadata

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.archives.base import Archive
from distspec.catalog.editions import find_record, open_tables
from distspec.catalog.observations import OBSERVATION_TABLES
from distspec.catalog.queries import format_example_query
from distspec.catalog.redshifts import REDSHIFT_TABLES
from distspec.catalog.runs import load_run
from distspec.core import schema
from distspec.core.spectrum import Floats, Floats32
from distspec.io.paths import model_url, run_url
from distspec.io.stage_log import StageRecord
from distspec.labels.consensus import read_marks
from distspec.models.latents import read_latents
from distspec.models.model import Model, load_model
from distspec.models.pretrained import describe_too_few
from distspec.models.serialization import load_history
from distspec.report.config import ReportConfig
from distspec.report.data import N_EXAMPLES_PER_CLASS, N_THUMBNAIL_COLUMNS, ExampleSpectra, ReportData
from distspec.report.external import read_map_columns
from distspec.report.odd_features import OddFeature, find_odd_feature
from distspec.report.redshifts import select_doubtful
from distspec.report.spaces import build_chosen_space
from distspec.report.tables import format_number, is_number
from distspec.report.truth import score_against_truth
from distspec.store.store import Store

NEWER_TABLES = dict(
    zip(
        (*OBSERVATION_TABLES, *REDSHIFT_TABLES),
        (schema.OBSERVATION_GROUPS_SCHEMA, schema.LEAKAGE_SCHEMA, schema.REDSHIFTS_SCHEMA),
        strict=True,
    )
)
"""Published tables that editions of earlier versions do not have."""
REPORT_TABLES = (
    *("objects", "classes", "class_medians", "changes", "anomalies", "bad_pixels", "quarantine"),
    *("sweep", "null_tests", "confusion", "latent_pairs", *NEWER_TABLES),
)
"""Published tables that the report shows."""
N_TOP_ANOMALIES = 10
"""Number of anomalies that are drawn."""
DEFAULT_CONFIG = ReportConfig()
QUARTILES = ("lowest quartile", "second quartile", "third quartile", "highest quartile")


def collect_report_data(
    root: str,
    run_id: str,
    store: Store,
    archive: Archive,
    stages: Sequence[StageRecord],
    config: ReportConfig = DEFAULT_CONFIG,
) -> ReportData:
    """Collect the data that the report of a published run shows.

    Parameters
    ----------
    root : str
        Root URL.
    run_id : str
        Identifier of the published run.
    store : Store
        Store of the spectra.
    archive : Archive
        Archive of the spectra; gives the names of spectral features and, if it is known, the truth.
    stages : sequence of StageRecord
        Records of the stages that made the run.
    config : ReportConfig
        Settings of the report.

    Returns
    -------
    ReportData
    """
    run, _ = load_run(run_url(root, run_id))
    edition = find_record(root, run_id)
    model = load_model(model_url(root, run.model_id))
    tables = {name: dataset.to_table() for name, dataset in open_tables(root).items()}
    for name, columns in NEWER_TABLES.items():
        tables.setdefault(name, schema.build_table({column.name: [] for column in columns}, columns, {}))
    objects = tables["objects"]
    examples = _ExampleReader.open(objects, store, model)
    quartiles = _select_quartile_medians(objects["recon_mse"].to_numpy())
    top = np.argsort(objects["anomaly_rank"].to_numpy())[:N_TOP_ANOMALIES]
    members = select_typical_members(objects)
    thumbnails = select_random_members(objects, 2 * N_THUMBNAIL_COLUMNS, run.seed)
    anomalies = examples.read(top, [""] * len(top))
    mse, score = objects["recon_mse"].to_numpy(), objects["anomaly_score"].to_numpy()
    reasons = tables["anomalies"]["reason"].to_pylist()
    return ReportData(
        run=run,
        stages=stages,
        best_epoch=model.record.metrics.best_epoch,
        too_few=describe_too_few(model.record.metrics.n_train, store.config),
        wave_rest=store.config.grid.wave_rest,
        history=load_history(model_url(root, run.model_id)),
        quartile_examples=examples.read(
            quartiles,
            [
                f"{QUARTILES[i]} of the error: {format_number(float(mse[row]), 2)}"
                for i, row in enumerate(quartiles)
            ],
        ),
        class_examples=examples.read(members, _format_captions(objects.take(pa.array(members)))),
        class_example_labels=objects["cluster_label"].to_numpy()[members],
        thumbnails=examples.read(thumbnails, _format_thumbnail_captions(objects.take(pa.array(thumbnails)))),
        thumbnail_labels=objects["cluster_label"].to_numpy()[thumbnails],
        measurement_columns=archive.measurements.columns,
        anomaly_examples=replace(
            anomalies,
            captions=[f"score {score[row]:.2f}: {_drop_residual(reasons[i])}" for i, row in enumerate(top)],
        ),
        odd_features=_find_odd_features(anomalies, store.config.grid.wave_rest),
        doubtful_redshifts=select_doubtful(tables["redshifts"], objects, store, model),
        space=build_chosen_space(objects, run, archive.measurements),
        edition=edition.number,
        root=root,
        documentation_url=find_documentation_url(),
        map_columns=read_map_columns(config, objects),
        truth_scores=score_against_truth(objects, archive.read_truth(), run.seed),
        lines=archive.spectral_features,
        norm_wave=store.config.reference_wave,
        example_query=format_example_query(root),
        discovery_curve=compute_discovery_curve(root, objects),
        **{name: tables[name] for name in REPORT_TABLES},
    )


@dataclass(frozen=True)
class _ExampleReader:
    """Reads example spectra from the store and decodes their reconstructions."""

    objects: pa.Table
    store: Store
    model: Model
    z_mean: Floats32
    amplitude: Floats32

    @classmethod
    def open(cls, objects: pa.Table, store: Store, model: Model) -> _ExampleReader:
        rows = objects["store_row"].to_numpy()
        latents = read_latents(store, model.record.model_id, ("z_mean", "amplitude"))
        return cls(objects, store, model, latents["z_mean"][rows], latents["amplitude"][rows])

    def read(self, rows: NDArray[np.int64], captions: list[str]) -> ExampleSpectra:
        """Return the spectra in some rows of ``objects``."""
        z = self.objects["z"].to_numpy()[rows]
        flux, ivar = self.store.read_spectra(self.objects["store_row"].to_numpy()[rows])
        recon = self.model.decode(self.z_mean[rows], z)
        return ExampleSpectra(
            object_ids=self.objects["object_id"].take(pa.array(rows)).to_pylist(),
            z=z,
            flux=flux,
            ivar=ivar,
            recon=recon * self.amplitude[rows, None],
            captions=captions,
        )


def _find_odd_features(examples: ExampleSpectra, wave_rest: Floats) -> list[OddFeature | None]:
    """Return the largest residual of each anomaly."""
    residual = np.where(examples.ivar > 0, examples.flux - examples.recon, np.nan) * np.sqrt(examples.ivar)
    return [find_odd_feature(one, wave_rest) for one in residual]


def _drop_residual(reason: str) -> str:
    """Return the reason of an anomaly without its largest residual, which the figure marks."""
    return "; ".join(part for part in reason.split("; ") if not part.startswith("largest residual"))


def find_documentation_url() -> str:
    """Return the address of the documentation, as the installed package states it; "" if it states none."""
    try:
        urls = metadata("distspec").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    pairs = (text.partition(",") for text in urls)
    return next((url.strip() for name, _, url in pairs if name.strip().lower() == "documentation"), "")


def compute_discovery_curve(root: str, objects: pa.Table) -> DiscoveryCurve | None:
    """Compute how many interesting spectra were found with each mark.

    Parameters
    ----------
    root : str
        Root URL.
    objects : Table
        Columns ``object_id`` and ``anomaly_rank``.

    Returns
    -------
    DiscoveryCurve or None
        The curve; None if no spectrum of the table is marked.
    """
    marks = read_marks(root)
    ids, ranks = (objects[name].to_pylist() for name in ("object_id", "anomaly_rank"))
    rank_by_id = dict(zip(ids, ranks, strict=True))
    marked = [object_id for object_id in marks if object_id in rank_by_id]
    if not marked:
        return None
    return DiscoveryCurve.from_marks(
        np.array([marks[object_id] for object_id in marked]),
        np.array([rank_by_id[object_id] for object_id in marked]),
    )


def _select_quartile_medians(mse: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the row with the median error of each quartile, without duplicates; at most 4 rows."""
    order = np.argsort(mse, kind="stable")
    middle = ((np.arange(4) + 0.5) / 4 * len(order)).astype(np.int64)
    return order[np.unique(middle)]


def select_typical_members(objects: pa.Table) -> NDArray[np.int64]:
    """Select members of each class with low, medium and high S/N from the more stable half of the class.

    Parameters
    ----------
    objects : Table
        Columns ``cluster_label``, ``cluster_stability`` and ``snr``.

    Returns
    -------
    ndarray of int
        Row numbers, at most `N_EXAMPLES_PER_CLASS` for each class.
    """
    label, stability, snr = (
        objects[name].to_numpy() for name in ("cluster_label", "cluster_stability", "snr")
    )
    quantiles = (np.arange(N_EXAMPLES_PER_CLASS) + 0.5) / N_EXAMPLES_PER_CLASS
    selected: list[NDArray[np.int64]] = []
    for one in np.unique(label):
        rows = np.flatnonzero(label == one)
        rows = rows[stability[rows] >= np.median(stability[rows])]
        rows = rows[np.argsort(snr[rows], kind="stable")]
        selected.append(rows[np.unique((quantiles * len(rows)).astype(np.int64))])
    return np.concatenate(selected)


def select_random_members(objects: pa.Table, n_per_class: int, seed: int) -> NDArray[np.int64]:
    """Select random members of each class, in order of redshift.

    Parameters
    ----------
    objects : Table
        Columns ``cluster_label`` and ``z``.
    n_per_class : int
        Largest number of members of each class.
    seed : int
        Seed of the selection.

    Returns
    -------
    ndarray of int
        Row numbers.
    """
    label, z = objects["cluster_label"].to_numpy(), objects["z"].to_numpy()
    rng = np.random.default_rng(seed)
    selected: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for one in np.unique(label):
        rows = rng.permutation(np.flatnonzero(label == one))[:n_per_class]
        selected.append(rows[np.argsort(z[rows], kind="stable")])
    return np.concatenate(selected)


def _format_thumbnail_captions(objects: pa.Table) -> list[str]:
    """Return the redshift of each spectrum, or its S/N if redshifts are 0, as text."""
    z, snr = objects["z"].to_pylist(), objects["snr"].to_pylist()
    digits = 1 if max(z, default=0.0) >= 1.0 else 2
    return [f"z {a:.{digits}f}" if a else f"S/N {b:.0f}" for a, b in zip(z, snr, strict=True)]


def _format_captions(objects: pa.Table) -> list[str]:
    """Return redshift (unless it is 0), S/N and, if there are rules, galaxy type of each spectrum as text."""
    columns = (objects[name].to_pylist() for name in ("z", "snr", "galaxy_type", "galaxy_type_confidence"))
    parts = (
        (f"z {z:.2f}" if z else "", f"S/N {snr:.1f}", galaxy_type if is_number(confidence) else "")
        for z, snr, galaxy_type, confidence in zip(*columns, strict=True)
    )
    return [", ".join(filter(None, part)) for part in parts]
