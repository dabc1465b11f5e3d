"""Scores of the settings of a sweep, and the selection of the setting that a run's classes come from."""

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
"""Largest mean fraction of noise at which a clustering can be selected."""
MIN_EFFECTIVE_CLASSES = 2.0
"""Smallest effective number of classes at which a clustering can be selected; below, one class holds nearly
all."""
MAX_RAND_INDEX = 0.995
"""Mean adjusted Rand indices are clipped to this before Fisher's transformation."""
BASELINE_ALGORITHMS = ("kmeans",)
"""Algorithms that divide any data; they are selected only if no other algorithm was tried."""


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
    stability = np.full(len(observed), np.nan)
    for indices in members.values():
        stability[indices] = _compute_stability([observed[i] for i in indices])
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
            {setting: _fisher_z_stability(own, _compute_stability(own)) for setting, own in tested.items()},
            null_stability,
            _get_test_family,
        )
    return SweepScores(members, stability, silhouette_test, stability_test, config.alpha)


def _compute_stability(results: Sequence[TrialResult]) -> Floats:
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


@dataclass(frozen=True)
class Selection:
    """The setting that a run's classes come from.

    Attributes
    ----------
    setting : SweepSetting
        The selected setting.
    n_classes : int
        Largest number of consensus classes; by the rule "silhouette" the number of clusters of the trial.
    trial_index : int or None
        Index of the result whose clusters are the classes; None if the classes are the consensus of the
        members.
    reason : str
        Why it was selected.
    """

    setting: SweepSetting
    n_classes: int
    trial_index: int | None
    reason: str


def select_setting(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Selection | None:
    """Select the setting that classes come from.

    The rule "silhouette" takes the trial with the highest silhouette. The rule "consensus" considers settings
    of all spaces that divide the sample (`MIN_EFFECTIVE_CLASSES`) and are reproducible
    (`ClusteringConfig.min_stability`); of these, it takes the most stable one that beats the null test. The
    silhouette does not rank them, because it is highest where a few points lie far from all others. If none
    beats the null test, the reason says so.

    Parameters
    ----------
    results : sequence of TrialResult
        Results on the data, as `SweepScores.members` counts them.
    sweep_scores : SweepScores
        Their scores.
    config : ClusteringConfig
        Settings of the sweep.

    Returns
    -------
    Selection or None
        None if nothing could be clustered.
    """
    if config.selection_rule == "silhouette":
        return _select_by_silhouette(results, sweep_scores)
    return _select_by_stability(results, sweep_scores, config)


def _select_by_silhouette(results: Sequence[TrialResult], sweep_scores: SweepScores) -> Selection | None:
    values = np.array([result.scores.silhouette for result in results], np.float64)
    if not np.isfinite(values).any():
        return None
    best = int(np.nanargmax(values))
    setting = SweepSetting.from_result(results[best])
    reason = f"highest silhouette of {len(values)} trials, {values[best]:.3f}"
    beats_null = sweep_scores.beats_null(setting)
    if beats_null is not None:
        reason += f"; it {'beats' if beats_null else 'does not beat'} the null test"
    return Selection(setting, results[best].n_clusters, best, reason)


def _select_by_stability(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Selection | None:
    settings = [
        setting
        for setting, indices in sweep_scores.members.items()
        if _is_valid_partition([results[i] for i in indices])
    ]
    settings = [s for s in settings if s.algorithm_spec.algorithm not in BASELINE_ALGORITHMS] or settings
    if not settings:
        return None
    remarks: list[str] = []
    stable = [s for s in settings if sweep_scores.mean_stability(s) >= config.min_stability]
    if not stable:
        stable = [max(settings, key=sweep_scores.mean_stability)]
        remarks.append(f"no clustering reaches a stability of {config.min_stability:g}")
    significant = [s for s in stable if sweep_scores.beats_null(s) is not False]
    if not significant:
        remarks.append("none beats the null test: classes may be chance divisions")
    candidates = significant or stable
    best = max(candidates, key=sweep_scores.mean_stability)
    reason = (
        f"most stable of {len(candidates)} candidate clusterings (mean adjusted Rand index "
        f"{sweep_scores.mean_stability(best):.2f} between {_describe_members(results, sweep_scores, best)})"
    )
    n_classes = int(np.median([results[i].n_clusters for i in sweep_scores.members[best]]))
    return Selection(best, n_classes, None, "; ".join([reason, *remarks]))


def _describe_members(
    results: Sequence[TrialResult], sweep_scores: SweepScores, setting: SweepSetting
) -> str:
    n_models = len({results[i].trial.dataset.number for i in sweep_scores.members[setting]})
    return f"members of {n_models} models" if n_models > 1 else "members of one model"


def _is_valid_partition(results: Sequence[TrialResult]) -> bool:
    """Return whether a setting divides the sample instead of splitting off a few points."""
    if min(result.n_clusters for result in results) < 2:
        return False
    noise = float(np.mean([result.noise_fraction for result in results]))
    n_classes = float(np.mean([_effective_n_classes(result) for result in results]))
    return noise <= MAX_NOISE_FRACTION and n_classes >= MIN_EFFECTIVE_CLASSES


def _effective_n_classes(result: TrialResult) -> float:
    """Return the exponential of the entropy of the cluster fractions, noise included."""
    assigned = result.sizes / result.sizes.sum() * (1.0 - result.noise_fraction)
    fractions = np.append(assigned, result.noise_fraction)
    fractions = fractions[fractions > 0]
    return float(np.exp(-np.sum(fractions * np.log(fractions))))
