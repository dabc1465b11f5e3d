"""Actors of the sweep on Ray: they compute maps and trials, whose results are kept job by job."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch

from distspec.clustering.algorithms import MembershipModel
from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.cost import (
    JobCategory,
    MemoryUsage,
    count_work_units,
    estimate_seconds,
    get_memory_usage,
    select_timing_jobs,
)
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.plan import DatasetSpec, Job, Trial
from distspec.clustering.trials import (
    TrialResult,
    fit_trials,
    results_from_table,
    results_to_table,
    run_trials,
)
from distspec.clustering.umap import NeighborGraph, UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.core import memory as memory_module
from distspec.core.errors import ConfigError
from distspec.io.files import list_files, read_table, write_table
from distspec.io.paths import join_url
from distspec.stages.pool import ActorPool, count_retries
from distspec.stages.progress import Progress
from distspec.stages.session import ACTORS_PER_GPU, n_gpus, require_worker_slots

MB = 1e6
N_WARMUP_ROWS = 64
MAX_ACTORS = 10_000
"""Largest number of actors if nothing else limits it."""
MAX_RESTARTS, MAX_TASK_RETRIES = 100, 3
"""Number of times that an actor is restarted after its process died, and that a call is repeated."""
UmapKey = tuple[DatasetSpec, FeatureSpace]
"""Data and space of a map."""


@ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_TASK_RETRIES)
class SweepActor:
    """Computes maps and trials on a sample and on null data drawn from it."""

    def __init__(self, config: ClusteringConfig, max_rows: Mapping[str, int], seed: int) -> None:
        torch.set_num_threads(1)
        self.config, self.max_rows, self.seed = config, max_rows, seed

    def get_pid(self) -> int:
        """Return the number of the actor's process."""
        return os.getpid()

    def warm_up(self, n_dims: int, algorithm_specs: Sequence[AlgorithmSpec]) -> MemoryUsage:
        """Import and compile the code of trials, so that the first jobs are not slower; return the memory."""
        points = np.random.default_rng(0).normal(size=(N_WARMUP_ROWS, n_dims))
        specs = {spec.algorithm: spec for spec in algorithm_specs if spec.k < N_WARMUP_ROWS / 2}
        trials = [Trial(DatasetSpec(), FeatureSpace("latents"), spec, 0, 0) for spec in specs.values()]
        run_trials(points, points, trials, self.config, dict.fromkeys(specs, N_WARMUP_ROWS))
        if "map" in self.config.spaces:
            UmapEmbedding.from_graph(
                build_neighbor_graph(points, self.config.umap_n_neighbors[0]), UmapParams(0)
            )
        return get_memory_usage()

    def get_memory_usage(self) -> MemoryUsage:
        """Return the memory of the actor's process."""
        return get_memory_usage()

    @count_retries
    def build_neighbor_graph(self, inputs: ClusteringInputs, space: FeatureSpace) -> NeighborGraph:
        """Compute the neighbor graph that all maps of a sample with this number of neighbors share."""
        return _build_neighbor_graph(self.config, inputs, space)

    @count_retries
    def fit_umap(self, neighbor_graph: NeighborGraph, space: FeatureSpace) -> UmapEmbedding:
        """Embed a neighbor graph."""
        return _fit_umap(self.config, neighbor_graph, space)

    @count_retries
    def run_job(
        self, inputs: ClusteringInputs, job: Job, umap: UmapEmbedding | None
    ) -> tuple[list[TrialResult], float]:
        """Run the trials of a job; return their results and the duration [s].

        A map of null data is computed here, because only this job uses it.
        """
        start = time.monotonic()
        inputs = inputs.draw_null_data(job.dataset, self.seed)
        if job.space.umap_dims:
            umap = umap or _fit_umap(
                self.config, _build_neighbor_graph(self.config, inputs, job.space), job.space
            )
            points = umap.coordinates
        else:
            points = inputs.get_points(job.space).astype(np.float64)
        latents = inputs.latents.astype(np.float64)
        results = run_trials(points, latents, job.trials, self.config, self.max_rows)
        return results, time.monotonic() - start

    @count_retries
    def refit_job(
        self, inputs: ClusteringInputs, job: Job, umap: UmapEmbedding | None
    ) -> list[MembershipModel]:
        """Fit the trials of a job again; return their membership models in order."""
        points = umap.coordinates if umap else inputs.get_points(job.space).astype(np.float64)
        fitted = fit_trials(points, job.trials, self.config, self.max_rows)
        return [clustering.membership_model for clustering, _ in fitted]


def _build_neighbor_graph(
    config: ClusteringConfig, inputs: ClusteringInputs, space: FeatureSpace
) -> NeighborGraph:
    dims = tuple(sorted({2, *config.umap_dims}))
    return build_neighbor_graph(inputs.get_points(space).astype(np.float64), space.umap_n_neighbors, dims)


def _fit_umap(config: ClusteringConfig, neighbor_graph: NeighborGraph, space: FeatureSpace) -> UmapEmbedding:
    return UmapEmbedding.from_graph(
        neighbor_graph, UmapParams(space.umap_seed, config.umap_min_dist, space.umap_dims)
    )


def _ignore_estimate(seconds: float) -> None:
    """Do nothing: the default of `SweepRunner.run_jobs`."""


class SweepRunner:
    """Runs jobs on a pool of actors and keeps their results, so that a rerun runs only the missing jobs.

    A context manager that shuts the actors down.

    Parameters
    ----------
    model_inputs : sequence of ClusteringInputs
        The sample as derived from each model, the run's own first.
    config : ClusteringConfig
        Settings of the sweep.
    max_rows : mapping of str to int
        Number of points by algorithm: `distspec.clustering.trials.limit_rows`.
    seed : int
        Seed of the run.
    work_url : str
        Folder in which the results of jobs are kept.
    actor_memory : float
        Memory of an actor [bytes].

    Raises
    ------
    ConfigError
        If no node has enough memory, or GPUs are asked for and there are none.
    """

    def __init__(
        self,
        model_inputs: Sequence[ClusteringInputs],
        config: ClusteringConfig,
        max_rows: Mapping[str, int],
        seed: int,
        work_url: str,
        actor_memory: float = memory_module.TORCH_WORKER_BYTES,
    ) -> None:
        resources = {"CPU": 1.0, "memory": actor_memory}
        self._samples: list[Any] = [ray.put(inputs) for inputs in model_inputs]
        gpus_per_actor, n_actors = 0.0, config.n_actors or MAX_ACTORS
        if config.use_gpu:
            if not n_gpus():
                raise ConfigError(
                    "clustering.use_gpu is set, but the cluster has no GPU: leave it out to use CPUs"
                )
            gpus_per_actor, n_actors = 1.0 / ACTORS_PER_GPU, min(n_actors, n_gpus() * ACTORS_PER_GPU)
        actor_class: Any = SweepActor.options(num_gpus=gpus_per_actor, memory=actor_memory)
        self.pool = ActorPool(
            lambda: actor_class.remote(config, max_rows, seed),
            n_actors,
            lambda: require_worker_slots(
                "an actor of the sweep",
                resources,
                "lower --clustering.sample-size, --clustering.n-seeds or --clustering.k-max",
            ),
        )
        self.work_url = work_url
        self._umaps: dict[UmapKey, Any] = {}

    def __enter__(self) -> SweepRunner:
        return self

    def __exit__(self, *error: object) -> None:
        """Shut the actors down."""
        self.pool.shutdown()

    def fit_umaps(self, keys: Iterable[UmapKey]) -> dict[UmapKey, UmapEmbedding]:
        """Return all maps fitted so far, those of `keys` included.

        Parameters
        ----------
        keys : iterable of (DatasetSpec, FeatureSpace)
            Data and spaces; those that are not maps are ignored.
        """
        missing = sorted({key for key in keys if key[1].umap_dims} - self._umaps.keys())
        graph_spaces = {(dataset, space.umap_n_neighbors): space for dataset, space in missing}
        graphs = self.pool.map(
            lambda actor, key: actor.build_neighbor_graph.remote(self._get_inputs(key[0]), graph_spaces[key]),
            list(graph_spaces),
        )
        shared = {key: ray.put(graph) for key, graph in zip(graph_spaces, graphs, strict=True)}
        fitted = self.pool.map_unordered(
            lambda actor, key: actor.fit_umap.remote(shared[key[0], key[1].umap_n_neighbors], key[1]), missing
        )
        for key, umap in Progress("cluster", len(missing), "map").track(fitted):
            self._umaps[key] = ray.put(umap)
        return {key: ray.get(reference) for key, reference in self._umaps.items()}

    def warm_up(self, n_dims: int, algorithm_specs: Sequence[AlgorithmSpec]) -> float:
        """Prepare the actors for points of `n_dims` dimensions; return the largest resident set [MB].

        Parameters
        ----------
        n_dims : int
            Number of dimensions of the points.
        algorithm_specs : sequence of AlgorithmSpec
            Algorithms of the sweep, whose libraries are loaded and compiled.
        """
        actors = self.pool.wait_ready()
        usages = ray.get([actor.warm_up.remote(n_dims, algorithm_specs) for actor in actors])
        return max(usage.current_mb for usage in usages)

    def get_peak_memory(self) -> float:
        """Return the largest resident set that an actor has had [MB]."""
        usages = ray.get([actor.get_memory_usage.remote() for actor in self.pool.wait_ready()])
        return max(usage.peak_mb for usage in usages)

    def run_jobs(
        self, jobs: Sequence[Job], on_estimate: Callable[[float], None] = _ignore_estimate
    ) -> list[TrialResult]:
        """Return the results of all trials of jobs, in order.

        Parameters
        ----------
        jobs : sequence of Job
            Jobs to run; results that exist already are read.
        on_estimate : callable
            Called with the expected duration [s], once the first job of each category has been timed.
        """
        results = self._read_finished_results(jobs)
        missing = [job for job in jobs if job.number not in results]
        if missing:
            self.fit_umaps((job.dataset, job.space) for job in missing if not job.dataset.is_null)
        timing_jobs = select_timing_jobs(missing)
        untimed = {job.number for job in timing_jobs}
        others = [job for job in missing if job.number not in untimed]
        n_trials, start = sum(len(job.trials) for job in missing), time.monotonic()
        seconds_per_unit: dict[JobCategory, float] = {}
        with Progress("cluster", n_trials, "trial") as progress:
            for job, (job_results, seconds) in self._submit_jobs([*timing_jobs, *others]):
                write_table(self._result_url(job), results_to_table(job_results))
                results[job.number] = job_results
                progress.advance(len(job_results))
                if job.number in untimed:
                    seconds_per_unit[JobCategory.from_job(job)] = seconds / count_work_units(job)
                    untimed.remove(job.number)
                    if not untimed:
                        remaining = [job for job in others if job.number not in results]
                        n_actors = len(self.pool.wait_ready())
                        elapsed = time.monotonic() - start
                        on_estimate(elapsed + estimate_seconds(remaining, seconds_per_unit, n_actors))
        return [result for job in jobs for result in results[job.number]]

    def refit_jobs(self, jobs: Sequence[Job]) -> list[MembershipModel]:
        """Return the membership models of all trials of jobs, in order.

        Parameters
        ----------
        jobs : sequence of Job
            Jobs whose trials are fitted again.

        Returns
        -------
        list of MembershipModel
            One for each trial.
        """
        fitted = self.pool.map(
            lambda actor, job: actor.refit_job.remote(
                self._get_inputs(job.dataset), job, self._umaps.get((job.dataset, job.space))
            ),
            jobs,
        )
        return [membership for memberships in fitted for membership in memberships]

    def _submit_jobs(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, tuple[list[TrialResult], float]]]:
        return self.pool.map_unordered(
            lambda actor, job: actor.run_job.remote(
                self._get_inputs(job.dataset), job, self._umaps.get((job.dataset, job.space))
            ),
            jobs,
        )

    def _get_inputs(self, dataset: DatasetSpec) -> Any:
        """Return the sample of a model, or the first for null data, which are drawn from it."""
        return self._samples[0 if dataset.is_null else dataset.number]

    def _read_finished_results(self, jobs: Sequence[Job]) -> dict[int, list[TrialResult]]:
        finished = set(list_files(self.work_url))
        return {
            job.number: results_from_table(read_table(self._result_url(job)), job.trials)
            for job in jobs
            if f"{job.number:05d}.parquet" in finished
        }

    def _result_url(self, job: Job) -> str:
        return join_url(self.work_url, f"{job.number:05d}.parquet")
