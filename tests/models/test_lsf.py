"""The line-spread function against the resolving power that it was made from."""

import numpy as np
import pytest
import torch

from distspec.core.instruments import NIRSPEC_PRISM_RESOLUTION
from distspec.core.spectrum import WavelengthGrid
from distspec.models.lsf import LineSpreadFunction

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


def test_effective_pixels_sum_to_those_of_the_detector(prism):
    z = torch.tensor([5.0])
    counts = prism.compute_n_effective(z)[0]
    assert (counts <= 1.0).all()
    # Where the detector is coarser than the grid, it has one pixel per λ / (2.2 R).
    observed = WAVE * 6.0 * 1e-4
    coarse = (observed > 0.8) & (observed < 2.0)
    knots = np.transpose(NIRSPEC_PRISM_RESOLUTION)
    r = np.exp(np.interp(np.log(observed[coarse].numpy()), np.log(knots[0]), np.log(knots[1])))
    assert counts[coarse].sum().item() == pytest.approx(np.sum(2.2 * r) * prism.log_wave_step, rel=0.01)


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
