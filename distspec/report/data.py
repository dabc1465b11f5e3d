"""What a run's report shows, gathered from the root; and how labels compare with a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.editions import open_tables
from distspec.catalog.queries import format_example_query
from distspec.catalog.runs import load_run
from distspec.io.paths import model_url, run_url
from distspec.labels.annotations import read_marks
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.models.serialization import load_history
from distspec.report.figures.spectra import N_EXAMPLES_PER_CLASS, ExampleSpectra
from distspec.report.page import ReportData
from distspec.report.truth import score_anomalies, score_labels
from distspec.store.store import Store


def compute_discovery_curve(root: str, objects: pa.Table) -> DiscoveryCurve | None:
    """Return how many interesting spectra were found after each mark; None where there are no marks.

    Parameters
    ----------
    root : str
    objects : Table
        ``object_id``, ``anomaly_rank``.
    """
    said = read_marks(root)
    rank = dict(zip(*(objects[name].to_pylist() for name in ("object_id", "anomaly_rank")), strict=True))
    here = [name for name in said if name in rank]
    if not here:
        return None
    return DiscoveryCurve.from_marks(
        np.array([said[name] for name in here]), np.array([rank[name] for name in here])
    )


REPORT_TABLES = (
    *("objects", "classes", "class_medians", "changes", "anomalies", "bad_pixels", "quarantine"),
    *("sweep", "null_tests", "confusion", "latent_pairs"),
)
N_TOP_ANOMALIES = 10
QUARTILES = ("best quarter", "second quarter", "third quarter", "worst quarter")


def collect_report_data(
    root: str, run_id: str, store: Store, archive: Archive, stages: Sequence[Mapping[str, Any]]
) -> ReportData:
    """Collect what the report of a published run shows.

    Parameters
    ----------
    root, run_id : str
    store : Store
    archive : Archive
        Gives names of features and, where there is one, the truth.
    stages : list of {stage, seconds, counts}
    """
    record, _ = load_run(run_url(root, run_id))
    model = model_url(root, str(record["model_id"]))
    vae = load_model(model)
    tables = {name: dataset.to_table() for name, dataset in open_tables(root).items()}
    objects = tables["objects"]
    in_store = objects["store_row"].to_numpy()
    latents = {
        name: values[in_store] for name, values in read_latents(store, str(record["model_id"])).items()
    }
    redshifts = objects["z"].to_numpy()

    def examples(rows: NDArray[np.int64], captions: list[str]) -> ExampleSpectra:
        flux, ivar = store.read_spectra(in_store[rows])
        recon = vae.decode(latents["z_mean"][rows], redshifts[rows])
        return ExampleSpectra(
            object_ids=objects["object_id"].take(pa.array(rows)).to_pylist(),
            z=redshifts[rows],
            flux=flux,
            ivar=ivar,
            recon=recon * latents["amplitude"][rows, None],
            captions=captions,
        )

    mse = objects["recon_mse"].to_numpy()
    quartiles = _select_quartile_medians(mse)
    oddest = np.argsort(objects["anomaly_rank"].to_numpy())[:N_TOP_ANOMALIES]
    members = select_typical_members(objects)
    why = tables["anomalies"]["reason"].to_pylist()
    score = objects["anomaly_score"].to_numpy()
    return ReportData(
        run_record={**record, "stages": stages, "best_epoch": vae.record["metrics"]["best_epoch"]},
        wave_rest=store.config.grid.wave_rest,
        history=load_history(model),
        quartile_examples=examples(
            quartiles,
            [f"{QUARTILES[i]}: error {mse[row]:.3f}" for i, row in enumerate(quartiles)],
        ),
        class_examples=examples(members, _format_captions(objects.take(pa.array(members)))),
        class_example_labels=objects["cluster_label"].to_numpy()[members],
        measurement_columns=get_archive(store.config.archive_name).measurements.columns,
        anomaly_examples=examples(
            oddest, [f"score {score[row]:.2f}: {why[i]}" for i, row in enumerate(oddest)]
        ),
        truth_scores=score_against_truth(objects, archive.read_truth(), int(record["seed"])),
        lines=archive.spectral_features,
        norm_wave=store.config.reference_wave,
        example_query=format_example_query(root),
        feedback_progress=compute_discovery_curve(root, objects),
        **{name: tables[name] for name in REPORT_TABLES},
    )


def _select_quartile_medians(mse: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the median member of each quarter of the sample by error, (4,) or fewer, no row twice."""
    order = np.argsort(mse, kind="stable")
    middle = ((np.arange(4) + 0.5) / 4 * len(order)).astype(np.int64)
    return order[np.unique(middle)]


def select_typical_members(objects: pa.Table) -> NDArray[np.int64]:
    """Return rows of a few members of each class: faint, middling and bright ones of its steadier half.

    Parameters
    ----------
    objects : pa.Table
        cluster_label, cluster_stability, snr.
    """
    label, stability, snr = (
        objects[name].to_numpy() for name in ("cluster_label", "cluster_stability", "snr")
    )
    shares = (np.arange(N_EXAMPLES_PER_CLASS) + 0.5) / N_EXAMPLES_PER_CLASS
    found: list[NDArray[np.int64]] = []
    for each in np.unique(label):
        rows = np.flatnonzero(label == each)
        rows = rows[stability[rows] >= np.median(stability[rows])]
        rows = rows[np.argsort(snr[rows], kind="stable")]
        found.append(rows[np.unique((shares * len(rows)).astype(np.int64))])
    return np.concatenate(found)


def _format_captions(objects: pa.Table) -> list[str]:
    """Say of each object its redshift, unless it is a star's, its S/N and its suggested kind."""
    columns = (objects[name].to_pylist() for name in ("z", "snr", "galaxy_type"))
    words = (
        (f"z {z:.2f}" if z else "", f"S/N {snr:.1f}", kind) for z, snr, kind in zip(*columns, strict=True)
    )
    return [", ".join(filter(None, each)) for each in words]


def score_against_truth(objects: pa.Table, truth: pa.Table | None, seed: int) -> dict[str, Any] | None:
    """Compare labels and ranks with a truth table; None where there is none, or none of these spectra.

    Parameters
    ----------
    objects : pa.Table
        object_id, cluster_label, anomaly_rank.
    truth : pa.Table or None
        object_id, truth_class, anomaly_type.
    seed : int
        Of the shuffled labels.

    Returns
    -------
    dict or None
        ``labels`` and ``oddities``; see `distspec.report.truth`.
    """
    if truth is None:
        return None
    known = objects.select(["object_id", "cluster_label", "anomaly_rank"]).join(
        truth, "object_id", join_type="inner"
    )
    if not len(known):
        return None
    known = known.sort_by("anomaly_rank")
    anomaly_type = np.array(known["anomaly_type"].to_pylist(), dtype=object)
    ordinary = anomaly_type == ""
    labels = score_labels(
        known["cluster_label"].to_numpy()[ordinary].tolist(),
        np.array(known["truth_class"].to_pylist(), dtype=object)[ordinary].tolist(),
        np.random.default_rng(seed),
    )
    scores: dict[str, Any] = {
        "labels": labels,
        "note": f"{int(ordinary.sum())} spectra of a known class, {int((~ordinary).sum())} known anomalies.",
    }
    if (~ordinary).any():
        scores |= score_anomalies(known["anomaly_rank"].to_numpy(), anomaly_type.tolist())
    return scores
