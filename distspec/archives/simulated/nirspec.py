"""Simulated observations with JWST/NIRSpec's prism: pixels, resolution, noise and defects.

The wavelength grid and the noise curve are smooth fits to public spectra of the DAWN JWST Archive (msaexp
v4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.sparse import csr_array
from scipy.special import ndtr

from distspec.archives.simulated.galaxies import GaussianLines
from distspec.core.spectrum import Floats

N_PIXELS = 473
_WAVE_KNOTS = (
    (0, 0.54), (12, 0.57945), (24, 0.62845), (36, 0.69095), (48, 0.77293), (58, 0.8623),
    (68, 0.97709), (76, 1.09019), (84, 1.22164), (92, 1.36715), (100, 1.52017), (110, 1.71287),
    (120, 1.90025), (135, 2.16496), (150, 2.40908), (180, 2.8445), (220, 3.34357),
    (270, 3.87877), (330, 4.4339), (400, 4.99943), (472, 5.51543),
)  # fmt: skip
_WAVE_SPLINE = CubicSpline(*np.transpose(_WAVE_KNOTS))
WAVE: Floats = _WAVE_SPLINE(np.arange(N_PIXELS))
"""Pixel centers, ndarray of shape (473,) [um]; within 1e-4 um of those in every v4 file."""
PIXEL_WIDTH: Floats = _WAVE_SPLINE(np.arange(N_PIXELS), 1)
"""Pixel widths, ndarray of shape (473,) [um]."""
# A FWHM of 2.2 pixels gives the pre-launch resolving power of the prism: 30 at 1.2 um and 310 at 5.1 um.
LSF_SIGMA = 2.2 / 2.3548
"""Standard deviation of the line-spread function [pixels]."""
_OVERSAMPLING, _MARGIN_PIXELS = 5, 4
_OVERSAMPLED_PIXEL = np.arange(-_MARGIN_PIXELS, N_PIXELS - 1 + _MARGIN_PIXELS, 1.0 / _OVERSAMPLING)
OVERSAMPLED_WAVE: Floats = _WAVE_SPLINE(_OVERSAMPLED_PIXEL)
"""Wavelengths at which continua are evaluated [um]: five samples per pixel, from four pixels before the first
to four beyond the last."""


def _build_lsf_matrix() -> csr_array:
    """Return the matrix that convolves with the line-spread function and integrates over pixels."""
    distance = np.arange(N_PIXELS)[None, :] - _OVERSAMPLED_PIXEL[:, None]
    weight = ndtr((distance + 0.5) / LSF_SIGMA) - ndtr((distance - 0.5) / LSF_SIGMA)
    weight[np.abs(distance) > 5.0] = 0.0
    return csr_array(weight / weight.sum(axis=0))


_LSF_MATRIX = _build_lsf_matrix()


def observe_continuum(flux: Floats) -> Floats:
    """Convolve continua with the line-spread function and sample them on the detector.

    Parameters
    ----------
    flux : ndarray of shape (n_spectra, n_oversampled)
        f_ν at `OVERSAMPLED_WAVE`, in any unit.

    Returns
    -------
    ndarray of shape (n_spectra, 473)
        f_ν in the same unit.
    """
    return flux @ _LSF_MATRIX


def observe_lines(lines: GaussianLines, continuum: Floats, z: Floats) -> Floats:
    """Integrate Gaussian lines over the pixels.

    Parameters
    ----------
    lines : GaussianLines
        Lines of the objects.
    continuum : ndarray of shape (n_objects, n_lines)
        f_ν of the continuum at each line, to which its equivalent width refers [uJy].
    z : ndarray of shape (n_objects,)
        Redshift.

    Returns
    -------
    ndarray of shape (n_objects, 473)
        f_ν of the lines [uJy].
    """
    wave = lines.wave_rest * (1.0 + z[:, None]) * 1e-4
    center = np.interp(wave, OVERSAMPLED_WAVE, _OVERSAMPLED_PIXEL, left=-100.0, right=N_PIXELS + 100.0)
    width = np.interp(wave, WAVE, PIXEL_WIDTH)
    sigma = np.hypot(LSF_SIGMA, lines.fwhm / 2.3548 / 299792.458 * wave / width)
    # f_λ of a line in a pixel is EW (1 + z) f_λ,continuum × fraction / Δλ; f_ν gains a factor (λ / λ_line)².
    strength = lines.ew * 1e-4 * (1.0 + z[:, None]) * continuum / np.maximum(wave, 0.1) ** 2
    total = np.zeros((len(z), N_PIXELS))
    edges = np.arange(N_PIXELS + 1) - 0.5
    for k in range(wave.shape[1]):
        cumulative = ndtr((edges - center[:, k, None]) / sigma[:, k, None])
        total += strength[:, k, None] * np.diff(cumulative, axis=1)
    return total * WAVE**2 / PIXEL_WIDTH


_NOISE_WAVE, _NOISE_ERR = np.transpose([
    (0.545, 0.9), (0.56, 0.029), (0.6, 0.0176), (0.7, 0.0093), (0.8, 0.0078), (0.9, 0.0079),
    (1.0, 0.0077), (1.1, 0.0068), (1.2, 0.0066), (1.4, 0.0071), (1.7, 0.0084), (2.0, 0.0092),
    (2.5, 0.0105), (3.0, 0.0138), (3.5, 0.0172), (4.0, 0.0242), (4.5, 0.0331), (4.8, 0.0424),
    (5.0, 0.0508), (5.2, 0.063), (5.4, 0.1015), (5.48, 0.35), (5.51, 1.3),
])  # fmt: skip


def noise_level(wave: Floats, flux: Floats, exptime: Floats) -> Floats:
    """Return 1 sigma errors from the background and the photons of the source, scaling as exptime^-1/2.

    Parameters
    ----------
    wave : ndarray of shape (n_wave,)
        Observed wavelength [um].
    flux : ndarray of shape (n_spectra, n_wave)
        f_ν [uJy].
    exptime : ndarray of shape (n_spectra,)
        Exposure time [s].

    Returns
    -------
    ndarray of shape (n_spectra, n_wave)
        Errors of f_ν [uJy].
    """
    background = np.exp(np.interp(wave, _NOISE_WAVE, np.log(_NOISE_ERR)))
    photons = np.sqrt(1.0 + np.maximum(flux, 0.0) / 0.8)
    return background * photons * np.sqrt(1e4 / exptime)[:, None]


@dataclass(frozen=True)
class ObservedSpectrum:
    """A spectrum as the detector records it.

    Attributes
    ----------
    flux, err : ndarray of shape (473,)
        f_ν and its 1 sigma error [uJy]; NaN in invalid pixels.
    """

    flux: Floats
    err: Floats


def add_noise_and_defects(
    flux: Floats, exptime: float, defect: str, rng: np.random.Generator
) -> ObservedSpectrum:
    """Add noise, defects and missing pixels to one noise-free spectrum.

    Parameters
    ----------
    flux : ndarray of shape (473,)
        f_ν [uJy].
    exptime : float
        Exposure time [s].
    defect : str
        Key of `INSTRUMENT_DEFECTS`, or "" for none.
    rng : numpy.random.Generator
        Source of random numbers.

    Returns
    -------
    ObservedSpectrum
    """
    err = noise_level(WAVE, flux[None, :], np.array([exptime]))[0]
    # Extraction width, background and bar shadows change the level and color of the noise between objects.
    err = err * np.exp(0.25 * rng.standard_normal()) * WAVE ** (0.12 * rng.standard_normal())
    err = err * np.exp(0.07 * rng.standard_normal(N_PIXELS))
    # Resampling makes neighboring pixels correlate, with a coefficient of 0.23.
    white = rng.standard_normal(N_PIXELS + 2)
    noise = (white[1:-1] + 0.12 * (white[:-2] + white[2:])) / np.sqrt(1.0 + 2 * 0.12**2)
    flux = flux + err * noise
    flux = flux + err * _draw_hot_pixels(rng)
    if defect:
        flux = flux + err * INSTRUMENT_DEFECTS[defect](rng)
    if rng.random() < 0.05:
        err = err / rng.uniform(1.3, 2.5)  # errors that the pipeline underestimates
    missing = _draw_missing_pixels(rng)
    return ObservedSpectrum(np.where(missing, np.nan, flux), np.where(missing, np.nan, err))


def _draw_hot_pixels(rng: np.random.Generator) -> Floats:
    """Return offsets [σ] with a few hot pixels, off by 5 to 30σ, mostly upward."""
    hit = np.zeros(N_PIXELS)
    for pixel in rng.integers(3, N_PIXELS - 3, size=rng.poisson(0.7)):
        hit[pixel] = rng.choice([1.0, 1.0, 1.0, -1.0]) * 5.0 * 6.0 ** rng.random()
    return hit


def _draw_missing_pixels(rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of pixels without data: both ends, in some spectra a longer part or a detector gap."""
    first, last, gap = rng.random(3)
    start = 3 + int(min(rng.exponential(45.0), 165.0)) * (first < 0.10)
    stop = N_PIXELS - rng.integers(2, 4) - int(min(rng.exponential(25.0), 100.0)) * (last < 0.05)
    pixel = np.arange(N_PIXELS)
    missing = (pixel < start) | (pixel >= stop)
    if gap < 0.08:
        begin = rng.integers(60, 380)
        missing |= (pixel >= begin) & (pixel < begin + rng.integers(4, 40))
    return missing


def _draw_cosmic_rays(rng: np.random.Generator) -> Floats:
    """Return offsets [σ] of cosmic rays: 3 to 8 spikes of 20 to 100σ."""
    hit = np.zeros(N_PIXELS)
    pixels = rng.integers(20, N_PIXELS - 20, size=rng.integers(3, 9))
    hit[pixels] = 20.0 * 5.0 ** rng.random(len(pixels))
    return hit


def _draw_negative_segment(rng: np.random.Generator) -> Floats:
    """Return offsets [σ] of an oversubtracted background: 15 to 60 pixels at -5 to -20σ."""
    begin, length = rng.integers(40, 380), rng.integers(15, 60)
    pixel = np.arange(N_PIXELS)
    return np.where((pixel >= begin) & (pixel < begin + length), -rng.uniform(5.0, 20.0), 0.0)


def _draw_edge_rise(rng: np.random.Generator) -> Floats:
    """Return offsets [σ] of a flux that rises toward one end, to 15 to 60σ."""
    inward = np.arange(N_PIXELS, dtype=np.float64)
    inward = inward if rng.random() < 0.5 else inward[::-1]
    return rng.uniform(15.0, 60.0) * np.exp(-inward / rng.uniform(10.0, 40.0))


INSTRUMENT_DEFECTS = {
    "artefact_spike": _draw_cosmic_rays,
    "artefact_negative_run": _draw_negative_segment,
    "artefact_edge": _draw_edge_rise,
}
"""Functions that draw the offsets of a defect, ndarray of shape (473,), in units of the error."""
