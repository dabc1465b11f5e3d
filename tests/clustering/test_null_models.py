import numpy as np
import pytest
from scipy.stats import spearmanr

from distspec.clustering.config import NULL_MODELS
from distspec.clustering.null_models import draw_null_data, fit_student_t
from distspec.clustering.plan import DatasetSpec


def test_null_draws_keep_covariance_or_distributions_but_no_structure(rng):
    x = np.vstack([rng.normal(-4, 1, (300, 3)), rng.normal(4, 1, (300, 3))]) * [1.0, 2.0, 3.0]
    gaussian, permuted = (draw_null_data(x, DatasetSpec(kind, 0), 0) for kind in ("gaussian", "permuted"))
    assert draw_null_data(x, DatasetSpec(), 0) is x
    assert np.allclose(np.cov(gaussian.T), np.cov(x.T), rtol=0.25)
    assert abs(np.median(np.abs(gaussian[:, 0])) - np.median(np.abs(x[:, 0]))) > 1.0, (
        "the two groups are gone"
    )
    assert np.array_equal(np.sort(permuted, axis=0), np.sort(x, axis=0))
    assert abs(np.corrcoef(permuted.T)[0, 1]) < 0.2 < np.corrcoef(x.T)[0, 1]
    again = draw_null_data(x, DatasetSpec("gaussian", 0), 0)
    assert np.array_equal(gaussian, again)
    assert not np.array_equal(gaussian, draw_null_data(x, DatasetSpec("gaussian", 1), 0))


@pytest.mark.parametrize("null_model", NULL_MODELS)
def test_constant_columns_give_finite_draws(null_model):
    x = np.column_stack([np.arange(9.0), np.ones(9)])
    assert np.isfinite(draw_null_data(x, DatasetSpec(null_model, 0), 0)).all()
    equal = np.zeros((9, 3))
    assert np.array_equal(draw_null_data(equal, DatasetSpec(null_model, 0), 0), equal)


def test_copula_keeps_distributions_and_rank_correlations_but_no_groups(rng):
    x = rng.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]], 2000)
    x = np.column_stack([np.exp(x[:, 0]), x[:, 1] ** 3, x[:, 0] * rng.normal(size=2000)])
    drawn = draw_null_data(x, DatasetSpec("copula", 0), 0)
    assert np.array_equal(np.sort(drawn, axis=0), np.sort(x, axis=0))
    assert np.allclose(spearmanr(drawn).statistic, spearmanr(x).statistic, atol=0.08)
    spread = [spearmanr(np.abs(y[:, 2]), np.abs(np.log(y[:, 0]))).statistic for y in (x, drawn)]
    assert spread[0] > 0.3 > abs(spread[1]) + 0.1, "what is no rank correlation is gone"


@pytest.mark.parametrize("dof", [4.0, np.inf])
def test_student_t_has_the_fitted_location_scatter_and_tails(rng, dof):
    scatter = np.array([[2.0, 0.9], [0.9, 1.0]])
    scale = np.sqrt(dof / rng.chisquare(dof, (4000, 1))) if np.isfinite(dof) else 1.0
    x = [3.0, -1.0] + rng.multivariate_normal([0, 0], scatter, 4000) * scale
    fitted = fit_student_t(x)
    assert np.allclose(fitted.loc, [3.0, -1.0], atol=0.1)
    assert np.allclose(fitted.shape, scatter, atol=0.2)
    assert 3.0 < fitted.df < 5.5 if np.isfinite(dof) else fitted.df > 40.0
    drawn = draw_null_data(x, DatasetSpec("student_t", 0), 0)
    probabilities = [0.05, 0.16, 0.5, 0.84, 0.95]
    assert np.allclose(*(np.quantile(y, probabilities, axis=0) for y in (drawn, x)), rtol=0.15, atol=0.15)
