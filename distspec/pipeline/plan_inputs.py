"""Inputs of a plan with the quantities derived from them, and the cost of the clustering sweep."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from distspec.clustering.config import AlgorithmSpec
from distspec.clustering.consensus import CONSENSUS_SAMPLE_SIZE
from distspec.clustering.cost import SweepSize, count_work_units
from distspec.clustering.plan import Job, build_algorithm_grid, plan_jobs
from distspec.core.errors import ConfigError
from distspec.pipeline.config import Config
from distspec.pipeline.machines import MachineGroup, count_concurrent_processes
from distspec.pipeline.rates import ResourceRates
from distspec.preprocessing.resampling import GridConfig

DRIVER = 0
"""Number of tasks of a stage that runs on the driver alone."""
N_FEATURES = 16
"""Number of physical features that is assumed."""
TYPICAL_Z = 5.0
"""Redshift for which the pixels of a grid in the observed frame are counted."""


@dataclass(frozen=True)
class StagePlan:
    """What a stage needs.

    Attributes
    ----------
    name : str
        Name of the stage.
    n_tasks : int
        Number of tasks, or of calls of actors; 0 if the driver works alone.
    max_concurrency : int
        Number of tasks that the machines can run at the same time.
    memory_per_task : float
        Memory of each task [bytes].
    driver_startup_seconds, worker_startup_seconds : float
        CPU seconds before the driver and each worker begin, independent of the size.
    driver_seconds, worker_seconds : float
        CPU seconds of the driver alone, and of all workers together.
    worker_resource : str
        Resource that the workers share: "CPUs" or "GPUs".
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
        """Number of workers that are busy at the same time."""
        return max(1, min(self.max_concurrency, self.n_tasks))

    @property
    def wall_seconds(self) -> float:
        """Time of the stage, if driver and workers wait for each other [s]."""
        return (
            self.driver_startup_seconds
            + self.worker_startup_seconds
            + self.driver_seconds
            + self.worker_seconds / self.n_busy_workers
        )

    @property
    def bottleneck(self) -> str:
        """What most of that time is spent on."""
        shared = self.worker_seconds / self.n_busy_workers
        if self.driver_startup_seconds + self.worker_startup_seconds > max(self.driver_seconds, shared):
            return "startup"
        return "driver" if self.driver_seconds > shared else self.worker_resource


@dataclass(frozen=True)
class PlanInputs:
    """Settings, size, machines and rates of a plan.

    Attributes
    ----------
    config : Config
        Settings of the run.
    n_spectra : int
        Number of spectra.
    machine_groups : tuple of MachineGroup
        Machines of the workers.
    rates : ResourceRates
        Measured rates.
    """

    config: Config
    n_spectra: int
    machine_groups: tuple[MachineGroup, ...]
    rates: ResourceRates

    @cached_property
    def n_pixels(self) -> int:
        """Number of pixels of the grid."""
        grid = self.config.grid if self.config.grid.is_complete else GridConfig()  # proposed from the data
        return grid.resolve(np.array([TYPICAL_Z])).n_pixels

    @property
    def n_models(self) -> int:
        """Number of models that are trained, embed all spectra and are clustered."""
        return 1 if self.config.pretrained_model else self.config.clustering.n_clustered_models

    @property
    def sample_size(self) -> int:
        """Number of spectra in the sweep's sample."""
        return min(self.n_spectra, self.config.clustering.sample_size)

    @cached_property
    def algorithms(self) -> list[AlgorithmSpec]:
        """Algorithms of the sweep."""
        return build_algorithm_grid(self.config.clustering, self.sample_size)[0]

    @cached_property
    def sweep_jobs(self) -> list[Job]:
        """Jobs of the sweep."""
        return plan_jobs(self.config.clustering, self.algorithms, self.config.seed)

    @property
    def sweep_size(self) -> SweepSize:
        """Size of the sweep."""
        n_dims = max(self.config.vae.n_latents, N_FEATURES)
        n_trials = sum(len(job.trials) for job in self.sweep_jobs)
        return SweepSize(self.n_spectra, self.sample_size, n_dims, n_trials)

    def seconds_per_spectrum(self, operation: str) -> float:
        """Return the rate of an operation, scaled to the number of pixels.

        Parameters
        ----------
        operation : str
            A key of `ResourceRates.seconds_per_spectrum`.

        Returns
        -------
        float
            CPU seconds per spectrum; of "train" for one epoch.
        """
        scale = self.n_pixels / self.rates.benchmark.n_pixels
        return self.rates.seconds_per_spectrum[operation] * scale

    def plan_stage(
        self,
        name: str,
        n_tasks: int,
        memory: float,
        driver_seconds: float = 0.0,
        worker_seconds: float = 0.0,
        max_concurrency: int = 0,
    ) -> StagePlan:
        """Return the plan of a stage on the machines.

        Parameters
        ----------
        name : str
            Name of the stage.
        n_tasks : int
            Number of tasks, or `DRIVER`.
        memory : float
            Memory of each task [bytes].
        driver_seconds, worker_seconds : float
            CPU seconds of the driver alone, and of all workers together.
        max_concurrency : int
            Largest number of tasks at the same time; 0: as many as the machines can run.

        Raises
        ------
        ConfigError
            If a task fits on none of the machines.
        """
        n_fitting = (
            count_concurrent_processes(f"{name}: a task", memory, self.machine_groups) if n_tasks else 1
        )
        startup = self.rates.startup_seconds[name]
        return StagePlan(
            name=name,
            n_tasks=n_tasks,
            max_concurrency=min(n_fitting, max_concurrency or n_fitting),
            memory_per_task=memory,
            driver_startup_seconds=startup.driver,
            worker_startup_seconds=startup.worker,
            driver_seconds=driver_seconds,
            worker_seconds=worker_seconds,
        )


def estimate_sweep_seconds(
    inputs: PlanInputs, jobs: Sequence[Job], max_rows: Mapping[str, int]
) -> Iterator[float]:
    """Yield the CPU seconds of the fits and of the silhouettes for each algorithm in each space.

    Parameters
    ----------
    inputs : PlanInputs
        Settings, size, machines and rates of the plan.
    jobs : sequence of Job
        Jobs of the sweep.
    max_rows : mapping of str to int
        Number of spectra that each algorithm is fitted to, by its name.

    Raises
    ------
    ConfigError
        If the rate of an algorithm is not known.
    """
    config, benchmark, rates = inputs.config.clustering, inputs.rates.benchmark, inputs.rates.sweep
    work_units: dict[str, float] = defaultdict(float)
    n_trials: Counter[str] = Counter()
    for job in jobs:
        # A job on structureless data may hold trials of several algorithms.
        for trial in job.trials:
            key = f"{job.space.name}.{trial.algorithm_spec.algorithm}"
            work_units[key] += count_work_units(job._replace(trials=(trial,)))
            n_trials[key] += 1
    n_scored = min(inputs.sample_size, config.silhouette_sample_size)
    for key, n_units in work_units.items():
        if key not in rates.fit:
            raise ConfigError(
                f"no rate is known of {key.replace('.', ': ')}: `python -m tests.benchmarks.rates` measures "
                f"{', '.join(rates.fit)}"
            )
        algorithm = key.partition(".")[2]
        n_fitted = max_rows[algorithm] / benchmark.resample_fraction
        n_starts = config.n_init / benchmark.n_init if algorithm == "gmm" else 1.0
        yield n_starts * n_units * rates.fit[key].extrapolate(n_fitted, rates.n_points)
        yield n_trials[key] * rates.silhouettes[key].extrapolate(n_scored, rates.n_points)


def estimate_umap_seconds(inputs: PlanInputs, jobs: Sequence[Job]) -> float:
    """Return the CPU seconds of the maps that the sweep needs, and of the one that is published.

    Parameters
    ----------
    inputs : PlanInputs
        Settings, size, machines and rates of the plan.
    jobs : sequence of Job
        Jobs of the sweep.
    """
    rates = inputs.rates.sweep
    maps = {(job.dataset, job.space) for job in jobs if job.space.umap_dims}
    graphs = {(dataset, space.umap_n_neighbors) for dataset, space in maps}
    graph_seconds, layout_seconds = (
        rates.umap[name].extrapolate(inputs.sample_size, rates.n_points) for name in ("graph", "layout")
    )
    return (len(graphs) or 1) * graph_seconds + (len(maps) + 1) * layout_seconds


def estimate_consensus_seconds(inputs: PlanInputs, jobs: Sequence[Job]) -> float:
    """Return the CPU seconds in which the driver selects a setting and computes the consensus.

    Parameters
    ----------
    inputs : PlanInputs
        Settings, size, machines and rates of the plan.
    jobs : sequence of Job
        Jobs of the sweep.
    """
    rates, n = inputs.rates.sweep, inputs.sample_size
    consensus = 0.0
    if inputs.config.clustering.selection_rule == "consensus":
        consensus = rates.consensus * (min(n, CONSENSUS_SAMPLE_SIZE) / rates.n_points) ** 2
    # The labels of trials on structureless data are not returned to the driver.
    n_trials = sum(len(job.trials) for job in jobs if not job.dataset.is_null)
    return consensus + rates.select * n_trials * n
