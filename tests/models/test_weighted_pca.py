import numpy as np
from scipy.spatial.distance import pdist

from distspec.models.weighted_pca import N_COMPONENTS, WeightedPCA


def test_scaled_coefficients_are_as_far_apart_as_the_reconstructions(rng):
    """One component that matters, among components that are mostly noise."""
    components = rng.normal(size=(N_COMPONENTS, 60)) * np.where(np.arange(N_COMPONENTS), 0.01, 1.0)[:, None]
    pca = WeightedPCA(np.ones(60), components)
    coefficients = rng.normal(size=(9, N_COMPONENTS))
    scaled = pca.scale_to_reconstructions(coefficients)
    assert scaled.shape == coefficients.shape
    np.testing.assert_allclose(pdist(scaled), pdist(coefficients @ components), rtol=1e-10)
