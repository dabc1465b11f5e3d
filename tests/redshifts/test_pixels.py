import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from distspec.redshifts.pixels import WeightedPixels

N_PIXELS = 60


def weigh(flux, sigma=0.01, error_floor=0.05, noise_correlation=0.0, mask=()):
    """Return the weighted pixels of one spectrum."""
    ivar = np.full((1, len(flux)), sigma**-2.0)
    ivar[0, list(mask)] = 0.0
    flux = np.where(ivar > 0, flux, 0.0)
    return WeightedPixels.from_spectra(flux, ivar, error_floor, noise_correlation)


def make_line(center, fwhm):
    """Return a Gaussian line of unit peak averaged over the pixels."""
    edges = np.arange(N_PIXELS + 1) - 0.5
    sigma = fwhm / 2.3548
    return np.diff(ndtr((edges - center) / sigma)) * sigma * np.sqrt(2.0 * np.pi)


@given(
    center=st.floats(10.0, 50.0),
    fwhm=st.floats(2.2, 5.0),
    height=st.floats(-0.9, 30.0),
    sigma=st.floats(1e-3, 0.3),
)
def test_lines_are_not_spikes(center, fwhm, height, sigma):
    assert weigh(1.0 + height * make_line(center, fwhm), sigma).weight.min() > 0.0


@given(center=st.floats(20.0, 30.0), distance=st.floats(3.0, 12.0), height=st.floats(1.0, 30.0))
def test_pixels_between_lines_are_not_spikes(center, distance, height):
    lines = make_line(center, 2.2) + make_line(center + distance, 2.2)
    assert weigh(1.0 + height * lines).weight.min() > 0.0


@given(position=st.integers(1, N_PIXELS - 2), height=st.floats(0.3, 50.0))
def test_spikes_of_one_pixel_are_left_out(position, height):
    flux = np.ones(N_PIXELS)
    flux[position] += height
    left_out = np.flatnonzero(weigh(flux).weight[0] == 0.0)
    assert left_out.tolist() == [position]


def test_negative_flux_is_left_out():
    flux = np.ones(N_PIXELS)
    flux[30:32] = -0.5
    assert np.flatnonzero(weigh(flux).weight[0] == 0.0).tolist() == [30, 31]


def test_noise_is_not_left_out(rng):
    noisy = 1.0 + 0.1 * rng.standard_normal((200, N_PIXELS))
    pixels = WeightedPixels.from_spectra(noisy, np.full(noisy.shape, 100.0), 0.05, 0.0)
    assert (pixels.weight == 0.0).mean() < 2e-4


def test_weights_contain_the_error_floor_and_the_correlation_of_noise():
    flux = np.full(N_PIXELS, 3.0)
    pixels = weigh(flux, sigma=0.3, error_floor=0.2, noise_correlation=0.25)
    assert pixels.flux[0] == pytest.approx(np.ones(N_PIXELS))
    assert pixels.weight[0] == pytest.approx(np.full(N_PIXELS, 1.0 / ((0.1**2 + 0.2**2) * 1.5)), rel=1e-5)


def test_masked_neighbors_do_not_lower_the_error_floor():
    pixels = weigh(np.ones(N_PIXELS), sigma=0.01, mask=set(range(N_PIXELS)) - {5, 30, 40, 41})
    used = pixels.weight[0][[5, 30, 40, 41]]
    assert used == pytest.approx(np.full(4, 1.0 / (0.01**2 + 0.05**2)), rel=1e-5)
    assert (pixels.weight > 0).sum() == 4


def test_flux_of_zero_keeps_its_errors():
    assert weigh(np.zeros(N_PIXELS), sigma=0.5).weight[0] == pytest.approx(np.full(N_PIXELS, 4.0))


def test_some_of_the_spectra():
    pixels = WeightedPixels(*(k * np.eye(3, dtype=np.float32) for k in (1, 2, 3)))
    assert pixels.take(np.array([2, 0])).weight.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
