"""Scores of the settings of a sweep: stability, and comparison with structureless data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig
from distspec.clustering.consensus import compute_stability
from distspec.clustering.null_tests import NullTest, run_null_test
from distspec.clustering.trials import TrialResult
from distspec.core.spectrum import Floats

MAX_RAND_INDEX = 0.995
"""Mean adjusted Rand indices are clipped to this before Fisher's transformation."""


class SweepSetting(NamedTuple):
    """An algorithm with its parameters in a feature space, without seeds.

    Attributes
    ----------
    space : str
        `FeatureSpace.title`.
    algorithm_spec : AlgorithmSpec
        Algorithm and parameters.
    """

    space: str
    algorithm_spec: AlgorithmSpec

    @classmethod
    def from_result(cls, trial_result: TrialResult) -> SweepSetting:
        """Return the setting of a trial.

        Parameters
        ----------
        trial_result : TrialResult
            Result of a trial.

        Returns
        -------
        SweepSetting
        """
        return cls(trial_result.trial.space.title, trial_result.trial.algorithm_spec)

    def __str__(self) -> str:
        return f"{self.algorithm_spec} in {self.space}"


@dataclass(frozen=True)
class SweepScores:
    """Scores of the settings of a sweep.

    Attributes
    ----------
    members : mapping of SweepSetting to sequence of int
        Indices of the trials of each setting among the results on the data: an ensemble.
    stability : ndarray of shape (n_results,)
        Mean adjusted Rand index of each result on the data with the other members of its setting; with those
        of other models if there are several.
    silhouette_test, stability_test : NullTest or None
        Comparison of both scores with structureless data; None if there are no draws.
    alpha : float
        Significance level, over all settings of the sweep.
    """

    members: Mapping[SweepSetting, Sequence[int]]
    stability: Floats
    silhouette_test: NullTest[SweepSetting] | None
    stability_test: NullTest[SweepSetting] | None
    alpha: float

    def mean_stability(self, setting: SweepSetting) -> float:
        """Return the mean stability of a setting's members; NaN if there is only one.

        Parameters
        ----------
        setting : SweepSetting
            A setting of the sweep.

        Returns
        -------
        float
            Mean adjusted Rand index; NaN if there is only one member.
        """
        return float(np.mean(self.stability[self.members[setting]]))

    def beats_null(self, setting: SweepSetting) -> bool | None:
        """Return whether a setting scores significantly more than structureless data; None without draws.

        Parameters
        ----------
        setting : SweepSetting
            A setting of the sweep.

        Returns
        -------
        bool or None
            None if there are no null draws.
        """
        tests = [test for test in (self.silhouette_test, self.stability_test) if test is not None]
        # Bonferroni correction for two scores.
        return any(test.p_value[setting] <= self.alpha / 2 for test in tests) if tests else None

    def select_models(self, results: Sequence[TrialResult], models: Collection[int]) -> SweepScores:
        """Return the scores of a sweep of some of the models; null tests are those of the whole sweep.

        Settings with fewer than two members are left out.

        Parameters
        ----------
        results : sequence of TrialResult
            Results on the data, as `members` counts them.
        models : collection of int
            Numbers of the models.
        """
        members = {
            setting: chosen
            for setting, indices in self.members.items()
            if len(chosen := [i for i in indices if results[i].trial.dataset.number in models]) > 1
        }
        return replace(self, members=members, stability=_compute_stability(results, members))


def score_sweep(results: Sequence[TrialResult], config: ClusteringConfig) -> SweepScores:
    """Compute the stability of every setting and compare scores with those on structureless data.

    Parameters
    ----------
    results : sequence of TrialResult
        All results of the sweep, those on null data included.
    config : ClusteringConfig
        Settings of the sweep.

    Returns
    -------
    SweepScores
    """
    observed = [result for result in results if not result.trial.dataset.is_null]
    members: dict[SweepSetting, list[int]] = {}
    for i, result in enumerate(observed):
        members.setdefault(SweepSetting.from_result(result), []).append(i)
    stability = _compute_stability(observed, members)
    # Null data are drawn from the points of the first model, so that the test compares its members alone.
    tested = {
        setting: [observed[i] for i in indices if observed[i].trial.dataset.number == 0]
        for setting, indices in members.items()
    }
    draws = _group_null_results(results)
    null_silhouette, null_stability = (
        {
            null_model: {
                setting: [score(members) for members in by_draw.values()]
                for setting, by_draw in by_setting.items()
            }
            for null_model, by_setting in draws.items()
        }
        for score in (_mean_silhouette, _null_fisher_z_stability)
    )
    silhouette_test = run_null_test(
        {setting: _mean_silhouette(own) for setting, own in tested.items()},
        null_silhouette,
        _get_test_family,
    )
    stability_test = None
    if config.n_null_seeds > 1 and min(map(len, tested.values()), default=0) > 1:
        stability_test = run_null_test(
            {setting: _fisher_z_stability(own, _compare_members(own)) for setting, own in tested.items()},
            null_stability,
            _get_test_family,
        )
    return SweepScores(members, stability, silhouette_test, stability_test, config.alpha)


def _compute_stability(
    results: Sequence[TrialResult], members: Mapping[SweepSetting, Sequence[int]]
) -> Floats:
    """Return the stability of each result as a member of its setting; NaN if it is of none."""
    stability = np.full(len(results), np.nan)
    for indices in members.values():
        stability[indices] = _compare_members([results[i] for i in indices])
    return stability


def _compare_members(results: Sequence[TrialResult]) -> Floats:
    """Return the stability of the members of a setting."""
    return compute_stability(
        [result.labels.astype(np.int32) for result in results],
        [result.trial.dataset.number for result in results],
    )


def _group_null_results(
    results: Sequence[TrialResult],
) -> dict[str, dict[SweepSetting, dict[int, list[TrialResult]]]]:
    """Return the results on null data by null model, setting and draw."""
    draws: dict[str, dict[SweepSetting, dict[int, list[TrialResult]]]] = {}
    for result in results:
        dataset = result.trial.dataset
        if dataset.is_null:
            by_setting = draws.setdefault(dataset.null_model, {})
            by_draw = by_setting.setdefault(SweepSetting.from_result(result), {})
            by_draw.setdefault(dataset.number, []).append(result)
    return draws


def _get_test_family(setting: SweepSetting) -> str:
    """Return the family that a setting is tested with: those of the same algorithm."""
    return setting.algorithm_spec.algorithm


def _mean_silhouette(results: Sequence[TrialResult]) -> float:
    return float(np.mean([np.nan_to_num(result.scores.silhouette) for result in results]))


def _null_fisher_z_stability(results: Sequence[TrialResult]) -> float:
    return _fisher_z_stability(results, np.array([result.scores.stability for result in results]))


def _fisher_z_stability(results: Sequence[TrialResult], stability: Floats) -> float:
    """Return Fisher's z-transform of the mean adjusted Rand index, which resolves values near 1.

    Members with fewer than two clusters agree trivially and count with 0.
    """
    index = np.where([result.n_clusters >= 2 for result in results], stability, 0.0)
    return float(np.arctanh(np.clip(index.mean(), -MAX_RAND_INDEX, MAX_RAND_INDEX)))
