"""Which clustering of a sweep a run's classes are taken from, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig
from distspec.clustering.consensus import compute_stability
from distspec.clustering.null_tests import NullTest, run_null_test
from distspec.clustering.trials import TrialResult
from distspec.core.spectrum import Floats

MAX_NOISE_FRACTION = 0.5
"""A clustering that leaves more of the sample out is of a few."""
MIN_EFFECTIVE_CLASSES = 2.0
"""Effective classes of a clustering, at least: fewer, and nearly all of the sample is in one of them."""
MAX_RAND_INDEX = 0.995
"""A mean adjusted Rand index beyond this counts as this."""
BASELINE_ALGORITHMS = ("kmeans",)
"""Algorithms to compare with: they divide whatever they are given; not chosen where others are tried."""


class SweepSetting(NamedTuple):
    """A setting in a space, whatever the seeds."""

    space: str
    algorithm_spec: AlgorithmSpec

    @classmethod
    def from_result(cls, trial_result: TrialResult) -> SweepSetting:
        """Return the way that a trial went."""
        return cls(trial_result.trial.space.title, trial_result.trial.algorithm_spec)

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.algorithm_spec} in {self.space}"


@dataclass(frozen=True)
class SweepScores:
    """What a sweep says of every way.

    Attributes
    ----------
    members : mapping of Way to list of int
        Its trials on the data, by their places among the results.
    stability : (T,)
        Of each result on the data: its mean adjusted Rand index with the other repeats of its way.
    silhouette_test, stability_test : Against or None
        Both scores against structureless data; None where none was drawn.
    alpha : float
        `ClusteringConfig.level`.
    """

    members: Mapping[SweepSetting, Sequence[int]]
    stability: Floats
    silhouette_test: NullTest | None
    stability_test: NullTest | None
    alpha: float

    def mean_stability(self, setting: SweepSetting) -> float:
        """Return a way's mean over its repeats; NaN where there is one alone."""
        return float(np.mean(self.stability[self.members[setting]]))

    def beats_null(self, setting: SweepSetting) -> bool | None:
        """Tell whether a way scores more than structureless data, of all ways and both scores."""
        tests = [test for test in (self.silhouette_test, self.stability_test) if test is not None]
        # Two scores have two chances: each at half the level.
        return any(test.p_value[setting] <= self.alpha / 2 for test in tests) if tests else None


def score_sweep(results: Sequence[TrialResult], config: ClusteringConfig) -> SweepScores:
    """Compare repeats with each other, and the data's scores with those of structureless data."""
    own = [result for result in results if not result.trial.dataset.is_null]
    repeats: dict[SweepSetting, list[int]] = {}
    for place, result in enumerate(own):
        repeats.setdefault(SweepSetting.from_result(result), []).append(place)
    stable = np.full(len(own), np.nan)
    for places in repeats.values():
        stable[places] = compute_stability([own[place].labels.astype(np.int32) for place in places])
    drawn: dict[str, dict[SweepSetting, dict[int, list[TrialResult]]]] = {}
    for result in results:
        data = result.trial.dataset
        if data.is_null:
            of_kind = drawn.setdefault(data.null_model, {}).setdefault(SweepSetting.from_result(result), {})
            of_kind.setdefault(data.draw, []).append(result)
    silhouette = {way: _mean_silhouette([own[i] for i in places]) for way, places in repeats.items()}
    repeatable = {
        way: _fisher_z_stability([own[i] for i in places], stable[places]) for way, places in repeats.items()
    }
    null_silhouette, null_repeatable = (
        {
            kind: {way: [score(each) for each in draws.values()] for way, draws in ways.items()}
            for kind, ways in drawn.items()
        }
        for score in (_mean_silhouette, _null_fisher_z_stability)
    )
    tests = (
        run_null_test(silhouette, null_silhouette, _test_family),
        run_null_test(repeatable, null_repeatable, _test_family)
        if min(config.n_null_seeds, config.n_seeds) > 1
        else None,
    )
    return SweepScores(repeats, stable, *tests, config.alpha)


def _test_family(setting: SweepSetting) -> str:
    """Return with which other ways' chances a way is held together."""
    return setting.algorithm_spec.algorithm


def _mean_silhouette(results: Sequence[TrialResult]) -> float:
    return float(np.mean([np.nan_to_num(each.scores["silhouette"]) for each in results]))


def _null_fisher_z_stability(results: Sequence[TrialResult]) -> float:
    return _fisher_z_stability(results, np.array([each.scores["stability"] for each in results]))


def _fisher_z_stability(results: Sequence[TrialResult], stability: Floats) -> float:
    """Return Fisher's z of the mean adjusted Rand index: what is left of an index near 1 counts in ratios.

    Repeats that find fewer than two clusters agree perfectly on nothing: they count with 0.
    """
    index = np.where([each.n_clusters >= 2 for each in results], stability, 0.0)
    return float(np.arctanh(np.clip(index.mean(), -MAX_RAND_INDEX, MAX_RAND_INDEX)))


@dataclass(frozen=True)
class Selection:
    """The way that a run's classes are taken from.

    Attributes
    ----------
    setting : Way
    n_classes : int
        Classes that the consensus has at most; of the published rule those of its trial.
    trial_index : int or None
        The place among the results whose labels are taken as they are; None: of the consensus of its repeats.
    reason : str
    """

    setting: SweepSetting
    n_classes: int
    trial_index: int | None
    reason: str


def select_setting(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Selection | None:
    """Return the way that is chosen; None where nothing could be clustered.

    The published rule takes the trial with the best silhouette, the first of equals. The other asks that a
    clustering divides the sample (`MIN_EFFECTIVE_CLASSES`) and repeats (`ClusteringConfig.min_stability`). Of those in
    the first of `ClusteringConfig.spaces` that has any, and of these those that beat their null, it takes
    the one that repeats best: silhouettes are highest where a few lie far from all others. It says so where
    none does; the next space is not asked then, since what divides latents need not be physics.

    Parameters
    ----------
    results : sequence of Result
        Those on the data, in the order that `plot_sweep_scores` counts.
    sweep_scores : Judgement
    config : ClusteringConfig
    """
    if config.selection_rule == "silhouette":
        values = np.array([result.scores["silhouette"] for result in results], np.float64)
        if not np.isfinite(values).any():
            return None
        best = int(np.nanargmax(values))
        why = f"the best silhouette of {len(values)} trials, {values[best]:.3f}"
        way = SweepSetting.from_result(results[best])
        return Selection(
            way, results[best].n_clusters, best, _append_null_result(why, sweep_scores.beats_null(way))
        )
    ways = [
        way
        for way, places in sweep_scores.members.items()
        if _is_valid_partition([results[i] for i in places])
    ]
    ways = [way for way in ways if way.algorithm_spec.algorithm not in BASELINE_ALGORITHMS] or ways
    if not ways:
        return None
    words: list[str] = []
    repeat = [way for way in ways if sweep_scores.mean_stability(way) >= config.min_stability]
    if not repeat:
        repeat = [max(ways, key=sweep_scores.mean_stability)]
        words.append(f"no clustering repeats at {config.min_stability:g}")
    # Clusterings of different spaces do not compare: what is in the space named first comes first.
    first = next(name for name in config.spaces if any(way.space.startswith(name) for way in repeat))
    repeat = [way for way in repeat if way.space.startswith(first)]
    beat = [way for way in repeat if sweep_scores.beats_null(way) is not False]
    if not beat:
        words.append("none beats its null: classes may be of nothing but noise")
    best = max(beat or repeat, key=sweep_scores.mean_stability)
    places = sweep_scores.members[best]
    words.insert(
        0,
        f"of {len(beat or repeat)} clusterings in {best.space} that may be chosen, the one that repeats best "
        f"(mean adjusted Rand index {sweep_scores.mean_stability(best):.2f})",
    )
    k = int(np.median([results[i].n_clusters for i in places]))
    return Selection(best, k, None, "; ".join(words))


def _is_valid_partition(results: Sequence[TrialResult]) -> bool:
    """Tell whether repeats of a clustering divide the sample: not a few against the rest, or all as noise."""
    if min(result.n_clusters for result in results) < 2:
        return False
    noise = float(np.mean([result.noise_fraction for result in results]))
    return (
        noise <= MAX_NOISE_FRACTION
        and float(np.mean([_effective_n_classes(result) for result in results])) >= MIN_EFFECTIVE_CLASSES
    )


def _effective_n_classes(result: TrialResult) -> float:
    """Return exp of the entropy of the classes' shares, noise being one of them."""
    assigned = result.sizes / result.sizes.sum() * (1.0 - result.noise_fraction)
    shares = np.append(assigned, result.noise_fraction)
    return float(np.exp(-np.sum(shares[shares > 0] * np.log(shares[shares > 0]))))


def _append_null_result(reason: str, beats_null: bool | None) -> str:
    if beats_null is None:
        return reason
    return f"{reason}; it {'beats' if beats_null else 'does not beat'} its null"
