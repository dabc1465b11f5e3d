"""What so many spectra need on given machines: tasks, memory, hours, storage; from measured rates. Pure.

What grows with all spectra: reading, training (× epochs), embedding, measuring, judging, labelling, and a
little faster the catalogue, which is sorted. What does not: the sweep, silhouettes, maps and consensus see a
sample of at most `clustering.sample` spectra; models are compared on at most `distspec.operations.evaluation.MOST`. What
the driver does alone no CPU but its own makes faster.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

import numpy as np

from distspec.clustering.consensus import AGREEMENT_SAMPLE
from distspec.clustering.cost import Size, actor_bytes, driver_bytes, work
from distspec.clustering.plan import Job, plan, settings
from distspec.clustering.trials import limits
from distspec.core import memory as memory_module
from distspec.core.schema import objects as columns_of_objects
from distspec.models.latents import CHUNK
from distspec.operations.evaluation import MOST
from distspec.pipeline import machines
from distspec.pipeline.config import Config
from distspec.pipeline.machines import Group, at_a_time
from distspec.pipeline.rates import Rates, grown

HOUR = 3600.0
CHUNK_BYTES = 1_300_000
SHARD, SPAN_JUDGED = 100, 4096
"""Spectra of a task: that writes a made-up archive, that judges oddities."""
N_FEATURES = 16
TYPICAL_Z = 5.0
"""Redshift at which a grid of the observed frame is counted."""
LISTED, COPIES = 450.0, 4.0
"""Bytes a spectrum of what ingest remembers (`make bench BENCH=growth`); times that a catalogue stands in
memory while it is put together, sorted and written."""
DRIVER = 700e6
"""What the driver holds of a small archive [bytes]."""


@dataclass(frozen=True)
class Stage:
    """What a stage needs.

    Attributes
    ----------
    name : str
    tasks : int
        Or actors' turns.
    at_a_time : int
    memory : float
        Of each [bytes].
    start_driver, start_worker : float
        CPU seconds before they are at work, whatever the size: of the driver, and of each worker.
    driver, workers : float
        CPU seconds of the driver alone, and of all workers together.
    on : str
        What its workers share: CPUs, GPUs.
    """

    name: str
    tasks: int
    at_a_time: int
    memory: float
    start_driver: float
    start_worker: float
    driver: float
    workers: float
    on: str = "CPUs"

    @property
    def busy(self) -> int:
        """How many workers have something to do at a time."""
        return max(1, min(self.at_a_time, self.tasks))

    @property
    def seconds(self) -> float:
        """How long it takes, where driver and workers wait for each other."""
        return self.start_driver + self.start_worker + self.driver + self.workers / self.busy

    @property
    def bound(self) -> str:
        """What most of that is."""
        shared = self.workers / self.busy
        if self.start_driver + self.start_worker > max(self.driver, shared):
            return "starting"
        return "the driver" if self.driver > shared else self.on


@dataclass(frozen=True)
class Plan:
    """What a run needs, stage by stage.

    Attributes
    ----------
    spectra : int
    stages : sequence of Stage
    storage : mapping
        What to bytes.
    read : float
        Bytes of the archive that are read.
    driver : float
        The most memory that the driver holds [bytes].
    groups : sequence of Group
    """

    spectra: int
    stages: Sequence[Stage]
    storage: Mapping[str, float]
    read: float
    driver: float
    groups: Sequence[Group]

    @property
    def hours(self) -> float:
        """Of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages) / HOUR

    @property
    def longest(self) -> Stage:
        """The stage that takes the most of that."""
        return max(self.stages, key=lambda stage: stage.seconds)


def planned(
    config: Config, n: int, groups: Sequence[Group], rates: Rates, epochs: int = 0, batch: int = 0
) -> Plan:
    """Return what `n` spectra need.

    Parameters
    ----------
    config : Config
    n : int
    groups : sequence of Group
        Workers; the driver has a machine of its own, or one of their CPUs.
    rates : Rates
    epochs, batch : int
        Of training, instead of the recipe's.

    Raises
    ------
    ValueError
        When a stage fits none of the machines, or no rate is known of an algorithm.
    """
    if n < 1:
        raise ValueError(f"{n} spectra: give at least 1")
    at = _At(config, n, tuple(groups), rates)
    stages = [at.synthesize()] if config.synthetic else []
    stages += [at.ingest(), at.train(epochs, batch), at.embed(), at.cluster(), at.catalog(), at.report()]
    return Plan(n, stages, at.storage(), n * float(config.archive.spectrum_bytes), at.driver(), groups)


@dataclass(frozen=True)
class _At:
    config: Config
    n: int
    groups: tuple[Group, ...]
    rates: Rates

    @property
    def pixels(self) -> int:
        return self.config.grid.resolve(np.array([TYPICAL_Z])).n_pixels

    def unit(self, name: str) -> float:
        """Return seconds a spectrum, of as many pixels as these have: what is done to each pixel prevails."""
        return self.rates.unit[name] * self.pixels / self.rates.taken["pixels"]

    def stage(
        self, name: str, tasks: int, memory: float, driver: float, workers: float, most: int = 0
    ) -> Stage:
        here = at_a_time(f"{name}: a process", memory, self.groups) if tasks else 1
        start = self.rates.start[name]
        begin = start["driver"], start["worker"]
        return Stage(name, tasks, min(here, most or here), memory, *begin, driver, workers)

    def synthesize(self) -> Stage:
        tasks = ceil(self.n / SHARD)
        return self.stage(
            "synthesize", tasks, memory_module.WORKER, 0.0, self.n * self.rates.unit["synthesize"]
        )

    def ingest(self) -> Stage:
        config, archive = self.config.ingest, self.config.archive
        batch = config.batch_size(archive)
        memory = memory_module.loading(min(batch, self.n) * archive.spectrum_bytes)
        load, commit = self.n * self.unit("load"), self.n * self.unit("commit")
        return self.stage("ingest", ceil(self.n / batch), memory, commit, load)

    def train(self, epochs: int, batch: int) -> Stage:
        training = self.config.training
        held_out = round(self.n * training.validation_share)
        n_train, size = self.n - held_out, batch or training.batch_size
        chunk = max(1, int(CHUNK_BYTES / (4 * self.pixels)))
        gpus = machines.n_gpus(self.groups)
        workers = gpus or training.workers
        given = training.cache_mb, training.window * chunk, training.prefetch
        memory = memory_module.training(self.n, n_train, -(-held_out // workers), self.pixels, *given)
        n_epochs = epochs or training.max_epochs
        compare = min(max(held_out, 1), MOST) * self.unit("compare")
        stage = self.stage("train", workers, memory, compare, self.n * n_epochs * self.unit("train"), workers)
        if not gpus:
            return stage
        # A step takes as long on several: each has a share of its spectra.
        steps = n_epochs * ceil(n_train / size)
        a_step = self.rates.gpu["step"] + self.rates.gpu["spectrum"] * size / gpus
        return replace(stage, workers=steps * a_step * workers, on="GPUs")

    def embed(self) -> Stage:
        rows = max(CHUNK, int(CHUNK_BYTES / (4 * self.pixels)))
        memory = memory_module.span(rows, self.pixels)
        return self.stage("embed", ceil(self.n / rows), memory, 0.0, self.n * self.unit("embed"))

    def cluster(self) -> Stage:
        config, n = self.config.clustering, self.sample
        tried, jobs = self.sweep
        most, _ = limits(config, n, self.memory_of_actor())
        sweep = sum(self.seconds_of(jobs, most)) + self.maps(jobs)
        rest = self.unit("judge") + (self.unit("features") if "features" in config.spaces else 0.0)
        if self.n > n:
            rest += self.rates.unit["label"] * config.seeds / self.rates.taken["repeats"]
        memory = max(
            memory_module.TORCH + actor_bytes(self.size(jobs), config, tried, most),
            memory_module.measuring(self.pixels) if "features" in config.spaces else 0.0,
            memory_module.span(SPAN_JUDGED, self.pixels),
        )
        agree = self.rates.sweep["agree"]
        points = self.rates.sweep["points"]
        together = agree * (min(n, AGREEMENT_SAMPLE) / points) ** 2 * (config.rule == "consensus")
        # Of structureless data no labels come back.
        trials = sum(len(job.trials) for job in jobs if not job.data.is_null)
        judged = self.rates.sweep["judge"] * trials * n
        driver = together + judged + self.n * self.rates.unit["gather"]
        return self.stage("cluster", len(jobs), memory, driver, sweep + self.n * rest)

    @property
    def sample(self) -> int:
        return min(self.n, self.config.clustering.sample)

    @property
    def sweep(self) -> tuple[list[Any], list[Job]]:
        tried, _ = settings(self.config.clustering, self.sample)
        return tried, plan(self.config.clustering, tried, self.config.seed)

    def memory_of_actor(self) -> float:
        memory = sum(group.count * group.memory for group in self.groups) * machines.RAY_SHARE
        return memory / sum(group.count * group.cpus for group in self.groups) - memory_module.TORCH

    def size(self, jobs: Sequence[Job]) -> Size:
        dims = max(self.config.vae.n_latents, N_FEATURES)
        return Size(self.n, self.sample, dims, sum(len(job.trials) for job in jobs))

    def seconds_of(self, jobs: Sequence[Job], most: Mapping[str, int]) -> Iterator[float]:
        """Yield what the trials of each algorithm in each space take."""
        config, points = self.config.clustering, self.rates.sweep["points"]
        todo: dict[str, float] = defaultdict(float)
        trials: Counter[str] = Counter()
        for job in jobs:
            # A job may hold trials of several algorithms: those on structureless data.
            for trial in job.trials:
                key = f"{job.space.name}.{trial.setting.algorithm}"
                todo[key] += work(job._replace(trials=(trial,)))
                trials[key] += 1
        for key, units in todo.items():
            if key not in self.rates.sweep["fit"]:
                raise ValueError(
                    f"no rate is known of {key.replace('.', ': ')}: `python -m tests.benchmarks.rates` knows "
                    f"{', '.join(self.rates.sweep['fit'])}"
                )
            algorithm = key.partition(".")[2]
            fitted = most[algorithm] / self.rates.taken["resample"]
            starts = config.starts / self.rates.taken["starts"] if algorithm == "gmm" else 1.0
            yield starts * units * grown(self.rates.sweep["fit"][key], fitted, points)
            scored = min(self.sample, config.silhouette_sample)
            yield trials[key] * grown(self.rates.sweep["silhouettes"][key], scored, points)

    def maps(self, jobs: Sequence[Job]) -> float:
        """Return what the maps take that the sweep needs, and the one that is shown."""
        points = self.rates.sweep["points"]
        spaces = {(job.data, job.space) for job in jobs if job.space.dims}
        graphs = {(data, space.n_neighbors) for data, space in spaces}
        graph, layout = (grown(self.rates.sweep["map"][k], self.sample, points) for k in ("graph", "layout"))
        return (len(graphs) or 1) * graph + (len(spaces) + 1) * layout

    def catalog(self) -> Stage:
        n = self.n
        sorting = log2(max(n, 2)) / log2(self.rates.taken["catalogue_rows"])
        return self.stage("catalog", 0, memory_module.WORKER, n * self.rates.unit["catalogue"] * sorting, 0.0)

    def report(self) -> Stage:
        return self.stage("report", 0, memory_module.WORKER, self.n * self.rates.unit["report"], 0.0)

    def storage(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, kept in self.rates.bytes["kept"].items():
            pixels = self.pixels / self.rates.taken["pixels"] if name == "store" else 1.0
            if name != "archive" or self.config.synthetic:
                found[name] = kept["start"] + pixels * kept["spectrum"] * self.n
        return found

    def driver(self) -> float:
        config = self.config.clustering
        _, jobs = self.sweep
        ingest = LISTED * self.n
        width = len(columns_of_objects(self.config.vae.n_latents))
        cluster = 2.0 * 4.0 * width * self.n + driver_bytes(self.size(jobs), config)
        catalogue = COPIES * self.rates.bytes["row"] * self.n
        return DRIVER + max(ingest, cluster, catalogue)
