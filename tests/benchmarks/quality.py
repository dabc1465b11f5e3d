"""Measures of the quality of a model of spectra, the same for every recipe and every grid.

The functions take arrays. Latents are posterior means; decoded spectra are in linear flux on native pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from distspec.models.neighbors import Posteriors, compute_log_bayes_factors
from distspec.store.splits import find_repeat_pairs

Strings = NDArray[np.str_]
BRIGHT_SNR = 8.0
"""Median signal-to-noise ratio per native pixel above which a spectrum counts as bright."""
N_NEIGHBORS = 10
N_FOLDS = 5
N_PERMUTATIONS = 2000


@dataclass(frozen=True)
class RepeatScores:
    """Pairs of spectra of one source.

    Attributes
    ----------
    n_pairs : int
        Number of pairs.
    in_one_class : float
        Fraction of the pairs whose spectra are in one class; NaN without pairs.
    by_chance : float
        The same if the classes of the spectra are permuted.
    """

    n_pairs: int
    in_one_class: float
    by_chance: float


def rebin_to_native(recon: Floats32, grid: WavelengthGrid, native_wave: Floats) -> Floats:
    """Rebin spectra from a grid to native pixels, conserving flux.

    A cubic spline through the cumulative flux at the edges of the grid's pixels is differenced over each
    native pixel.

    Parameters
    ----------
    recon : ndarray of shape (n_spectra, n_pixels)
        Spectra on the grid.
    grid : WavelengthGrid
        The grid.
    native_wave : ndarray of shape (n_spectra, n_native)
        Rest-frame centers of the native pixels, increasing [Å].

    Returns
    -------
    ndarray of shape (n_spectra, n_native)
        NaN where a native pixel is not within the grid.
    """
    middle = 0.5 * (native_wave[:, 1:] + native_wave[:, :-1])
    first, last = 2 * native_wave[:, :1] - middle[:, :1], 2 * native_wave[:, -1:] - middle[:, -1:]
    edges = np.concatenate([first, middle, last], axis=1)
    cumulative = np.concatenate(
        [np.zeros((len(recon), 1)), np.cumsum(recon * np.diff(grid.edges), axis=1)], axis=1
    )
    at_edges = np.stack(
        [CubicSpline(grid.edges, total)(native) for total, native in zip(cumulative, edges, strict=True)]
    )
    native_flux = np.diff(at_edges, axis=1) / np.diff(edges, axis=1)
    covered = (edges[:, :-1] >= grid.start) & (edges[:, 1:] <= grid.stop)
    return np.where(covered, native_flux, np.nan)


def arcsinh_mse(recon: Floats, target: Floats, ivar: Floats) -> Floats:
    """Return the mean squared difference of arcsinh flux over valid pixels, (n_spectra,)."""
    valid = (ivar > 0) & np.isfinite(recon)
    difference = np.where(valid, np.arcsinh(recon) - np.arcsinh(target), 0.0)
    return np.square(difference).sum(axis=1) / valid.sum(axis=1)


def reduced_chi2(recon: Floats, flux: Floats, ivar: Floats) -> Floats:
    """Return χ² per valid pixel in linear flux, without a noise floor, (n_spectra,)."""
    valid = (ivar > 0) & np.isfinite(recon)
    return np.where(valid, np.square(flux - recon) * ivar, 0.0).sum(axis=1) / valid.sum(axis=1)


def nuisance_r2(latents: Floats, nuisance: Floats, truth_class: Strings) -> tuple[float, float]:
    """Return how well a nuisance can be predicted from the latents at fixed class.

    Class means are subtracted from nuisance and latents, so that differences between classes do not count.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Posterior means.
    nuisance : ndarray of shape (n_spectra,)
        Property that the latents should not contain.
    truth_class : ndarray of str, shape (n_spectra,)
        Classes.

    Returns
    -------
    linear, neighbors : float
        R² of ridge regression and of the nearest neighbors, in cross-validation with five folds.
    """
    x, y = latents.astype(np.float64).copy(), nuisance.astype(np.float64).copy()
    for name in np.unique(truth_class):
        members = truth_class == name
        x[members] -= x[members].mean(axis=0)
        y[members] -= y[members].mean()
    folds = KFold(N_FOLDS, shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    scores: list[float] = []
    for model in (linear, KNeighborsRegressor(N_NEIGHBORS)):
        predicted = cross_val_predict(model, x, y, cv=folds)
        scores.append(float(1.0 - np.square(y - predicted).sum() / np.square(y).sum()))
    return scores[0], scores[1]


def finds_itself(latents: Floats, other_latents: Floats) -> NDArray[np.bool_]:
    """Return whether the nearest other view of each object is its own, (n_objects,).

    Parameters
    ----------
    latents, other_latents : ndarray of shape (n_objects, n_latents)
        Posterior means of two views of the same objects.
    """
    distance = np.square(other_latents).sum(axis=1)[None, :] - 2.0 * latents @ other_latents.T
    return distance.argmin(axis=1) == np.arange(len(latents))


def finds_itself_by_bayes_factor(posteriors: Posteriors, others: Posteriors) -> NDArray[np.bool_]:
    """Return whether the other view of highest Bayes factor is each object's own, (n_objects,)."""
    rows = np.arange(len(posteriors.mean))
    return (
        np.array([compute_log_bayes_factors(others, posteriors.take(rows[i : i + 1])).argmax() for i in rows])
        == rows
    )


def posterior_ratio(mean: tuple[Floats, Floats], var: tuple[Floats, Floats]) -> float:
    """Return the mean of (Δμ)² / (σ₁² + σ₂²) over pairs of views; 1 for correct posterior widths."""
    return float(np.mean(np.square(mean[0] - mean[1]) / (var[0] + var[1])))


def participation_ratio(latents: Floats) -> float:
    """Return (Σ λ)² / Σ λ² of the covariance of the latents, their effective number of dimensions."""
    eigenvalues = np.linalg.eigvalsh(np.cov(latents.T))
    return float(eigenvalues.sum() ** 2 / np.square(eigenvalues).sum())


def linear_probe(latents: Floats, truth_class: Strings, positive: str = "lae") -> Mapping[str, float]:
    """Return the scores of multinomial logistic regression on standardized latents.

    Parameters
    ----------
    latents : ndarray of shape (n_spectra, n_latents)
        Posterior means, with further columns if needed.
    truth_class : ndarray of str, shape (n_spectra,)
        Classes.
    positive : str
        Class of which recall and precision are returned.

    Returns
    -------
    mapping of str to float
        ``accuracy``, ``recall`` and ``precision``, in cross-validation with five stratified folds.
    """
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    predicted: Strings = np.asarray(cross_val_predict(model, latents, truth_class, cv=folds))
    is_predicted, is_true = predicted == positive, truth_class == positive
    n_correct = float(np.sum(is_predicted & is_true))
    return {
        "accuracy": float(np.mean(predicted == truth_class)),
        "recall": n_correct / max(float(np.sum(is_true)), 1.0),
        "precision": n_correct / max(float(np.sum(is_predicted)), 1.0),
    }


def score_repeats(labels: Any, source_ids: Sequence[str], is_used: NDArray[np.bool_]) -> RepeatScores:
    """Return how often two spectra of one source are in one class.

    Parameters
    ----------
    labels : ndarray of shape (n_spectra,)
        Classes; -1 is none, which no two spectra share.
    source_ids : sequence of str
        Source of each spectrum. The first two spectra of a source are compared.
    is_used : ndarray of bool, shape (n_spectra,)
        Spectra that count.
    """
    used = np.flatnonzero(is_used)
    pairs = find_repeat_pairs([source_ids[i] for i in used.tolist()])
    if not len(pairs):
        return RepeatScores(0, float("nan"), float("nan"))
    own, rng = np.asarray(labels)[used], np.random.default_rng(0)

    def fraction(values: Any) -> float:
        first, second = values[pairs[:, 0]], values[pairs[:, 1]]
        return float(np.mean((first == second) & (first >= 0)))

    permuted = [fraction(rng.permutation(own)) for _ in range(N_PERMUTATIONS)]
    return RepeatScores(len(pairs), fraction(own), float(np.mean(permuted)))
