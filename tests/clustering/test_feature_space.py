import numpy as np

from distspec.clustering.config import Space
from distspec.clustering.feature_space import Sample, in_posterior_widths, joined
from distspec.clustering.plan import Data


def test_other_inputs_are_as_wide_as_the_widest_latent(rng):
    latents = (rng.normal(size=(80, 4)) * [0.01, 0.1, 1.0, 2.0]).astype(np.float32)
    beside = np.where(rng.random((80, 2)) < 0.5, 0.0, rng.normal(size=(80, 2)) * [30.0, 0.1])
    x = joined(latents, np.hstack([beside, np.zeros((80, 1))]))
    assert x.shape == (80, 7)
    assert np.array_equal(x[:, :4], latents)
    assert np.allclose(x[:, 4:6].std(axis=0), x[:, 3].std(), rtol=1e-5)
    assert np.array_equal(x[:, 4:6] == 0, beside == 0), "what is not covered stays 0"
    assert not x[:, 6].any()
    assert np.array_equal(joined(latents, np.zeros((80, 0))), latents)


def test_a_dead_latent_shrinks(rng):
    mean = rng.normal(size=(50, 2)).astype(np.float32) * [1.0, 0.01]
    x = in_posterior_widths(mean, np.tile(np.log([0.01, 1.0]), (50, 1)).astype(np.float32))
    assert np.allclose(x, mean * [10.0, 1.0])


def test_a_sample_without_structure_has_its_shape(rng):
    sample = Sample(rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(40, 2)).astype(np.float32))
    assert np.array_equal(sample.without_structure(Data(), 0).latents, sample.latents)
    null = sample.without_structure(Data("permuted", 1), 0)
    assert null.base(Space("features")).shape == (40, 2)
    assert null.base(Space("map", 15, 2)).shape == (40, 3)
    assert np.array_equal(np.sort(null.features, axis=0), np.sort(sample.features, axis=0))
    assert len(sample.take(slice(3, 9))) == 6
