"""Selection of the setting of a sweep that a run's classes come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from statistics import mean

import numpy as np

from distspec.clustering.algorithms import Labels, labels_from_prob
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.consensus import adjusted_rand_index, drop_unstable_classes, find_consensus
from distspec.clustering.sweep_scores import SweepScores, SweepSetting
from distspec.clustering.trials import TrialResult
from distspec.core.text import use_minus_signs

MAX_NOISE_FRACTION = 0.5
"""Largest mean fraction of noise at which a clustering can be selected."""
MIN_EFFECTIVE_CLASSES = 2.0
"""Smallest effective number of classes at which a clustering can be selected; below, one class holds nearly
all."""
BASELINE_ALGORITHMS = ("kmeans",)
"""Algorithms that divide any data; they are selected only if no other algorithm was tried."""
MAX_DIVISIONS = 3
"""Number of ways in which the models are divided in halves: all that four models allow."""
RERUN_SAMPLE_SIZE = 2_000
"""Number of points above which the classes of halves are found on a random sample."""


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
    rerun_agreement : float or None
        `estimate_rerun_agreement` in the space of the setting; None if it is not known.
    """

    setting: SweepSetting
    n_classes: int
    trial_index: int | None
    reason: str
    rerun_agreement: float | None = None


def select_setting(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Selection | None:
    """Select the setting that classes come from.

    The rule "silhouette" takes the trial with the highest silhouette. The rule "consensus" considers settings
    that divide the sample (`MIN_EFFECTIVE_CLASSES`). In each space it takes the finest one, that with the
    largest effective number of classes, of those that are reproducible (`ClusteringConfig.min_stability`) and
    beat the null test: stability alone favours coarse divisions, so the largest number of classes that is
    reproducible is taken, as by Tibshirani & Walther 2005 (J. Comput. Graph. Stat. 14, 511). Where none is
    reproducible, it takes the most stable one. Then it takes the space whose classes reruns would find again
    best (`estimate_rerun_agreement`), or with a single model the most stable one. The silhouette ranks
    neither, because it is highest where a few points lie far from all others.

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
    return Selection(setting, results[best].n_clusters, best, use_minus_signs(reason))


@dataclass(frozen=True)
class _Choice:
    """The best setting of a space, and why it is the best."""

    setting: SweepSetting
    n_candidates: int
    is_reproducible: bool
    stability: float
    beats_null: bool | None

    @property
    def has_classes(self) -> bool:
        """Whether it is reproducible and more than structureless data give, as far as is known."""
        return self.is_reproducible and self.beats_null is not False


def _select_by_stability(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Selection | None:
    choices = _choose_settings(results, sweep_scores, config)
    if not choices:
        return None
    agreement = {space: estimate_rerun_agreement(results, sweep_scores, config, space) for space in choices}

    def rank(choice: _Choice) -> tuple[bool, float, float]:
        known = agreement[choice.setting.space]
        return choice.has_classes, -1.0 if known is None else known, choice.stability

    best = max(choices.values(), key=rank)
    members = [results[i] for i in sweep_scores.members[best.setting]]
    found = agreement[best.setting.space]
    reason = _describe_choice(best, members, config)
    if found is not None and len(choices) > 1:
        reason += f"; of {len(choices)} spaces the one whose classes reruns find again best ({found:.2f})"
    return Selection(best.setting, _get_n_classes(members), None, reason, found)


def _choose_settings(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> dict[str, _Choice]:
    """Return the best setting of each space."""
    settings = [
        setting
        for setting, indices in sweep_scores.members.items()
        if _is_valid_partition([results[i] for i in indices])
    ]
    settings = [s for s in settings if s.algorithm_spec.algorithm not in BASELINE_ALGORITHMS] or settings
    return {
        space: _choose([s for s in settings if s.space == space], results, sweep_scores, config)
        for space in dict.fromkeys(setting.space for setting in settings)
    }


def _choose(
    settings: Sequence[SweepSetting],
    results: Sequence[TrialResult],
    sweep_scores: SweepScores,
    config: ClusteringConfig,
) -> _Choice:
    """Return the finest reproducible setting that beats the null test, or else the most stable one."""

    def fineness(setting: SweepSetting) -> float:
        return _compute_effective_n_classes([results[i] for i in sweep_scores.members[setting]])

    stable = [s for s in settings if sweep_scores.mean_stability(s) >= config.min_stability]
    stable = [s for s in stable if sweep_scores.beats_null(s) is not False] or stable
    best = max(stable, key=fineness) if stable else max(settings, key=sweep_scores.mean_stability)
    return _Choice(
        best,
        len(stable or settings),
        bool(stable),
        sweep_scores.mean_stability(best),
        sweep_scores.beats_null(best),
    )


def estimate_rerun_agreement(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig, space: str
) -> float | None:
    """Estimate how well the classes of independent runs in a space would agree.

    The models are divided in halves (in up to `MAX_DIVISIONS` ways). Each half selects a setting and finds
    classes of its own, as a run with these models would, so that the choice of the setting counts as well.

    Parameters
    ----------
    results : sequence of TrialResult
        Results on the data, as `SweepScores.members` counts them.
    sweep_scores : SweepScores
        Their scores.
    config : ClusteringConfig
        Settings of the sweep.
    space : str
        Title of the space.

    Returns
    -------
    float or None
        Mean adjusted Rand index; None if there is only one model, or a half that cannot be clustered.
    """
    first, *others = sorted({result.trial.dataset.number for result in results})
    if not others:
        return None
    members = {
        setting: indices for setting, indices in sweep_scores.members.items() if setting.space == space
    }
    in_space = replace(sweep_scores, members=members)
    agreements: list[float] = []
    for added in islice(combinations(others, (len(others) - 1) // 2), MAX_DIVISIONS):
        half = {first, *added}
        one, other = (
            _find_classes(results, in_space.select_models(results, models), config)
            for models in (half, {*others} - half)
        )
        if one is None or other is None:
            return None
        agreements.append(adjusted_rand_index(one, other))
    return mean(agreements)


def _find_classes(
    results: Sequence[TrialResult], sweep_scores: SweepScores, config: ClusteringConfig
) -> Labels | None:
    """Return the consensus classes of the best setting of one space; None if nothing could be clustered."""
    choices = _choose_settings(results, sweep_scores, config)
    if not choices:
        return None
    (choice,) = choices.values()
    members = [results[i] for i in sweep_scores.members[choice.setting]]
    rng = np.random.default_rng(0)
    n_points = len(members[0].labels)
    rows = rng.permutation(n_points)[:RERUN_SAMPLE_SIZE]
    labels = [result.labels[rows].astype(np.int32) for result in members]
    consensus = find_consensus(labels, _get_n_classes(members), rng)
    consensus = drop_unstable_classes(consensus, labels, config.min_class_jaccard)
    return labels_from_prob(consensus.predict_proba(labels))


def _describe_choice(choice: _Choice, members: Sequence[TrialResult], config: ClusteringConfig) -> str:
    n_models = len({result.trial.dataset.number for result in members})
    rank = (
        f"finest of {choice.n_candidates} reproducible clusterings"
        if choice.is_reproducible
        else f"no clustering reaches a stability of {config.min_stability:g}: "
        f"most stable of {choice.n_candidates}"
    )
    models = f"{n_models} models" if n_models > 1 else "one model"
    reason = (
        f"{rank} in {choice.setting.space} (mean adjusted Rand index {choice.stability:.2f} between members "
        f"of {models})"
    )
    if choice.beats_null is False:
        reason += "; it does not beat the null test: classes may be chance divisions"
    return use_minus_signs(reason)


def _get_n_classes(members: Sequence[TrialResult]) -> int:
    return int(np.median([result.n_clusters for result in members]))


def _is_valid_partition(results: Sequence[TrialResult]) -> bool:
    """Return whether a setting divides the sample instead of splitting off a few points."""
    if min((result.n_clusters for result in results), default=0) < 2:
        return False
    noise = float(np.mean([result.noise_fraction for result in results]))
    return noise <= MAX_NOISE_FRACTION and _compute_effective_n_classes(results) >= MIN_EFFECTIVE_CLASSES


def _compute_effective_n_classes(results: Sequence[TrialResult]) -> float:
    """Return the mean over trials of exp of the entropy of the cluster fractions, noise included."""
    numbers: list[float] = []
    for result in results:
        assigned = result.sizes / result.sizes.sum() * (1.0 - result.noise_fraction)
        fractions = np.append(assigned, result.noise_fraction)
        fractions = fractions[fractions > 0]
        numbers.append(float(np.exp(-np.sum(fractions * np.log(fractions)))))
    return float(np.mean(numbers))
