"""The sweep on Ray: actors that hold the sample make maps and trials; what is done is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch

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
from distspec.io.files import list_files, read_table, write_table
from distspec.io.paths import join_url
from distspec.stages.pool import ActorPool
from distspec.stages.progress import Progress
from distspec.stages.session import ACTORS_PER_GPU, n_gpus, require_worker_slots

N_WARMUP_ROWS = 64
MAX_ACTORS = 10_000
"""Actors at most, where nothing else bounds them."""
MAX_RESTARTS, MAX_TASK_RETRIES = 100, 3
"""An actor that dies is replaced so often, and what it was at is done again so often."""


@ray.remote(num_cpus=1, max_restarts=MAX_RESTARTS, max_task_retries=MAX_TASK_RETRIES)
class SweepActor:
    """Makes maps and trials of a sample, as a model sees it, and of data like it without structure."""

    def __init__(self, config: ClusteringConfig, max_rows: Mapping[str, int], seed: int) -> None:
        torch.set_num_threads(1)
        self.config, self.max_rows, self.seed = config, max_rows, seed

    def get_pid(self) -> int:
        """Return its process, for whoever wants to know."""
        return os.getpid()

    def warm_up(self, n_dims: int, algorithm_specs: Sequence[AlgorithmSpec]) -> MemoryUsage:
        """Import and compile what trials need on a few points, so that jobs are timed by themselves."""
        points = np.random.default_rng(0).normal(size=(N_WARMUP_ROWS, n_dims))
        first = {each.algorithm: each for each in algorithm_specs if each.k < N_WARMUP_ROWS / 2}
        trials = [Trial(DatasetSpec(), FeatureSpace("latents"), each, 0, 0) for each in first.values()]
        run_trials(points, points, trials, self.config, dict.fromkeys(first, N_WARMUP_ROWS))
        if "map" in self.config.spaces:
            UmapEmbedding.from_graph(
                build_neighbor_graph(points, self.config.umap_n_neighbors[0]), UmapParams(0)
            )
        return get_memory_usage()

    def get_memory_usage(self) -> MemoryUsage:
        """Return what its process holds, and has held."""
        return get_memory_usage()

    def build_neighbor_graph(self, inputs: ClusteringInputs, space: FeatureSpace) -> NeighborGraph:
        """Return the graph that maps of a sample with so many neighbours share."""
        dims = tuple(sorted({2, *self.config.umap_dims}))
        return build_neighbor_graph(inputs.get_points(space).astype(np.float64), space.umap_n_neighbors, dims)

    def fit_umap(self, neighbor_graph: NeighborGraph, space: FeatureSpace) -> UmapEmbedding:
        """Return a map."""
        return UmapEmbedding.from_graph(
            neighbor_graph, UmapParams(space.umap_seed, self.config.umap_min_dist, space.umap_dims)
        )

    def run_job(
        self, inputs: ClusteringInputs, job: Job, umap: UmapEmbedding | None
    ) -> tuple[list[TrialResult], float]:
        """Make a job's trials, and say how long it took; maps of data without structure are made here."""
        start = time.monotonic()
        inputs = inputs.draw_null_data(job.dataset, self.seed)
        if job.space.umap_dims:
            points = (
                umap or self.fit_umap(self.build_neighbor_graph(inputs, job.space), job.space)
            ).coordinates
        else:
            points = inputs.get_points(job.space).astype(np.float64)
        latents = inputs.latents.astype(np.float64)
        results = run_trials(points, latents, job.trials, self.config, self.max_rows)
        return results, time.monotonic() - start

    def refit_job(self, inputs: ClusteringInputs, job: Job, umap: UmapEmbedding | None) -> list[Any]:
        """Return what the clusterings of a job's trials say of any points, in their order."""
        points = umap.coordinates if umap else inputs.get_points(job.space).astype(np.float64)
        return [
            each.membership_model for each, _ in fit_trials(points, job.trials, self.config, self.max_rows)
        ]


def _ignore_estimate(seconds: float) -> None:
    """Tell nobody."""


class SweepRunner:
    """Jobs on a pool of actors, and what came of them; a rerun makes only what is missing. A context manager.

    Parameters
    ----------
    samples : sequence of Sample
        As each model sees them, the run's own first.
    config : ClusteringConfig
    most : mapping
        `distspec.clustering.trials.limit_rows`.
    seed : int
    work_url : str
        URL where the results of jobs are kept until the run is whole.
    memory : float
        What an actor is given [bytes].

    Raises
    ------
    ValueError
        When no node has so much memory, or there is no GPU where one is asked for.
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
        each = {"CPU": 1.0, "memory": actor_memory}
        self._samples: list[Any] = [ray.put(sample) for sample in model_inputs]
        share, n_actors = 0.0, config.n_actors or MAX_ACTORS
        if config.use_gpu:
            if not n_gpus():
                raise ValueError("clustering.use_gpu: the cluster has no GPU; leave it out to fit on CPUs")
            share, n_actors = 1.0 / ACTORS_PER_GPU, min(n_actors, n_gpus() * ACTORS_PER_GPU)
        kind: Any = SweepActor.options(num_gpus=share, memory=actor_memory)
        self.pool = ActorPool(
            lambda: kind.remote(config, max_rows, seed),
            n_actors,
            lambda: require_worker_slots(
                "an actor of the sweep", each, "lower --clustering.sample-size, seeds or k_max"
            ),
        )
        self.work_url = work_url
        self._maps: dict[tuple[DatasetSpec, FeatureSpace], Any] = {}

    def __enter__(self) -> SweepRunner:
        return self

    def __exit__(self, *error: object) -> None:
        """Give the actors' CPUs back."""
        self.pool.shutdown()

    def fit_umaps(
        self, keys: Iterable[tuple[DatasetSpec, FeatureSpace]]
    ) -> dict[tuple[DatasetSpec, FeatureSpace], UmapEmbedding]:
        """Return maps, those that are not there yet made on the actors."""
        todo = sorted({place for place in keys if place[1].umap_dims} - self._maps.keys())
        near = {(data, space.umap_n_neighbors): space for data, space in todo}
        graphs = self.pool.map(
            lambda actor, key: actor.build_neighbor_graph.remote(self._get_inputs(key[0]), near[key]), list(near)
        )
        shared = {key: ray.put(graph) for key, graph in zip(near, graphs, strict=True)}
        made = self.pool.map_unordered(
            lambda actor, each: actor.fit_umap.remote(shared[each[0], each[1].umap_n_neighbors], each[1]), todo
        )
        for place, each in Progress("cluster", len(todo), "map").track(made):
            self._maps[place] = ray.put(each)
        return {place: ray.get(ref) for place, ref in self._maps.items()}

    def warm_up(self, n_dims: int, algorithm_specs: Sequence[AlgorithmSpec]) -> float:
        """Make actors ready for points in so many dimensions; return what the largest holds then [MB]."""
        return max(
            each.current_mb
            for each in ray.get(
                [actor.warm_up.remote(n_dims, algorithm_specs) for actor in self.pool.wait_ready()]
            )
        )

    def get_peak_memory(self) -> float:
        """Return the most that any actor has held [MB]."""
        return max(each.peak_mb for each in ray.get([actor.get_memory_usage.remote() for actor in self.pool.wait_ready()]))

    def run_jobs(
        self, jobs: Sequence[Job], on_estimate: Callable[[float], None] = _ignore_estimate
    ) -> list[TrialResult]:
        """Return the results of every job's trials, in their order.

        Parameters
        ----------
        jobs : sequence of Job
        on_estimate : callable
            Is told how long they take [s], once the first job of each kind has been timed.
        """
        found = self._load_finished_results(jobs)
        todo = [job for job in jobs if job.number not in found]
        if todo:
            self.fit_umaps((job.dataset, job.space) for job in todo if not job.dataset.is_null)
        first = select_timing_jobs(todo)
        timed = {job.number for job in first}
        rest = [job for job in todo if job.number not in timed]
        n_trials, start = sum(len(job.trials) for job in todo), time.monotonic()
        pace: dict[JobCategory, float] = {}
        with Progress("cluster", n_trials, "trial") as progress:
            for job, (results, took) in self._submit_jobs([*first, *rest]):
                write_table(self._result_url(job), results_to_table(results))
                found[job.number] = results
                progress.advance(len(results))
                if job.number in timed:
                    pace[JobCategory.from_job(job)] = took / count_work_units(job)
                    timed.remove(job.number)
                    if not timed:
                        more = [job for job in rest if job.number not in found]
                        on_estimate(
                            time.monotonic()
                            - start
                            + estimate_seconds(more, pace, len(self.pool.wait_ready()))
                        )
        return [result for job in jobs for result in found[job.number]]

    def refit_jobs(self, jobs: Sequence[Job]) -> list[Any]:
        """Return the predictors of every job's trials, in their order."""
        made = self.pool.map(
            lambda actor, job: actor.refit_job.remote(
                self._get_inputs(job.dataset), job, self._maps.get((job.dataset, job.space))
            ),
            jobs,
        )
        return [each for job in made for each in job]

    def _submit_jobs(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, tuple[list[TrialResult], float]]]:
        return self.pool.map_unordered(
            lambda actor, job: actor.run_job.remote(
                self._get_inputs(job.dataset), job, self._maps.get((job.dataset, job.space))
            ),
            jobs,
        )

    def _get_inputs(self, dataset: DatasetSpec) -> Any:
        """Return the sample that data are, or are made like."""
        return self._samples[0 if dataset.is_null else dataset.draw]

    def _load_finished_results(self, jobs: Sequence[Job]) -> dict[int, list[TrialResult]]:
        there = set(list_files(self.work_url))
        return {
            job.number: results_from_table(read_table(self._result_url(job)), job.trials)
            for job in jobs
            if f"{job.number:05d}.parquet" in there
        }

    def _result_url(self, job: Job) -> str:
        return join_url(self.work_url, f"{job.number:05d}.parquet")
