"""Equivalent widths of Lyα in simulated spectra, and what must not change them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from distspec.archives.simulated.archive import simulate_galaxy_flux
from distspec.archives.simulated.nirspec import LSF_SIGMA, PIXEL_WIDTH, WAVE, noise_level
from distspec.archives.simulated.populations import DRAWN_PARAMETERS, GalaxyParameters, draw_galaxies
from distspec.core.instruments import NIRSPEC_PRISM
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Spectrum, WavelengthGrid
from distspec.measurements.indices import GriddedSpectra
from distspec.measurements.lya import EW_ERROR_FLOOR, RELATIVE_EW_ERROR_FLOOR, measure_lya_ew
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import preprocess

GRID = GridConfig().resolve(np.array([5.0]))
CLEAR = 15.0
"""log10 of a column density [cm-2] without absorption."""


def draw(n: int, population: str, rng: np.random.Generator, **fixed: float) -> GalaxyParameters:
    drawn = draw_galaxies([population] * n, rng.standard_normal((n, len(DRAWN_PARAMETERS))))
    return replace(drawn, **{name: np.full(n, value) for name, value in fixed.items()})


def observe(
    parameters: GalaxyParameters,
    z: np.ndarray,
    exptime: float,
    rng: np.random.Generator | None,
    grid: WavelengthGrid = GRID,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return flux, ivar and z of valid spectra and their indices; without noise if `rng` is None."""
    flux = simulate_galaxy_flux(parameters, z)
    err = noise_level(WAVE, flux, np.full(len(z), exptime))
    observed = flux + err * rng.standard_normal(flux.shape) if rng is not None else flux
    spectra = [Spectrum(str(i), WAVE, observed[i], err[i] ** -2, "uJy", z[i]) for i in range(len(z))]
    batch, rejected = preprocess(spectra, grid, NormConfig(), -2.0)
    valid = np.setdiff1d(np.arange(len(z)), [i for i, _ in rejected])
    return batch.flux, batch.ivar, batch.z, valid


def measure(*spectra, grid: WavelengthGrid = GRID) -> tuple[np.ndarray, np.ndarray]:
    return measure_lya_ew(GriddedSpectra(*spectra[:3], grid), NIRSPEC_PRISM)


def test_the_disperser_matches_the_simulated_instrument():
    """Pixels of the resolution curve agree with the simulated detector to 2 % at all wavelengths."""
    position = (
        np.interp(np.log(WAVE), NIRSPEC_PRISM.log_wave, NIRSPEC_PRISM.detector_position)
        * NIRSPEC_PRISM.pixels_per_fwhm
    )
    assert np.allclose(np.diff(position)[5:-5], 1.0, atol=0.02)
    assert pytest.approx(2.3548 * LSF_SIGMA) == NIRSPEC_PRISM.pixels_per_fwhm
    assert np.diff(WAVE)[50] == pytest.approx(PIXEL_WIDTH[50], rel=0.05)


@pytest.mark.parametrize("population", ["lae", "star_forming"])
def test_without_noise_the_error_is_within_its_floor(population, rng):
    """Below z = 6, where the simulated intergalactic medium is ionized and has no damping wing."""
    parameters, z = draw(150, population, rng, log_n_hi=CLEAR), rng.uniform(4.1, 5.9, 150)
    *spectra, valid = observe(parameters, z, 1e9, None)
    ew, _ = measure(*spectra)
    true = 10.0 ** parameters.log_ew_lya[valid]
    off = (ew - true) / np.hypot(EW_ERROR_FLOOR, RELATIVE_EW_ERROR_FLOOR * true)
    assert np.percentile(np.abs(off), 68) < 1.3
    assert np.abs(np.median(off)) < 1.2


def test_errors_match_the_scatter_of_noise(rng):
    """Pulls of 600 spectra of one exposure time, faint ones included."""
    parts = []
    for population in ("lae", "star_forming"):
        parameters, z = draw(300, population, rng, log_n_hi=CLEAR), rng.uniform(4.1, 5.9, 300)
        *spectra, valid = observe(parameters, z, 1e4, rng)
        parts.append([*measure(*spectra), 10.0 ** parameters.log_ew_lya[valid]])
    ew, err, true = np.hstack(parts)
    pull = (ew - true) / err
    assert np.isfinite(pull).mean() > 0.95
    pull = pull[np.isfinite(pull)]
    low, middle, high = np.percentile(pull, [16, 50, 84])
    assert -0.6 < middle < 0.2, "the bias is at most the error floor, diluted by noise"
    assert 0.75 < (high - low) / 2 < 1.25
    assert np.mean(np.abs(pull - middle) > 3) < 0.03


def test_errors_do_not_depend_on_the_pixels_of_the_grid(rng):
    """Pixels of a finer grid share noise; otherwise errors would halve with four times as many."""
    parameters, z = draw(60, "lae", rng, log_n_hi=CLEAR), rng.uniform(4.1, 6.5, 60)
    state = rng.bit_generator.state
    errors, widths = [], []
    for n_pixels in (400, 640, 2560):
        rng.bit_generator.state = state
        grid = replace(GRID, n_pixels=n_pixels)
        ew, err = measure(*observe(parameters, z, 1e4, rng, grid), grid=grid)
        errors.append(err)
        widths.append(ew)
    assert np.nanmedian(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)
    assert np.nanmedian(errors[2] / errors[1]) == pytest.approx(1.0, abs=0.1)
    assert np.nanmedian(np.abs(widths[2] - widths[1]) / errors[1]) < 0.3


def test_damped_absorption_reduces_the_net_equivalent_width(rng):
    """A damping wing redward of Lyα removes sqrt(pi N kappa) lambda of continuum (kappa = 2.88e-26 cm2)."""
    z = np.full(40, 5.0)
    base = draw(40, "star_forming", rng, log_n_hi=CLEAR, log_ew_lya=1.5)
    clear, _ = measure(*observe(base, z, 1e9, None))
    for log_n in (20.0, 20.5, 21.0):
        ew, _ = measure(*observe(replace(base, log_n_hi=np.full(40, log_n)), z, 1e9, None))
        expected = np.sqrt(np.pi * 10.0**log_n * 2.88e-26) * GALAXY_LINES["Lyα"]
        assert 0.5 * expected < np.median(clear - ew) < 1.2 * expected


def test_emitters_are_selected(rng):
    """By more than 25 Angstrom and 3 sigma, with the absorption of each population.

    Exposures of 30,000 s: emitters are faint in the median one of 4,500 s.
    """
    populations = [draw(300, name, rng) for name in ("lae", "star_forming", "quenched")]
    found, true = [], []
    for population in populations:
        *spectra, valid = observe(population, rng.uniform(4.1, 7.0, 300), 3e4, rng)
        ew, err = measure(*spectra)
        found.append((ew > 25) & (ew > 3 * err))
        true.append(10.0 ** population.log_ew_lya[valid] > 25)
    assert found[0].mean() > 0.75, "fraction of emitters"
    assert found[2].mean() < 0.02, "fraction of quenched galaxies"
    found, true = np.concatenate(found), np.concatenate(true)
    assert true[found].mean() > 0.93, "precision"
    assert found[true].mean() > 0.65, "recall"


@pytest.fixture(scope="module")
def some() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return observe(draw(40, "lae", rng), rng.uniform(4.1, 9.0, 40), 1e4, rng)[:3]


def test_only_uncovered_spectra_are_nan(some):
    flux, ivar, z = some
    wave = GRID.wave_rest
    hidden = np.where(np.abs(wave - GALAXY_LINES["Lyα"]) < 15.0, 0.0, ivar).astype(np.float32)
    no_continuum = np.where(wave > 1300.0, 0.0, ivar).astype(np.float32)
    assert np.isfinite(measure(flux, ivar, z)).all()
    assert np.isnan(measure(flux, hidden, z)).all()
    assert np.isnan(measure(flux, no_continuum, z)).all()
    assert np.isnan(measure(flux, ivar, np.full_like(z, 0.2))).all(), "outside the instrument's range"
    red = WavelengthGrid("log", 6600.0, 25400.0, 640)
    assert np.isnan(measure(flux, ivar, z, grid=red)).all()


def test_values_of_masked_pixels_do_not_matter(some):
    flux, ivar, z = some
    ivar = np.where(np.random.default_rng(2).random(ivar.shape) < 0.1, 0.0, ivar).astype(np.float32)
    holes = np.where(ivar == 0, np.nan, flux).astype(np.float32)
    assert np.array_equal(measure(holes, ivar, z), measure(flux, ivar, z), equal_nan=True)
    assert np.isfinite(measure(holes, ivar, z)).mean() > 0.5


def test_a_row_does_not_depend_on_other_rows(some):
    order = np.random.default_rng(1).permutation(len(some[2]))
    whole = measure(*some)
    for permuted, values in zip(measure(*(part[order] for part in some)), whole, strict=True):
        assert np.array_equal(permuted, values[order])


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_the_flux_scale_does_not_matter(some, factor):
    flux, ivar, z = some
    scaled = measure((flux * factor).astype(np.float32), (ivar / factor**2).astype(np.float32), z)
    for values, expected in zip(scaled, measure(flux, ivar, z), strict=True):
        assert np.allclose(values, expected, rtol=1e-3, atol=1e-2)


def test_without_a_continuum_the_error_is_large_and_finite(some, rng):
    _, ivar, z = some
    noise = (rng.standard_normal(ivar.shape) / np.sqrt(np.maximum(ivar, 1e-12))).astype(np.float32)
    ew, err = measure(np.where(ivar > 0, noise, 0.0).astype(np.float32), ivar, z)
    assert np.isfinite(err).all()
    assert np.mean(np.abs(ew) > 3 * err) == 0.0
    assert np.median(err) > 25.0


def test_hot_pixels_in_the_continuum_are_left_out(some, rng):
    flux, ivar, z = some
    hot = flux.copy()
    hot[:, np.argmin(np.abs(GRID.wave_rest - 1450.0))] += 1e3
    ew, err = measure(flux, ivar, z)
    assert np.abs((measure(hot, ivar, z)[0] - ew) / err).max() < 0.5


@settings(max_examples=100)
@given(
    flux=arrays(np.float32, (3, 640), elements=st.floats(-1e6, 1e6, width=32), fill=st.just(np.float32(1))),
    log_ivar=arrays(np.float64, (3, 640), elements=st.floats(-20, 20), fill=st.just(1.0)),
    z=st.floats(-0.9, 30.0),
)
def test_any_input_gives_finite_values_or_nan(flux, log_ivar, z):
    ivar = np.where(log_ivar < -15, 0.0, 10.0**log_ivar).astype(np.float32)
    ew, err = measure(flux, ivar, np.full(3, z))
    assert np.array_equal(np.isfinite(ew), np.isfinite(err))
    assert not np.isinf(ew).any()
    assert (err[np.isfinite(err)] >= EW_ERROR_FLOOR - 1e-4).all()
