"""Grids and normalization windows that suit a sample of spectra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distspec.core.errors import ArchiveError
from distspec.core.spectrum import Floats
from distspec.preprocessing.normalization import NormConfig, robust_window_mean
from distspec.preprocessing.resampling import GridConfig
from distspec.preprocessing.rest_frame import RestFrameSpectra

MIN_PIXELS, MAX_PIXELS = 64, 2048
"""Smallest and largest number of pixels of a proposed grid."""
MAX_WINDOWS = 6
"""Largest number of proposed windows."""
PIXELS_PER_FWHM = 2.0
"""Number of pixels in which a resolution element is sampled where the resolving power is not known."""
CONTINUUM_WINDOWS = (
    *NormConfig().windows,
    (3550.0, 3690.0), (4150.0, 4250.0), (5050.0, 5150.0), (5600.0, 5750.0), (6000.0, 6200.0),
    (6900.0, 7050.0), (8050.0, 8400.0), (10200.0, 10600.0), (12100.0, 12600.0), (15800.0, 16200.0),
    (17000.0, 17700.0), (21000.0, 21500.0),
)  # fmt: skip
"""Rest-frame windows without strong lines of galaxies [Angstrom], vacuum."""
RELATIVE_POSITIONS, RELATIVE_WIDTH = (0.5, 0.3, 0.7, 0.15, 0.85), 0.04
"""Windows where too few spectra cover those of `CONTINUUM_WINDOWS`: positions in the range, and width."""


def propose_grid(rest: RestFrameSpectra, requested: GridConfig, resolving_power: float = 0.0) -> GridConfig:
    """Complete a grid: the range that half of the spectra cover, in pixels as wide as theirs.

    Parameters
    ----------
    rest : RestFrameSpectra
        Sample of spectra.
    requested : GridConfig
        Settings of which range, number of pixels or both may be 0.
    resolving_power : float
        Wavelength over FWHM: pixels are not narrower than half of the FWHM; 0: unknown.

    Returns
    -------
    GridConfig
        With a range of three significant digits, and `MIN_PIXELS` to `MAX_PIXELS` pixels.

    Raises
    ------
    ArchiveError
        If the sample has no common range.
    """
    if requested.is_complete:
        return requested
    if not requested.start:
        start, stop = _find_common_range(rest)
        requested = replace(requested, start=_round_up(start), stop=-_round_up(-stop))
    if requested.n_pixels or requested.step:
        return requested
    start, stop = requested.start, requested.stop
    is_log = requested.spacing == "log"
    width = _find_pixel_width(rest, start, stop, is_log)
    if resolving_power:
        fwhm = 1.0 / resolving_power if is_log else np.sqrt(start * stop) / resolving_power
        width = max(width, fwhm / PIXELS_PER_FWHM)
    span = np.log(stop / start) if is_log else stop - start
    return replace(requested, n_pixels=int(np.clip(np.ceil(span / width), MIN_PIXELS, MAX_PIXELS)))


def propose_norm(rest: RestFrameSpectra, grid: GridConfig, requested: NormConfig) -> NormConfig:
    """Complete a normalization: the windows in which most spectra have a significant continuum.

    Parameters
    ----------
    rest : RestFrameSpectra
        Sample of spectra.
    grid : GridConfig
        Grid in the rest frame, whose range has windows if few spectra cover those of `CONTINUUM_WINDOWS`.
    requested : NormConfig
        Settings of which windows and reference may be missing.

    Returns
    -------
    NormConfig
        Up to `MAX_WINDOWS` windows, that of most spectra first; the reference wavelength is its center.

    Raises
    ------
    ArchiveError
        If no spectrum has a positive continuum in any window.
    """
    if not requested.windows:
        candidates = np.array(CONTINUUM_WINDOWS)
        snr = _measure_windows(rest, candidates, requested)
        if 2 * np.count_nonzero(snr >= requested.preferred_snr, axis=0).max() < len(rest.index):
            centers = grid.start * (grid.stop / grid.start) ** np.array(RELATIVE_POSITIONS)
            half = 0.5 * RELATIVE_WIDTH
            added = np.column_stack([centers * (1.0 - half), centers * (1.0 + half)]).round()
            candidates = np.concatenate([candidates, added])
            snr = np.hstack([snr, _measure_windows(rest, added, requested)])
        requested = replace(requested, windows=_select_windows(candidates, snr, requested))
    if not requested.reference_wave:
        requested = replace(requested, reference_wave=float(np.mean(requested.windows[0])))
    return requested


def estimate_resolving_power(rest: RestFrameSpectra) -> float:
    """Return the resolving power of spectra whose resolution elements have `PIXELS_PER_FWHM` pixels.

    Parameters
    ----------
    rest : RestFrameSpectra
        Sample of spectra.

    Returns
    -------
    float
        Wavelength over FWHM, the median of the spectra, with two significant digits.
    """
    widths = [
        float(np.median(np.diff(np.log(wave))))
        for wave, _, _ in map(rest.get_spectrum, range(len(rest.index)))
    ]
    return float(f"{1.0 / (PIXELS_PER_FWHM * np.median(widths)):.2g}")


def _find_common_range(rest: RestFrameSpectra) -> tuple[float, float]:
    """Return the rest wavelengths between which at least half as many spectra as anywhere are valid."""
    ranges = np.array([_find_valid_range(rest, k) for k in range(len(rest.index))]).reshape(-1, 2)
    if not len(ranges):
        raise ArchiveError("no spectrum of the sample is usable: set --grid.start and --grid.stop")
    low, high = np.sort(ranges[:, 0]), np.sort(ranges[:, 1])
    edges = np.concatenate([low, high])
    count = np.searchsorted(low, edges, "right") - np.searchsorted(high, edges, "left")
    common = edges[2 * count >= count.max()]
    return float(common.min()), float(common.max())


def _find_valid_range(rest: RestFrameSpectra, position: int) -> tuple[float, float]:
    wave, _, ivar = rest.get_spectrum(position)
    valid = wave[ivar > 0]
    return float(valid[0]), float(valid[-1])


def _find_pixel_width(rest: RestFrameSpectra, start: float, stop: float, is_log: bool) -> float:
    """Return the median over spectra of a width that three quarters of their pixels exceed."""
    widths: list[float] = []
    for k in range(len(rest.index)):
        wave = rest.get_spectrum(k)[0]
        wave = wave[(wave >= start) & (wave <= stop)]
        if len(wave) > 2:
            widths.append(float(np.percentile(np.diff(np.log(wave) if is_log else wave), 25)))
    if not widths:
        raise ArchiveError(
            f"no spectrum of the sample covers {start:g}–{stop:g} Angstrom: set other limits with "
            "--grid.start and --grid.stop"
        )
    return float(np.median(widths))


def _measure_windows(rest: RestFrameSpectra, windows: Floats, config: NormConfig) -> Floats:
    """Return the signal-to-noise ratio of each spectrum in each window, 0 where it is not usable."""
    snr = np.zeros((len(rest.index), len(windows)))
    for k in range(len(rest.index)):
        spectrum = rest.get_spectrum(k)
        for i, (low, high) in enumerate(windows.tolist()):
            value, err, _, n = robust_window_mean(*spectrum, low, high)
            if n >= config.min_pixels and value > max(config.min_snr * err, 0.0):
                snr[k, i] = value / err
    return snr


def _select_windows(windows: Floats, snr: Floats, config: NormConfig) -> tuple[tuple[float, float], ...]:
    """Return windows, each that of most spectra for which the windows before it are not good enough."""
    good, usable = snr >= config.preferred_snr, snr > 0
    left = np.ones(len(snr), bool)
    chosen: list[int] = []
    candidates = np.flatnonzero(usable.any(axis=0)).tolist()
    while candidates and len(chosen) < MAX_WINDOWS:
        counts = [found.sum(axis=0) for found in (good[left], usable[left], good, usable)]
        keys = np.column_stack([*counts, np.median(snr, axis=0)])[candidates].tolist()
        chosen.append(candidates[keys.index(max(keys))])
        candidates.remove(chosen[-1])
        left &= ~good[:, chosen[-1]]
    if not chosen:
        raise ArchiveError(
            "no spectrum of the sample has a positive, significant continuum in any window: set "
            "--norm.windows, or lower --norm.min-snr"
        )
    return tuple((float(windows[i, 0]), float(windows[i, 1])) for i in chosen)


def _round_up(value: float) -> float:
    """Return a number rounded up to three significant digits."""
    step = 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    return float(np.ceil(value / step - 1e-9) * step)
