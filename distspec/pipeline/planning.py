"""Estimate of the resources of a run on given machines: tasks, memory, hours, storage, from measured rates.

The time of most stages grows with the number of spectra: reading, training (times the epochs), embedding,
measuring, scoring, labeling, and a little faster the catalog, which is sorted. The sweep, the silhouettes,
the maps and the consensus use a sample of at most ``clustering.sample_size`` spectra, and models are
compared on at most `distspec.operations.evaluation.MAX_EVALUATION_SPECTRA`. More CPUs do not speed up what
the driver does alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

from distspec.clustering.cost import estimate_actor_bytes, estimate_driver_bytes
from distspec.clustering.trials import limit_rows
from distspec.core import memory as memory_module
from distspec.core.errors import ConfigError
from distspec.core.schema import build_objects_schema
from distspec.measurements.features import N_POSTERIOR_DRAWS
from distspec.models.latents import CHUNK_ROWS
from distspec.operations.evaluation import MAX_EVALUATION_SPECTRA
from distspec.pipeline import machines
from distspec.pipeline.config import Config
from distspec.pipeline.machines import MachineGroup
from distspec.pipeline.plan_inputs import (
    DRIVER,
    PlanInputs,
    StagePlan,
    estimate_consensus_seconds,
    estimate_sweep_seconds,
    estimate_umap_seconds,
)
from distspec.pipeline.rates import ResourceRates

__all__ = ["SECONDS_PER_HOUR", "ResourcePlan", "StagePlan", "plan_resources"]

SECONDS_PER_HOUR = 3600.0
CHUNK_BYTES = 1_300_000
"""Size of a chunk of the store [bytes]."""
SPECTRA_PER_SIMULATION_TASK, SPECTRA_PER_SCORING_TASK = 100, 4096
"""Numbers of spectra of the tasks that simulate spectra and that compute anomaly scores."""
LISTING_BYTES_PER_SPECTRUM = 450.0
"""Memory of the ingest stage's driver per listed spectrum (``make bench BENCH=growth``)."""
N_CATALOG_COPIES = 4.0
"""Number of copies of the catalog in memory while it is built, sorted and written."""
DRIVER_BASE_BYTES = 700e6
"""Memory of the driver for a small archive [bytes]."""


@dataclass(frozen=True)
class ResourcePlan:
    """What a run needs.

    Attributes
    ----------
    n_spectra : int
        Number of spectra.
    stages : sequence of StagePlan
        The stages in order.
    storage_bytes : mapping of str to float
        Size of each folder below the root [bytes].
    archive_bytes : float
        Amount that is read from the archive [bytes].
    driver_memory : float
        Largest memory of the driver [bytes].
    machine_groups : sequence of MachineGroup
        The workers' machines.
    """

    n_spectra: int
    stages: Sequence[StagePlan]
    storage_bytes: Mapping[str, float]
    archive_bytes: float
    driver_memory: float
    machine_groups: Sequence[MachineGroup]

    @property
    def wall_hours(self) -> float:
        """Time of all stages, which run one after the other [h]."""
        return sum(stage.wall_seconds for stage in self.stages) / SECONDS_PER_HOUR

    @property
    def longest_stage(self) -> StagePlan:
        """Stage that takes the longest."""
        return max(self.stages, key=lambda stage: stage.wall_seconds)


def plan_resources(
    config: Config,
    n_spectra: int,
    machine_groups: Sequence[MachineGroup],
    rates: ResourceRates,
    n_epochs: int = 0,
    batch_size: int = 0,
) -> ResourcePlan:
    """Estimate the resources of a run.

    Parameters
    ----------
    config : Config
        Settings of the run.
    n_spectra : int
        Number of spectra.
    machine_groups : sequence of MachineGroup
        Machines of the workers; the driver has one of its own.
    rates : ResourceRates
        Measured rates.
    n_epochs : int
        Number of epochs of the training; 0: the maximum of the settings.
    batch_size : int
        Number of spectra per training step; 0: that of the settings.

    Returns
    -------
    ResourcePlan

    Raises
    ------
    ConfigError
        If a stage does not fit on any of the machines, or an algorithm's rate is not known.
    """
    if n_spectra < 1:
        raise ConfigError(f"{n_spectra} spectra: give at least 1")
    inputs = PlanInputs(config, n_spectra, tuple(machine_groups), rates)
    stages = [
        *([_plan_simulate(inputs)] if config.simulation else []),
        _plan_ingest(inputs),
        _plan_train(inputs, n_epochs or config.training.max_epochs, batch_size or config.training.batch_size),
        *([_plan_redshifts(inputs)] if config.redshifts.check else []),
        _plan_embed(inputs),
        _plan_cluster(inputs),
        _plan_catalog(inputs),
        _plan_report(inputs),
    ]
    return ResourcePlan(
        n_spectra=n_spectra,
        stages=stages,
        storage_bytes=_estimate_storage(inputs),
        archive_bytes=n_spectra * float(config.archive.spectrum_bytes),
        driver_memory=_estimate_driver_memory(inputs),
        machine_groups=machine_groups,
    )


def _plan_simulate(inputs: PlanInputs) -> StagePlan:
    return inputs.plan_stage(
        "simulate",
        n_tasks=ceil(inputs.n_spectra / SPECTRA_PER_SIMULATION_TASK),
        memory=memory_module.WORKER_BYTES,
        worker_seconds=inputs.n_spectra * inputs.rates.seconds_per_spectrum["simulate"],
    )


def _plan_ingest(inputs: PlanInputs) -> StagePlan:
    archive = inputs.config.archive
    batch_size = inputs.config.ingest.batch_size(archive)
    batch_bytes = min(batch_size, inputs.n_spectra) * archive.spectrum_bytes
    return inputs.plan_stage(
        "ingest",
        n_tasks=ceil(inputs.n_spectra / batch_size),
        memory=memory_module.estimate_loading_memory(batch_bytes),
        driver_seconds=inputs.n_spectra * inputs.seconds_per_spectrum("commit"),
        worker_seconds=inputs.n_spectra * inputs.seconds_per_spectrum("load"),
    )


def _plan_train(inputs: PlanInputs, n_epochs: int, batch_size: int) -> StagePlan:
    training, n = inputs.config.training, inputs.n_spectra
    n_validation = round(n * training.validation_fraction)
    n_train = n - n_validation
    n_gpus = machines.n_gpus(inputs.machine_groups)
    n_workers = n_gpus or training.workers
    n_models = inputs.n_models
    rows_per_chunk = max(1, int(CHUNK_BYTES / (4 * inputs.n_pixels)))
    n_evaluated = min(max(n_validation, 1), MAX_EVALUATION_SPECTRA)
    stage = inputs.plan_stage(
        "train",
        n_tasks=n_workers * n_models,
        memory=memory_module.estimate_training_memory(
            n,
            n_train,
            -(-n_validation // n_workers),
            inputs.n_pixels,
            training.cache_mb,
            training.shuffle_window_chunks * rows_per_chunk,
            training.prefetch_windows,
        ),
        driver_seconds=n_evaluated * inputs.seconds_per_spectrum("compare"),
        worker_seconds=n_models * n * n_epochs * inputs.seconds_per_spectrum("train"),
        max_concurrency=n_workers * max(1, n_models - 1),
    )
    # The first model is trained alone, then the others side by side if there is room.
    n_rounds = 1 + ceil((n_models - 1) / max(1, stage.max_concurrency // n_workers))
    n_concurrent = n_workers * max(1, n_models // n_rounds)
    stage = replace(stage, max_concurrency=min(stage.max_concurrency, n_concurrent))
    if not n_gpus:
        return stage
    # Each GPU processes its share of a step's spectra; the fixed part of a step does not become shorter.
    gpu, n_steps = inputs.rates.gpu, n_epochs * ceil(n_train / batch_size)
    step_seconds = gpu.seconds_per_step + gpu.seconds_per_spectrum * batch_size / n_gpus
    return replace(
        stage,
        max_concurrency=n_workers,
        worker_seconds=n_models * n_steps * step_seconds * n_workers,
        worker_resource="GPUs",
    )


def _plan_redshifts(inputs: PlanInputs) -> StagePlan:
    return inputs.plan_stage(
        "redshifts",
        n_tasks=ceil(inputs.n_spectra / inputs.config.redshifts.task_spectra),
        memory=memory_module.REDSHIFT_WORKER_BYTES,
        worker_seconds=inputs.n_spectra * inputs.rates.seconds_per_spectrum["redshifts"],
    )


def _plan_embed(inputs: PlanInputs) -> StagePlan:
    rows_per_task = max(CHUNK_ROWS, int(CHUNK_BYTES / (4 * inputs.n_pixels)))
    return inputs.plan_stage(
        "embed",
        n_tasks=inputs.n_models * ceil(inputs.n_spectra / rows_per_task),
        memory=memory_module.estimate_inference_memory(rows_per_task, inputs.n_pixels),
        worker_seconds=inputs.n_models * inputs.n_spectra * inputs.seconds_per_spectrum("embed"),
    )


def _plan_cluster(inputs: PlanInputs) -> StagePlan:
    config = inputs.config.clustering
    jobs = inputs.sweep_jobs
    max_rows, _ = limit_rows(config, inputs.sample_size, _actor_memory(inputs))
    sweep_seconds = sum(estimate_sweep_seconds(inputs, jobs, max_rows)) + estimate_umap_seconds(inputs, jobs)
    labeling_seconds = inputs.n_spectra * _seconds_to_label(inputs)
    gather_seconds = inputs.n_spectra * inputs.rates.seconds_per_spectrum["gather"]
    return inputs.plan_stage(
        "cluster",
        n_tasks=len(jobs),
        memory=_cluster_task_memory(inputs, max_rows),
        driver_seconds=estimate_consensus_seconds(inputs, jobs) + gather_seconds,
        worker_seconds=sweep_seconds + labeling_seconds,
    )


def _seconds_to_label(inputs: PlanInputs) -> float:
    """Return the seconds per spectrum that are spent on all spectra, also on those outside the sample."""
    config, rates = inputs.config.clustering, inputs.rates
    seconds = inputs.seconds_per_spectrum("score")
    if "features" in config.spaces:
        # Errors, which need `N_POSTERIOR_DRAWS` more reconstructions, are measured for one model.
        n_decoded = 1.0 + (inputs.n_models - 1) / (1 + N_POSTERIOR_DRAWS)
        seconds += n_decoded * inputs.seconds_per_spectrum("features")
    if inputs.n_spectra > inputs.sample_size:
        seconds += rates.seconds_per_spectrum["label"] * config.n_seeds / rates.benchmark.n_seeds
    return seconds


def _cluster_task_memory(inputs: PlanInputs, max_rows: Mapping[str, int]) -> float:
    """Return the memory of the largest of the stage's tasks: a trial, measurements or anomaly scores."""
    config = inputs.config.clustering
    trial = estimate_actor_bytes(inputs.sweep_size, config, inputs.algorithms, max_rows)
    measuring = (
        memory_module.estimate_measurement_memory(inputs.n_pixels) if "features" in config.spaces else 0.0
    )
    scoring = memory_module.estimate_inference_memory(SPECTRA_PER_SCORING_TASK, inputs.n_pixels)
    return max(memory_module.TORCH_WORKER_BYTES + trial, measuring, scoring)


def _actor_memory(inputs: PlanInputs) -> float:
    """Return the memory that an actor has for its data, if each CPU holds one [bytes]."""
    groups = inputs.machine_groups
    memory = sum(group.count * group.memory for group in groups) * machines.RAY_MEMORY_FRACTION
    return memory / sum(group.count * group.cpus for group in groups) - memory_module.TORCH_WORKER_BYTES


def _plan_catalog(inputs: PlanInputs) -> StagePlan:
    n, rates = inputs.n_spectra, inputs.rates
    sorting = log2(max(n, 2)) / log2(rates.benchmark.n_catalog_rows)
    seconds = n * rates.seconds_per_spectrum["catalog"] * sorting
    return inputs.plan_stage("catalog", DRIVER, memory_module.WORKER_BYTES, driver_seconds=seconds)


def _plan_report(inputs: PlanInputs) -> StagePlan:
    seconds = inputs.n_spectra * inputs.rates.seconds_per_spectrum["report"]
    return inputs.plan_stage("report", DRIVER, memory_module.WORKER_BYTES, driver_seconds=seconds)


def _estimate_storage(inputs: PlanInputs) -> dict[str, float]:
    """Return the size of each folder [bytes]; that of the store grows with the number of pixels."""
    sizes: dict[str, float] = {}
    for name, size in inputs.rates.folder_bytes.items():
        scale = inputs.n_pixels / inputs.rates.benchmark.n_pixels if name == "store" else 1.0
        copies = inputs.n_models if name == "models" else 1
        if name != "archive" or inputs.config.simulation:
            sizes[name] = copies * (size.fixed + scale * size.per_spectrum * inputs.n_spectra)
    return sizes


def _estimate_driver_memory(inputs: PlanInputs) -> float:
    """Return the memory of the driver in the stage that needs most of it [bytes]."""
    n = inputs.n_spectra
    n_columns = len(build_objects_schema(inputs.config.vae.n_latents))
    ingest = LISTING_BYTES_PER_SPECTRUM * n
    sweep = estimate_driver_bytes(inputs.sweep_size, inputs.config.clustering)
    cluster = 2.0 * 4.0 * n_columns * n + sweep
    catalog = N_CATALOG_COPIES * inputs.rates.catalog_row_bytes * n
    return DRIVER_BASE_BYTES + max(ingest, cluster, catalog)
