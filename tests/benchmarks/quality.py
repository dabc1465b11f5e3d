"""What a good model of spectra is, in numbers: each defined once, here, for every recipe and every grid.

Arrays in, floats out. Latents are posterior means, decoded means are in linear flux on native pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from distspec.core.spectrum import Floats, Floats32, WavelengthGrid

Strings = NDArray[np.str_]
BRIGHT = 8.0
"""Median S/N a native pixel above which a spectrum is bright."""
K_NEIGHBOURS = 10
SPLITS = 5


def to_native(recon: Floats32, grid: WavelengthGrid, wave: Floats) -> Floats:
    """Return what a grid's pixels say at native ones: flux-conserving, smooth in between.

    A cubic spline through the cumulative flux at the grid's edges, differenced over each native pixel.

    Parameters
    ----------
    recon : (N, L) [f_λ / f_λ(reference)]
    grid : WaveGrid
    wave : (N, P) [Å, rest]
        Native pixels' centres, increasing.

    Returns
    -------
    (N, P)
        NaN where the grid does not reach.
    """
    middle = 0.5 * (wave[:, 1:] + wave[:, :-1])
    first, last = 2 * wave[:, :1] - middle[:, :1], 2 * wave[:, -1:] - middle[:, -1:]
    edges = np.concatenate([first, middle, last], axis=1)
    cumulative = np.concatenate(
        [np.zeros((len(recon), 1)), np.cumsum(recon * np.diff(grid.edges), axis=1)], axis=1
    )
    whole = np.stack(
        [CubicSpline(grid.edges, total)(at) for total, at in zip(cumulative, edges, strict=True)]
    )
    native = np.diff(whole, axis=1) / np.diff(edges, axis=1)
    covered = (edges[:, :-1] >= grid.start) & (edges[:, 1:] <= grid.stop)
    return np.where(covered, native, np.nan)


def errors(native: Floats, target: Floats, ivar: Floats) -> Floats:
    """Return each spectrum's mean over valid pixels of (arcsinh x̂ − arcsinh target)², (N,)."""
    valid = (ivar > 0) & np.isfinite(native)
    difference = np.where(valid, np.arcsinh(native) - np.arcsinh(target), 0.0)
    return np.square(difference).sum(axis=1) / valid.sum(axis=1)


def chi2_red(native: Floats, flux: Floats, ivar: Floats) -> Floats:
    """Return each spectrum's mean over valid pixels of (x − x̂)² ivar, (N,): linear flux, no floor."""
    valid = (ivar > 0) & np.isfinite(native)
    return np.where(valid, np.square(flux - native) * ivar, 0.0).sum(axis=1) / valid.sum(axis=1)


def leaks(latents: Floats, value: Floats, truth_class: Strings) -> tuple[float, float]:
    """Return how much of a nuisance is read from the latents at fixed class: R², linear and of neighbours.

    Both out of sample, in five folds; value and latents less their class's mean, so that classes which
    differ in the nuisance do not count.
    """
    x, y = latents.astype(np.float64).copy(), value.astype(np.float64).copy()
    for name in np.unique(truth_class):
        own = truth_class == name
        x[own] -= x[own].mean(axis=0)
        y[own] -= y[own].mean()
    folds = KFold(SPLITS, shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    near = KNeighborsRegressor(K_NEIGHBOURS)
    found: list[float] = []
    for model in (linear, near):
        predicted = cross_val_predict(model, x, y, cv=folds)
        found.append(float(1.0 - np.square(y - predicted).sum() / np.square(y).sum()))
    return found[0], found[1]


def nearest_itself(mean: Floats, candidates: Floats) -> NDArray[np.bool_]:
    """Tell of each object whether its other view is the nearest of all objects' other views, (N,)."""
    distance = np.square(candidates).sum(axis=1)[None, :] - 2.0 * mean @ candidates.T
    return distance.argmin(axis=1) == np.arange(len(mean))


def posterior_ratio(mean: tuple[Floats, Floats], var: tuple[Floats, Floats]) -> float:
    """Return the mean over repeats and latents of (Δμ)² / (σ₁² + σ₂²): 1 where widths are what they say."""
    return float(np.mean(np.square(mean[0] - mean[1]) / (var[0] + var[1])))


def participation_ratio(latents: Floats) -> float:
    """Return (Σ λ)² / Σ λ² of the latents' covariance: how many dimensions they use."""
    eigenvalues = np.linalg.eigvalsh(np.cov(latents.T))
    return float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())


def probe(latents: Floats, truth_class: Strings, positive: str = "lae") -> Mapping[str, float]:
    """Return a linear classifier's accuracy on latents, out of sample, and one class's recall and precision.

    Multinomial logistic regression on standardised latents in five stratified folds.
    """
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    folds = StratifiedKFold(SPLITS, shuffle=True, random_state=0)
    predicted: Strings = np.asarray(cross_val_predict(model, latents, truth_class, cv=folds))
    said, true = predicted == positive, truth_class == positive
    both = float(np.sum(said & true))
    return {
        "accuracy": float(np.mean(predicted == truth_class)),
        "recall": both / max(float(np.sum(true)), 1.0),
        "precision": both / max(float(np.sum(said)), 1.0),
    }
