"""The sweep on Ray: actors that hold the sample make maps and trials; what is done is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch

from distspec.clustering.config import ClusteringConfig, Setting, Space
from distspec.clustering.cost import Kind, Resident, firsts, resident, seconds, work
from distspec.clustering.feature_space import Sample
from distspec.clustering.plan import Data, Job, Trial
from distspec.clustering.trials import Result, fitted, from_table, run, to_table
from distspec.clustering.umap import Layout, Map, Neighbourhood, neighbourhood
from distspec.core import memory as memory_module
from distspec.io.files import get_table, names, put_table
from distspec.io.paths import join
from distspec.stages.pool import Crew
from distspec.stages.progress import Progress
from distspec.stages.session import ACTORS_A_GPU, n_gpus, places

WARM_ROWS = 64
MANY = 10_000
"""Actors at most, where nothing else bounds them."""
RESTARTS, RETRIES = 100, 3
"""An actor that dies is replaced so often, and what it was at is done again so often."""


@ray.remote(num_cpus=1, max_restarts=RESTARTS, max_task_retries=RETRIES)
class Sweeper:
    """Makes maps and trials of a sample, as a model sees it, and of data like it without structure."""

    def __init__(self, config: ClusteringConfig, most: Mapping[str, int], seed: int) -> None:
        torch.set_num_threads(1)
        self.config, self.most, self.seed = config, most, seed

    def pid(self) -> int:
        """Return its process, for whoever wants to know."""
        return os.getpid()

    def warm(self, dims: int, tried: Sequence[Setting]) -> Resident:
        """Import and compile what trials need on a few points, so that jobs are timed by themselves."""
        points = np.random.default_rng(0).normal(size=(WARM_ROWS, dims))
        first = {each.algorithm: each for each in tried if each.k < WARM_ROWS / 2}
        trials = [Trial(Data(), Space("latents"), each, 0, 0) for each in first.values()]
        run(points, points, trials, self.config, dict.fromkeys(first, WARM_ROWS))
        if "map" in self.config.spaces:
            Map.of(neighbourhood(points, self.config.n_neighbors[0]), Layout(0))
        return resident()

    def memory(self) -> Resident:
        """Return what its process holds, and has held."""
        return resident()

    def neighbourhood(self, sample: Sample, space: Space) -> Neighbourhood:
        """Return the graph that maps of a sample with so many neighbours share."""
        dims = tuple(sorted({2, *self.config.dims}))
        return neighbourhood(sample.base(space).astype(np.float64), space.n_neighbors, dims)

    def map(self, near: Neighbourhood, space: Space) -> Map:
        """Return a map."""
        return Map.of(near, Layout(space.seed, self.config.min_dist, space.dims))

    def run(self, sample: Sample, job: Job, place: Map | None) -> tuple[list[Result], float]:
        """Make a job's trials, and say how long it took; maps of data without structure are made here."""
        start = time.monotonic()
        sample = sample.without_structure(job.data, self.seed)
        if job.space.dims:
            points = (place or self.map(self.neighbourhood(sample, job.space), job.space)).points
        else:
            points = sample.base(job.space).astype(np.float64)
        latents = sample.latents.astype(np.float64)
        results = run(points, latents, job.trials, self.config, self.most)
        return results, time.monotonic() - start

    def refit(self, sample: Sample, job: Job, place: Map | None) -> list[Any]:
        """Return what the clusterings of a job's trials say of any points, in their order."""
        points = place.points if place else sample.base(job.space).astype(np.float64)
        return [each.predictor for each, _ in fitted(points, job.trials, self.config, self.most)]


def _unsaid(seconds: float) -> None:
    """Tell nobody."""


class Sweep:
    """Jobs on a pool of actors, and what came of them; a rerun makes only what is missing. A context manager.

    Parameters
    ----------
    samples : sequence of Sample
        As each model sees them, the run's own first.
    config : ClusteringConfig
    most : mapping
        `distspec.clustering.trials.limits`.
    seed : int
    folder : str
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
        samples: Sequence[Sample],
        config: ClusteringConfig,
        most: Mapping[str, int],
        seed: int,
        folder: str,
        memory: float = memory_module.TORCH,
    ) -> None:
        each = {"CPU": 1.0, "memory": memory}
        self._samples: list[Any] = [ray.put(sample) for sample in samples]
        share, n_actors = 0.0, config.actors or MANY
        if config.gpu:
            if not n_gpus():
                raise ValueError("clustering.gpu: the cluster has no GPU; leave it out to fit on CPUs")
            share, n_actors = 1.0 / ACTORS_A_GPU, min(n_actors, n_gpus() * ACTORS_A_GPU)
        kind: Any = Sweeper.options(num_gpus=share, memory=memory)
        self.crew = Crew(
            lambda: kind.remote(config, most, seed),
            n_actors,
            lambda: places("an actor of the sweep", each, "lower --clustering.sample, seeds or k_max"),
        )
        self.folder = folder
        self._maps: dict[tuple[Data, Space], Any] = {}

    def __enter__(self) -> Sweep:
        return self

    def __exit__(self, *error: object) -> None:
        """Give the actors' CPUs back."""
        self.crew.dismiss()

    def maps(self, places: Iterable[tuple[Data, Space]]) -> dict[tuple[Data, Space], Map]:
        """Return maps, those that are not there yet made on the actors."""
        todo = sorted({place for place in places if place[1].dims} - self._maps.keys())
        near = {(data, space.n_neighbors): space for data, space in todo}
        graphs = self.crew.all(
            lambda actor, key: actor.neighbourhood.remote(self._of(key[0]), near[key]), list(near)
        )
        shared = {key: ray.put(graph) for key, graph in zip(near, graphs, strict=True)}
        made = self.crew.each(
            lambda actor, each: actor.map.remote(shared[each[0], each[1].n_neighbors], each[1]), todo
        )
        for place, each in Progress("cluster", len(todo), "map").over(made):
            self._maps[place] = ray.put(each)
        return {place: ray.get(ref) for place, ref in self._maps.items()}

    def warm(self, dims: int, tried: Sequence[Setting]) -> float:
        """Make actors ready for points in so many dimensions; return what the largest holds then [MB]."""
        return max(
            each.now for each in ray.get([actor.warm.remote(dims, tried) for actor in self.crew.here()])
        )

    def peak(self) -> float:
        """Return the most that any actor has held [MB]."""
        return max(each.peak for each in ray.get([actor.memory.remote() for actor in self.crew.here()]))

    def run(self, jobs: Sequence[Job], expected: Callable[[float], None] = _unsaid) -> list[Result]:
        """Return the results of every job's trials, in their order.

        Parameters
        ----------
        jobs : sequence of Job
        expected : callable
            Is told how long they take [s], once the first job of each kind has been timed.
        """
        found = self._kept(jobs)
        todo = [job for job in jobs if job.number not in found]
        if todo:
            self.maps((job.data, job.space) for job in todo if not job.data.is_null)
        first = firsts(todo)
        timed = {job.number for job in first}
        rest = [job for job in todo if job.number not in timed]
        n_trials, start = sum(len(job.trials) for job in todo), time.monotonic()
        pace: dict[Kind, float] = {}
        with Progress("cluster", n_trials, "trial") as progress:
            for job, (results, took) in self._made([*first, *rest]):
                put_table(self._url(job), to_table(results))
                found[job.number] = results
                progress.advance(len(results))
                if job.number in timed:
                    pace[Kind.of(job)] = took / work(job)
                    timed.remove(job.number)
                    if not timed:
                        more = [job for job in rest if job.number not in found]
                        expected(time.monotonic() - start + seconds(more, pace, len(self.crew.here())))
        return [result for job in jobs for result in found[job.number]]

    def refit(self, jobs: Sequence[Job]) -> list[Any]:
        """Return the predictors of every job's trials, in their order."""
        made = self.crew.all(
            lambda actor, job: actor.refit.remote(
                self._of(job.data), job, self._maps.get((job.data, job.space))
            ),
            jobs,
        )
        return [each for job in made for each in job]

    def _made(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, tuple[list[Result], float]]]:
        return self.crew.each(
            lambda actor, job: actor.run.remote(
                self._of(job.data), job, self._maps.get((job.data, job.space))
            ),
            jobs,
        )

    def _of(self, data: Data) -> Any:
        """Return the sample that data are, or are made like."""
        return self._samples[0 if data.is_null else data.draw]

    def _kept(self, jobs: Sequence[Job]) -> dict[int, list[Result]]:
        there = set(names(self.folder))
        return {
            job.number: from_table(get_table(self._url(job)), job.trials)
            for job in jobs
            if f"{job.number:05d}.parquet" in there
        }

    def _url(self, job: Job) -> str:
        return join(self.folder, f"{job.number:05d}.parquet")
