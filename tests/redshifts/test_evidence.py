import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from distspec.redshifts.evidence import (
    BLOCK_SIZE,
    compute_mixture_evidence,
    compute_smooth_evidence,
    decompose,
    make_smooth_basis,
    multiply_pairs,
)

N_PIXELS = 25


def draw_group(rng, n_axes=3):
    """Return a mean and axes, (1 + n_axes, n_pixels)."""
    x = np.linspace(0.0, 1.0, N_PIXELS)
    axes = 0.4 * np.array([np.sin((k + 2) * 3.0 * x + rng.normal()) for k in range(n_axes)])
    return np.concatenate([[1.0 + 0.5 * x], axes])


def get_products(templates, weight, flux):
    """Return what the kernel needs of a spectrum and a list of groups."""
    columns = np.array([each[::-1] for each in templates], np.float32)
    products = multiply_pairs(columns) @ weight.astype(np.float32)
    projections = columns @ (weight * flux).astype(np.float32)
    return products[..., None], projections[..., None]


def best_amplitude(group, weight, flux, prior_amplitude):
    """Return the generalized least-squares amplitude with the axes as noise of `prior_amplitude`."""
    covariance = np.diag(1.0 / weight) + prior_amplitude**2 * group[1:].T @ group[1:]
    inverse = np.linalg.inv(covariance)
    return (group[0] @ inverse @ flux) / (group[0] @ inverse @ group[0])


def log_likelihood(group, weight, flux, amplitude, prior_amplitude):
    """Return the log likelihood of a group at an amplitude, relative to a flux of 0."""
    noise = np.diag(1.0 / weight)
    covariance = noise + prior_amplitude**2 * group[1:].T @ group[1:]
    value = multivariate_normal.logpdf(flux, amplitude * group[0], covariance)
    return value - multivariate_normal.logpdf(flux, np.zeros(N_PIXELS), noise)


def integrate(group, weight, flux, prior_of):
    """Return the log of the integral over ln A of the likelihood, with the prior at ``prior_of(A)``."""
    center = best_amplitude(group, weight, flux, 1.0)
    amplitudes = np.linspace(0.2, 3.0, 401) * center
    values = [log_likelihood(group, weight, flux, a, prior_of(a)) - np.log(prior_of(a)) for a in amplitudes]
    return logsumexp(values) + np.log(amplitudes[1] - amplitudes[0])


@pytest.fixture
def spectrum(rng):
    """Weight and flux of a spectrum that the first of two groups describes."""
    groups = [draw_group(rng), draw_group(rng)]
    weight = rng.uniform(50.0, 400.0, N_PIXELS)
    flux = 2.0 * (groups[0][0] + rng.normal(size=3) @ groups[0][1:]) + rng.normal(size=N_PIXELS) / weight**0.5
    return groups, weight, flux


def test_mixture_is_the_marginal_likelihood_with_the_prior_at_the_best_amplitude(spectrum):
    groups, weight, flux = spectrum
    log_weights = np.log([0.3, 0.7])
    expected = []
    for group, log_weight in zip(groups, log_weights, strict=True):
        first = best_amplitude(group, weight, flux, (group[0] @ (weight * flux)) / (weight @ group[0] ** 2))
        value = integrate(group, weight, flux, lambda _, first=first: first)
        expected.append(log_weight + value - 0.5 * np.log(2.0 * np.pi))
    found = compute_mixture_evidence(*get_products(groups, weight, flux), log_weights)
    assert found[0] == pytest.approx(logsumexp(expected), abs=0.02)


def test_prior_at_the_best_amplitude_is_close_to_that_at_every_amplitude(spectrum):
    groups, weight, flux = spectrum
    found = compute_mixture_evidence(*get_products(groups[:1], weight, flux), np.zeros(1))
    exact = integrate(groups[0], weight, flux, lambda amplitude: amplitude) - 0.5 * np.log(2.0 * np.pi)
    assert found[0] == pytest.approx(exact, abs=0.3)


def test_best_fit_is_the_likelihood_times_the_prior_at_the_best_coefficients(spectrum):
    groups, weight, flux = spectrum
    log_weights = np.zeros(1)
    found = compute_mixture_evidence(*get_products(groups[:1], weight, flux), log_weights, 50, False)
    templates = groups[0]
    matrix, right = (templates * weight) @ templates.T, templates @ (weight * flux)
    amplitude = 1.0
    for _ in range(50):  # the prior of the coefficients follows the amplitude
        prior = np.diag([0.0, *np.full(len(templates) - 1, amplitude**-2.0)])
        solution = np.linalg.solve(matrix + prior, right)
        amplitude = solution[0]
    residual = flux - solution @ templates
    chi2 = (weight * residual**2).sum() + (solution[1:] ** 2).sum() / amplitude**2
    assert found[0] == pytest.approx(0.5 * ((weight * flux**2).sum() - chi2), abs=0.01)


def test_evidence_does_not_depend_on_the_unit_of_flux(spectrum):
    groups, weight, flux = spectrum
    one, other = (
        compute_mixture_evidence(*get_products(groups, weight / k**2, flux * k), np.log([0.5, 0.5]))
        for k in (1.0, 300.0)
    )
    assert one == pytest.approx(other, abs=0.01)


def test_negative_flux_has_the_evidence_of_no_better_fit_than_nothing(spectrum):
    groups, weight, flux = spectrum
    only_means = [group[:1] for group in groups]
    found = compute_mixture_evidence(*get_products(only_means, weight, -np.abs(flux)), np.log([0.5, 0.5]))
    assert found[0] < 0.0


def test_no_pixel_sees_a_template():
    products, projections = np.zeros((3, 10, 2), np.float32), np.zeros((3, 4, 2), np.float32)
    assert np.isneginf(compute_mixture_evidence(products, projections, np.zeros(3))).all()


def test_smooth_evidence_is_the_marginal_likelihood(rng):
    wave = np.geomspace(0.6, 5.0, N_PIXELS)
    basis = make_smooth_basis(wave, 5)
    assert basis.sum(axis=1) == pytest.approx(np.ones(N_PIXELS))
    weight, flux = rng.uniform(5.0, 40.0, (2, N_PIXELS)), rng.normal(1.0, 0.3, (2, N_PIXELS))
    found = compute_smooth_evidence(weight, flux, basis)
    for k in range(2):
        noise, zero = np.diag(1.0 / weight[k]), np.zeros(N_PIXELS)
        expected = multivariate_normal.logpdf(flux[k], zero, noise + basis @ basis.T)
        assert found[k] == pytest.approx(expected - multivariate_normal.logpdf(flux[k], zero, noise))


def test_pairs_of_templates(rng):
    templates = rng.normal(size=(2, 3, 7)).astype(np.float32)
    i, j = np.tril_indices(3)
    assert multiply_pairs(templates) == pytest.approx(templates[:, i] * templates[:, j])


@pytest.mark.parametrize("n", [1, 4, 6, 17])
def test_equations_are_solved(rng, n):
    roots, right = rng.normal(size=(5, n, n + 3)), rng.normal(size=(5, n))
    matrices = roots @ roots.transpose(0, 2, 1)
    equations = np.concatenate([matrices[:, *np.tril_indices(n)], right], axis=1).T.copy()
    log_det = np.empty(5)
    decompose(equations, log_det)
    factors = np.linalg.cholesky(matrices)
    solved = np.linalg.solve(factors, right[..., None])[..., 0]
    expected = np.concatenate([factors[:, *np.tril_indices(n)], solved], axis=1).T
    assert equations == pytest.approx(expected)
    assert log_det == pytest.approx(np.linalg.slogdet(matrices)[1])


@pytest.mark.parametrize("n_spectra", [1, BLOCK_SIZE, 2 * BLOCK_SIZE + 1])
def test_evidence_of_a_spectrum_does_not_depend_on_the_others(spectrum, n_spectra):
    products, projections = get_products(*spectrum)
    factors = np.geomspace(0.1, 30.0, n_spectra).astype(np.float32)
    found = compute_mixture_evidence(products * factors**2, projections * factors, np.log([0.3, 0.7]))
    for k in (0, n_spectra // 2, n_spectra - 1):
        alone = products * factors[k] ** 2, projections * factors[k]
        assert found[k] == compute_mixture_evidence(*alone, np.log([0.3, 0.7]))[0]
