"""Decisions of a schedule, with their reasons: whether to train a new model, and whether to promote it.

A new model that may replace the promoted one is a candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distspec.core.errors import ConfigError
from distspec.core.spectrum import Floats, Floats32

MIN_NEW_SPECTRA = 30
"""Smallest number of new spectra with which drift is measured."""
DRIFT_ALPHA = 1e-3
"""Significance level of the test for drift, for all columns together."""
MIN_DEGRADATION_SIGMA = 3.0
"""A candidate's χ² counts as worse if the mean difference exceeds so many of its standard errors."""


@dataclass(frozen=True)
class RetrainConfig:
    """Criteria for training a new model and for promoting it."""

    change_threshold: float = 0.1
    """Train when the spectra added or withdrawn are this fraction of the model's data set; 0: never."""
    drift_threshold: float = 0.3
    """Train when the distributions of a latent, or of χ², in new and in held-out spectra differ by this
    Kolmogorov-Smirnov distance; 0: never."""
    max_age_days: float = 0.0
    """Train when the promoted model is older than this [d]; 0: never for its age."""
    force: bool = False
    """Train in any case, also if `distspec rollback` has pinned a model."""
    warm_start: bool = False
    """Start from the weights of the promoted model; otherwise from new ones."""
    max_chi2_increase: float = 0.02
    """Reject a candidate whose χ² per pixel on held-out sources is higher by more than this fraction."""
    max_stability_drop: float = 0.1
    """Reject a candidate whose clusterings repeat less well, by more than this adjusted Rand index."""

    def __post_init__(self) -> None:
        for name in (
            "change_threshold",
            "drift_threshold",
            "max_age_days",
            "max_chi2_increase",
            "max_stability_drop",
        ):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"retrain.{name} {getattr(self, name)} must not be negative")


@dataclass(frozen=True)
class ChangesSinceTraining:
    """What has changed since the promoted model was trained.

    Attributes
    ----------
    changed_settings : sequence of str
        Names of the settings that differ from those of the model.
    n_trained : int
        Number of current spectra in the model's data set.
    n_added : int
        Number of spectra that were added since.
    n_withdrawn : int
        Number of spectra of the data set that are not current any more.
    age_days : float
        Age of the model [d].
    pin_reason : str
        Why the model is pinned; empty if it is not.
    """

    changed_settings: Sequence[str]
    n_trained: int
    n_added: int
    n_withdrawn: int
    age_days: float
    pin_reason: str = ""

    @property
    def changed_fraction(self) -> float:
        """Added and withdrawn spectra as a fraction of the data set."""
        return (self.n_added + self.n_withdrawn) / max(self.n_trained, 1)


@dataclass(frozen=True)
class Drift:
    """Difference between the distributions of new and of held-out spectra in the promoted model's outputs.

    Attributes
    ----------
    column : str
        Output with the largest difference.
    distance : float
        Its Kolmogorov-Smirnov distance, from 0 (same distribution) to 1.
    p_value : float
        Probability of such a distance in any of the columns by chance (Bonferroni).
    n_new, n_reference : int
        Numbers of new and of held-out spectra.
    """

    column: str
    distance: float
    p_value: float
    n_new: int
    n_reference: int

    def __str__(self) -> str:
        distance = f"distance {self.distance:.2f} (p {self.p_value:.1g})"
        return f"{self.column}: {distance} of {self.n_new:,} new spectra"


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train a candidate.

    Attributes
    ----------
    train : bool
        Whether to train.
    reason : str
        Reason, for logs and records.
    user_requested : bool
        Whether the settings were changed: the candidate is then promoted unless it is broken.
    """

    train: bool
    reason: str
    user_requested: bool = False


def measure_drift(new: Mapping[str, Floats32], reference: Mapping[str, Floats32]) -> Drift | None:
    """Compare a model's outputs for new spectra with those for held-out spectra.

    Parameters
    ----------
    new : mapping of str to ndarray of shape (n_new,)
        Outputs for spectra that were added since the training: latents and χ².
    reference : mapping of str to ndarray of shape (n_reference,)
        The same outputs for held-out spectra of the training's data set.

    Returns
    -------
    Drift or None
        None if either has fewer than `MIN_NEW_SPECTRA` spectra.
    """
    n_new, n_reference = (len(next(iter(columns.values()))) for columns in (new, reference))
    if min(n_new, n_reference) < MIN_NEW_SPECTRA:
        return None
    from scipy.stats import ks_2samp  # takes a second to import, and every command imports this module

    tests: dict[str, Any] = {name: ks_2samp(new[name], reference[name]) for name in new}
    worst = max(tests, key=lambda name: tests[name].statistic)
    p_value = min(1.0, float(tests[worst].pvalue) * len(tests))
    return Drift(worst, float(tests[worst].statistic), p_value, n_new, n_reference)


def decide_retraining(
    changes: ChangesSinceTraining, drift: Drift | None, config: RetrainConfig
) -> RetrainDecision:
    """Decide whether to train a candidate.

    Parameters
    ----------
    changes : ChangesSinceTraining
        Changes of the store and the settings since the promoted model was trained.
    drift : Drift or None
        Drift of the new spectra, if it could be measured.
    config : RetrainConfig
        Thresholds.

    Returns
    -------
    RetrainDecision
        The decision and its reason.

    Examples
    --------
    >>> small_change = ChangesSinceTraining([], 1000, 20, 0, 1.0)
    >>> decide_retraining(small_change, None, RetrainConfig()).reason
    '20 spectra added, 0 withdrawn: 2.0 % of 1,000, below 10 %'
    >>> large_change = ChangesSinceTraining([], 1000, 150, 0, 1.0)
    >>> decide_retraining(large_change, None, RetrainConfig()).train
    True
    """
    if config.force:
        return RetrainDecision(True, "forced (--retrain.force)", bool(changes.changed_settings))
    if changes.changed_settings:
        return RetrainDecision(True, f"changed settings: {', '.join(changes.changed_settings)}", True)
    if changes.pin_reason:
        return RetrainDecision(False, f"pinned: {changes.pin_reason}")
    counts = f"{changes.n_added:,} spectra added, {changes.n_withdrawn:,} withdrawn"
    growth = f"{counts}: {100 * changes.changed_fraction:.1f} % of {changes.n_trained:,}"
    if changes.changed_fraction >= config.change_threshold > 0:
        return RetrainDecision(True, growth)
    if 0 < config.max_age_days <= changes.age_days:
        return RetrainDecision(True, f"{changes.age_days:.1f} days old")
    if drift is not None and drift.distance >= config.drift_threshold and drift.p_value < DRIFT_ALPHA:
        return RetrainDecision(True, f"drift in {drift}")
    if not changes.n_added + changes.n_withdrawn:
        return RetrainDecision(False, "nothing has changed")
    threshold = f", below {100 * config.change_threshold:g} %" if config.change_threshold else ""
    return RetrainDecision(False, growth + threshold)


@dataclass(frozen=True)
class Evaluation:
    """Performance of a model on the held-out spectra.

    Attributes
    ----------
    model_id : str
        Id of the model.
    chi2_red : ndarray of shape (n_spectra,)
        χ² per pixel of each spectrum.
    all_finite : bool
        Whether all latents, variances and reconstructions are finite.
    stability : float
        Mean adjusted Rand index between repeated clusterings; NaN if there are too few spectra.
    """

    model_id: str
    chi2_red: Floats
    all_finite: bool
    stability: float

    @property
    def is_finite(self) -> bool:
        """Whether all outputs, χ² among them, are finite."""
        return self.all_finite and bool(np.isfinite(self.chi2_red).all())

    def summary(self) -> dict[str, Any]:
        """Return the summary that records keep."""
        return {
            "model_id": self.model_id,
            "n_spectra": len(self.chi2_red),
            "median_chi2_red": float(np.median(self.chi2_red)) if len(self.chi2_red) else None,
            "all_finite": self.all_finite,
            "stability": self.stability,
        }


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote a candidate.

    Attributes
    ----------
    promote : bool
        Whether to promote it.
    reason : str
        Reason, for logs and records.
    """

    promote: bool
    reason: str


def decide_promotion(
    promoted: Evaluation | None, candidate: Evaluation, config: RetrainConfig, user_requested: bool = False
) -> PromotionDecision:
    """Decide whether a candidate replaces the promoted model, by comparing them spectrum by spectrum.

    Parameters
    ----------
    promoted : Evaluation or None
        Evaluation of the promoted model; None if there is none.
    candidate : Evaluation
        Evaluation of the new model on the same spectra.
    config : RetrainConfig
        Limits of the degradation that is accepted.
    user_requested : bool
        Whether the settings were changed: the candidate is then promoted unless it is broken.

    Returns
    -------
    PromotionDecision
        The decision and its reason.
    """
    if not candidate.is_finite:
        return PromotionDecision(False, "its outputs are not finite")
    if promoted is None:
        return PromotionDecision(True, "it is the first model")
    if user_requested:
        return PromotionDecision(True, "its settings were requested")
    if not promoted.is_finite:
        return PromotionDecision(True, f"the outputs of {promoted.model_id} are not finite")
    log_ratio = np.log(np.maximum(candidate.chi2_red, 1e-30)) - np.log(np.maximum(promoted.chi2_red, 1e-30))
    mean, error = float(np.mean(log_ratio)), float(np.std(log_ratio) / np.sqrt(max(len(log_ratio), 1)))
    ratio = f"χ² × {np.exp(mean):.3f} ± {error:.3f} on {len(log_ratio):,} held-out spectra"
    if mean > np.log1p(config.max_chi2_increase) and mean > MIN_DEGRADATION_SIGMA * error:
        return PromotionDecision(False, f"worse: {ratio}")
    drop = promoted.stability - candidate.stability
    if np.isnan(drop):
        return PromotionDecision(True, f"{ratio}; too few spectra to compare clusterings")
    stability = f"stability of clusterings {candidate.stability:.2f}, before {promoted.stability:.2f}"
    if drop > config.max_stability_drop:
        return PromotionDecision(False, f"less stable: {stability}")
    return PromotionDecision(True, f"{ratio}; {stability}")
