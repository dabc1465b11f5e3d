"""What a measurement is: a named quantity that a function measures on every spectrum, with its uncertainty.

An archive lists its measurements in a `MeasurementSet`; `distspec.measurements.standard_sets` holds those
of the built-in archives. Windows are rest-frame vacuum wavelengths; those published in air were converted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa

from distspec.core.errors import ConfigError
from distspec.core.instruments import Disperser
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32, WavelengthGrid
from distspec.measurements.indices import (
    F_NU,
    GriddedSpectra,
    Window,
    fit_slope,
    measure_flux_ratio,
    measure_line,
)

FeatureSource = Literal["reconstruction", "spectrum", ""]
MeasuringFunction = Callable[[GriddedSpectra], Sequence[Floats]]
"""Spectra to value and error, and for lines the signal-to-noise ratio of the flux; (n_spectra,) each."""


@dataclass(frozen=True)
class Measurement:
    """A quantity that is measured on every spectrum of an archive, with its uncertainty.

    Attributes
    ----------
    name : str
        Name of the column with the value; ``<name>_err`` holds the error.
    unit : str
        Unit of value and error in astropy's notation, "" for none.
    description : str
        Definition of the quantity.
    function : callable
        Returns value and 1 sigma error of `GriddedSpectra`, and the signal-to-noise ratio where
        `snr_column` is set; NaN where not covered. The numbers of a spectrum depend on that spectrum alone.
        It must be picklable: a module's function, or a `functools.partial` of one.
    scale : float
        Difference that counts as large, in `unit`: features are ``arcsinh((value - center) / scale)``.
    center : float
        Ordinary value, in `unit`.
    feature_source : {"reconstruction", "spectrum", ""}
        Where clustering features take the value from: the model's noise-free reconstruction, the spectrum
        itself because the model does not see this part of it, or nowhere.
    needs : sequence of (float, float)
        Rest-frame windows that the function reads [Angstrom].
    reference : str
        Publication that defines the quantity or its windows.
    error_description : str
        Definition of the error, if it is more than "1 sigma uncertainty of <name>".
    snr_column : Column or None
        Column for the third result of `function`.
    value_names : (str, str)
        How low and high values are called, such as ("weak Hα", "strong Hα"); by default "low <name>" and
        "high <name>".
    """

    name: str
    unit: str
    description: str
    function: MeasuringFunction
    scale: float
    center: float = 0.0
    feature_source: FeatureSource = "reconstruction"
    needs: tuple[Window, ...] = ()
    reference: str = ""
    error_description: str = ""
    snr_column: Column | None = None
    value_names: tuple[str, str] = ("", "")

    @property
    def value_column(self) -> Column:
        """Column of the value."""
        return Column(
            self.name, pa.float32(), self.unit, _sentence(f"{self.definition}; null where not covered")
        )

    @property
    def error_column(self) -> Column:
        """Column of the error."""
        description = self.error_description or f"1 sigma uncertainty of {self.name}"
        return Column(f"{self.name}_err", pa.float32(), self.unit, _sentence(description))

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns that the measurement fills, in the order of the function's results."""
        return (self.value_column, self.error_column, *([self.snr_column] if self.snr_column else []))

    @property
    def definition(self) -> str:
        """Description with the reference."""
        return f"{self.description} ({self.reference})" if self.reference else self.description

    def measure(self, flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid) -> dict[str, Floats32]:
        """Return the measurement's columns for a batch of spectra.

        Parameters
        ----------
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Flux density f_lambda in any unit, and its inverse variance; ``ivar`` 0 marks masked pixels.
        z : ndarray of shape (n_spectra,)
            Redshifts.
        grid : WavelengthGrid
            Rest-frame grid of the spectra.

        Returns
        -------
        dict of str to ndarray of shape (n_spectra,)
            Values by name of `columns`, float32.
        """
        results = self.function(GriddedSpectra(flux, ivar, z, grid))
        return {
            column.name: result.astype(np.float32)
            for column, result in zip(self.columns, results, strict=True)
        }


@dataclass(frozen=True)
class MeasurementSet:
    """The measurements of an archive.

    Attributes
    ----------
    definitions : tuple of Measurement
        In the order of their columns.
    reference_redshift : float
        Redshift at which reconstructions are decoded to be measured: every window must then lie in the
        instrument's range.
    """

    definitions: tuple[Measurement, ...] = ()
    reference_redshift: float = 0.0

    @property
    def columns(self) -> tuple[Column, ...]:
        """Columns of all measurements, in order."""
        return tuple(column for measurement in self.definitions for column in measurement.columns)

    def select(self, feature_source: FeatureSource) -> tuple[Measurement, ...]:
        """Return the measurements whose value clustering features take from `feature_source`.

        Parameters
        ----------
        feature_source : {"reconstruction", "spectrum"}
            Data from which the feature's value is measured.

        Returns
        -------
        tuple of Measurement
        """
        return tuple(
            measurement for measurement in self.definitions if measurement.feature_source == feature_source
        )

    def measure(self, flux: Floats32, ivar: Floats32, z: Floats, grid: WavelengthGrid) -> dict[str, Floats32]:
        """Return `columns` for a batch of spectra.

        Parameters
        ----------
        flux : ndarray of float32, shape (n_spectra, n_pixels)
            Normalized flux density per wavelength.
        ivar : ndarray of float32, shape (n_spectra, n_pixels)
            Inverse variance; 0 for masked pixels.
        z : ndarray of shape (n_spectra,)
            Redshifts.
        grid : WavelengthGrid
            Rest-frame wavelength grid of the pixels.

        Returns
        -------
        dict of str to ndarray of float32, shape (n_spectra,)
            Values and errors by column name; NaN where they cannot be measured.
        """
        values: dict[str, Floats32] = {}
        for measurement in self.definitions:
            values |= measurement.measure(flux, ivar, z, grid)
        return values

    def scale_by_error(self, names: Sequence[str], values: Mapping[str, Floats32]) -> Floats:
        """Return measured values relative to their errors, on an arcsinh scale.

        ``arcsinh((value - center) / hypot(error, scale))``: 0 where a spectrum does not cover the
        measurement, near 0 where its error is large.

        Parameters
        ----------
        names : sequence of str
            Names of measurements.
        values : mapping of str to ndarray of shape (n_spectra,)
            Values and errors by column name.

        Returns
        -------
        ndarray of shape (n_spectra, n_names)
            Finite numbers.

        Raises
        ------
        ConfigError
            If a name is not a measurement of this set.
        """
        known = {measurement.name: measurement for measurement in self.definitions}
        if unknown := set(names) - known.keys():
            raise ConfigError(
                f"clustering.measurements names {', '.join(sorted(unknown))}, which this archive does not "
                f"measure: choose from {', '.join(known) or 'none'}"
            )
        scaled = [
            np.arcsinh(
                (values[name] - known[name].center) / np.hypot(values[f"{name}_err"], known[name].scale)
            )
            for name in names
        ]
        shape = len(next(iter(values.values()))), len(names)
        return np.nan_to_num(np.array(scaled, np.float64).T.reshape(shape))


def define_slope(
    name: str,
    description: str,
    windows: tuple[Window, ...],
    disperser: Disperser,
    scale: float,
    reference: str = "",
    value_names: tuple[str, str] = ("", ""),
) -> Measurement:
    """Define the measurement of a power-law index by `distspec.measurements.indices.fit_slope`.

    Parameters
    ----------
    name : str
        Name of the measurement.
    description : str
        Wavelength range, as text.
    windows : tuple of (float, float)
        Line-free rest-frame windows [Angstrom].
    disperser : Disperser
        The instrument.
    scale : float
        Difference that counts as large.
    reference : str
        Publication that defines the windows.
    value_names : (str, str)
        See `Measurement`.

    Returns
    -------
    Measurement
    """
    function = partial(fit_slope, windows=windows, disperser=disperser)
    description = f"beta of f_lambda ~ lambda^beta, {description}: line through ln f of {_format(windows)}"
    return Measurement(
        name,
        "",
        description,
        function,
        scale,
        -2.0,
        needs=windows,
        reference=reference,
        value_names=value_names,
    )


def define_flux_ratio(
    name: str,
    description: str,
    numerator: Window,
    denominator: Window,
    wave_power: int,
    disperser: Disperser,
    center: float,
    scale: float,
    feature_source: FeatureSource = "reconstruction",
    reference: str = "",
    value_names: tuple[str, str] = ("", ""),
) -> Measurement:
    """Define the ratio of two mean flux densities by `distspec.measurements.indices.measure_flux_ratio`.

    Parameters
    ----------
    name : str
        Name of the measurement.
    description : str
        What the ratio measures.
    numerator, denominator : (float, float)
        Rest-frame windows [Angstrom].
    wave_power : int
        `F_NU` or `F_LAMBDA` of `distspec.measurements.indices`: which flux density is averaged.
    disperser : Disperser
        The instrument.
    center, scale : float
        Ordinary value, and difference that counts as large.
    feature_source : {"reconstruction", "spectrum", ""}
        See `Measurement`.
    reference : str
        Publication that defines the windows.
    value_names : (str, str)
        See `Measurement`.

    Returns
    -------
    Measurement
    """
    function = partial(
        measure_flux_ratio,
        numerator=numerator,
        denominator=denominator,
        wave_power=wave_power,
        disperser=disperser,
    )
    density = "f_nu" if wave_power == F_NU else "f_lambda"
    spans = "{:.0f}-{:.0f} over {:.0f}-{:.0f} Angstrom".format(*numerator, *denominator)
    return Measurement(
        name,
        "",
        f"{description}: mean {density} of {spans}",
        function,
        scale,
        center,
        feature_source,
        needs=(numerator, denominator),
        reference=reference,
        value_names=value_names,
    )


def define_equivalent_width(
    name: str,
    line: str,
    windows: tuple[Window, Window, Window],
    disperser: Disperser,
    scale: float,
    feature_source: FeatureSource = "reconstruction",
    reference: str = "",
    value_names: tuple[str, str] = ("", ""),
) -> Measurement:
    """Define a line's equivalent width by `distspec.measurements.indices.measure_line`.

    Parameters
    ----------
    name : str
        Name of the measurement, which ends in ``_ew``; the column ``<name without _ew>_snr`` holds the
        signal-to-noise ratio of the line flux.
    line : str
        Name of the line, as text.
    windows : tuple of three (float, float)
        Rest-frame windows of the continuum, of the line, and again of the continuum [Angstrom].
    disperser : Disperser
        The instrument.
    scale : float
        Difference that counts as large [Angstrom].
    feature_source : {"reconstruction", "spectrum", ""}
        See `Measurement`.
    reference : str
        Publication that defines the windows.
    value_names : (str, str)
        See `Measurement`.

    Returns
    -------
    Measurement
    """
    blue, inside, red = windows
    function = partial(
        measure_line, blue_window=blue, line_window=inside, red_window=red, disperser=disperser
    )
    snr_name = name.replace("_ew", "_snr")
    return Measurement(
        name,
        "Angstrom",
        f"rest equivalent width of {line}, emission positive: flux of {_format([inside])} over the continuum "
        f"through {_format([blue, red])}",
        function,
        scale,
        0.0,
        feature_source,
        needs=windows,
        reference=reference,
        snr_column=Column(snr_name, pa.float32(), "", f"Signal-to-noise ratio of the line flux of {name}."),
        value_names=value_names,
    )


def _sentence(text: str) -> str:
    """Return text with a capital first letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def _format(windows: Sequence[Window]) -> str:
    """Return windows as text."""
    return ", ".join(f"{low:.0f}-{high:.0f}" for low, high in windows) + " Angstrom"
