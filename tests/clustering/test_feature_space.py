import numpy as np

from distspec.clustering.config import FeatureSpace
from distspec.clustering.feature_space import (
    RARE_FRACTION,
    ClusteringInputs,
    join_measurements,
    scale_by_posterior_width,
    select_sample_rows,
)
from distspec.clustering.plan import DatasetSpec


def test_measurements_are_scaled_to_the_widest_latent(rng):
    latents = (rng.normal(size=(80, 4)) * [0.01, 0.1, 1.0, 2.0]).astype(np.float32)
    measurements = np.where(rng.random((80, 2)) < 0.5, 0.0, rng.normal(size=(80, 2)) * [30.0, 0.1])
    x = join_measurements(latents, np.hstack([measurements, np.zeros((80, 1))]))
    assert x.shape == (80, 7)
    assert np.array_equal(x[:, :4], latents)
    assert np.allclose(x[:, 4:6].std(axis=0), x[:, 3].std(), rtol=1e-5)
    assert np.array_equal(x[:, 4:6] == 0, measurements == 0), "missing values stay 0"
    assert not x[:, 6].any()
    assert np.array_equal(join_measurements(latents, np.zeros((80, 0))), latents)


def test_uninformative_latents_are_scaled_down(rng):
    mean = rng.normal(size=(50, 2)).astype(np.float32) * [1.0, 0.01]
    x = scale_by_posterior_width(mean, np.tile(np.log([0.01, 1.0]), (50, 1)).astype(np.float32))
    assert np.allclose(x, mean * [10.0, 1.0])


def test_null_data_have_the_shape_of_the_sample(rng):
    sample = ClusteringInputs(
        rng.normal(size=(40, 3)).astype(np.float32), rng.normal(size=(40, 2)).astype(np.float32)
    )
    assert np.array_equal(sample.draw_null_data(DatasetSpec(), 0).latents, sample.latents)
    null = sample.draw_null_data(DatasetSpec("permuted", 1), 0)
    assert null.get_points(FeatureSpace("features")).shape == (40, 2)
    assert null.get_points(FeatureSpace("map", 15, 2)).shape == (40, 3)
    assert np.array_equal(np.sort(null.features, axis=0), np.sort(sample.features, axis=0))
    assert len(sample.take(slice(3, 9))) == 6


def test_small_data_are_taken_completely(rng):
    assert select_sample_rows(np.zeros((7, 2), np.float32), 10, rng).tolist() == list(range(7))


def test_isolated_points_are_in_the_sample(rng):
    x = rng.normal(size=(20_000, 4)).astype(np.float32)
    isolated = rng.choice(len(x), 30, replace=False)
    x[isolated] += 15.0
    rows = select_sample_rows(x, 1000, np.random.default_rng(0))
    assert len(rows) == len(np.unique(rows)) == 1000
    assert np.all(np.diff(rows) > 0)
    assert np.isin(isolated, rows).mean() > 0.9, "except reference points, which are their own nearest"
    spread_ratio = x[rows].std() / x.std()
    assert 0.8 < spread_ratio < 2.5
    assert round(RARE_FRACTION * 1000) == 100
    assert np.array_equal(rows, select_sample_rows(x, 1000, np.random.default_rng(0)))
