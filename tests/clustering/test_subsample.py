import numpy as np

from distspec.clustering.feature_space import RARE_FRACTION, select_sample_rows


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
