"""Clustering features: measurements of noise-free reconstructions, all decoded at one redshift.

A model's reconstructions are decoded as if all spectra were observed at the archive's reference redshift,
so that neither coverage nor resolution nor noise distinguishes them, and are measured as spectra are.
Errors follow from the posterior. What the model does not see is measured on the spectrum itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.definitions import Measurement, MeasurementSet

RECONSTRUCTION_PREFIX = "recon_"
"""Start of the names of columns that are measured on reconstructions."""
RECONSTRUCTION_IVAR = 1e4
"""Inverse variance given to a reconstruction: it has no noise, but no model is better than a hundredth of
the flux at the reference wavelength. It limits the equivalent width of a line without a continuum."""
BATCH_SIZE = 4096
"""Rows that are decoded at a time: a multiple of a model's own batches."""
N_POSTERIOR_DRAWS = 8
"""Number of posterior draws from which the errors of measurements are computed."""
DecodeFunction = Callable[[Floats32, float], Floats32]
"""Latents (n_spectra, n_latents) and one redshift to flux (n_spectra, n_pixels):
`distspec.models.model.Model.decode`."""


def list_reconstruction_columns(measurements: MeasurementSet) -> tuple[Column, ...]:
    """List the columns that are measured on reconstructions.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    tuple of Column

    Examples
    --------
    >>> from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
    >>> [column.name for column in list_reconstruction_columns(NIRSPEC_PRISM_MEASUREMENTS)][:2]
    ['recon_uv_slope', 'recon_uv_slope_err']
    """
    suffix = f"; of the reconstruction at z = {measurements.reference_redshift:g}."
    return tuple(
        Column(
            RECONSTRUCTION_PREFIX + column.name,
            column.type,
            column.unit,
            column.description.removesuffix(".").removesuffix("; null where not covered") + suffix,
        )
        for measurement in measurements.select("reconstruction")
        for column in (measurement.value_column, measurement.error_column)
    )


def list_feature_columns(measurements: MeasurementSet) -> tuple[str, ...]:
    """List the names of the columns that `compute_features` uses, one for each feature.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from distspec.measurements.standard_sets import NIRSPEC_PRISM_MEASUREMENTS
    >>> names = list_feature_columns(NIRSPEC_PRISM_MEASUREMENTS)
    >>> names[0], names[-1]
    ('recon_uv_slope', 'lya_ew')
    """
    reconstruction_columns = (
        RECONSTRUCTION_PREFIX + measurement.name for measurement in measurements.select("reconstruction")
    )
    return (*reconstruction_columns, *(measurement.name for measurement in measurements.select("spectrum")))


def measure_reconstructions(
    measurements: MeasurementSet,
    decode: DecodeFunction,
    grid: WavelengthGrid,
    z_mean: Floats32,
    z_log_var: Floats32,
    n_draws: int = 8,
    seed: int = 0,
) -> dict[str, Floats32]:
    """Measure a model's reconstructions, decoded at the archive's reference redshift.

    Errors are root mean squares over draws from the posterior. The draws use the same directions for every
    spectrum: as many as there are latents propagate the errors exactly to first order, fewer do so on
    average. The numbers of a spectrum depend on that spectrum alone, except that its last bits may depend
    on its position in the decoder's batch: start blocks of rows at multiples of `BATCH_SIZE`.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.
    decode : callable
        `distspec.models.model.Model.decode`.
    grid : WavelengthGrid
        The model's grid.
    z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
        Mean and ln variance of the posteriors.
    n_draws : int
        Number of draws for the errors; with 0 the errors are NaN.
    seed : int
        Seed of the directions.

    Returns
    -------
    dict of str to ndarray of shape (n_spectra,)
        The columns of `list_reconstruction_columns`, float32.
    """
    definitions, n_spectra = measurements.select("reconstruction"), len(z_mean)
    z = measurements.reference_redshift
    result = {
        name: np.full(n_spectra, np.nan, np.float32)
        for definition in definitions
        for name in (definition.name, f"{definition.name}_err")
    }
    directions = _draw_directions(n_draws, z_mean.shape[1], seed)
    for start in range(0, n_spectra, BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        mean, sigma = z_mean[rows], np.exp(0.5 * z_log_var[rows])
        values = _measure_noiseless(definitions, decode(mean, z), z, grid)
        squares = {name: np.zeros(len(mean)) for name in values}
        for direction in directions:
            flux = decode((mean + direction * sigma).astype(np.float32), z)
            for name, value in _measure_noiseless(definitions, flux, z, grid).items():
                squares[name] += np.square(value - values[name], dtype=np.float64)
        for name, value in values.items():
            result[name][rows] = value
            if n_draws:
                result[f"{name}_err"][rows] = np.sqrt(squares[name] / n_draws)
    return {RECONSTRUCTION_PREFIX + name: value for name, value in result.items()}


def compute_features(measurements: MeasurementSet, values: Mapping[str, Floats32]) -> Floats:
    """Compute the clustering features of spectra.

    A measurement of a reconstruction becomes ``arcsinh((value - center) / scale)``: linear for small and
    logarithmic for large differences. One of the spectrum itself is scaled by its error too
    (`MeasurementSet.scale_by_error`). Where a value is missing, the feature is 0, the ordinary value.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.
    values : mapping of str to ndarray of shape (n_spectra,)
        The columns of `list_feature_columns`, and the errors of those measured on spectra.

    Returns
    -------
    ndarray of shape (n_spectra, n_features)
        Finite numbers, in the order of `list_feature_columns`.
    """
    reconstruction_features = [
        np.arcsinh(
            (values[RECONSTRUCTION_PREFIX + measurement.name].astype(np.float64) - measurement.center)
            / measurement.scale
        )
        for measurement in measurements.select("reconstruction")
    ]
    spectrum_features = measurements.scale_by_error(
        [measurement.name for measurement in measurements.select("spectrum")], values
    )
    shape = len(spectrum_features), len(reconstruction_features)
    return np.hstack([np.nan_to_num(np.array(reconstruction_features).T.reshape(shape)), spectrum_features])


def compute_feature_errors(measurements: MeasurementSet, values: Mapping[str, Floats32]) -> Floats:
    """Compute the 1 sigma errors of `compute_features`, propagated to first order.

    Parameters
    ----------
    measurements : MeasurementSet
        The archive's measurements.
    values : mapping of str to ndarray of shape (n_spectra,)
        The columns of `list_feature_columns` and their errors.

    Returns
    -------
    ndarray of shape (n_spectra, n_features)
        Infinite where the value is missing.
    """
    definitions_by_name = {definition.name: definition for definition in measurements.definitions}
    errors: list[Floats] = []
    for name in list_feature_columns(measurements):
        measurement = definitions_by_name[name.removeprefix(RECONSTRUCTION_PREFIX)]
        error = values[f"{name}_err"].astype(np.float64)
        scale = measurement.scale
        if measurement.feature_source == "spectrum":
            scale = np.hypot(measurement.scale, error)
        errors.append(error / np.hypot(values[name].astype(np.float64) - measurement.center, scale))
    return np.nan_to_num(np.array(errors).T.reshape(-1, len(errors)), nan=np.inf, posinf=np.inf)


def _measure_noiseless(
    definitions: Sequence[Measurement], flux: Floats32, z: float, grid: WavelengthGrid
) -> dict[str, Floats32]:
    """Return the values of measurements of noise-free spectra at one redshift."""
    ivar, redshifts = np.full(flux.shape, RECONSTRUCTION_IVAR, np.float32), np.full(len(flux), z)
    return {
        definition.name: definition.measure(flux, ivar, redshifts, grid)[definition.name]
        for definition in definitions
    }


def _draw_directions(n_draws: int, n_latents: int, seed: int) -> Floats:
    """Return orthogonal directions, (n_draws, n_latents), of the expected length of draws from N(0, 1)."""
    rng = np.random.default_rng(seed)
    frames = [
        np.linalg.qr(rng.standard_normal((n_latents, n_latents)))[0] for _ in range(-(-n_draws // n_latents))
    ]
    return np.sqrt(n_latents) * np.concatenate([np.zeros((0, n_latents)), *frames])[:n_draws]
