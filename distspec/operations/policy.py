"""When a new model is trained, and whether it may serve: decisions with their reasons, in numbers and words.

The model that serves is the champion, one that is to follow it the challenger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from distspec.core.spectrum import Floats, Floats32

MIN_NEW_SPECTRA = 30
"""Fewer new spectra say nothing of drift."""
DRIFT_ALPHA = 1e-3
"""A drift that chance makes oftener, among all columns compared, is none."""
MIN_DEGRADATION_SIGMA = 3.0
"""A challenger's error is worse where the mean difference is so many of its standard errors from 0."""


@dataclass(frozen=True)
class RetrainConfig:
    """When a new model is trained, and what it must do to serve."""

    change_threshold: float = 0.1
    """Train when so large a share of the spectra that the serving model knew was added or withdrawn."""
    drift_threshold: float = 0.3
    """Train when new spectra lie elsewhere: largest Kolmogorov-Smirnov distance of any latent or of χ²."""
    max_age_days: float = 0.0
    """Train when the serving model is older [d]; 0: age is no reason."""
    force: bool = False
    """Train now, whatever changed, and let go of a model that `distspec rollback` holds."""
    warm_start: bool = False
    """Start from the serving model's weights; else anew."""
    max_chi2_increase: float = 0.02
    """A challenger whose χ² a pixel on held-out sources is higher by this share does not serve."""
    max_stability_drop: float = 0.1
    """Nor does one on which clusterings repeat less: by this much in the adjusted Rand index."""

    def __post_init__(self) -> None:
        for name in (
            "change_threshold",
            "drift_threshold",
            "max_age_days",
            "max_chi2_increase",
            "max_stability_drop",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"retrain.{name} {getattr(self, name)} must not be negative")


@dataclass(frozen=True)
class ChangesSinceTraining:
    """What has changed since the serving model was trained.

    Attributes
    ----------
    changed_settings : sequence of str
        Names of the settings that differ from those it was trained with.
    n_trained, n_added, n_withdrawn : int
        Spectra that it knew; that were added since; of those it knew, that no longer stand.
    age_days : float
        Its age [d].
    pin_reason : str
        Why it stays whatever happens; empty: it does not.
    """

    changed_settings: Sequence[str]
    n_trained: int
    n_added: int
    n_withdrawn: int
    age_days: float
    pin_reason: str = ""

    @property
    def changed_fraction(self) -> float:
        """How much of what it knew has changed."""
        return (self.n_added + self.n_withdrawn) / max(self.n_trained, 1)


@dataclass(frozen=True)
class Drift:
    """How differently new spectra lie in what the serving model says of them.

    Attributes
    ----------
    column : str
        Where they differ most.
    distance : float
        Kolmogorov-Smirnov distance there: 0 alike, 1 apart.
    p_value : float
        How often chance makes so large a one in any of the columns (Bonferroni).
    n_new, n_reference : int
    """

    column: str
    distance: float
    p_value: float
    n_new: int
    n_reference: int

    def __str__(self) -> str:
        """Say it in a few words."""
        how = f"distance {self.distance:.2f} (p {self.p_value:.1g}) of {self.n_new:,} new spectra"
        return f"{self.column}: {how}"


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to train, and why."""

    train: bool
    reason: str
    user_requested: bool = False
    """A person wants this model: settings were changed. It serves unless it is broken."""


def measure_drift(new: Mapping[str, Floats32], reference: Mapping[str, Floats32]) -> Drift | None:
    """Compare what a model says of new spectra with what it says of held-out ones of those it knew.

    Parameters
    ----------
    new, reference : mapping
        Columns, (M,) and (N,): latents, χ².

    Returns
    -------
    Drift or None
        None where either is too few.
    """
    n_new, n_old = (len(next(iter(each.values()))) for each in (new, reference))
    if min(n_new, n_old) < MIN_NEW_SPECTRA:
        return None
    found: dict[str, Any] = {name: ks_2samp(new[name], reference[name]) for name in new}
    worst = max(found, key=lambda name: found[name].statistic)
    p_value = min(1.0, float(found[worst].pvalue) * len(found))
    return Drift(worst, float(found[worst].statistic), p_value, n_new, n_old)


def decide_retraining(
    changes: ChangesSinceTraining, drift: Drift | None, config: RetrainConfig
) -> RetrainDecision:
    """Decide whether to train a challenger.

    Examples
    --------
    >>> decide(Change([], 1000, 20, 0, 1.0), None, RetrainConfig())
    Decision(train=False, why='20 spectra added, 0 withdrawn: 2.0 % of 1,000, below 10 %', asked=False)
    >>> decide(Change([], 1000, 150, 0, 1.0), None, RetrainConfig()).train
    True
    """
    if config.force:
        return RetrainDecision(True, "forced (--retrain.force)", bool(changes.changed_settings))
    if changes.changed_settings:
        return RetrainDecision(True, f"other settings: {', '.join(changes.changed_settings)}", True)
    if changes.pin_reason:
        return RetrainDecision(False, f"held: {changes.pin_reason}")
    counts = f"{changes.n_added:,} spectra added, {changes.n_withdrawn:,} withdrawn"
    grown = f"{counts}: {100 * changes.changed_fraction:.1f} % of {changes.n_trained:,}"
    if changes.changed_fraction >= config.change_threshold > 0:
        return RetrainDecision(True, grown)
    if 0 < config.max_age_days <= changes.age_days:
        return RetrainDecision(True, f"{changes.age_days:.1f} days old")
    if drift is not None and drift.distance >= config.drift_threshold and drift.p_value < DRIFT_ALPHA:
        return RetrainDecision(True, f"drift in {drift}")
    if not changes.n_added + changes.n_withdrawn:
        return RetrainDecision(False, "nothing has changed")
    return RetrainDecision(
        False, f"{grown}, below {100 * config.change_threshold:g} %" if config.change_threshold else grown
    )


@dataclass(frozen=True)
class Evaluation:
    """What a model does on spectra of sources that no model is trained on.

    Attributes
    ----------
    model_id : str
    chi2_red : (N,)
        Of each spectrum, a pixel.
    all_finite : bool
        Whether every latent, its variance and the reconstruction are.
    stability : float
        Mean adjusted Rand index of clusterings of its latents, repeated.
    """

    model_id: str
    chi2_red: Floats
    all_finite: bool
    stability: float

    def summary(self) -> dict[str, Any]:
        """Return what is recorded of it."""
        return {
            "model_id": self.model_id,
            "n": len(self.chi2_red),
            "median_chi2_red": float(np.median(self.chi2_red)) if len(self.chi2_red) else None,
            "finite": self.all_finite,
            "stability": self.stability,
        }


@dataclass(frozen=True)
class PromotionDecision:
    """Whether a challenger serves, and why."""

    promote: bool
    reason: str


def decide_promotion(
    champion: Evaluation | None, challenger: Evaluation, config: RetrainConfig, user_requested: bool = False
) -> PromotionDecision:
    """Judge a challenger on the spectra on which the champion was judged, spectrum by spectrum.

    Parameters
    ----------
    champion : Evaluation or None
        None: no model serves.
    challenger : Evaluation
        Of the same spectra.
    config : RetrainConfig
    user_requested : bool
        Its settings are what a person asked for: it only has to be sound.
    """
    if not challenger.all_finite or not np.isfinite(challenger.chi2_red).all():
        return PromotionDecision(False, "what it says is not finite")
    if champion is None:
        return PromotionDecision(True, "no model served")
    if user_requested:
        return PromotionDecision(True, "its settings were asked for")
    if not champion.all_finite or not np.isfinite(champion.chi2_red).all():
        return PromotionDecision(True, f"what {champion.model_id} says is not finite")
    apart = np.log(np.maximum(challenger.chi2_red, 1e-30)) - np.log(np.maximum(champion.chi2_red, 1e-30))
    mean, error = float(np.mean(apart)), float(np.std(apart) / np.sqrt(max(len(apart), 1)))
    ratio = f"χ² × {np.exp(mean):.3f} ± {error:.3f} on {len(apart):,} held-out spectra"
    if mean > np.log1p(config.max_chi2_increase) and mean > MIN_DEGRADATION_SIGMA * error:
        return PromotionDecision(False, f"worse: {ratio}")
    less = champion.stability - challenger.stability
    stable = f"clusterings repeat to {challenger.stability:.2f}, before {champion.stability:.2f}"
    if np.isnan(less):
        return PromotionDecision(True, f"{ratio}; too few to cluster")
    if less > config.max_stability_drop:
        return PromotionDecision(False, f"less stable: {stable}")
    return PromotionDecision(True, f"{ratio}; {stable}")
