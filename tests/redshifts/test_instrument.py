import numpy as np
import pytest
from scipy.special import ndtr

from distspec.core.errors import ConfigError
from distspec.redshifts import TemplateMixture
from distspec.redshifts.instrument import ObservedTemplates, PixelResponse
from tests.redshifts.analytic import LOG_WAVE, RESOLVING_POWER, WAVE


def make_mixture(rng, n_groups=2, n_columns=3):
    """Return smooth random templates at two redshifts."""
    templates = rng.normal(size=(2, n_groups, n_columns, len(LOG_WAVE) + 8))
    kernel = np.ones(9) / 9.0
    templates = np.apply_along_axis(np.convolve, -1, templates, kernel, "valid")
    return TemplateMixture(LOG_WAVE, np.array([0.5, 3.0]), templates.astype(np.float32), np.log([0.5, 0.5]))


def make_response(wave=WAVE, resolving_power=RESOLVING_POWER):
    return PixelResponse.from_instrument(wave, resolving_power, LOG_WAVE)


@pytest.mark.parametrize("resolving_power", [RESOLVING_POWER, ()])
def test_rows_have_the_sum_1(resolving_power):
    response = make_response(resolving_power=resolving_power)
    assert response.response.sum(axis=1) == pytest.approx(np.ones(len(WAVE)), abs=1e-4)


@pytest.mark.parametrize("power", [50.0, 100.0])
def test_narrow_line_has_the_fwhm_of_the_instrument_at_its_wavelength(power):
    wave = np.geomspace(0.9, 1.6, 400)
    response = make_response(wave, ((0.5, power), (2.0, power)))
    step = response.log_step
    column = round((np.log(1.2e4) - LOG_WAVE[0]) / step) - response.start
    log_line = LOG_WAVE[0] + (column + response.start) * step
    profile = response.response[:, [column]].toarray()[:, 0]
    x = np.log(1e4 * wave)
    center = np.average(x, weights=profile)
    pixel = x[1] - x[0]
    assert center == pytest.approx(log_line, abs=0.02 / power)
    variance = np.average((x - center) ** 2, weights=profile) - pixel**2 / 12.0
    assert 2.3548 * np.sqrt(variance) == pytest.approx(1.0 / power, rel=0.02)


def test_templates_that_pixels_have_broadened_are_not_broadened_by_them_again():
    wave = np.geomspace(0.9, 1.6, 120)
    x, template_step = np.log(wave), LOG_WAVE[1] - LOG_WAVE[0]
    plain, pixelized = (
        PixelResponse.from_instrument(wave, ((0.5, 50.0), (2.0, 50.0)), LOG_WAVE, are_pixelized)
        for are_pixelized in (False, True)
    )
    variances = []
    for response in (plain, pixelized):
        weights = response.response[[60]].toarray()[0]
        position = response.log_step * np.arange(len(weights))
        variances.append(np.average((position - np.average(position, weights=weights)) ** 2, weights=weights))
    expected = (x[1] - x[0]) ** 2 / 6.0 + template_step**2 / 4.0
    assert variances[0] - variances[1] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("z", [1.5, 2.0, 3.9])
def test_templates_agree_with_brute_force(rng, z):
    wave = np.geomspace(0.7, 1.7, 60)
    mixture, response = make_mixture(rng), make_response(wave)
    observed = ObservedTemplates.project(mixture, response, 1.4, 4.0)
    k = int(np.abs(observed.z - z).argmin())
    node = int(np.abs(np.log1p(mixture.z_nodes) - np.log1p(observed.z[k])).argmin())
    sigma, step = 1.0 / RESOLVING_POWER[0][1] / 2.3548, np.log(wave[1] / wave[0])
    scale = float(np.abs(mixture.templates).max())
    for pixel in (10, 30, 50):
        low, high = np.log(1e4 * wave[pixel]) - 0.5 * step, np.log(1e4 * wave[pixel]) + 0.5 * step
        x = np.arange(low - 6 * sigma, high + 6 * sigma, sigma / 40)
        weight = ndtr((high - x) / sigma) - ndtr((low - x) / sigma)
        rest = np.exp(x) / (1.0 + observed.z[k])
        rows = mixture.templates[node].reshape(-1, len(LOG_WAVE))
        for found, row in zip(observed.columns[k][..., pixel].ravel(), rows, strict=True):
            emitted = np.interp(np.log(rest), LOG_WAVE, row)
            assert found == pytest.approx(np.average(emitted, weights=weight), abs=0.003 * scale)


def test_pixels_redward_of_the_templates_are_not_covered(rng):
    wave = np.linspace(0.6, 1.5, 300)
    observed = ObservedTemplates.project(make_mixture(rng), make_response(wave), 0.5, 4.0)
    red_end = 1.2  # 8000 Å at z = 0.5
    assert observed.is_covered[wave < red_end - 0.03].all()
    assert not observed.is_covered[wave > red_end + 0.03].any()
    assert not any(columns[..., ~observed.is_covered].any() for columns in observed.columns)


def test_steps_of_the_coarse_redshifts_are_among_the_fine_ones(rng):
    mixture, response = make_mixture(rng), make_response()
    fine = ObservedTemplates.project(mixture, response, 0.2, 1.0)
    coarse = ObservedTemplates.project(mixture, response, 0.2, 1.0, every=2)
    assert coarse.z == pytest.approx(fine.z[::2])
    assert fine.z.min() >= 0.2
    assert fine.z.max() <= 1.0
    assert np.diff(np.log1p(fine.z)) == pytest.approx(response.log_step)


def test_range_without_a_redshift_is_refused(rng):
    with pytest.raises(ConfigError, match=r"no redshift from z_min 1\.0 to z_max 1\.00001"):
        ObservedTemplates.project(make_mixture(rng), make_response(), 1.0, 1.00001)


@pytest.mark.parametrize("wave", [np.geomspace(0.001, 0.002, 30), np.geomspace(200.0, 500.0, 30)])
def test_spectra_that_see_no_template(rng, wave):
    observed = ObservedTemplates.project(make_mixture(rng), make_response(wave), 0.0, 4.0)
    assert not any(columns.any() for columns in observed.columns)
