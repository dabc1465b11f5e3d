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

MIN_NEW = 30
"""Fewer new spectra say nothing of drift."""
SIGNIFICANT = 1e-3
"""A drift that chance makes oftener, among all columns compared, is none."""
NOTICED = 3.0
"""A challenger's error is worse where the mean difference is so many of its standard errors from 0."""


@dataclass(frozen=True)
class RetrainConfig:
    """When a new model is trained, and what it must do to serve."""

    grown: float = 0.1
    """Train when so large a share of the spectra that the serving model knew was added or withdrawn."""
    drift: float = 0.3
    """Train when new spectra lie elsewhere: largest Kolmogorov-Smirnov distance of any latent or of χ²."""
    days: float = 0.0
    """Train when the serving model is older [d]; 0: age is no reason."""
    force: bool = False
    """Train now, whatever changed, and let go of a model that `distspec rollback` holds."""
    warm: bool = False
    """Start from the serving model's weights; else anew."""
    worse: float = 0.02
    """A challenger whose χ² a pixel on held-out sources is higher by this share does not serve."""
    unstable: float = 0.1
    """Nor does one on which clusterings repeat less: by this much in the adjusted Rand index."""

    def __post_init__(self) -> None:
        for name in ("grown", "drift", "days", "worse", "unstable"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"retrain.{name} {getattr(self, name)} must not be negative")


@dataclass(frozen=True)
class Change:
    """What has changed since the serving model was trained.

    Attributes
    ----------
    settings : sequence of str
        Names of the settings that differ from those it was trained with.
    known, added, withdrawn : int
        Spectra that it knew; that were added since; of those it knew, that no longer stand.
    days : float
        Its age [d].
    held : str
        Why it stays whatever happens; empty: it does not.
    """

    settings: Sequence[str]
    known: int
    added: int
    withdrawn: int
    days: float
    held: str = ""

    @property
    def share(self) -> float:
        """How much of what it knew has changed."""
        return (self.added + self.withdrawn) / max(self.known, 1)


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
    n_new, n_old : int
    """

    column: str
    distance: float
    p_value: float
    n_new: int
    n_old: int

    def __str__(self) -> str:
        """Say it in a few words."""
        how = f"distance {self.distance:.2f} (p {self.p_value:.1g}) of {self.n_new:,} new spectra"
        return f"{self.column}: {how}"


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why."""

    train: bool
    why: str
    asked: bool = False
    """A person wants this model: settings were changed. It serves unless it is broken."""


def drift_of(new: Mapping[str, Floats32], old: Mapping[str, Floats32]) -> Drift | None:
    """Compare what a model says of new spectra with what it says of held-out ones of those it knew.

    Parameters
    ----------
    new, old : mapping
        Columns, (M,) and (N,): latents, χ².

    Returns
    -------
    Drift or None
        None where either is too few.
    """
    n_new, n_old = (len(next(iter(each.values()))) for each in (new, old))
    if min(n_new, n_old) < MIN_NEW:
        return None
    found: dict[str, Any] = {name: ks_2samp(new[name], old[name]) for name in new}
    worst = max(found, key=lambda name: found[name].statistic)
    p_value = min(1.0, float(found[worst].pvalue) * len(found))
    return Drift(worst, float(found[worst].statistic), p_value, n_new, n_old)


def decide(change: Change, drift: Drift | None, config: RetrainConfig) -> Decision:
    """Decide whether to train a challenger.

    Examples
    --------
    >>> decide(Change([], 1000, 20, 0, 1.0), None, RetrainConfig())
    Decision(train=False, why='20 spectra added, 0 withdrawn: 2.0 % of 1,000, below 10 %', asked=False)
    >>> decide(Change([], 1000, 150, 0, 1.0), None, RetrainConfig()).train
    True
    """
    if config.force:
        return Decision(True, "forced (--retrain.force)", bool(change.settings))
    if change.settings:
        return Decision(True, f"other settings: {', '.join(change.settings)}", True)
    if change.held:
        return Decision(False, f"held: {change.held}")
    counts = f"{change.added:,} spectra added, {change.withdrawn:,} withdrawn"
    grown = f"{counts}: {100 * change.share:.1f} % of {change.known:,}"
    if change.share >= config.grown > 0:
        return Decision(True, grown)
    if 0 < config.days <= change.days:
        return Decision(True, f"{change.days:.1f} days old")
    if drift is not None and drift.distance >= config.drift and drift.p_value < SIGNIFICANT:
        return Decision(True, f"drift in {drift}")
    if not change.added + change.withdrawn:
        return Decision(False, "nothing has changed")
    return Decision(False, f"{grown}, below {100 * config.grown:g} %" if config.grown else grown)


@dataclass(frozen=True)
class Evaluation:
    """What a model does on spectra of sources that no model is trained on.

    Attributes
    ----------
    model_id : str
    chi2 : (N,)
        Of each spectrum, a pixel.
    finite : bool
        Whether every latent, its variance and the reconstruction are.
    stability : float
        Mean adjusted Rand index of clusterings of its latents, repeated.
    """

    model_id: str
    chi2: Floats
    finite: bool
    stability: float

    def summary(self) -> dict[str, Any]:
        """Return what is recorded of it."""
        return {
            "model_id": self.model_id,
            "n": len(self.chi2),
            "median_chi2_red": float(np.median(self.chi2)) if len(self.chi2) else None,
            "finite": self.finite,
            "stability": self.stability,
        }


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger serves, and why."""

    promote: bool
    why: str


def judge(
    champion: Evaluation | None, challenger: Evaluation, config: RetrainConfig, asked: bool = False
) -> Verdict:
    """Judge a challenger on the spectra on which the champion was judged, spectrum by spectrum.

    Parameters
    ----------
    champion : Evaluation or None
        None: no model serves.
    challenger : Evaluation
        Of the same spectra.
    config : RetrainConfig
    asked : bool
        Its settings are what a person asked for: it only has to be sound.
    """
    if not challenger.finite or not np.isfinite(challenger.chi2).all():
        return Verdict(False, "what it says is not finite")
    if champion is None:
        return Verdict(True, "no model served")
    if asked:
        return Verdict(True, "its settings were asked for")
    if not champion.finite or not np.isfinite(champion.chi2).all():
        return Verdict(True, f"what {champion.model_id} says is not finite")
    apart = np.log(np.maximum(challenger.chi2, 1e-30)) - np.log(np.maximum(champion.chi2, 1e-30))
    mean, error = float(np.mean(apart)), float(np.std(apart) / np.sqrt(max(len(apart), 1)))
    ratio = f"χ² × {np.exp(mean):.3f} ± {error:.3f} on {len(apart):,} held-out spectra"
    if mean > np.log1p(config.worse) and mean > NOTICED * error:
        return Verdict(False, f"worse: {ratio}")
    less = champion.stability - challenger.stability
    stable = f"clusterings repeat to {challenger.stability:.2f}, before {champion.stability:.2f}"
    if np.isnan(less):
        return Verdict(True, f"{ratio}; too few to cluster")
    if less > config.unstable:
        return Verdict(False, f"less stable: {stable}")
    return Verdict(True, f"{ratio}; {stable}")
