"""What so many spectra need on given machines: tasks, memory, hours, storage; from measured rates. Pure.

What grows with all spectra: reading, training (× epochs), embedding, measuring, judging, labelling, and a
little faster the catalogue, which is sorted. What does not: the sweep, silhouettes, maps and consensus see a
sample of at most `clustering.sample` spectra; models are compared on at most `distspec.operations.evaluation.MAX_EVALUATION_SPECTRA`. What
the driver does alone no CPU but its own makes faster.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2
from typing import Any

import numpy as np

from distspec.clustering.consensus import CONSENSUS_SAMPLE_SIZE
from distspec.clustering.cost import SweepSize, count_work_units, estimate_actor_bytes, estimate_driver_bytes
from distspec.clustering.plan import Job, build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.core import memory as memory_module
from distspec.core.schema import build_objects_schema as columns_of_objects
from distspec.models.latents import CHUNK_ROWS
from distspec.operations.evaluation import MAX_EVALUATION_SPECTRA
from distspec.pipeline import machines
from distspec.pipeline.config import Config
from distspec.pipeline.machines import MachineGroup, count_concurrent_processes
from distspec.pipeline.rates import ResourceRates, extrapolate_seconds

SECONDS_PER_HOUR = 3600.0
CHUNK_BYTES = 1_300_000
SPECTRA_PER_SHARD, SPECTRA_PER_SCORING_TASK = 100, 4096
"""Spectra of a task: that writes a made-up archive, that judges oddities."""
N_FEATURES = 16
TYPICAL_Z = 5.0
"""Redshift at which a grid of the observed frame is counted."""
LISTING_BYTES_PER_SPECTRUM, N_CATALOG_COPIES = 450.0, 4.0
"""Bytes a spectrum of what ingest remembers (`make bench BENCH=growth`); times that a catalogue stands in
memory while it is put together, sorted and written."""
DRIVER_BASE_BYTES = 700e6
"""What the driver holds of a small archive [bytes]."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage needs.

    Attributes
    ----------
    name : str
    n_tasks : int
        Or actors' turns.
    max_concurrency : int
    memory_per_task : float
        Of each [bytes].
    driver_startup_seconds, worker_startup_seconds : float
        CPU seconds before they are at work, whatever the size: of the driver, and of each worker.
    driver_seconds, worker_seconds : float
        CPU seconds of the driver alone, and of all workers together.
    worker_resource : str
        What its workers share: CPUs, GPUs.
    """

    name: str
    n_tasks: int
    max_concurrency: int
    memory_per_task: float
    driver_startup_seconds: float
    worker_startup_seconds: float
    driver_seconds: float
    worker_seconds: float
    worker_resource: str = "CPUs"

    @property
    def n_busy_workers(self) -> int:
        """How many workers have something to do at a time."""
        return max(1, min(self.max_concurrency, self.n_tasks))

    @property
    def wall_seconds(self) -> float:
        """How long it takes, where driver and workers wait for each other."""
        return (
            self.driver_startup_seconds
            + self.worker_startup_seconds
            + self.driver_seconds
            + self.worker_seconds / self.n_busy_workers
        )

    @property
    def bottleneck(self) -> str:
        """What most of that is."""
        shared = self.worker_seconds / self.n_busy_workers
        if self.driver_startup_seconds + self.worker_startup_seconds > max(self.driver_seconds, shared):
            return "starting"
        return "the driver" if self.driver_seconds > shared else self.worker_resource


@dataclass(frozen=True)
class ResourcePlan:
    """What a run needs, stage by stage.

    Attributes
    ----------
    n_spectra : int
    stages : sequence of Stage
    storage_bytes : mapping
        What to bytes.
    archive_bytes : float
        Bytes of the archive that are read.
    driver_memory : float
        The most memory that the driver holds [bytes].
    machine_groups : sequence of Group
    """

    n_spectra: int
    stages: Sequence[StagePlan]
    storage_bytes: Mapping[str, float]
    archive_bytes: float
    driver_memory: float
    machine_groups: Sequence[MachineGroup]

    @property
    def wall_hours(self) -> float:
        """Of all stages, one after the other."""
        return sum(stage.wall_seconds for stage in self.stages) / SECONDS_PER_HOUR

    @property
    def longest_stage(self) -> StagePlan:
        """The stage that takes the most of that."""
        return max(self.stages, key=lambda stage: stage.wall_seconds)


def plan_resources(
    config: Config,
    n_spectra: int,
    machine_groups: Sequence[MachineGroup],
    rates: ResourceRates,
    n_epochs: int = 0,
    batch_size: int = 0,
) -> ResourcePlan:
    """Return what `n_spectra` spectra need.

    Parameters
    ----------
    config : Config
    n_spectra : int
    machine_groups : sequence of Group
        Workers; the driver has a machine of its own, or one of their CPUs.
    rates : Rates
    n_epochs, batch_size : int
        Of training, instead of the recipe's.

    Raises
    ------
    ValueError
        When a stage fits none of the machines, or no rate is known of an algorithm.
    """
    if n_spectra < 1:
        raise ValueError(f"{n_spectra} spectra: give at least 1")
    at = _ResourceEstimator(config, n_spectra, tuple(machine_groups), rates)
    stages = [at.plan_synthesize()] if config.synthetic else []
    stages += [
        at.plan_ingest(),
        at.plan_train(n_epochs, batch_size),
        at.plan_embed(),
        at.plan_cluster(),
        at.plan_catalog(),
        at.plan_report(),
    ]
    return ResourcePlan(
        n_spectra,
        stages,
        at.storage_bytes(),
        n_spectra * float(config.archive.spectrum_bytes),
        at.driver_memory(),
        machine_groups,
    )


@dataclass(frozen=True)
class _ResourceEstimator:
    config: Config
    n_spectra: int
    machine_groups: tuple[MachineGroup, ...]
    rates: ResourceRates

    @property
    def n_pixels(self) -> int:
        return self.config.grid.resolve(np.array([TYPICAL_Z])).n_pixels

    def seconds_per_spectrum(self, operation: str) -> float:
        """Return seconds a spectrum, of as many pixels as these have: what is done to each pixel prevails."""
        return self.rates.seconds_per_spectrum[operation] * self.n_pixels / self.rates.benchmark["pixels"]

    def make_stage_plan(
        self,
        name: str,
        n_tasks: int,
        memory: float,
        driver_seconds: float,
        worker_seconds: float,
        max_concurrency: int = 0,
    ) -> StagePlan:
        here = count_concurrent_processes(f"{name}: a process", memory, self.machine_groups) if n_tasks else 1
        start = self.rates.startup_seconds[name]
        begin = start["driver"], start["worker"]
        return StagePlan(
            name, n_tasks, min(here, max_concurrency or here), memory, *begin, driver_seconds, worker_seconds
        )

    def plan_synthesize(self) -> StagePlan:
        tasks = ceil(self.n_spectra / SPECTRA_PER_SHARD)
        return self.make_stage_plan(
            "synthesize",
            tasks,
            memory_module.WORKER_BYTES,
            0.0,
            self.n_spectra * self.rates.seconds_per_spectrum["synthesize"],
        )

    def plan_ingest(self) -> StagePlan:
        config, archive = self.config.ingest, self.config.archive
        batch = config.batch_size(archive)
        memory = memory_module.estimate_loading_memory(min(batch, self.n_spectra) * archive.spectrum_bytes)
        load, commit = (
            self.n_spectra * self.seconds_per_spectrum("load"),
            self.n_spectra * self.seconds_per_spectrum("commit"),
        )
        return self.make_stage_plan("ingest", ceil(self.n_spectra / batch), memory, commit, load)

    def plan_train(self, n_epochs: int, batch_size: int) -> StagePlan:
        training = self.config.training
        held_out = round(self.n_spectra * training.validation_fraction)
        n_train, size = self.n_spectra - held_out, batch_size or training.batch_size
        chunk = max(1, int(CHUNK_BYTES / (4 * self.n_pixels)))
        gpus = machines.n_gpus(self.machine_groups)
        workers = gpus or training.workers
        given = training.cache_mb, training.shuffle_window_chunks * chunk, training.prefetch_windows
        memory = memory_module.estimate_training_memory(
            self.n_spectra, n_train, -(-held_out // workers), self.n_pixels, *given
        )
        n_epochs = n_epochs or training.max_epochs
        compare = min(max(held_out, 1), MAX_EVALUATION_SPECTRA) * self.seconds_per_spectrum("compare")
        stage = self.make_stage_plan(
            "train",
            workers,
            memory,
            compare,
            self.n_spectra * n_epochs * self.seconds_per_spectrum("train"),
            workers,
        )
        if not gpus:
            return stage
        # A step takes as long on several: each has a share of its spectra.
        steps = n_epochs * ceil(n_train / size)
        a_step = self.rates.gpu["step"] + self.rates.gpu["spectrum"] * size / gpus
        return replace(stage, worker_seconds=steps * a_step * workers, worker_resource="GPUs")

    def plan_embed(self) -> StagePlan:
        rows = max(CHUNK_ROWS, int(CHUNK_BYTES / (4 * self.n_pixels)))
        memory = memory_module.estimate_inference_memory(rows, self.n_pixels)
        return self.make_stage_plan(
            "embed",
            ceil(self.n_spectra / rows),
            memory,
            0.0,
            self.n_spectra * self.seconds_per_spectrum("embed"),
        )

    def plan_cluster(self) -> StagePlan:
        config, n = self.config.clustering, self.sample_size
        tried, jobs = self.sweep_plan
        most, _ = limit_rows(config, n, self.actor_memory())
        sweep = sum(self.sweep_seconds(jobs, most)) + self.umap_seconds(jobs)
        rest = self.seconds_per_spectrum("judge") + (
            self.seconds_per_spectrum("features") if "features" in config.spaces else 0.0
        )
        if self.n_spectra > n:
            rest += (
                self.rates.seconds_per_spectrum["label"] * config.n_seeds / self.rates.benchmark["repeats"]
            )
        memory = max(
            memory_module.TORCH_WORKER_BYTES
            + estimate_actor_bytes(self.sweep_size(jobs), config, tried, most),
            memory_module.estimate_measurement_memory(self.n_pixels) if "features" in config.spaces else 0.0,
            memory_module.estimate_inference_memory(SPECTRA_PER_SCORING_TASK, self.n_pixels),
        )
        agree = self.rates.sweep["agree"]
        points = self.rates.sweep["points"]
        together = (
            agree * (min(n, CONSENSUS_SAMPLE_SIZE) / points) ** 2 * (config.selection_rule == "consensus")
        )
        # Of structureless data no labels come back.
        trials = sum(len(job.trials) for job in jobs if not job.dataset.is_null)
        judged = self.rates.sweep["judge"] * trials * n
        driver = together + judged + self.n_spectra * self.rates.seconds_per_spectrum["gather"]
        return self.make_stage_plan("cluster", len(jobs), memory, driver, sweep + self.n_spectra * rest)

    @property
    def sample_size(self) -> int:
        return min(self.n_spectra, self.config.clustering.sample_size)

    @property
    def sweep_plan(self) -> tuple[list[Any], list[Job]]:
        tried, _ = build_algorithm_grid(self.config.clustering, self.sample_size)
        return tried, plan_jobs(self.config.clustering, tried, self.config.seed)

    def actor_memory(self) -> float:
        memory = (
            sum(group.count * group.memory for group in self.machine_groups) * machines.RAY_MEMORY_FRACTION
        )
        return (
            memory / sum(group.count * group.cpus for group in self.machine_groups)
            - memory_module.TORCH_WORKER_BYTES
        )

    def sweep_size(self, jobs: Sequence[Job]) -> SweepSize:
        dims = max(self.config.vae.n_latents, N_FEATURES)
        return SweepSize(self.n_spectra, self.sample_size, dims, sum(len(job.trials) for job in jobs))

    def sweep_seconds(self, jobs: Sequence[Job], max_points: Mapping[str, int]) -> Iterator[float]:
        """Yield what the trials of each algorithm in each space take."""
        config, points = self.config.clustering, self.rates.sweep["points"]
        todo: dict[str, float] = defaultdict(float)
        trials: Counter[str] = Counter()
        for job in jobs:
            # A job may hold trials of several algorithms: those on structureless data.
            for trial in job.trials:
                key = f"{job.space.name}.{trial.algorithm_spec.algorithm}"
                todo[key] += count_work_units(job._replace(trials=(trial,)))
                trials[key] += 1
        for key, units in todo.items():
            if key not in self.rates.sweep["fit"]:
                raise ValueError(
                    f"no rate is known of {key.replace('.', ': ')}: `python -m tests.benchmarks.rates` knows "
                    f"{', '.join(self.rates.sweep['fit'])}"
                )
            algorithm = key.partition(".")[2]
            fitted = max_points[algorithm] / self.rates.benchmark["resample"]
            starts = config.n_init / self.rates.benchmark["starts"] if algorithm == "gmm" else 1.0
            yield starts * units * extrapolate_seconds(self.rates.sweep["fit"][key], fitted, points)
            scored = min(self.sample_size, config.silhouette_sample_size)
            yield trials[key] * extrapolate_seconds(self.rates.sweep["silhouettes"][key], scored, points)

    def umap_seconds(self, jobs: Sequence[Job]) -> float:
        """Return what the maps take that the sweep needs, and the one that is shown."""
        points = self.rates.sweep["points"]
        spaces = {(job.dataset, job.space) for job in jobs if job.space.umap_dims}
        graphs = {(data, space.umap_n_neighbors) for data, space in spaces}
        graph, layout = (
            extrapolate_seconds(self.rates.sweep["map"][k], self.sample_size, points)
            for k in ("graph", "layout")
        )
        return (len(graphs) or 1) * graph + (len(spaces) + 1) * layout

    def plan_catalog(self) -> StagePlan:
        n = self.n_spectra
        sorting = log2(max(n, 2)) / log2(self.rates.benchmark["catalogue_rows"])
        return self.make_stage_plan(
            "catalog",
            0,
            memory_module.WORKER_BYTES,
            n * self.rates.seconds_per_spectrum["catalogue"] * sorting,
            0.0,
        )

    def plan_report(self) -> StagePlan:
        return self.make_stage_plan(
            "report",
            0,
            memory_module.WORKER_BYTES,
            self.n_spectra * self.rates.seconds_per_spectrum["report"],
            0.0,
        )

    def storage_bytes(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, kept in self.rates.storage["kept"].items():
            pixels = self.n_pixels / self.rates.benchmark["pixels"] if name == "store" else 1.0
            if name != "archive" or self.config.synthetic:
                found[name] = kept["start"] + pixels * kept["spectrum"] * self.n_spectra
        return found

    def driver_memory(self) -> float:
        config = self.config.clustering
        _, jobs = self.sweep_plan
        ingest = LISTING_BYTES_PER_SPECTRUM * self.n_spectra
        width = len(columns_of_objects(self.config.vae.n_latents))
        cluster = 2.0 * 4.0 * width * self.n_spectra + estimate_driver_bytes(self.sweep_size(jobs), config)
        catalogue = N_CATALOG_COPIES * self.rates.storage["row"] * self.n_spectra
        return DRIVER_BASE_BYTES + max(ingest, cluster, catalogue)
