import numpy as np

from distspec.clustering.feature_space import RARE_FRACTION, select_sample_rows


def test_small_samples_are_taken_whole(rng):
    assert select_sample_rows(np.zeros((7, 2), np.float32), 10, rng).tolist() == list(range(7))


def test_those_that_lie_alone_are_always_in(rng):
    x = rng.normal(size=(20_000, 4)).astype(np.float32)
    alone = rng.choice(len(x), 30, replace=False)
    x[alone] += 15.0
    rows = select_sample_rows(x, 1000, np.random.default_rng(0))
    assert len(rows) == len(np.unique(rows)) == 1000
    assert np.all(np.diff(rows) > 0)
    assert np.isin(alone, rows).mean() > 0.9, "pilots aside, which lie next to themselves"
    ordinary = x[rows].std() / x.std()
    assert 0.8 < ordinary < 2.5
    assert round(RARE_FRACTION * 1000) == 100
    assert np.array_equal(rows, select_sample_rows(x, 1000, np.random.default_rng(0)))
