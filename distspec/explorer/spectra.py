"""Spectra that the explorer sends: small ones for the grid, and files of single ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
from astropy.table import QTable
from astropy.units import Unit

from distspec.core.errors import ConfigError
from distspec.core.spectrum import Floats32
from distspec.explorer.data import ExplorerData

MAX_SMALL_SPECTRA = 60
"""Largest number of small spectra in one response."""
SMALL_PIXELS = 160
"""Largest number of pixels of a small spectrum."""
FRAMES = ("rest", "observed")
SPECTRUM_FORMATS = {"fits": "application/fits", "csv": "text/csv; charset=utf-8"}
"""Formats of a saved spectrum, with their media types."""


def read_small_spectra(data: ExplorerData, rows: Sequence[int]) -> Floats32:
    """Return flux and reconstruction of spectra, averaged over neighboring pixels.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    rows : sequence of int
        Rows of ``objects``.

    Returns
    -------
    ndarray of shape (n_spectra, 2, n_bins)
        Mean flux weighted by the inverse variance, NaN where no pixel is valid; and the mean reconstruction.
        The last bin has fewer pixels than the others if they do not divide the grid.
    """
    indices = np.asarray(rows, np.int64)
    flux, ivar = data.store.read_spectra(data.store_rows[indices])
    recon = data.reconstruct(indices)
    n_pixels = flux.shape[1]
    starts = np.arange(0, n_pixels, -(-n_pixels // SMALL_PIXELS))
    weight = np.add.reduceat(ivar.astype(np.float64), starts, axis=1)
    weighted = np.add.reduceat(np.where(ivar > 0, flux, 0.0).astype(np.float64) * ivar, starts, axis=1)
    mean = np.divide(weighted, weight, out=np.full_like(weight, np.nan), where=weight > 0)
    model = np.add.reduceat(recon, starts, axis=1) / np.diff(starts, append=n_pixels)
    return np.stack([mean, model], axis=1).astype(np.float32)


def build_spectrum_table(data: ExplorerData, row: int, frame: Literal["rest", "observed"]) -> QTable:
    """Return a spectrum as the page shows it in a frame, with its reconstruction.

    Parameters
    ----------
    data : ExplorerData
        The catalog.
    row : int
        Row of ``objects``.
    frame : {"rest", "observed"}
        Frame of wavelengths and flux densities.

    Returns
    -------
    QTable
        Columns wave (vacuum), flux, ivar (0 for masked pixels) and recon. Flux densities are absolute in the
        observed frame where the catalog has the normalization, otherwise relative to that at the reference
        wavelength.

    Raises
    ------
    ConfigError
        If there is no such frame.
    """
    if frame not in FRAMES:
        raise ConfigError(f"there is no frame {frame!r}: use {' or '.join(FRAMES)}")
    flux, ivar, recon = data.spectrum(row).astype(np.float64)
    values = data.get_row(row)
    stretch, scale, unit = 1.0, 1.0, Unit("")
    if frame == "observed":
        stretch = 1.0 + values["z"]
        if (values["norm"] or 0.0) > 0.0:
            scale, unit = values["norm"] / stretch, Unit(data.columns["norm"].unit)
    meta = {
        "OBJECT": values["object_id"],
        "Z": values["z"],
        "FRAME": frame,
        "REFWAVE": data.store.config.reference_wave,
        "RUN": data.record.run_id,
    }
    table = QTable(meta=meta)
    table["wave"] = data.store.config.grid.wave_rest * stretch * Unit("Angstrom")
    table["flux"], table["ivar"] = flux * scale * unit, ivar / scale**2 * unit**-2
    table["recon"] = recon * scale * unit
    return table


def encode_spectrum(table: QTable, output_format: str) -> bytes:
    """Return a spectrum as a file.

    Parameters
    ----------
    table : QTable
        Result of `build_spectrum_table`.
    output_format : str
        One of `SPECTRUM_FORMATS`.

    Returns
    -------
    bytes

    Raises
    ------
    ConfigError
        If there is no such format.
    """
    if output_format == "fits":
        binary = io.BytesIO()
        table.write(binary, format="fits")
        return binary.getvalue()
    if output_format == "csv":
        text = io.StringIO()
        table.write(text, format="ascii.csv")
        return text.getvalue().encode()
    raise ConfigError(f"there is no format {output_format!r}: use {' or '.join(SPECTRUM_FORMATS)}")
