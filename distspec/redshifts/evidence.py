"""Evidence of linear models of a spectrum: amplitude and coefficients are integrated in closed form."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import BSpline

from distspec.core.compiled import njit_nogil
from distspec.core.spectrum import Floats, Floats32

N_AMPLITUDE_ITERATIONS = 2
"""Number of solutions by default."""
BLOCK_SIZE = 32
"""Number of spectra whose equations are solved together."""


@njit_nogil
def multiply_pairs(templates: Floats32) -> Floats32:
    """Multiply all pairs of the templates of each group.

    Parameters
    ----------
    templates : ndarray of shape (n_groups, n_columns, n_pixels)
        Templates.

    Returns
    -------
    ndarray of shape (n_groups, n_pairs, n_pixels)
        Products: the lower triangle, row by row.
    """
    n_groups, n, n_pixels = templates.shape
    products = np.empty((n_groups, n * (n + 1) // 2, n_pixels), np.float32)
    for g in range(n_groups):
        pair = 0
        for i in range(n):
            for j in range(i + 1):
                for p in range(n_pixels):
                    products[g, pair, p] = templates[g, i, p] * templates[g, j, p]
                pair += 1
    return products


@njit_nogil
def compute_mixture_evidence(
    products: Floats32,
    projections: Floats32,
    log_weights: Floats,
    n_iterations: int = N_AMPLITUDE_ITERATIONS,
    marginalize: bool = True,
) -> Floats:
    """Compute the evidence of a mixture of template groups, relative to a flux of 0.

    The model of a group is A (μ + Σ_k a_k φ_k) with standard normal a_k; A has the prior 1 / A, which does
    not depend on the unit of flux. The Gaussian integral is taken with the prior of A a_k at the best
    amplitude.

    Parameters
    ----------
    products : ndarray of shape (n_groups, n_pairs, n_spectra)
        Sums over pixels of weight times two templates of a group: the lower triangle, row by row.
    projections : ndarray of shape (n_groups, n_columns, n_spectra)
        Sums over pixels of weight times flux times a template; the mean of a group comes last.
    log_weights : ndarray of shape (n_groups,)
        Natural logarithm of the prior probabilities of the groups.
    n_iterations : int
        Number of solutions, each with the prior of the coefficients at the amplitude of the one before.
    marginalize : bool
        Integrate over amplitude and coefficients; else take their most probable values.

    Returns
    -------
    ndarray of shape (n_spectra,)
        Natural logarithm of the evidence; -inf where no pixel sees a template.
    """
    n_groups, n, n_spectra = projections.shape
    n_pairs = n * (n + 1) // 2
    evidence = np.full(n_spectra, -np.inf)
    for first in range(0, n_spectra, BLOCK_SIZE):
        size = min(BLOCK_SIZE, n_spectra - first)
        # The matrices, and as their last rows the right-hand sides.
        equations = np.empty((n_pairs + n, size))
        log_det, amplitude, used = np.empty(size), np.empty(size), np.empty(size)
        for g in range(n_groups):
            curvature = products[g, n_pairs - 1, first : first + size]
            for b in range(size):
                is_seen = curvature[b] > 0.0
                amplitude[b] = projections[g, n - 1, first + b] / curvature[b] if is_seen else 1.0
            for _ in range(n_iterations):
                for b in range(size):
                    # Not below the standard error of an amplitude.
                    smallest = 1.0 / np.sqrt(curvature[b]) if curvature[b] > 0.0 else 1.0
                    used[b] = max(amplitude[b], smallest)
                for pair in range(n_pairs):
                    for b in range(size):
                        equations[pair, b] = products[g, pair, first + b]
                for i in range(n):
                    for b in range(size):
                        equations[n_pairs + i, b] = projections[g, i, first + b]
                for i in range(n - 1):
                    diagonal = i * (i + 3) // 2
                    for b in range(size):
                        equations[diagonal, b] += 1.0 / used[b] ** 2
                decompose(equations, log_det)
                # The last unknown needs no back substitution.
                for b in range(size):
                    amplitude[b] = equations[-1, b] / equations[n_pairs - 1, b]
            for b in range(size):
                if curvature[b] <= 0.0:
                    continue
                gain = 0.0
                for i in range(n):
                    gain += equations[n_pairs + i, b] ** 2
                value = 0.5 * gain + log_weights[g]
                if marginalize:
                    value -= 0.5 * log_det[b] + n * np.log(used[b])
                if amplitude[b] < 0.0:  # an amplitude is positive
                    value -= 0.5 * curvature[b] * amplitude[b] ** 2
                best = max(evidence[first + b], value)
                total = np.exp(evidence[first + b] - best) + np.exp(value - best)
                evidence[first + b] = best + np.log(total)
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
def decompose(equations: Floats, log_det: Floats) -> None:
    """Decompose symmetric, positive definite matrices by Cholesky's method.

    The innermost loops are over matrices, so that the compiler vectorizes them.

    Parameters
    ----------
    equations : ndarray of shape (n_pairs + n, n_matrices)
        Lower triangles, row by row, and then the right-hand sides b. They are replaced by the factors L and
        by the solutions of L y = b.
    log_det : ndarray of shape (n_matrices,)
        Array for the natural logarithms of the determinants.
    """
    n_rows, n_matrices = equations.shape
    n = int((np.sqrt(8.0 * n_rows + 9.0) - 3.0) / 2.0 + 0.5)
    value, inverse, product = np.empty(n_matrices), np.empty(n_matrices), np.ones(n_matrices)
    log_det[:] = 0.0
    for j in range(n):
        row = j * (j + 1) // 2
        _subtract_products(equations, row, row, j, value)
        for b in range(n_matrices):
            pivot = max(value[b], 1e-12)  # rounding of float32 products
            product[b] *= pivot
            inverse[b] = 1.0 / np.sqrt(pivot)
            equations[row + j, b] = np.sqrt(pivot)
        if j % 8 == 7 or j == n - 1:  # logarithms take long, and more pivots may overflow
            for b in range(n_matrices):
                log_det[b] += np.log(product[b])
                product[b] = 1.0
        for i in range(j + 1, n + 1):
            other = i * (i + 1) // 2
            _subtract_products(equations, other, row, j, value)
            for b in range(n_matrices):
                equations[other + j, b] = value[b] * inverse[b]


@njit_nogil
def _subtract_products(equations: Floats, row: int, other: int, n: int, value: Floats) -> None:
    """Set ``value`` to element `n` of a row minus the products of the first `n` with those of another."""
    for b in range(len(value)):
        value[b] = equations[row + n, b]
    # Four at a time, for fewer passes over the values.
    for k in range(0, n - 3, 4):
        x, y = row + k, other + k
        for b in range(len(value)):
            value[b] -= (
                equations[x, b] * equations[y, b]
                + equations[x + 1, b] * equations[y + 1, b]
                + equations[x + 2, b] * equations[y + 2, b]
                + equations[x + 3, b] * equations[y + 3, b]
            )
    for k in range(n - n % 4, n):
        for b in range(len(value)):
            value[b] -= equations[row + k, b] * equations[other + k, b]
