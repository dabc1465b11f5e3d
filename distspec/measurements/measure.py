"""Physical measures of spectra, each with its error; over whole batches, whatever was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.definitions import MEASUREMENTS


def list_measurement_columns(archive_name: str) -> tuple[Column, ...]:
    """Return the columns that are measured in archives of a kind.

    Examples
    --------
    >>> [column.name for column in measured("spex")][:4], measured("none")
    (['h2o_j', 'h2o_j_err', 'ch4_j', 'ch4_j_err'], ())
    """
    return tuple(column for each in MEASUREMENTS.get(archive_name, ()) for column in each.columns)


def measure_spectra(
    archive_name: str, flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid
) -> dict[str, Floats32]:
    """Return the columns `measured` of spectra: flux, ivar (N, L), z (N,); (N,) each."""
    values: dict[str, Floats32] = {}
    for each in MEASUREMENTS.get(archive_name, ()):
        values |= each.measure(flux, ivar, z, grid)
    return values


def scale_measurements(archive_name: str, names: Sequence[str], values: Mapping[str, Floats32]) -> Floats:
    """Return how strong measures are, (N, len(names)): arcsinh of value over error and scale together.

    0 where a spectrum does not cover a measure, or says nothing of it; never NaN.

    Parameters
    ----------
    archive_name : str
        Of the archive.
    names : of measures, as their values are named
    values : mapping
        The columns `measured`, (N,) each, among others.

    Raises
    ------
    ValueError
        When a measure is not taken in archives of this kind.
    """
    known = {each.value_column.name: each for each in MEASUREMENTS.get(archive_name, ())}
    if unknown := set(names) - known.keys():
        raise ValueError(
            f"clustering.measurements {', '.join(sorted(unknown))}: of archives of kind {archive_name!r} there are "
            f"{', '.join(known) or 'none'}"
        )
    found = [
        np.arcsinh(
            (values[name] - known[name].center)
            / np.hypot(values[known[name].error_column.name], known[name].scale)
        )
        for name in names
    ]
    shape = len(next(iter(values.values()))), len(names)
    return np.nan_to_num(np.array(found, np.float64).T.reshape(shape))
