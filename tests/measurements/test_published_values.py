"""Measurements of real spectra against published values; `tests.benchmarks.published_values` prints them."""

import numpy as np
import pytest

from tests.benchmarks.published_values import compare_with_published
from tests.conftest import real_data


@pytest.fixture(scope="module")
def comparisons():
    real_data("dja")
    real_data("published")
    return {(one.quantity, one.publication.split()[0]): one for one in compare_with_published()}


@pytest.mark.parametrize(
    ("quantity", "n", "low", "high"),
    [("halpha_ew", 55, 1.03, 1.11), ("hbeta_ew", 60, 0.95, 1.04), ("oiii5008_ew", 60, 0.97, 1.05)],
)
def test_equivalent_widths_are_the_published_ones(comparisons, quantity, n, low, high):
    """Hα is measured with [N II]; the widths are those of another continuum model."""
    compared = comparisons[quantity, "de"]
    assert len(compared.measured) >= n
    assert low < np.median(compared.difference) < high


def test_slopes_are_the_published_ones(comparisons):
    assert abs(np.median(comparisons["beta_uv", "de"].difference)) < 0.05
    assert abs(np.median(comparisons["beta_uv", "Kocevski"].difference)) < 0.2


def test_optical_slopes_of_photometry_include_the_lines(comparisons):
    """The bands integrated through the spectra give the published slopes, the continuum other ones."""
    assert abs(np.median(comparisons["beta_opt in bands", "Kocevski"].difference)) < 0.1
    assert np.median(comparisons["beta_opt", "Kocevski"].difference) < -0.3
