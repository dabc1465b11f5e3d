"""Evidence of linear models of a spectrum: amplitude and coefficients are integrated in closed form."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats, Floats32

N_AMPLITUDE_ITERATIONS = 2
"""Number of solutions, each with the prior of the coefficients at the amplitude of the one before."""


@njit_nogil
def compute_mixture_evidence(products: Floats32, projections: Floats32, log_weights: Floats) -> Floats:
    """Compute the evidence of a mixture of template groups, relative to a flux of 0.

    The model of a group is A (μ + Σ_k a_k φ_k) with standard normal a_k; A has the prior 1 / A, which does
    not depend on the unit of flux. The Gaussian integral is taken with the prior of A a_k at the best
    amplitude.

    Parameters
    ----------
    products : ndarray of shape (n_spectra, n_groups, n_pairs)
        Sums over pixels of weight times two templates of a group: the lower triangle, row by row.
    projections : ndarray of shape (n_spectra, n_groups, n_columns)
        Sums over pixels of weight times flux times a template; the mean of a group comes first.
    log_weights : ndarray of shape (n_groups,)
        Natural logarithm of the prior probabilities of the groups.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Natural logarithm of the evidence; -inf where no pixel sees a template.
    """
    n_spectra, n_groups, n = projections.shape
    matrix, right, solution = np.empty((n, n)), np.empty(n), np.empty(n)
    evidence = np.full(n_spectra, -np.inf)
    for s in range(n_spectra):
        for g in range(n_groups):
            curvature = float(products[s, g, 0])
            if curvature <= 0.0:
                continue
            smallest = 1.0 / np.sqrt(curvature)  # the standard error of an amplitude
            amplitude = max(projections[s, g, 0] / curvature, smallest)
            used, log_det = amplitude, 0.0
            for _ in range(N_AMPLITUDE_ITERATIONS):
                pair = 0
                for i in range(n):
                    right[i] = projections[s, g, i]
                    for j in range(i + 1):
                        matrix[i, j] = products[s, g, pair]
                        pair += 1
                    if i > 0:
                        matrix[i, i] += 1.0 / amplitude**2
                log_det = solve(matrix, right, solution)
                used, amplitude = amplitude, max(solution[0], smallest)
            value = 0.5 * (right * solution).sum() - 0.5 * log_det - n * np.log(used) + log_weights[g]
            if solution[0] < 0.0:  # an amplitude is positive
                value -= 0.5 * curvature * solution[0] ** 2
            high = max(evidence[s], value)
            evidence[s] = high + np.log(np.exp(evidence[s] - high) + np.exp(value - high))
    return evidence


def compute_smooth_evidence(weight: Floats32, flux: Floats32, basis: Floats) -> Floats:
    """Compute the evidence of smooth functions, relative to a flux of 0.

    The coefficients have normal priors of variance 1.

    Parameters
    ----------
    weight, flux : ndarray of shape (n_spectra, n_pixels)
        Inverse variance, 0 where masked, and flux, of unit scale.
    basis : ndarray of shape (n_pixels, n_functions)
        The functions.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Natural logarithm of the evidence.
    """
    n = basis.shape[1]
    pairs = (basis[:, :, None] * basis[:, None, :]).reshape(len(basis), -1)
    matrix = (weight @ pairs).reshape(-1, n, n) + np.eye(n)
    right = (weight * flux) @ basis
    solution = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return 0.5 * (right * solution).sum(axis=1) - 0.5 * np.linalg.slogdet(matrix)[1]


def make_smooth_basis(wave: Floats, n_functions: int) -> Floats:
    """Return cubic B-splines in ln λ, for spectra of which nothing but smoothness is known.

    Parameters
    ----------
    wave : ndarray of shape (n_pixels,)
        Wavelengths, increasing.
    n_functions : int
        Number of functions, at least 4.

    Returns
    -------
    ndarray of shape (n_pixels, n_functions)
    """
    position = (np.log(wave) - np.log(wave[0])) / np.log(wave[-1] / wave[0])
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, n_functions - 2), np.ones(3)])
    return BSpline.design_matrix(position.clip(0.0, 1.0 - 1e-9), knots, 3).toarray()


@njit_nogil
def solve(matrix: Floats, right: Floats, solution: Floats) -> float:
    """Solve symmetric, positive definite equations by Cholesky's decomposition.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Its lower triangle is replaced by the factor.
    right, solution : ndarray of shape (n,)
        Right-hand side, and the array for the solution.

    Returns
    -------
    float
        Natural logarithm of the determinant.
    """
    n, log_det = len(right), 0.0
    for i in range(n):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                value = max(value, 1e-12)  # rounding of float32 products
                log_det += np.log(value)
                matrix[i, i] = np.sqrt(value)
            else:
                matrix[i, j] = value / matrix[j, j]
    for i in range(n):
        value = right[i]
        for k in range(i):
            value -= matrix[i, k] * solution[k]
        solution[i] = value / matrix[i, i]
    for i in range(n - 1, -1, -1):
        value = solution[i]
        for k in range(i + 1, n):
            value -= matrix[k, i] * solution[k]
        solution[i] = value / matrix[i, i]
    return log_det
