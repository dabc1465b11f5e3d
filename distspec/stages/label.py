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
from distspec.clustering.config import ClusteringConfig, Space
from distspec.clustering.consensus import Consensus, agree
from distspec.clustering.cost import Need, Size, actor_bytes, driver_bytes, resident
from distspec.clustering.feature_space import Sample, sample_rows
from distspec.clustering.labeler import Fitted, Repeat, described, undivided
from distspec.clustering.plan import Data, Job, plan, settings
from distspec.clustering.selection import Choice, Judgement, choose, judge
from distspec.clustering.trials import Result, limits
from distspec.clustering.umap import Map
from distspec.core import memory
from distspec.core.spectrum import Floats32
from distspec.stages.assign import assign, place
from distspec.stages.session import n_cpus
from distspec.stages.sweep import Sweep

log = logging.getLogger("distspec")
MB = 1e6


@dataclass(frozen=True)
class Labelled:
    """What a sweep found, and what it says of every spectrum.

    Attributes
    ----------
    said : mapping
        `distspec.clustering.labeler.described` of all spectra.
    points : (N, 2)
        Where they lie on the map that is shown.
    fitted : (S,)
        Which of them the sweep was fitted to.
    how : Fitted
        What labels any spectrum.
    results : sequence of Result
    judgement : Judgement
    choice : Choice or None
    adapted : list of str
        In words, what was adapted to how many spectra there are, and to how much memory.
    expected, took : Need
        What the sweep was said to take before it was started, and what it took.
    """

    said: Mapping[str, Any]
    points: Floats32
    fitted: NDArray[np.int64]
    how: Fitted
    results: Sequence[Result]
    judgement: Judgement
    choice: Choice | None
    adapted: list[str]
    expected: Need
    took: Need

    @property
    def own(self) -> list[Result]:
        """Results on the spectra themselves."""
        return [result for result in self.results if not result.trial.data.is_null]


def label(samples: Sequence[Sample], config: ClusteringConfig, seed: int, folder: str) -> Labelled:
    """Try every clustering on a sample of spectra, choose, and label all of them.

    Parameters
    ----------
    samples : sequence of Sample
        All spectra, as each model sees them; the run's own model first.
    config : ClusteringConfig
    seed : int
        Of sample, maps and sweep.
    folder : str
        URL where the results of jobs are kept until the run is whole.
    """
    n = len(samples[0])
    rows = sample_rows(samples[0].latents, config.sample, np.random.default_rng([seed, n]))
    few = samples if len(rows) == n else [sample.take(rows) for sample in samples]
    tried, adapted = settings(config, len(rows))
    most, fewer = limits(config, len(rows), memory_of_actor())
    adapted += fewer
    if len(rows) < n:
        adapted.append(f"the sweep is fitted to {len(rows):,} of {n:,} spectra; all are labelled")
    jobs = plan(config, tried, seed)
    size = Size(n, len(rows), _widest(few[0]), sum(len(job.trials) for job in jobs))
    needed = actor_bytes(size, config, tried, most)
    with Sweep(few, config, most, seed, folder, memory.TORCH + needed) as sweep:
        base, own = sweep.warm(size.dims, tried), resident()
        actor = base + needed / MB
        driver = max(own.peak, own.now + driver_bytes(size, config) / MB)
        expected = Need(0.0, actor, driver)

        def say(seconds: float) -> None:
            nonlocal expected
            expected = Need(seconds, actor, driver)
            log.info("cluster: the sweep takes about %s", expected)

        start = time.monotonic()
        results = sweep.run(jobs, say)
        seconds = time.monotonic() - start
        found = [result for result in results if not result.trial.data.is_null]
        judgement = judge(results, config)
        choice = choose(found, judgement, config)
        shown = _shown(sweep, config, seed)
        how, said = _found(sweep, found, judgement, choice, few, shown, n, seed)
        peak = sweep.peak()
    said = said or assign(how if len(rows) < n else replace(how, shown=None), samples)
    if len(rows) == n:
        points = shown.points
    else:
        points = said["points"] if "points" in said else place(shown, samples[0].latents)
    took = Need(seconds, peak, resident().peak)
    if expected.seconds:
        log.info("cluster: the sweep took %s", took)
    adapted += shown.near.adapted
    return Labelled(
        said, points.astype(np.float32), rows, how, results, judgement, choice, adapted, expected, took
    )


def memory_of_actor() -> float:
    """Return how many bytes of points an actor may hold, where there is one for each CPU."""
    each = ray.cluster_resources().get("memory", 8e9) / n_cpus()
    return max(each - memory.TORCH, 0.1 * each)


def _widest(sample: Sample) -> int:
    return max(sample.latents.shape[1], sample.features.shape[1])


def _found(
    sweep: Sweep,
    own: Sequence[Result],
    judgement: Judgement,
    choice: Choice | None,
    samples: Sequence[Sample],
    shown: Map,
    n: int,
    seed: int,
) -> tuple[Fitted, dict[str, Any] | None]:
    """Return what labels spectra, and `described` of every one where it is known: the sample is all `n`."""
    if choice is None:
        return undivided(samples[0], shown), None
    trials = [own[i].trial for i in judgement.repeats[choice.way]]
    others = [trial._replace(data=Data(draw=model)) for model in range(1, len(samples)) for trial in trials]
    elsewhere = sweep.run(_alone(others, len(own) + 1_000_000))
    repeats = [own[i] for i in judgement.repeats[choice.way]] + elsewhere
    labels: list[Labels] = [each.labels.astype(np.int32) for each in repeats]
    if choice.trial is not None:
        consensus = Consensus.of(labels, own[choice.trial].labels.astype(np.int32))
        single = repeats.index(own[choice.trial])
    else:
        consensus, single = agree(labels, choice.k, np.random.default_rng(seed)), None
    known = described(consensus, labels) if n == len(samples[0]) and single is None else None
    made = sweep.refit(_alone([each.trial for each in repeats], 0))
    places = {
        (data.draw, space): place
        for (data, space), place in sweep.maps((r.trial.data, r.trial.space) for r in repeats).items()
    }
    fitted = [Repeat(r.trial.data.draw, r.trial.space, each) for r, each in zip(repeats, made, strict=True)]
    return Fitted(fitted, places, consensus, single, shown), known


def _alone(trials: Sequence[Any], first: int) -> list[Job]:
    """Return a job for each trial, numbered from `first`."""
    return [Job(first + i, each.data, each.space, (each,)) for i, each in enumerate(trials)]


def _shown(sweep: Sweep, config: ClusteringConfig, seed: int) -> Map:
    """Return the map on which spectra are drawn."""
    where = Data(), Space("map", config.n_neighbors[0], 2, seed * config.maps)
    return sweep.maps([where])[where]
