import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from distspec.redshifts import RedshiftPosterior

LOG1PZ = np.arange(0.0, 2.0, 0.0025)
Z = np.expm1(LOG1PZ)


def gaussian(center, sigma, height=0.0):
    return height - 0.5 * ((LOG1PZ - center) / sigma) ** 2


@given(center=st.floats(0.3, 1.7), sigma=st.floats(0.003, 0.03), fraction=st.floats(0.05, 0.95))
def test_quantiles_of_a_gaussian(center, sigma, fraction):
    posterior = RedshiftPosterior.from_evidence(Z, gaussian(center, sigma))
    assert posterior.probability.sum() == pytest.approx(1.0)
    assert np.log1p(posterior.z_best) == pytest.approx(center, abs=0.0002)
    expected = norm.ppf(fraction, center, sigma)
    assert np.log1p(posterior.quantile(fraction)) == pytest.approx(expected, abs=0.02 * sigma + 0.0002)


def test_second_solution_and_its_delta_chi2():
    evidence = np.logaddexp(gaussian(0.5, 0.0025), gaussian(1.4, 0.0025, height=-3.0))
    posterior = RedshiftPosterior.from_evidence(Z, evidence)
    assert np.log1p(posterior.z_best) == pytest.approx(0.5, abs=0.0002)
    assert np.log1p(posterior.z_second) == pytest.approx(1.4, abs=0.0005)
    assert posterior.delta_chi2_second == pytest.approx(6.0, abs=0.02)
    share = 1.0 / (1.0 + np.exp(3.0))
    assert posterior.outlier_probability(posterior.z_best) == pytest.approx(share, abs=0.002)
    assert posterior.outlier_probability(posterior.z_second) == pytest.approx(1.0 - share, abs=0.002)


def test_no_second_solution():
    posterior = RedshiftPosterior.from_evidence(Z, gaussian(0.5, 0.001))
    assert math.isnan(posterior.z_second)
    assert math.isnan(posterior.delta_chi2_second)


def test_redshifts_without_an_evidence_have_no_probability():
    evidence = gaussian(0.9, 0.02)
    evidence[np.abs(LOG1PZ - 0.9) > 0.03] = -np.inf
    posterior = RedshiftPosterior.from_evidence(Z, evidence)
    assert np.abs(np.log1p(posterior.z) - 0.9).max() < 0.031
    assert posterior.quantile(0.0) >= posterior.z[0]
    assert posterior.quantile(1.0) <= posterior.z[-1]


@given(center=st.floats(0.3, 1.7), sigma=st.floats(0.003, 0.01), error=st.floats(0.0, 0.01))
def test_systematic_errors_add_in_quadrature(center, sigma, error):
    posterior = RedshiftPosterior.from_evidence(Z, gaussian(center, sigma), systematic_error=error)
    assert np.log1p(posterior.z_best) == pytest.approx(center, abs=0.0002)
    low, high = np.log1p([posterior.quantile(0.16), posterior.quantile(0.84)])
    width = norm.ppf(0.84) * np.hypot(sigma, error)
    assert [low, high] == pytest.approx([center - width, center + width], abs=0.02 * width + 0.0002)


def test_improbable_redshifts_that_are_kept_are_ranked():
    evidence = np.logaddexp(gaussian(0.5, 0.0025), gaussian(1.4, 0.0025, height=-300.0))
    is_kept = np.abs(LOG1PZ - 1.4) < 0.01
    dropped, kept = (RedshiftPosterior.from_evidence(Z, evidence, mask) for mask in (None, is_kept))
    assert dropped.probability_near(np.expm1(1.4)) == 0.0
    assert np.log(kept.probability_near(np.expm1(1.4))) == pytest.approx(-300.0, abs=0.01)
    assert kept.outlier_probability(np.expm1(1.4)) == 1.0
    assert kept.z_best == dropped.z_best


def test_outlier_probability_is_at_least_that_of_no_redshift():
    posterior = RedshiftPosterior.from_evidence(Z, gaussian(1.0, 0.001), p_excluded=0.01)
    assert posterior.outlier_probability(np.expm1(1.0)) == pytest.approx(0.01)
    assert posterior.outlier_probability(np.expm1(1.5)) == 1.0


def test_outlier_probability():
    posterior = RedshiftPosterior.from_evidence(Z, gaussian(1.0, 0.001))
    z = np.e - 1.0
    assert posterior.outlier_probability(z) == pytest.approx(0.0, abs=1e-6)
    assert posterior.outlier_probability(z + 0.004 * (1 + z)) == pytest.approx(0.0, abs=1e-6)
    assert posterior.outlier_probability(z + 0.02 * (1 + z)) == pytest.approx(1.0)
    assert posterior.outlier_probability(-0.5) == 1.0
    assert all(math.isnan(posterior.outlier_probability(bad)) for bad in (math.nan, math.inf, -math.inf))
    assert math.isnan(posterior.probability_near(math.nan))
