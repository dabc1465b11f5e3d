import numpy as np
import pytest

from distspec.diagnostics import MEASURES, measure, measured, strengths
from distspec.spectrum import WaveGrid

GRID = WaveGrid("log", 1100.0, 8400.0, 320)


def values(ew, err):
    return {"lya_ew": np.array(ew, np.float32), "lya_ew_err": np.array(err, np.float32)}


@pytest.mark.parametrize("kind", [*MEASURES, ""])
def test_what_is_declared_is_what_is_measured(kind):
    flux, ivar = np.ones((4, 320), np.float32), np.full((4, 320), 100.0, np.float32)
    found = measure(kind, flux, ivar, np.full(4, 5.0), GRID)
    assert list(found) == [column.name for column in measured(kind)]
    assert all(value.shape == (4,) and value.dtype == np.float32 for value in found.values())


def test_strengths_are_bounded_by_error_and_scale():
    found = strengths("dja", ("lya_ew",), values([0.0, 25.0, -25.0, 250.0, 250.0], [1.0, 0.0, 0.0, 1.0, 1e4]))
    assert found.shape == (5, 1)
    assert found[:, 0] == pytest.approx([0.0, np.arcsinh(1.0), -np.arcsinh(1.0), 3.0, 0.025], abs=0.01)


def test_strengths_are_never_nan():
    found = strengths("dja", ("lya_ew",), values([np.nan, 10.0], [np.nan, np.inf]))
    assert found.tolist() == [[0.0], [0.0]]
    assert strengths("dja", (), values([1.0], [1.0])).shape == (1, 0)


def test_what_an_archive_has_not_is_named():
    with pytest.raises(
        ValueError, match=r"clustering\.measures lya_ew: of archives of kind 'none' there are none"
    ):
        strengths("none", ("lya_ew",), values([1.0], [1.0]))
