"""CPU seconds of what stages do to a spectrum, and of units of the sweep, one by one in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from distspec.anomaly.score import compute_anomaly_scores
from distspec.archives.registry import get_archive
from distspec.archives.simulated.archive import write_spectra
from distspec.catalog.build import build_tables
from distspec.catalog.editions import argsort_objects, open_tables
from distspec.catalog.runs import build_clustering_table
from distspec.clustering.algorithms import fit_clusterings
from distspec.clustering.config import AlgorithmSpec
from distspec.clustering.consensus import find_consensus
from distspec.clustering.cost import count_work_units
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import Assignment
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.silhouette import silhouette_scores
from distspec.clustering.trials import fit_trials
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.inference.describe import SpectrumLatents
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import load_batch
from distspec.io import parquet
from distspec.io.files import read_arrays
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.models.model import load_model
from distspec.operations.evaluation import evaluate
from distspec.pipeline.config import Config
from distspec.stages.assign import SCORING_COLUMNS, ScoringContext, score_rows
from distspec.stages.embed import embed_span
from distspec.store.store import create_store, open_store
from tests.helpers.local_writer import LocalWriter

MANY = 100_000
"""Rows to which a catalogue is repeated: what a table costs a row is seen on no fewer."""
FEW, FLOOR = 64, 120
"""Spectra that warm up; points at which a trial costs little but being one."""


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def of_spectra(config: Config, run: str) -> dict[str, float]:
    """Return seconds a spectrum of each part, on a root that was published; catalogue's at `MANY` rows."""
    torch.set_num_threads(1)
    root, source, store = config.root, config.ingest_source(), open_store(store_url(config.root))
    archive, frozen, n = source.archive, store.config, store.n_rows
    kept = RunModel.from_arrays(read_arrays(join_url(run_url(root, run), RUN_MODEL_FILE)))
    objects = open_tables(root)["objects"].results_to_table()
    name = objects.schema.metadata[b"model_id"].decode()
    model = load_model(model_url(root, name))
    listing = archive.list_spectra(source.access)
    found: dict[str, float] = {}

    def timed(what: str, work: Callable[[int], Any], units: int) -> Any:
        made: list[Any] = []
        work(min(FEW, units))
        found[what] = cpu(lambda: made.append(work(units))) / units
        return made[0]

    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        assert config.synthetic is not None
        made_up = config.synthetic
        timed("synthesize", lambda m: write_spectra(made_up, folder, 0, m), 400)
        given = frozen.grid, source.norm, frozen.default_slope
        loaded = timed("load", lambda m: load_batch(archive, source.access, listing.slice(0, m), *given), n)

        def commit(m: int) -> None:
            url = str(Path(folder) / str(m))
            committer = Committer(create_store(url, frozen), source.config.commit_rows, LocalWriter())
            rows = loaded.rows.slice(0, m)
            flux, ivar = (each[: len(rows)] for each in loaded.block)
            committer.add(loaded._replace(block=(flux, ivar), rows=rows))
            committer.finish(compare_listing(listing.slice(0, m), None))

        timed("commit", commit, len(loaded.rows))
    said = timed("embed", lambda m: embed_span(store, model, (0, m)), n)
    of = said["z_mean"], said["z_log_var"]
    timed(
        "features",
        lambda m: measure_reconstructions(
            get_archive(frozen.archive_name).measurements, model.decode, model.grid, *(each[:m] for each in of)
        ),
        n,
    )
    spaces = config.clustering.spaces
    timed("compare", lambda m: evaluate(model, store, np.arange(m), spaces, 5, 0), min(n, 1_000))
    latents = (said["z_mean"] / kept.posterior_widths).astype(np.float32)
    context = ScoringContext(
        kept.anomaly_scorer, kept.model_error, store.url, store.snapshot_id, model_url(root, name)
    )
    raw = timed(
        "score",
        lambda m: score_rows(
            context,
            np.arange(m),
            SpectrumLatents({key: said[key][:m] for key in SCORING_COLUMNS}),
            latents[:m],
        ),
        n,
    )
    sample, shown = _sample(kept, objects, frozen.archive_name), _shown(kept, objects, frozen.archive_name)
    how = replace(kept.labeler, display_umap=shown)
    labelled = timed("label", lambda m: how.assign([sample.take(slice(0, m))]), len(objects))
    found |= _tables(objects, raw, labelled, config)
    return found


def building(config: Config, run: str) -> float:
    """Return the seconds in which a run's tables are put together."""
    store = open_store(store_url(config.root))
    return min(cpu(lambda: build_tables(config.root, run, store, config.catalog)) for _ in range(3))


def _sample(kept: RunModel, objects: pa.Table, kind: str) -> ClusteringInputs:
    """Return what the run's spectra are told by."""
    mean = np.array([objects[f"z_mean_{i:02d}"].to_numpy() for i in range(len(kept.posterior_widths))]).T
    values = {name: objects[name].to_numpy() for name in objects.column_names if _is_number(objects, name)}
    features = compute_features(get_archive(kind).measurements, values).astype(np.float32)
    frame = kept.scalers[0]
    beside = get_archive(kind).measurements.scale_by_error(("lya_ew",), values)
    return frame.transform(mean.astype(np.float32), beside, features)


def _is_number(table: pa.Table, name: str) -> bool:
    return pa.types.is_floating(table.schema.field(name).type)


def _shown(kept: RunModel, objects: pa.Table, kind: str) -> UmapEmbedding:
    if kept.labeler.display_umap is not None:
        return kept.labeler.display_umap
    return UmapEmbedding.from_graph(
        build_neighbor_graph(_sample(kept, objects, kind).latents.astype(np.float64), 15), UmapParams(0)
    )


def _tables(
    objects: pa.Table, raw: Mapping[str, Any], assignment: Assignment, config: Config
) -> dict[str, float]:
    """Return what the driver does to a row once the workers are through, and what a catalogue's row takes."""
    times = -(-MANY // len(objects))
    many = pa.concat_tables([objects] * times).combine_chunks()
    n = len(many)
    label, snr = np.asarray(many["cluster_label"]), np.asarray(many["snr"]).astype(np.float32)
    artefact = np.asarray(many["artefact_score"]).astype(np.float32)
    repeated = {name: np.resize(values, n) for name, values in raw.items()}
    repeated_assignment = Assignment.concatenate([assignment] * times)
    gathered = cpu(lambda: compute_anomaly_scores(repeated, snr, label, artefact))
    odd = compute_anomaly_scores(repeated, snr, label, artefact)
    gathered += cpu(
        lambda: build_clustering_table(many["object_id"], repeated_assignment, odd, {}, ())
    )
    with tempfile.TemporaryDirectory(prefix="ds-") as folder:
        file = str(Path(folder) / "objects.parquet")
        written = cpu(lambda: parquet.write_voparquet(file, many, argsort_objects(many)))
    return {"gather": gathered / n, "write": written / n, "row_bytes": many.nbytes / n}


def of_sweep(config: Config, run: str) -> dict[str, Any]:
    """Return what a unit of the sweep takes on a run's own spectra: at few, at half and at all of them."""
    torch.set_num_threads(1)
    kept = RunModel.from_arrays(read_arrays(join_url(run_url(config.root, run), RUN_MODEL_FILE)))
    objects, kind = (
        open_tables(config.root)["objects"].results_to_table(),
        open_store(store_url(config.root)).config.archive_name,
    )
    sample, sweep = _sample(kept, objects, kind), config.clustering
    at = {"latents": sample.latents.astype(np.float64), "features": sample.features.astype(np.float64)}
    n = len(sample)
    sizes = (FLOOR, n // 2, n)
    found: dict[str, Any] = {"n_points": n, "fit": {}, "silhouettes": {}, "umap": {}}
    UmapEmbedding.from_graph(build_neighbor_graph(at["latents"][:FEW], 15), UmapParams(0))  # compiled here
    near = {size: build_neighbor_graph(at["latents"][:size], 15) for size in sizes}
    graphs = [cpu(lambda size=size: build_neighbor_graph(at["latents"][:size], 15)) for size in sizes]
    found["umap"]["graph"] = law(sizes, graphs, 2.0)
    found["umap"]["layout"] = law(
        sizes, [cpu(lambda s=s: UmapEmbedding.from_graph(near[s], UmapParams(0))) for s in sizes], 2.0
    )
    at["map"] = UmapEmbedding.from_graph(near[n], UmapParams(0)).coordinates
    tried, _ = build_algorithm_grid(sweep, n)
    jobs = plan_jobs(sweep, tried, 0)
    for where, points in at.items():
        for name in sweep.algorithms:
            job = next(
                j for j in jobs if j.space.name == where and j.trials[0].algorithm_spec.algorithm == name
            )
            fits: list[float] = []
            scores: list[float] = []
            for size in (FEW, *sizes):
                trials = [t for t in job.trials if t.algorithm_spec.k < size // 2]
                made: list[Any] = []
                most = {name: round(sweep.resample_fraction * size)}
                fit = cpu(
                    lambda p=points[:size], t=trials, m=most, o=made: o.extend(fit_trials(p, t, sweep, m))
                )
                fits.append(fit / count_work_units(job._replace(trials=tuple(trials))))
                labels = np.array([each for _, each in made], np.int32)
                both = points[:size], at["latents"][:size]
                scores.append(
                    sum(cpu(lambda x=x, y=labels: silhouette_scores(x, y)) for x in both) / len(trials)
                )
            key = f"{where}.{name}"
            found["fit"][key] = law(sizes, fits[1:], 2.0)
            found["silhouettes"][key] = law(sizes, scores[1:], 2.0)
    labels = [
        fit_clusterings(at["latents"], [AlgorithmSpec("kmeans", sweep.k_min)], [seed])[0].labels
        for seed in range(sweep.n_seeds)
    ]
    found["consensus"] = cpu(lambda: find_consensus(labels, sweep.k_min, np.random.default_rng(0)))
    return found


def law(sizes: tuple[int, ...], seconds: list[float], most: float) -> dict[str, float]:
    """Return what a unit takes at the fewest and the most points, and by which power it grows to these."""
    floor, half, whole = seconds
    more, less = max(whole - floor, 1e-9), max(half - floor, 1e-9)
    grows = float(np.clip(np.log(more / less) / np.log(sizes[2] / sizes[1]), 1.0, most))
    return {"fixed_seconds": floor, "seconds": whole, "exponent": grows}
