"""The space in which classes live: physical measures of noise-free reconstructions at one redshift.

What a model makes of each spectrum is decoded as if all were seen at the same redshift, so that neither
coverage nor resolution nor noise tells them apart, and measured as spectra are. Errors are those of the
posterior. What the model does not see is taken from the spectrum itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.definitions import MEASUREMENTS, MeasurementDefinition
from distspec.measurements.measure import scale_measurements

REFERENCE_REDSHIFTS: Mapping[str, float] = {"dja": 5.0, "jades": 5.0, "sdss": 0.1, "desi": 0.1, "spex": 0.0}
"""Where reconstructions are decoded, by kind of archive: all windows are then in the instrument's range."""
RECONSTRUCTION_PREFIX = "recon_"
RECONSTRUCTION_IVAR = 1e4
"""Inverse variance of a reconstruction: it has no noise, but no model is better than a hundredth of the flux
at the reference wavelength. It bounds the width of a line over no continuum."""
BATCH_SIZE = 4096
"""Rows that are decoded at a time: a multiple of a model's own passes."""
DecodeFunction = Callable[[Floats32, float], Floats32]
"""Latents (n, latents) and one redshift to spectra (n, L), as `distspec.models.model.Model.decode`."""


def list_reconstruction_columns(archive_name: str) -> tuple[Column, ...]:
    """Return the columns that are measured on reconstructions of archives of a kind.

    Examples
    --------
    >>> [column.name for column in reconstructed("dja")][:2], reconstructed("none")
    (['recon_uv_slope', 'recon_uv_slope_err'], ())
    """
    return tuple(
        Column(
            RECONSTRUCTION_PREFIX + column.name,
            column.type,
            column.unit,
            f"{column.description.split(';')[0]}; of the reconstruction at z = {REFERENCE_REDSHIFTS[archive_name]:g}",
        )
        for each in _select_definitions(archive_name, "reconstruction")
        for column in (each.value_column, each.error_column)
    )


def list_feature_columns(archive_name: str) -> tuple[str, ...]:
    """Return the columns along which classes of archives of a kind lie: the axes of `space`.

    Examples
    --------
    >>> axes("dja")[0], axes("dja")[-1]
    ('recon_uv_slope', 'lya_ew')
    """
    recon = [
        RECONSTRUCTION_PREFIX + each.value_column.name
        for each in _select_definitions(archive_name, "reconstruction")
    ]
    return (*recon, *(each.value_column.name for each in _select_definitions(archive_name, "spectrum")))


def measure_reconstructions(
    archive_name: str,
    decode: DecodeFunction,
    grid: WavelengthGrid,
    z_mean: Floats32,
    z_log_var: Floats32,
    n_draws: int = 8,
    seed: int = 0,
) -> dict[str, Floats32]:
    """Measure what a model makes of spectra, decoded at the archive's common redshift.

    The errors are root mean squares over draws of the posterior, the same directions for every row: as many
    as there are latents propagate them exactly to first order, fewer on average. A row's numbers depend on
    that row alone; its bits also on its place in the model's passes, so give spans that begin where those do.
    Memory: the result, and `BATCH` spectra.

    Parameters
    ----------
    archive_name : str
        Of the archive.
    decode : callable
        `Model.decode`.
    grid : WaveGrid
        The model's.
    z_mean, z_log_var : (N, latents)
    n_draws : int
        Each costs as much as the values do; of none, errors are NaN.
    seed : int
        Of the directions.

    Returns
    -------
    dict
        The columns `reconstructed`, (N,) float32 each.
    """
    measures, n = _select_definitions(archive_name, "reconstruction"), len(z_mean)
    found = {
        column.name: np.full(n, np.nan, np.float32)
        for each in measures
        for column in (each.value_column, each.error_column)
    }
    directions = _draw_directions(n_draws, z_mean.shape[1], seed)
    for start in range(0, n, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        mean, sigma = z_mean[rows], np.exp(0.5 * z_log_var[rows])
        values = _measure_noiseless(
            archive_name, measures, decode(mean, REFERENCE_REDSHIFTS[archive_name]), grid
        )
        squares = {name: np.zeros(len(mean)) for name in values}
        for direction in directions:
            drawn = decode((mean + direction * sigma).astype(np.float32), REFERENCE_REDSHIFTS[archive_name])
            for name, value in _measure_noiseless(archive_name, measures, drawn, grid).items():
                squares[name] += np.square(value - values[name], dtype=np.float64)
        for each in measures:
            found[each.value_column.name][rows] = values[each.value_column.name]
            if n_draws:
                found[each.error_column.name][rows] = np.sqrt(squares[each.value_column.name] / n_draws)
    return {RECONSTRUCTION_PREFIX + name: value for name, value in found.items()}


def compute_features(archive_name: str, values: Mapping[str, Floats32]) -> Floats:
    """Return where spectra lie along `axes`, (N, axes), each brought to comparable size; finite.

    arcsinh of what differs from the ordinary, over the measure's scale: linear for small, logarithmic for
    large differences. Measures of spectra are `strengths`. 0, what is ordinary, where there is no number.

    Parameters
    ----------
    archive_name : str
        Of the archive.
    values : mapping
        The columns `axes`, (N,) each, and the errors of those of spectra.
    """
    recon = [
        np.arcsinh(
            (values[RECONSTRUCTION_PREFIX + each.value_column.name].astype(np.float64) - each.center)
            / each.scale
        )
        for each in _select_definitions(archive_name, "reconstruction")
    ]
    beside = scale_measurements(
        archive_name,
        [each.value_column.name for each in _select_definitions(archive_name, "spectrum")],
        values,
    )
    return np.hstack([np.nan_to_num(np.array(recon).T.reshape(len(beside), len(recon))), beside])


def compute_feature_errors(archive_name: str, values: Mapping[str, Floats32]) -> Floats:
    """Return the 1σ errors of `space`, (N, axes): those of the columns, to first order; infinite where none.

    Parameters
    ----------
    archive_name : str
        Of the archive.
    values : mapping
        The columns `axes` and their errors, (N,) each.
    """
    found: list[Floats] = []
    for name in list_feature_columns(archive_name):
        each = next(
            m
            for m in MEASUREMENTS[archive_name]
            if m.value_column.name == name.removeprefix(RECONSTRUCTION_PREFIX)
        )
        error = values[f"{name}_err"].astype(np.float64)
        scale = np.hypot(each.scale, error) if each.feature_source == "spectrum" else each.scale
        found.append(error / np.hypot(values[name].astype(np.float64) - each.center, scale))
    return np.nan_to_num(np.array(found).T.reshape(-1, len(found)), nan=np.inf, posinf=np.inf)


def _select_definitions(archive_name: str, feature_source: str) -> tuple[MeasurementDefinition, ...]:
    return tuple(each for each in MEASUREMENTS.get(archive_name, ()) if each.feature_source == feature_source)


def _measure_noiseless(
    archive_name: str, definitions: tuple[MeasurementDefinition, ...], flux: Floats32, grid: WavelengthGrid
) -> dict[str, Floats32]:
    """Return the measures' values of spectra without noise."""
    ivar, z = (
        np.full(flux.shape, RECONSTRUCTION_IVAR, np.float32),
        np.full(len(flux), REFERENCE_REDSHIFTS[archive_name]),
    )
    return {
        each.value_column.name: each.measure(flux, ivar, z, grid)[each.value_column.name]
        for each in definitions
    }


def _draw_directions(n_draws: int, n_latents: int, seed: int) -> Floats:
    """Return draws of N(0, 1), (n_draws, latents): orthogonal, of the length that all have in the mean."""
    rng = np.random.default_rng(seed)
    frames = [
        np.linalg.qr(rng.standard_normal((n_latents, n_latents)))[0] for _ in range(-(-n_draws // n_latents))
    ]
    return np.sqrt(n_latents) * np.concatenate([np.zeros((0, n_latents)), *frames])[:n_draws]
