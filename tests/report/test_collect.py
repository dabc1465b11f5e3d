import numpy as np
import pytest

from distspec.report.collect import _select_quartile_medians


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 3), (4, 4), (1000, 4)])
def test_one_example_per_quartile(n, expected):
    rows = _select_quartile_medians(np.arange(n, dtype=float)[::-1])
    assert len(rows) == expected
    assert len(set(rows.tolist())) == expected
    if n == 1000:
        assert sorted(rows.tolist()) == [124, 374, 624, 874]
