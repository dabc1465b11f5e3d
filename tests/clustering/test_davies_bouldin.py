import numpy as np
import pytest
from sklearn.metrics import davies_bouldin_score

from distspec.clustering.silhouette import davies_bouldin


def test_index_equals_that_of_scikit_learn(rng):
    x = rng.normal(size=(600, 3)) + rng.integers(0, 3, (600, 1))
    labels = rng.integers(0, 6, (5, 600)).astype(np.int32)
    labels[1] = (x[:, 0] > 1.0).astype(np.int32) * 3  # label 1 and 2 do not occur
    assert davies_bouldin(x, labels) == pytest.approx([davies_bouldin_score(x, each) for each in labels])


def test_noise_is_left_out(rng):
    x, labels = rng.normal(size=(300, 2)), rng.integers(-1, 4, 300).astype(np.int32)
    kept = labels >= 0
    assert davies_bouldin(x, labels[None])[0] == pytest.approx(davies_bouldin_score(x[kept], labels[kept]))
    assert np.isnan(davies_bouldin(x, np.full((2, 300), [[-1], [3]], np.int32))).all()
