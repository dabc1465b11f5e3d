"""Lyα's width against what went into made-up spectra, and what must not change it."""

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
"""log10 of a column of gas [cm-2] that absorbs nothing."""


def galaxies(n: int, population: str, rng: np.random.Generator, **fixed: float) -> GalaxyParameters:
    drawn = draw_galaxies([population] * n, rng.standard_normal((n, len(DRAWN_PARAMETERS))))
    return replace(drawn, **{name: np.full(n, value) for name, value in fixed.items()})


def observed(
    what: GalaxyParameters,
    z: np.ndarray,
    exptime: float,
    rng: np.random.Generator | None,
    grid: WavelengthGrid = GRID,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Flux, ivar, z of what is usable, and which that is; noiseless without a generator."""
    flux = simulate_galaxy_flux(what, z)
    err = noise_level(WAVE, flux, np.full(len(z), exptime))
    seen = flux + err * rng.standard_normal(flux.shape) if rng is not None else flux
    spectra = [Spectrum(str(i), WAVE, seen[i], err[i] ** -2, "uJy", z[i]) for i in range(len(z))]
    batch, rejected = preprocess(spectra, grid, NormConfig(), -2.0)
    good = np.setdiff1d(np.arange(len(z)), [i for i, _ in rejected])
    return batch.flux, batch.ivar, batch.z, good


def measured(*spectra, grid: WavelengthGrid = GRID) -> tuple[np.ndarray, np.ndarray]:
    return measure_lya_ew(GriddedSpectra(*spectra[:3], grid), NIRSPEC_PRISM)


def test_the_instrument_is_the_one_that_made_the_spectra():
    """The curve's pixels are those of the detector, to a hundredth, over all wavelengths."""
    place = (
        np.interp(np.log(WAVE), NIRSPEC_PRISM.log_wave, NIRSPEC_PRISM.detector_position)
        * NIRSPEC_PRISM.pixels_per_fwhm
    )
    assert np.allclose(np.diff(place)[5:-5], 1.0, atol=0.02)
    assert pytest.approx(2.3548 * LSF_SIGMA) == NIRSPEC_PRISM.pixels_per_fwhm
    assert np.diff(WAVE)[50] == pytest.approx(PIXEL_WIDTH[50], rel=0.05)


@pytest.mark.parametrize("population", ["lae", "star_forming"])
def test_without_noise_it_is_right_to_its_floor(population, rng):
    """Below z = 6, where the made-up intergalactic medium is ionised and damps nothing."""
    what, z = galaxies(150, population, rng, log_n_hi=CLEAR), rng.uniform(4.1, 5.9, 150)
    *spectra, good = observed(what, z, 1e9, None)
    ew, _ = measured(*spectra)
    true = 10.0 ** what.log_ew_lya[good]
    off = (ew - true) / np.hypot(EW_ERROR_FLOOR, RELATIVE_EW_ERROR_FLOOR * true)
    assert np.percentile(np.abs(off), 68) < 1.3
    assert np.abs(np.median(off)) < 1.2


def test_errors_mean_what_they_say(rng):
    """Pulls of 600 spectra, faint ones among them, of one exposure time."""
    parts = []
    for population in ("lae", "star_forming"):
        what, z = galaxies(300, population, rng, log_n_hi=CLEAR), rng.uniform(4.1, 5.9, 300)
        *spectra, good = observed(what, z, 1e4, rng)
        parts.append([*measured(*spectra), 10.0 ** what.log_ew_lya[good]])
    ew, err, true = np.hstack(parts)
    pull = (ew - true) / err
    assert np.isfinite(pull).mean() > 0.95
    pull = pull[np.isfinite(pull)]
    low, middle, high = np.percentile(pull, [16, 50, 84])
    assert -0.6 < middle < 0.2, "the floor's own bias of one FLOOR, diluted by noise"
    assert 0.75 < (high - low) / 2 < 1.25
    assert np.mean(np.abs(pull - middle) > 3) < 0.03


def test_a_finer_grid_is_no_more_certain(rng):
    """One noise that more pixels repeat: the errors would halve on four times as many."""
    what, z = galaxies(60, "lae", rng, log_n_hi=CLEAR), rng.uniform(4.1, 6.5, 60)
    state = rng.bit_generator.state
    errors, widths = [], []
    for n_pixels in (400, 640, 2560):
        rng.bit_generator.state = state
        grid = replace(GRID, n_pixels=n_pixels)
        ew, err = measured(*observed(what, z, 1e4, rng, grid), grid=grid)
        errors.append(err)
        widths.append(ew)
    assert np.nanmedian(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.1)
    assert np.nanmedian(errors[2] / errors[1]) == pytest.approx(1.0, abs=0.1)
    assert np.nanmedian(np.abs(widths[2] - widths[1]) / errors[1]) < 0.3


def test_gas_takes_from_the_net_width(rng):
    """A damped wing redward of Lyα removes √π λ (N κ)^½ of the continuum, κ = 2.88e-26 cm².

    The wider the wing, the less of it looks like a line.
    """
    z = np.full(40, 5.0)
    base = galaxies(40, "star_forming", rng, log_n_hi=CLEAR, log_ew_lya=1.5)
    clear, _ = measured(*observed(base, z, 1e9, None))
    for log_n in (20.0, 20.5, 21.0):
        ew, _ = measured(*observed(replace(base, log_n_hi=np.full(40, log_n)), z, 1e9, None))
        lost = np.sqrt(np.pi * 10.0**log_n * 2.88e-26) * GALAXY_LINES["Lyα"]
        assert 0.5 * lost < np.median(clear - ew) < 1.2 * lost


def test_emitters_are_found(rng):
    """A cut at 25 Å and 3σ, over the populations' own gas."""
    what = [galaxies(300, name, rng) for name in ("lae", "star_forming", "quenched")]
    found, true = [], []
    for each in what:
        *spectra, good = observed(each, rng.uniform(4.1, 7.0, 300), 1e4, rng)
        ew, err = measured(*spectra)
        found.append((ew > 25) & (ew > 3 * err))
        true.append(10.0 ** each.log_ew_lya[good] > 25)
    assert found[0].mean() > 0.75, "of the emitters"
    assert found[2].mean() < 0.02, "of the quenched"
    found, true = np.concatenate(found), np.concatenate(true)
    assert true[found].mean() > 0.93, "precision"
    assert found[true].mean() > 0.65, "recall of all true widths above 25 Å"


@pytest.fixture(scope="module")
def some() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return observed(galaxies(40, "lae", rng), rng.uniform(4.1, 9.0, 40), 1e4, rng)[:3]


def test_not_covered_is_nan_and_nothing_else(some):
    flux, ivar, z = some
    wave = GRID.wave_rest
    hidden = np.where(np.abs(wave - GALAXY_LINES["Lyα"]) < 15.0, 0.0, ivar).astype(np.float32)
    no_continuum = np.where(wave > 1300.0, 0.0, ivar).astype(np.float32)
    assert np.isfinite(measured(flux, ivar, z)).all()
    assert np.isnan(measured(flux, hidden, z)).all()
    assert np.isnan(measured(flux, no_continuum, z)).all()
    assert np.isnan(measured(flux, ivar, np.full_like(z, 0.2))).all(), "not in the instrument's range"
    red = WavelengthGrid("log", 6600.0, 25400.0, 640)
    assert np.isnan(measured(flux, ivar, z, grid=red)).all()


def test_masked_pixels_may_hold_anything(some):
    flux, ivar, z = some
    ivar = np.where(np.random.default_rng(2).random(ivar.shape) < 0.1, 0.0, ivar).astype(np.float32)
    holes = np.where(ivar == 0, np.nan, flux).astype(np.float32)
    assert np.array_equal(measured(holes, ivar, z), measured(flux, ivar, z), equal_nan=True)
    assert np.isfinite(measured(holes, ivar, z)).mean() > 0.5


def test_each_row_is_measured_by_itself(some):
    order = np.random.default_rng(1).permutation(len(some[2]))
    whole = measured(*some)
    for one, two in zip(measured(*(each[order] for each in some)), whole, strict=True):
        assert np.array_equal(one, two[order])


@pytest.mark.parametrize("factor", [1e-3, 7.0, 1e4])
def test_the_scale_of_a_spectrum_does_not_matter(some, factor):
    flux, ivar, z = some
    scaled = measured((flux * factor).astype(np.float32), (ivar / factor**2).astype(np.float32), z)
    for one, two in zip(scaled, measured(flux, ivar, z), strict=True):
        assert np.allclose(one, two, rtol=1e-3, atol=1e-2)


def test_without_a_continuum_the_error_is_large_and_finite(some, rng):
    _, ivar, z = some
    noise = (rng.standard_normal(ivar.shape) / np.sqrt(np.maximum(ivar, 1e-12))).astype(np.float32)
    ew, err = measured(np.where(ivar > 0, noise, 0.0).astype(np.float32), ivar, z)
    assert np.isfinite(err).all()
    assert np.mean(np.abs(ew) > 3 * err) == 0.0
    assert np.median(err) > 25.0


def test_hot_pixels_in_the_continuum_are_left_out(some, rng):
    flux, ivar, z = some
    hot = flux.copy()
    hot[:, np.argmin(np.abs(GRID.wave_rest - 1450.0))] += 1e3
    ew, err = measured(flux, ivar, z)
    assert np.abs((measured(hot, ivar, z)[0] - ew) / err).max() < 0.5


@settings(max_examples=100, deadline=None)
@given(
    flux=arrays(np.float32, (3, 640), elements=st.floats(-1e6, 1e6, width=32), fill=st.just(np.float32(1))),
    log_ivar=arrays(np.float64, (3, 640), elements=st.floats(-20, 20), fill=st.just(1.0)),
    z=st.floats(-0.9, 30.0),
)
def test_whatever_comes_it_is_a_number_or_nan(flux, log_ivar, z):
    ivar = np.where(log_ivar < -15, 0.0, 10.0**log_ivar).astype(np.float32)
    ew, err = measured(flux, ivar, np.full(3, z))
    assert np.array_equal(np.isfinite(ew), np.isfinite(err))
    assert not np.isinf(ew).any()
    assert (err[np.isfinite(err)] >= EW_ERROR_FLOOR - 1e-4).all()
