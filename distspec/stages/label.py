"""From what models say of spectra to a label for each, on Ray: the sweep on a sample, the choice, the rest.

It takes arrays: of stores and models it knows nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from distspec.clustering.algorithms import Labels
from distspec.clustering.config import ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import Consensus, find_consensus
from distspec.clustering.cost import (
    SweepCost,
    SweepSize,
    estimate_actor_bytes,
    estimate_driver_bytes,
    get_memory_usage,
)
from distspec.clustering.feature_space import ClusteringInputs, select_sample_rows
from distspec.clustering.labeler import (
    EnsembleLabeler,
    EnsembleMember,
    build_assignment,
    build_single_class_labeler,
)
from distspec.clustering.plan import DatasetSpec, Job, build_algorithm_grid, plan_jobs
from distspec.clustering.selection import Selection, SweepScores, score_sweep, select_setting
from distspec.clustering.trials import TrialResult, limit_rows
from distspec.clustering.umap import UmapEmbedding
from distspec.core import memory
from distspec.core.spectrum import Floats32
from distspec.stages.assign import assign_classes, project_onto_umap
from distspec.stages.session import n_cpus
from distspec.stages.sweep import SweepRunner

log = logging.getLogger("distspec")
MB = 1e6


@dataclass(frozen=True)
class ClusteringResult:
    """What a sweep found, and what it says of every spectrum.

    Attributes
    ----------
    assignment : mapping
        `distspec.clustering.labeler.build_assignment` of all spectra.
    umap_coordinates : (N, 2)
        Where they lie on the map that is shown.
    sample_rows : (S,)
        Which of them the sweep was fitted to.
    labeler : Fitted
        What labels any spectrum.
    trial_results : sequence of Result
    sweep_scores : Judgement
    selection : Choice or None
    adaptations : list of str
        In words, what was adapted to how many spectra there are, and to how much memory.
    expected_cost, actual_cost : Need
        What the sweep was said to take before it was started, and what it took.
    """

    assignment: Mapping[str, Any]
    umap_coordinates: Floats32
    sample_rows: NDArray[np.int64]
    labeler: EnsembleLabeler
    trial_results: Sequence[TrialResult]
    sweep_scores: SweepScores
    selection: Selection | None
    adaptations: list[str]
    expected_cost: SweepCost
    actual_cost: SweepCost

    @property
    def data_results(self) -> list[TrialResult]:
        """Results on the spectra themselves."""
        return [result for result in self.trial_results if not result.trial.dataset.is_null]


def label_spectra(
    model_inputs: Sequence[ClusteringInputs], config: ClusteringConfig, seed: int, work_url: str
) -> ClusteringResult:
    """Try every clustering on a sample of spectra, choose, and label all of them.

    Parameters
    ----------
    model_inputs : sequence of Sample
        All spectra, as each model sees them; the run's own model first.
    config : ClusteringConfig
    seed : int
        Of sample, maps and sweep.
    work_url : str
        URL where the results of jobs are kept until the run is whole.
    """
    n = len(model_inputs[0])
    rows = select_sample_rows(model_inputs[0].latents, config.sample_size, np.random.default_rng([seed, n]))
    few = model_inputs if len(rows) == n else [sample.take(rows) for sample in model_inputs]
    tried, adapted = build_algorithm_grid(config, len(rows))
    most, fewer = limit_rows(config, len(rows), get_actor_memory())
    adapted += fewer
    if len(rows) < n:
        adapted.append(f"the sweep is fitted to {len(rows):,} of {n:,} spectra; all are labelled")
    jobs = plan_jobs(config, tried, seed)
    size = SweepSize(n, len(rows), _max_dims(few[0]), sum(len(job.trials) for job in jobs))
    needed = estimate_actor_bytes(size, config, tried, most)
    with SweepRunner(few, config, most, seed, work_url, memory.TORCH_WORKER_BYTES + needed) as sweep:
        base, own = sweep.warm_up(size.n_dims, tried), get_memory_usage()
        actor = base + needed / MB
        driver = max(own.peak_mb, own.current_mb + estimate_driver_bytes(size, config) / MB)
        expected = SweepCost(0.0, actor, driver)

        def say(seconds: float) -> None:
            nonlocal expected
            expected = SweepCost(seconds, actor, driver)
            log.info("cluster: the sweep takes about %s", expected)

        start = time.monotonic()
        results = sweep.run_jobs(jobs, say)
        seconds = time.monotonic() - start
        found = [result for result in results if not result.trial.dataset.is_null]
        judgement = score_sweep(results, config)
        choice = select_setting(found, judgement, config)
        shown = _fit_display_umap(sweep, config, seed)
        how, said = _fit_labeler(sweep, found, judgement, choice, few, shown, n, seed)
        peak = sweep.get_peak_memory()
    said = said or assign_classes(how if len(rows) < n else replace(how, display_umap=None), model_inputs)
    if len(rows) == n:
        points = shown.coordinates
    else:
        points = said["points"] if "points" in said else project_onto_umap(shown, model_inputs[0].latents)
    took = SweepCost(seconds, peak, get_memory_usage().peak_mb)
    if expected.seconds:
        log.info("cluster: the sweep took %s", took)
    adapted += shown.neighbor_graph.adaptations
    return ClusteringResult(
        said, points.astype(np.float32), rows, how, results, judgement, choice, adapted, expected, took
    )


def get_actor_memory() -> float:
    """Return how many bytes of points an actor may hold, where there is one for each CPU."""
    each = ray.cluster_resources().get("memory", 8e9) / n_cpus()
    return max(each - memory.TORCH_WORKER_BYTES, 0.1 * each)


def _max_dims(inputs: ClusteringInputs) -> int:
    return max(inputs.latents.shape[1], inputs.features.shape[1])


def _fit_labeler(
    runner: SweepRunner,
    data_results: Sequence[TrialResult],
    sweep_scores: SweepScores,
    selection: Selection | None,
    model_inputs: Sequence[ClusteringInputs],
    display_umap: UmapEmbedding,
    n_spectra: int,
    seed: int,
) -> tuple[EnsembleLabeler, dict[str, Any] | None]:
    """Return what labels spectra, and `described` of every one where it is known: the sample is all `n_spectra`."""
    if selection is None:
        return build_single_class_labeler(model_inputs[0], display_umap), None
    trials = [data_results[i].trial for i in sweep_scores.members[selection.setting]]
    others = [
        trial._replace(dataset=DatasetSpec(draw=model))
        for model in range(1, len(model_inputs))
        for trial in trials
    ]
    elsewhere = runner.run_jobs(_build_single_trial_jobs(others, len(data_results) + 1_000_000))
    repeats = [data_results[i] for i in sweep_scores.members[selection.setting]] + elsewhere
    labels: list[Labels] = [each.labels.astype(np.int32) for each in repeats]
    if selection.trial_index is not None:
        consensus = Consensus.from_members(
            labels, data_results[selection.trial_index].labels.astype(np.int32)
        )
        single = repeats.index(data_results[selection.trial_index])
    else:
        consensus, single = find_consensus(labels, selection.n_classes, np.random.default_rng(seed)), None
    known = (
        build_assignment(consensus, labels) if n_spectra == len(model_inputs[0]) and single is None else None
    )
    made = runner.refit_jobs(_build_single_trial_jobs([each.trial for each in repeats], 0))
    places = {
        (data.draw, space): place
        for (data, space), place in runner.fit_umaps(
            (r.trial.dataset, r.trial.space) for r in repeats
        ).items()
    }
    fitted = [
        EnsembleMember(r.trial.dataset.draw, r.trial.space, each)
        for r, each in zip(repeats, made, strict=True)
    ]
    return EnsembleLabeler(fitted, places, consensus, single, display_umap), known


def _build_single_trial_jobs(trials: Sequence[Any], first_number: int) -> list[Job]:
    """Return a job for each trial, numbered from `first_number`."""
    return [Job(first_number + i, each.dataset, each.space, (each,)) for i, each in enumerate(trials)]


def _fit_display_umap(runner: SweepRunner, config: ClusteringConfig, seed: int) -> UmapEmbedding:
    """Return the map on which spectra are drawn."""
    where = DatasetSpec(), FeatureSpace("map", config.umap_n_neighbors[0], 2, seed * config.n_umap_seeds)
    return runner.fit_umaps([where])[where]
