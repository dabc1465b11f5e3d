"""The sweep: trials on a sample, selection of a setting, and the labeler that is fitted to the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import ray

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import (
    Consensus,
    describe_unstable_classes,
    drop_unstable_classes,
    find_consensus,
)
from distspec.clustering.cost import (
    SweepCost,
    SweepSize,
    estimate_actor_bytes,
    estimate_driver_bytes,
    get_memory_usage,
)
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import Assignment, EnsembleLabeler, EnsembleMember
from distspec.clustering.plan import DatasetSpec, Job, Trial, build_algorithm_grid, plan_jobs
from distspec.clustering.selection import Selection, select_setting
from distspec.clustering.sweep_scores import SweepScores, score_sweep
from distspec.clustering.trials import (
    TrialResult,
    limit_rows,
)
from distspec.clustering.umap import UmapEmbedding
from distspec.core import memory as memory_module
from distspec.stages.session import n_cpus
from distspec.stages.sweep_runner import SweepRunner

log = logging.getLogger("distspec")
MB = 1e6


@dataclass(frozen=True)
class SweepResult:
    """Result of a sweep on a sample.

    Attributes
    ----------
    trial_results : sequence of TrialResult
        Results of all trials, those on null data included.
    scores : SweepScores
        Scores of the settings.
    selection : Selection or None
        The selected setting; None if the sample could not be divided.
    labeler : EnsembleLabeler
        Assigns any spectrum to a class.
    display_umap : UmapEmbedding
        Map of the sample that is displayed.
    sample_assignment : Assignment or None
        Classes of the sample, if they are a consensus.
    adaptations : tuple of str
        What was adapted to the size of the sample or to the memory.
    expected_cost : SweepCost
        Forecast of the cost.
    seconds : float
        Duration of the trials [s].
    actor_peak_mb : float
        Largest resident set of an actor [MB].
    """

    trial_results: Sequence[TrialResult]
    scores: SweepScores
    selection: Selection | None
    labeler: EnsembleLabeler
    display_umap: UmapEmbedding
    sample_assignment: Assignment | None
    adaptations: tuple[str, ...]
    expected_cost: SweepCost
    seconds: float
    actor_peak_mb: float

    @property
    def data_results(self) -> list[TrialResult]:
        """Results on the spectra themselves, as `SweepScores.members` counts them."""
        return [result for result in self.trial_results if not result.trial.dataset.is_null]


def run_sweep(
    sample: Sequence[ClusteringInputs], n_spectra: int, config: ClusteringConfig, seed: int, work_url: str
) -> SweepResult:
    """Run all trials on a sample, select a setting, and fit the labeler.

    Parameters
    ----------
    sample : sequence of ClusteringInputs
        Sample of the spectra as derived from each model, the run's own first.
    n_spectra : int
        Number of spectra that will be assigned to classes.
    config : ClusteringConfig
        Settings of the sweep.
    seed : int
        Seed of the maps and the sweep.
    work_url : str
        Folder in which the results of jobs are kept until the run is complete.
    """
    n_sample = len(sample[0])
    specs, adaptations = build_algorithm_grid(config, n_sample)
    max_rows, limits = limit_rows(config, n_sample, get_actor_memory())
    adaptations += limits
    if n_sample < n_spectra:
        adaptations.append(
            f"the sweep is fitted to {n_sample:,} of {n_spectra:,} spectra; all are assigned to classes"
        )
    jobs = plan_jobs(config, specs, seed)
    n_dims = max(sample[0].latents.shape[1], sample[0].features.shape[1])
    size = SweepSize(n_spectra, n_sample, n_dims, sum(len(job.trials) for job in jobs))
    actor_bytes = estimate_actor_bytes(size, config, specs, max_rows)
    actor_memory = memory_module.TORCH_WORKER_BYTES + actor_bytes
    with SweepRunner(sample, config, max_rows, seed, work_url, actor_memory) as runner:
        expected = _forecast_memory(runner, size, config, specs, actor_bytes)

        def log_forecast(seconds: float) -> None:
            nonlocal expected
            expected = replace(expected, seconds=seconds)
            log.info("cluster: the sweep takes about %s", expected)

        start = time.monotonic()
        results = runner.run_jobs(jobs, log_forecast)
        seconds = time.monotonic() - start
        on_data = [result for result in results if not result.trial.dataset.is_null]
        scores = score_sweep(results, config)
        selection = select_setting(on_data, scores, config)
        display_umap = _fit_display_umap(runner, config, seed)
        labeler, sample_assignment, unstable = _fit_labeler(
            runner, on_data, scores, selection, sample, display_umap, config, seed
        )
        actor_peak_mb = runner.get_peak_memory()
    return SweepResult(
        results,
        scores,
        selection,
        labeler,
        display_umap,
        sample_assignment,
        (*adaptations, *unstable, *display_umap.neighbor_graph.adaptations),
        expected,
        seconds,
        actor_peak_mb,
    )


def get_actor_memory() -> float:
    """Return the memory for points of an actor if every CPU has one [bytes]."""
    per_cpu = ray.cluster_resources().get("memory", 8e9) / n_cpus()
    return max(per_cpu - memory_module.TORCH_WORKER_BYTES, 0.1 * per_cpu)


def _forecast_memory(
    runner: SweepRunner,
    size: SweepSize,
    config: ClusteringConfig,
    algorithm_specs: Sequence[AlgorithmSpec],
    actor_bytes: float,
) -> SweepCost:
    """Prepare the actors and forecast the memory of the sweep; its duration is unknown yet."""
    idle_mb, driver = runner.warm_up(size.n_dims, algorithm_specs), get_memory_usage()
    driver_mb = max(driver.peak_mb, driver.current_mb + estimate_driver_bytes(size, config) / MB)
    return SweepCost(0.0, idle_mb + actor_bytes / MB, driver_mb)


def _fit_display_umap(runner: SweepRunner, config: ClusteringConfig, seed: int) -> UmapEmbedding:
    """Return the two-dimensional map that is displayed."""
    space = FeatureSpace("map", config.umap_n_neighbors[0], 2, seed * config.n_umap_seeds)
    key = DatasetSpec(), space
    return runner.fit_umaps([key])[key]


def _fit_labeler(
    runner: SweepRunner,
    data_results: Sequence[TrialResult],
    sweep_scores: SweepScores,
    selection: Selection | None,
    sample: Sequence[ClusteringInputs],
    display_umap: UmapEmbedding,
    config: ClusteringConfig,
    seed: int,
) -> tuple[EnsembleLabeler, Assignment | None, list[str]]:
    """Fit the ensemble of the selected setting.

    Returns the ensemble, the classes of the sample if they are a consensus, and a sentence about classes that
    are not stable.
    """
    if selection is None:
        return EnsembleLabeler.single_class(sample[0], display_umap), None, []
    results = [data_results[i] for i in sweep_scores.members[selection.setting]]
    labels = [result.labels.astype(np.int32) for result in results]
    reference_member = sample_assignment = None
    unstable: list[str] = []
    if selection.trial_index is None:
        found = find_consensus(labels, selection.n_classes, np.random.default_rng(seed))
        consensus = drop_unstable_classes(found, labels, config.min_class_jaccard)
        unstable = describe_unstable_classes(found, consensus, labels, config.min_class_jaccard)
        sample_assignment = Assignment.from_members(consensus, labels)
    else:
        reference = data_results[selection.trial_index]
        consensus = Consensus.from_members(labels, reference.labels.astype(np.int32))
        reference_member = results.index(reference)
    trials = [result.trial for result in results]
    memberships = runner.refit_jobs(_build_single_trial_jobs(trials, 0))
    umaps = runner.fit_umaps((trial.dataset, trial.space) for trial in trials)
    members = [
        EnsembleMember(trial.dataset.number, trial.space, membership)
        for trial, membership in zip(trials, memberships, strict=True)
    ]
    labeler = EnsembleLabeler(
        members,
        {(dataset.number, space): umap for (dataset, space), umap in umaps.items()},
        consensus,
        reference_member,
        display_umap,
    )
    return labeler, sample_assignment, unstable


def _build_single_trial_jobs(trials: Sequence[Trial], first_number: int) -> list[Job]:
    """Return a job for each trial, numbered from `first_number`."""
    return [Job(first_number + i, trial.dataset, trial.space, (trial,)) for i, trial in enumerate(trials)]
