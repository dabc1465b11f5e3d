"""The line-spread function against the resolving power that it was made from."""

import numpy as np
import pytest
import torch

from distspec.core.instruments import (
    NIRSPEC_PRISM,
    NIRSPEC_PRISM_RESOLUTION,
    compute_noise_correlation,
)
from distspec.core.spectrum import WavelengthGrid
from distspec.models.lsf import LineSpreadFunction
from distspec.preprocessing.resampling import resample_batch

GRID = WavelengthGrid("log", 1100.0, 8400.0, 640)
WAVE = torch.from_numpy(GRID.wave_rest).float()


@pytest.fixture
def prism():
    return LineSpreadFunction(GRID.wave_rest, NIRSPEC_PRISM_RESOLUTION)


@pytest.mark.parametrize("z", [4.5, 7.0])
def test_narrow_line_becomes_as_wide_as_the_resolution_element(prism, z):
    """A narrow line gets σ_λ / λ = 1 / (2.3548 R)."""
    for wave in (1900.0, 3000.0, 5008.0):
        pixel = int(torch.argmin((WAVE - wave).abs()))
        line = torch.zeros(1, 640)
        line[0, pixel] = 1.0
        seen = prism.convolve(line, torch.tensor([z]))[0]
        assert seen.sum().item() == pytest.approx(1.0, abs=0.1)  # the width changes along the line
        ln_wave = WAVE.log()
        centre = (seen * ln_wave).sum() / seen.sum()
        sigma = ((seen * (ln_wave - centre) ** 2).sum() / seen.sum()).sqrt().item()
        knots = np.transpose(NIRSPEC_PRISM_RESOLUTION)
        r = np.exp(np.interp(np.log(wave * (1 + z) * 1e-4), np.log(knots[0]), np.log(knots[1])))
        assert sigma == pytest.approx(1.0 / (2.3548 * r), rel=0.1)


def test_smooth_spectrum_is_unchanged(prism):
    flux = (WAVE / 3000.0)[None] ** -2.0
    seen = prism.convolve(flux, torch.tensor([5.0]))
    assert torch.allclose(seen[:, 40:-40], flux[:, 40:-40], rtol=0.02)


@pytest.mark.parametrize("z", [4.5, 7.0])
def test_noise_is_correlated_as_that_of_resampled_spectra(prism, z):
    """Against detector pixels of independent noise that pass through the preprocessing."""
    n = 4000
    noise = prism.resample_noise(torch.randn(n, prism.n_detector_pixels), torch.full((n,), z)).numpy()
    position = NIRSPEC_PRISM.detector_position * NIRSPEC_PRISM.pixels_per_fwhm
    wave = np.exp(np.interp(np.arange(0.0, position[-1]), position, NIRSPEC_PRISM.log_wave)) * 1e4 / (1.0 + z)
    white = np.random.default_rng(0).standard_normal((n, len(wave)))
    offsets = np.arange(n + 1) * len(wave)
    flux, ivar = resample_batch(np.tile(wave, n), white.ravel(), np.ones(white.size), offsets, GRID.edges)
    resampled = flux * np.sqrt(ivar)
    inner = slice(150, 400)
    for distance in (1, 2, 4):
        ours, theirs = (
            (x[:, inner] * x[:, inner.start + distance : inner.stop + distance]).mean()
            for x in (noise, resampled)
        )
        assert ours == pytest.approx(theirs, abs=0.02)
    assert np.var(noise[:, inner]) == pytest.approx(1.0, abs=0.01)


def test_noise_of_detector_pixels_is_correlated():
    prism = LineSpreadFunction(GRID.wave_rest, NIRSPEC_PRISM_RESOLUTION, noise_correlation=0.2)
    z = torch.full((4000,), 7.0)
    noise = prism.resample_noise(torch.randn(4000, prism.n_detector_pixels), z)
    red = noise[:, 500:560]  # a grid pixel is there wider than one of the detector
    assert (red[:, 2:] * red[:, :-2]).mean().item() == pytest.approx(0.0, abs=0.02)
    independent = LineSpreadFunction(GRID.wave_rest, NIRSPEC_PRISM_RESOLUTION)
    plain = independent.resample_noise(torch.randn(4000, prism.n_detector_pixels), z)[:, 500:560]
    assert (red[:, 1:] * red[:, :-1]).mean() > 0.1 + (plain[:, 1:] * plain[:, :-1]).mean()


@pytest.mark.parametrize("z", [4.5, 7.0])
def test_effective_pixels_are_those_of_the_measurements(prism, z):
    """The inverse of how many pixels share one measurement, and less where detector pixels are correlated."""
    counts = prism.compute_n_effective(torch.tensor([z]))[0]
    width = 2.2 / prism.fwhm_at(torch.tensor([z]))[0]
    expected = [1.0 / compute_noise_correlation(float(w)) for w in width]
    assert counts.tolist() == pytest.approx(expected, rel=1e-4)
    assert (counts <= 1.0).all()
    correlated = LineSpreadFunction(GRID.wave_rest, NIRSPEC_PRISM_RESOLUTION, noise_correlation=0.2)
    assert torch.allclose(correlated.compute_n_effective(torch.tensor([z]))[0], counts / 1.4)


def test_coverage_moves_with_redshift(prism):
    near, far = prism.is_covered(torch.tensor([3.0, 9.0]))
    assert WAVE[near].min() == pytest.approx(5400.0 / 4.0, rel=0.01)
    assert WAVE[far].max() == pytest.approx(55200.0 / 10.0, rel=0.01)


def test_degrading_never_raises_the_resolution(prism):
    generator = torch.Generator().manual_seed(0)
    flux, mask = 1.0 + 0.1 * torch.randn(1, 640, generator=generator), torch.ones(1, 640)
    at, near, far = torch.tensor([6.0]), torch.tensor([4.5]), torch.tensor([9.0])
    red = WAVE * 5.5 * 1e-4 > 1.3  # redward of the prism's lowest resolution
    assert torch.equal(prism.degrade(flux, mask, at, at), flux)
    assert prism.degrade(flux, mask, at, near)[0, red].std() < 0.8 * flux[0, red].std()
    assert torch.equal(prism.degrade(flux, mask, at, far)[0, red], flux[0, red])


def test_masked_pixels_do_not_affect_their_neighbors(prism):
    flux, mask = torch.ones(1, 640), torch.ones(1, 640)
    mask[0, 300:320] = 0.0
    flux[0, 300:320] = 1e6
    seen = prism.degrade(torch.where(mask > 0, flux, 0.0), mask, torch.tensor([6.0]), torch.tensor([4.5]))
    assert torch.allclose(seen[mask > 0], torch.ones(()), atol=1e-3)
