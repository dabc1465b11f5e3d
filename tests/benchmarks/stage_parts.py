"""CPU time of the operations of stages and of the sweep, one by one in this process."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from distspec.anomaly.score import compute_anomaly_scores
from distspec.archives.base import Archive
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
from distspec.clustering.plan import Job, build_algorithm_grid, plan_jobs
from distspec.clustering.silhouette import silhouette_scores
from distspec.clustering.trials import fit_trials
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.core.spectrum import Floats
from distspec.inference.describe import SpectrumLatents
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.ingest.commit import Committer
from distspec.ingest.diff import compare_listing
from distspec.ingest.read import LoadedBatch, load_batch
from distspec.io import parquet
from distspec.io.files import read_arrays
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.models.model import Model, load_model
from distspec.operations.evaluation import evaluate
from distspec.pipeline.config import Config
from distspec.pipeline.rates import PowerLaw, SweepRates
from distspec.redshifts import RedshiftEstimator
from distspec.stages.assign import SCORING_COLUMNS, ScoringContext, score_rows
from distspec.stages.embed import embed_span
from distspec.stages.redshifts import measure_listing
from distspec.store.store import Store, create_store, open_store
from tests.helpers.local_writer import LocalWriter

N_CATALOG_ROWS = 100_000
"""Number of rows to which a catalog is repeated, since the cost per row cannot be measured on fewer."""
N_WARM_UP, N_SMALL = 64, 120
"""Numbers of spectra before the timing, and of points for which the fixed cost of a trial prevails."""
N_SIMULATED, N_EVALUATED = 400, 1_000
N_NEIGHBORS = 15
MAX_EXPONENT = 2.0


@dataclass(frozen=True)
class OperationRates:
    """Cost of the operations on a spectrum.

    Attributes
    ----------
    seconds_per_spectrum : mapping of str to float
        CPU time by operation [s].
    writing_seconds : float
        CPU time of writing a row of the catalog [s].
    catalog_row_bytes : float
        Size of a row of the catalog in memory [bytes].
    """

    seconds_per_spectrum: Mapping[str, float]
    writing_seconds: float
    catalog_row_bytes: float


@dataclass(frozen=True)
class PublishedRun:
    """The published run of a root, on whose spectra operations are timed.

    Attributes
    ----------
    config : Config
        Settings of the run.
    run_id : str
        Identifier of the run.
    store : Store
        Store of the spectra.
    run_model : RunModel
        Labeler and scales of the run.
    model : Model
        Its model.
    objects : Table
        Published table of the spectra.
    """

    config: Config
    run_id: str
    store: Store
    run_model: RunModel
    model: Model
    objects: pa.Table

    @classmethod
    def open(cls, config: Config) -> PublishedRun:
        """Open the published run of a root."""
        torch.set_num_threads(1)
        objects = open_tables(config.root)["objects"].to_table()
        model_id = objects.schema.metadata[b"model_id"].decode()
        run_id = objects.schema.metadata[b"run_id"].decode()
        return cls(
            config,
            run_id,
            open_store(store_url(config.root)),
            RunModel.from_arrays(read_arrays(join_url(run_url(config.root, run_id), RUN_MODEL_FILE))),
            load_model(model_url(config.root, model_id)),
            objects,
        )

    @property
    def archive(self) -> type[Archive]:
        """The archive of the store."""
        return get_archive(self.store.config.archive_name)

    @cached_property
    def inputs(self) -> ClusteringInputs:
        """The spectra as points, from the columns of the catalog."""
        n_latents = len(self.run_model.posterior_widths)
        z_mean = np.array([self.objects[f"z_mean_{i:02d}"].to_numpy() for i in range(n_latents)]).T
        values = {
            name: self.objects[name].to_numpy()
            for name in self.objects.column_names
            if pa.types.is_floating(self.objects.schema.field(name).type)
        }
        measurements = self.archive.measurements
        features = compute_features(measurements, values).astype(np.float32)
        scaled = measurements.scale_by_error(self.config.clustering.measurements, values)
        return self.run_model.scalers[0].transform(z_mean.astype(np.float32), scaled, features)

    def time_table_building(self) -> float:
        """Return the CPU time in which the tables of the catalog are built [s]."""
        return min(
            cpu_seconds(lambda: build_tables(self.config.root, self.run_id, self.store, self.config.catalog))
            for _ in range(3)
        )

    def time_operations(self) -> OperationRates:
        """Return the cost of each operation on a spectrum; of the catalog at `N_CATALOG_ROWS` rows."""
        timer = _Timer()
        self._time_ingest(timer)
        latents = timer.time("embed", lambda n: embed_span(self.store, self.model, (0, n)), self.store.n_rows)
        timer.time("features", lambda n: self._measure(latents, n), self.store.n_rows)
        spaces = self.config.clustering.spaces
        timer.time(
            "compare",
            lambda n: evaluate(self.model, self.store, np.arange(n), spaces, 5, 0),
            min(self.store.n_rows, N_EVALUATED),
        )
        raw_scores = self._time_scoring(timer, latents)
        labeler = replace(self.run_model.labeler, display_umap=self._get_display_umap())
        assignment = timer.time(
            "label", lambda n: labeler.assign([self.inputs.take(slice(0, n))]), len(self.objects)
        )
        return self._time_driver(timer.seconds, raw_scores, assignment)

    def _time_ingest(self, timer: _Timer) -> None:
        """Time the simulation, the reading and the committing of spectra, and their redshifts."""
        source, store_config = self.config.ingest_source(), self.store.config
        listing = source.archive.list_spectra(source.access)
        simulation = self.config.simulation
        assert simulation is not None

        def load(n: int) -> LoadedBatch:
            return load_batch(
                source.archive,
                source.access,
                listing.slice(0, n),
                store_config.grid,
                source.norm,
                store_config.default_slope,
            )

        with tempfile.TemporaryDirectory(prefix="ds-") as folder:
            timer.time("simulate", lambda n: write_spectra(simulation, folder, 0, n), N_SIMULATED)
            loaded = timer.time("load", load, self.store.n_rows)

            def commit(n: int) -> None:
                store = create_store(str(Path(folder) / str(n)), store_config)
                committer = Committer(store, source.config.commit_rows, LocalWriter())
                rows = loaded.rows.slice(0, n)
                flux, ivar = (values[: len(rows)] for values in loaded.block)
                committer.add(replace(loaded, block=(flux, ivar), rows=rows))
                committer.finish(compare_listing(listing.slice(0, n), None))

            timer.time("commit", commit, len(loaded.rows))
        estimator = RedshiftEstimator.from_model(self.model, self.config.redshifts.estimator)

        def measure_redshifts(n: int) -> pa.Table:
            return measure_listing(source.archive, source.access, listing.slice(0, n), estimator)

        n_measured = min(self.config.redshifts.task_spectra, len(listing))
        timer.time("redshifts", measure_redshifts, n_measured)

    def _measure(self, latents: Mapping[str, Any], n: int) -> Mapping[str, Any]:
        """Measure the reconstructions of the first spectra."""
        return measure_reconstructions(
            self.archive.measurements,
            self.model.decode,
            self.model.grid,
            latents["z_mean"][:n],
            latents["z_log_var"][:n],
        )

    def _time_scoring(self, timer: _Timer, latents: Mapping[str, Any]) -> Mapping[str, Any]:
        """Time the anomaly scores, and return the raw scores of all rows."""
        scaled_latents = (latents["z_mean"] / self.run_model.posterior_widths).astype(np.float32)
        context = ScoringContext(
            self.run_model.latent_density,
            self.run_model.model_error,
            self.store.url,
            self.store.snapshot_id,
            model_url(self.config.root, self.model.model_id),
        )

        def score(n: int) -> Mapping[str, Any]:
            needed = SpectrumLatents({name: latents[name][:n] for name in SCORING_COLUMNS})
            return score_rows(context, np.arange(n), needed, scaled_latents[:n])

        return timer.time("score", score, self.store.n_rows)

    def _get_display_umap(self) -> UmapEmbedding:
        display_umap = self.run_model.labeler.display_umap
        return display_umap or _embed(self.inputs.latents.astype(np.float64))

    def _time_driver(
        self, seconds_per_spectrum: Mapping[str, float], raw_scores: Mapping[str, Any], assignment: Assignment
    ) -> OperationRates:
        """Time what the driver does with all rows: anomaly ranks, the table of the run, and the catalog."""
        n_times = -(-N_CATALOG_ROWS // len(self.objects))
        objects = pa.concat_tables([self.objects] * n_times).combine_chunks()
        n = len(objects)
        labels, snr = np.asarray(objects["cluster_label"]), np.asarray(objects["snr"]).astype(np.float32)
        bad_pixel_score = np.asarray(objects["artefact_score"]).astype(np.float32)
        raw = {name: np.resize(values, n) for name, values in raw_scores.items()}
        assignments = Assignment.concatenate([assignment] * n_times)
        gathering = cpu_seconds(lambda: compute_anomaly_scores(raw, snr, labels, bad_pixel_score))
        scores = compute_anomaly_scores(raw, snr, labels, bad_pixel_score)
        gathering += cpu_seconds(
            lambda: build_clustering_table(objects["object_id"], assignments, scores, {}, ())
        )
        with tempfile.TemporaryDirectory(prefix="ds-") as folder:
            file = str(Path(folder) / "objects.parquet")
            writing = cpu_seconds(lambda: parquet.write_voparquet(file, objects, argsort_objects(objects)))
        return OperationRates(
            {**seconds_per_spectrum, "gather": gathering / n}, writing / n, objects.nbytes / n
        )

    def time_sweep(self) -> SweepRates:
        """Return the cost of the operations of a sweep on the run's spectra; that of the selection is 0."""
        sweep, n = self.config.clustering, len(self.inputs)
        sizes = (N_SMALL, n // 2, n)
        points: dict[str, Floats] = {
            "latents": self.inputs.latents.astype(np.float64),
            "features": self.inputs.features.astype(np.float64),
        }
        umap, points["map"] = _time_umap(points["latents"], sizes)
        specs, _ = build_algorithm_grid(sweep, n)
        jobs = plan_jobs(sweep, specs, 0)
        fit: dict[str, PowerLaw] = {}
        silhouettes: dict[str, PowerLaw] = {}
        for space, x in points.items():
            for algorithm in sweep.algorithms:
                job = next(
                    job
                    for job in jobs
                    if job.space.name == space and job.trials[0].algorithm_spec.algorithm == algorithm
                )
                costs = [self._time_job(job, x[:size]) for size in (N_WARM_UP, *sizes)][1:]
                key = f"{space}.{algorithm}"
                fit[key] = fit_power_law(sizes, [fitting for fitting, _ in costs])
                silhouettes[key] = fit_power_law(sizes, [scoring for _, scoring in costs])
        specs = [AlgorithmSpec("kmeans", sweep.k_min)] * sweep.n_seeds
        seeds = range(sweep.n_seeds)
        labels = [each.labels for each in fit_clusterings(points["latents"], specs, seeds)]
        consensus = cpu_seconds(lambda: find_consensus(labels, sweep.k_min, np.random.default_rng(0)))
        return SweepRates(n, fit, silhouettes, umap, consensus, 0.0)

    def _time_job(self, job: Job, points: Floats) -> tuple[float, float]:
        """Return the CPU time of the fits per unit of work, and of the silhouettes per trial [s]."""
        sweep, n = self.config.clustering, len(points)
        trials = [trial for trial in job.trials if trial.algorithm_spec.k < n // 2]
        algorithm = trials[0].algorithm_spec.algorithm
        max_rows = {algorithm: round(sweep.resample_fraction * n)}
        fitted: list[Any] = []
        fitting = cpu_seconds(lambda: fitted.extend(fit_trials(points, trials, sweep, max_rows)))
        labels = np.array([each for _, each in fitted], np.int32)
        latents = self.inputs.latents[:n].astype(np.float64)
        scoring = sum(cpu_seconds(lambda x=x: silhouette_scores(x, labels)) for x in (points, latents))
        return fitting / count_work_units(job._replace(trials=tuple(trials))), scoring / len(trials)


class _Timer:
    """Times operations on a number of spectra, after a call with a few.

    Attributes
    ----------
    seconds : dict of str to float
        CPU time per spectrum by operation [s].
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, operation: Callable[[int], Any], n: int) -> Any:
        """Time an operation on `n` spectra, and return its result."""
        results: list[Any] = []
        operation(min(N_WARM_UP, n))
        self.seconds[name] = cpu_seconds(lambda: results.append(operation(n))) / n
        return results[0]


def cpu_seconds(workload: Callable[[], Any]) -> float:
    """Return the CPU time of one call [s]."""
    start = time.process_time()
    workload()
    return time.process_time() - start


def _embed(latents: Floats) -> UmapEmbedding:
    return UmapEmbedding.from_graph(build_neighbor_graph(latents, N_NEIGHBORS), UmapParams(0))


def _time_umap(latents: Floats, sizes: Sequence[int]) -> tuple[dict[str, PowerLaw], Floats]:
    """Return the cost of neighbor graph and layout, and the layout of all points."""
    _embed(latents[:N_WARM_UP])  # compiles
    graphs = {size: build_neighbor_graph(latents[:size], N_NEIGHBORS) for size in sizes}
    graph_seconds = [
        cpu_seconds(lambda size=size: build_neighbor_graph(latents[:size], N_NEIGHBORS)) for size in sizes
    ]
    layout_seconds = [
        cpu_seconds(lambda size=size: UmapEmbedding.from_graph(graphs[size], UmapParams(0))) for size in sizes
    ]
    laws = {
        "graph": fit_power_law(sizes, graph_seconds),
        "layout": fit_power_law(sizes, layout_seconds),
    }
    return laws, UmapEmbedding.from_graph(graphs[sizes[-1]], UmapParams(0)).coordinates


def fit_power_law(sizes: Sequence[int], seconds: Sequence[float]) -> PowerLaw:
    """Return how the time of an operation grows, from its times for few, half and all of the points."""
    small, half, whole = seconds
    increase, half_increase = max(whole - small, 1e-9), max(half - small, 1e-9)
    exponent = np.log(increase / half_increase) / np.log(sizes[2] / sizes[1])
    return PowerLaw(small, whole, float(np.clip(exponent, 1.0, MAX_EXPONENT)))
