"""The most similar spectra in latent space, compared with numerical integrals and with all factors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import floats
from scipy.stats import norm

from distspec.core.errors import NotFoundError
from distspec.inference.similarity import find_similar
from distspec.models.neighbors import Posteriors, compute_log_bayes_factors, find_nearest
from tests.helpers.plane import publish


@pytest.fixture
def points(rng):
    return rng.normal(size=(300, 4)).astype(np.float32)


def compute_log_bayes_factor(m, v, n, u):
    """Return ln ∫ q₁ q₂ / p by numerical integration over each latent."""
    z = np.linspace(-12.0, 12.0, 20_001)[:, None]
    integrand = norm.pdf(z, m, np.sqrt(v)) * norm.pdf(z, n, np.sqrt(u)) / norm.pdf(z)
    return float(np.log(np.trapezoid(integrand, z[:, 0], axis=0)).sum())


def test_bayes_factors_equal_numerical_integrals(rng):
    mean = rng.normal(size=(20, 3)).astype(np.float32)
    variance = rng.uniform(0.05, 0.9, (20, 3)).astype(np.float32)
    posteriors = Posteriors(mean, variance)
    found = compute_log_bayes_factors(posteriors, posteriors.take(np.array([4])))
    expected = [
        compute_log_bayes_factor(m, v, mean[4], variance[4]) for m, v in zip(mean, variance, strict=True)
    ]
    assert np.allclose(found, expected, atol=1e-5)


@given(arrays(np.float32, (2, 40), elements=floats(-5, 5, width=32)), floats(-14, 3), floats(-14, 3))
def test_bayes_factors_are_symmetric_and_finite(mean, log_var, other_log_var):
    z_log_var = np.repeat(np.float32([[log_var], [other_log_var]]), 40, axis=1)
    posteriors = Posteriors.from_log_variance(mean, z_log_var)
    first, second = (compute_log_bayes_factors(posteriors, posteriors.take(np.array([i]))) for i in (0, 1))
    assert np.isfinite(first).all()
    assert first[1] == pytest.approx(second[0], rel=1e-9)


def test_a_spectrum_that_is_known_better_is_more_similar():
    """Both have the latents of the query, which are rare; the second is known ten times better."""
    posteriors = Posteriors(np.full((2, 4), 1.5, np.float32), np.float32([[0.1] * 4, [0.01] * 4]))
    log_bayes_factors, rows = find_nearest(posteriors, posteriors.take(np.array([1])), 2)
    assert rows.tolist() == [1, 0]
    assert log_bayes_factors[0] > log_bayes_factors[1] > 0.0


@pytest.mark.parametrize("n_queries", [1, 30])
def test_neighbors_equal_those_of_all_factors(tmp_path, points, n_queries):
    names = publish(tmp_path, points)
    rows = np.arange(n_queries) * 3
    found = find_similar(str(tmp_path), [names[row] for row in rows], 7)
    assert found["rank"].to_pylist() == [*range(1, 8)] * n_queries
    posteriors = Posteriors(points, np.full(points.shape, 0.25, np.float32))
    for i, row in enumerate(rows):
        neighbors_of_row = found.slice(7 * i, 7)
        factors = compute_log_bayes_factors(posteriors, posteriors.take(np.array([row])))
        order = np.argsort(-factors, kind="stable")
        order = order[order != row][:7]
        assert set(neighbors_of_row["query_id"].to_pylist()) == {names[row]}
        assert neighbors_of_row["object_id"].to_pylist() == [names[other] for other in order]
        assert np.allclose(neighbors_of_row["ln_bayes_factor"].to_numpy(), factors[order], rtol=1e-5)


def test_the_spectrum_itself_is_not_listed(tmp_path, points):
    points[5] = points[2]
    names = publish(tmp_path, points)
    found = find_similar(str(tmp_path), names[2], 250)
    assert len(found) == 250
    assert names[5] in found["object_id"].to_pylist()
    assert names[2] not in found["object_id"].to_pylist()


def test_at_most_all_other_spectra_are_returned(tmp_path, points):
    names = publish(tmp_path, points[:4])
    assert len(find_similar(str(tmp_path), names[0], 10)) == 3
    with pytest.raises(ValueError, match="0 neighbors were asked for"):
        find_similar(str(tmp_path), names[0], 0)


def test_the_factor_is_described(tmp_path, points):
    names = publish(tmp_path, points)
    field = find_similar(str(tmp_path), names[0]).schema.field("ln_bayes_factor")
    assert b"Bayes factor" in field.metadata[b"description"]


@pytest.mark.parametrize(
    ("unknown", "suggested"),
    [
        ("0042", "field-0042.spec.fits"),  # part of a name
        ("FIELD-0042", "field-0042.spec.fits"),
        ("field-0042.spec.fit", "field-0042.spec.fits"),
        ("feild-0042.spec.fits", "field-0042.spec.fits"),  # a typing error near the beginning
        ("xield-0042.spec.fits", "field-0042.spec.fits"),
    ],
)
def test_unknown_name_gets_suggestions(tmp_path, points, unknown, suggested):
    publish(tmp_path, points)
    with pytest.raises(NotFoundError, match=f"no spectrum '{unknown}' .*similar names: .*{suggested}"):
        find_similar(str(tmp_path), unknown)


def test_unknown_name_without_similar_names(tmp_path, points):
    publish(tmp_path, points)
    with pytest.raises(NotFoundError, match="none of its 300 names is similar"):
        find_similar(str(tmp_path), "§§§")


def test_no_catalog_names_the_command(tmp_path):
    with pytest.raises(NotFoundError, match="distspec run"):
        find_similar(str(tmp_path), "a")
