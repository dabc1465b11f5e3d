import numpy as np
import pyarrow as pa
import pytest

from distspec.report.collect import _format_captions, _select_quartile_medians


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 3), (4, 4), (1000, 4)])
def test_one_example_per_quartile(n, expected):
    rows = _select_quartile_medians(np.arange(n, dtype=float)[::-1])
    assert len(rows) == expected
    assert len(set(rows.tolist())) == expected
    if n == 1000:
        assert sorted(rows.tolist()) == [124, 374, 624, 874]


def test_captions_name_galaxy_types_only_if_there_are_rules():
    columns = {"z": [5.0, 0.0], "snr": [3.0, 4.0], "galaxy_type": ["LRD", "unknown"]}
    with_rules = pa.table({**columns, "galaxy_type_confidence": [0.9, 0.7]})
    assert _format_captions(with_rules) == ["z 5.00, S/N 3.0, LRD", "S/N 4.0, unknown"]
    columns["galaxy_type"] = ["unknown", "unknown"]
    without = pa.table({**columns, "galaxy_type_confidence": [None, np.nan]})
    assert _format_captions(without) == ["z 5.00, S/N 3.0", "S/N 4.0"]
