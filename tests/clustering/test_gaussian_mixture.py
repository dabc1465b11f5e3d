import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture as SklearnMixture

from distspec.clustering import gaussian_mixture
from distspec.clustering.gaussian_mixture import (
    COVARIANCE_TYPES,
    GaussianMixture,
    MixtureInit,
    fit_mixtures,
)
from distspec.clustering.kmeans import kmeans

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def points(rng):
    """Overlapping classes of different shapes, columns of different units, more than one block of rows."""
    centers, shapes = rng.normal(0.0, 2.5, (6, 3)), rng.normal(0.0, 0.7, (6, 3, 3))
    members = rng.choice(6, 5000, p=[0.3, 0.25, 0.2, 0.15, 0.07, 0.03])
    x = centers[members] + np.einsum("nij,nj->ni", shapes[members], rng.normal(size=(5000, 3)))
    return x * [1.0, 30.0, 1e-3] + [50.0, -1.0, 0.0]


@pytest.mark.parametrize("covariance", COVARIANCE_TYPES)
def test_fit_equals_that_of_scikit_learn_from_the_same_start(points, covariance):
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    for k in (2, 7):
        ours = fit_mixtures(z, [MixtureInit(k, covariance, 4)])[0]
        theirs = fit_sklearn_from_labels(z, kmeans(z, k, 4)[1], k, covariance)
        assert ours.log_likelihood == pytest.approx(theirs.score(z), abs=1e-6)
        assert ours.bic == pytest.approx(theirs.bic(z), rel=1e-6)
        assert ours.n_iterations == theirs.n_iter_
        assert np.allclose(ours.predict_proba(z), theirs.predict_proba(z), atol=1e-6)
        assert np.allclose(ours.log_prob(z), theirs.score_samples(z), atol=1e-6)


def fit_sklearn_from_labels(z, labels, k, covariance):
    """Fit scikit-learn's mixture from initial labels."""

    class Initialized(SklearnMixture):
        def _initialize_parameters(self, X, random_state, xp=None):
            self._initialize(X, np.eye(k)[labels])

    return Initialized(k, covariance_type=covariance, reg_covar=gaussian_mixture.VARIANCE_FLOOR).fit(z)


def test_best_likelihood_is_not_below_that_of_scikit_learn(points):
    x = points[:1500] / points.std(axis=0)
    for k in (4, 6):
        ours = [
            each.log_likelihood for each in fit_mixtures(x, [MixtureInit(k, "full", s) for s in range(40)])
        ]
        theirs = [SklearnMixture(k, random_state=seed).fit(x).score(x) for seed in range(10)]
        assert max(ours) >= max(theirs) - 1e-3
        assert np.median(ours) >= np.median(theirs) - 0.02


def test_fits_do_not_depend_on_the_rest_of_the_batch(points):
    inits = [MixtureInit(k, c, seed) for k in (1, 3, 8) for c in COVARIANCE_TYPES for seed in (0, 5)]
    together = fit_mixtures(points, inits)
    for init, one in zip(inits[::-1], fit_mixtures(points, inits[::-1]), strict=True):
        assert same(one, together[inits.index(init)])
    assert same(fit_mixtures(points, inits[9:10])[0], together[9])


def same(a: GaussianMixture, b: GaussianMixture) -> bool:
    return all(np.array_equal(one, two) for one, two in zip(vars(a).values(), vars(b).values(), strict=True))


def test_fit_is_invariant_to_a_change_of_units(points):
    scaled = points * 1024.0
    one, two = (
        fit_mixtures(points, [MixtureInit(5, "full", 0)])[0],
        fit_mixtures(scaled, [MixtureInit(5, "full", 0)])[0],
    )
    assert np.allclose(one.means * 1024.0, two.means)
    assert two.log_likelihood == pytest.approx(one.log_likelihood - 3 * np.log(1024.0))


def test_mixtures_can_be_pickled_and_predict_block_by_block(points):
    mixtures = fit_mixtures(
        points, [MixtureInit(5, "full", 0), MixtureInit(3, "tied", 0), MixtureInit(5, "diag", 1)]
    )
    for mixture in mixtures:
        unpickled = pickle.loads(pickle.dumps(mixture))
        posterior = unpickled.predict_proba(points[:777])
        assert np.allclose(posterior.sum(axis=1), 1.0)
        assert np.array_equal(posterior[:50], unpickled.predict_proba(points[:50])), (
            "a block gives the same as the whole"
        )
        assert unpickled.log_prob(points).mean() == pytest.approx(unpickled.log_likelihood, rel=1e-9)


def test_far_points_have_finite_probabilities(points):
    mixture = fit_mixtures(points, [MixtureInit(4, "full", 0)])[0]
    far = points[:2] + 1e9
    assert np.isfinite(mixture.predict_proba(far)).all()
    assert np.isfinite(mixture.log_prob(far)).all()


@pytest.mark.parametrize("covariance", COVARIANCE_TYPES)
@settings(max_examples=15)
@given(data=st.data())
def test_degenerate_samples_give_finite_mixtures(covariance, data):
    n, d = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    x = data.draw(
        st.integers(0, 3).flatmap(lambda seed: st.just(np.random.default_rng(seed).normal(size=(n, d))))
    )
    x = np.round(x) if data.draw(st.booleans()) else x  # duplicates
    x[:, : data.draw(st.integers(0, d))] = data.draw(st.sampled_from([0.0, 1e8, -0.1]))  # constant columns
    x = x * data.draw(st.sampled_from([1.0, 1e-9, 1e9]))
    mixture = fit_mixtures(x, [MixtureInit(data.draw(st.integers(1, n)), covariance, 0)])[0]
    for values in vars(mixture).values():
        assert np.isfinite(values).all()
    assert np.isfinite(mixture.log_prob(x)).all()
    assert np.allclose(mixture.predict_proba(x).sum(axis=1), 1.0)


def test_invalid_fits_are_refused(points):
    with pytest.raises(ValueError, match="3 points for 5 components: fit at most 3"):
        fit_mixtures(points[:3], [MixtureInit(2, "full", 0), MixtureInit(5, "full", 0)])
    with pytest.raises(ValueError, match="1 of 5000 points are not finite"):
        fit_mixtures(np.where(np.arange(5000)[:, None] == 7, np.nan, points), [MixtureInit(2, "full", 0)])
    with pytest.raises(ValueError, match="'round'"):
        MixtureInit(2, "round", 0)
    assert fit_mixtures(points, []) == []


@pytest.mark.gpu
def test_gpu_gives_the_same_likelihoods(points):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    inits = [MixtureInit(k, c, s) for k in (2, 6) for c in COVARIANCE_TYPES for s in range(3)]
    for a, b in zip(fit_mixtures(points, inits), fit_mixtures(points, inits, device="cuda"), strict=True):
        assert a.log_likelihood == pytest.approx(b.log_likelihood, abs=1e-6)
