"""What a run's report shows, gathered from the root; and how labels compare with a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import Progress
from distspec.archives.base import Archive
from distspec.catalog.editions import open_tables
from distspec.catalog.query import duckdb_line
from distspec.catalog.runs import load_run
from distspec.io.paths import model_url, run_url
from distspec.labels.annotations import marked
from distspec.measurements.measure import measured
from distspec.models.latents import read_latents
from distspec.models.model import load_model
from distspec.models.serialization import load_history
from distspec.report.figures.spectra import IN_A_ROW, Examples
from distspec.report.page import ReportData
from distspec.report.truth import score_labels, score_oddities
from distspec.store.store import Store


def progress(root: str, objects: pa.Table) -> Progress | None:
    """Return how many interesting spectra were found after each mark; None where there are no marks.

    Parameters
    ----------
    root : str
    objects : Table
        ``object_id``, ``anomaly_rank``.
    """
    said = marked(root)
    rank = dict(zip(*(objects[name].to_pylist() for name in ("object_id", "anomaly_rank")), strict=True))
    here = [name for name in said if name in rank]
    if not here:
        return None
    return Progress.of(np.array([said[name] for name in here]), np.array([rank[name] for name in here]))


SHOWN = (
    *("objects", "classes", "class_medians", "changes", "anomalies", "artefacts", "quarantine"),
    *("sweep", "nulls", "confusion", "latents"),
)
N_ODDEST = 10
QUARTILES = ("best quarter", "second quarter", "third quarter", "worst quarter")


def gather(
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

    def examples(rows: NDArray[np.int64], captions: list[str]) -> Examples:
        flux, ivar = store.spectra(in_store[rows])
        recon = vae.decode(latents["z_mean"][rows], redshifts[rows])
        return Examples(
            object_id=objects["object_id"].take(pa.array(rows)).to_pylist(),
            z=redshifts[rows],
            flux=flux,
            ivar=ivar,
            recon=recon * latents["amplitude"][rows, None],
            caption=captions,
        )

    mse = objects["recon_mse"].to_numpy()
    quartiles = _quartile_rows(mse)
    oddest = np.argsort(objects["anomaly_rank"].to_numpy())[:N_ODDEST]
    members = typical_rows(objects)
    why = tables["anomalies"]["why"].to_pylist()
    score = objects["anomaly_score"].to_numpy()
    return ReportData(
        run={**record, "stages": stages, "best_epoch": vae.record["metrics"]["best_epoch"]},
        wave_rest=store.frozen.grid.wave_rest,
        history=load_history(model),
        examples=examples(
            quartiles,
            [f"{QUARTILES[i]}: error {mse[row]:.3f}" for i, row in enumerate(quartiles)],
        ),
        members=examples(members, _in_short(objects.take(pa.array(members)))),
        member_label=objects["cluster_label"].to_numpy()[members],
        measures=measured(store.frozen.kind),
        oddest=examples(oddest, [f"score {score[row]:.2f}: {why[i]}" for i, row in enumerate(oddest)]),
        scores=score_against(objects, archive.truth(), int(record["seed"])),
        lines=archive.lines,
        reference=store.frozen.reference,
        query=duckdb_line(root),
        marks=progress(root, objects),
        **{name: tables[name] for name in SHOWN},
    )


def _quartile_rows(mse: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the median member of each quarter of the sample by error, (4,) or fewer, no row twice."""
    order = np.argsort(mse, kind="stable")
    middle = ((np.arange(4) + 0.5) / 4 * len(order)).astype(np.int64)
    return order[np.unique(middle)]


def typical_rows(objects: pa.Table) -> NDArray[np.int64]:
    """Return rows of a few members of each class: faint, middling and bright ones of its steadier half.

    Parameters
    ----------
    objects : pa.Table
        cluster_label, cluster_stability, snr.
    """
    label, stability, snr = (
        objects[name].to_numpy() for name in ("cluster_label", "cluster_stability", "snr")
    )
    shares = (np.arange(IN_A_ROW) + 0.5) / IN_A_ROW
    found: list[NDArray[np.int64]] = []
    for each in np.unique(label):
        rows = np.flatnonzero(label == each)
        rows = rows[stability[rows] >= np.median(stability[rows])]
        rows = rows[np.argsort(snr[rows], kind="stable")]
        found.append(rows[np.unique((shares * len(rows)).astype(np.int64))])
    return np.concatenate(found)


def _in_short(objects: pa.Table) -> list[str]:
    """Say of each object its redshift, unless it is a star's, its S/N and its suggested kind."""
    columns = (objects[name].to_pylist() for name in ("z", "snr", "kind"))
    words = (
        (f"z {z:.2f}" if z else "", f"S/N {snr:.1f}", kind) for z, snr, kind in zip(*columns, strict=True)
    )
    return [", ".join(filter(None, each)) for each in words]


def score_against(objects: pa.Table, truth: pa.Table | None, seed: int) -> dict[str, Any] | None:
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
        scores |= score_oddities(known["anomaly_rank"].to_numpy(), anomaly_type.tolist())
    return scores
