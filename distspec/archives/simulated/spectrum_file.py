"""Files of simulated spectra, in the format of msaexp v4."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
from astropy.io import fits

from distspec.archives.simulated.nirspec import N_PIXELS, WAVE, ObservedSpectrum

MSAEXP_VERSION = "0.9.5+synthetic"
"""Version in the headers and in the catalog."""
_SPEC1D_UNITS = {
    "wave": "um",
    "flux": "uJy",
    "err": "uJy",
    "sky": "uJy",
    "path_corr": "",
    "npix": "",
    "flux_sum": "",
    "profile_sum": "",
    "var_sum": "",
}
_SPEC1D_DTYPE = np.dtype([(name, ">f8") for name in _SPEC1D_UNITS])
_HEADER_COMMENTS = {
    "VERSION": "msaexp software version",
    "DATE": "UTC date file created",
    "CAL_VER": "Calibration Software Version",
    "PROGRAM": "Program number",
    "FILTER": "Name of the filter element used",
    "GRATING": "Name of the grating element used",
    "EXPTIME": "[s]",
    "NCOMBINE": "Exposures combined",
    "SRCNAME": "Source name",
    "SOURCEID": "Source ID",
    "SRCRA": "Right Ascension of the source",
    "SRCDEC": "Declination of the source",
    "CRDS_CTX": "CRDS context (.pmap) used to select ref files",
}
_N_SLIT_ROWS = 31


def format_creation_time(index: int) -> str:
    """Return the creation time of the file with an index.

    Parameters
    ----------
    index : int
        Number of the file in the archive, from 0.

    Returns
    -------
    str
        Time in UTC, ISO 8601 with milliseconds.
    """
    moment = datetime(2025, 1, 1) + timedelta(seconds=37.219 * index)
    return moment.isoformat(timespec="milliseconds")


def format_spectrum_file(
    row: dict[str, Any], exposure: ObservedSpectrum, images: bool, rng: np.random.Generator
) -> bytes:
    """Return the content of a spectrum file in the format of msaexp v4.

    Parameters
    ----------
    row : dict
        Row of `distspec.archives.simulated.survey.plan_survey`.
    exposure : ObservedSpectrum
        The spectrum.
    images : bool
        Whether to add two-dimensional images.
    rng : numpy.random.Generator
        Source of the noise of the images.
    """
    # The headers are built once: astropy would spend three quarters of the time on them.
    primary, header = _build_header_template()
    header = header.copy()
    for key, value in _build_header_values(row).items():
        header[key] = value
    hdus = [primary, header.tostring().encode(), _pad_to_fits_block(_build_spec1d(exposure).tobytes())]
    if images:
        buffer = io.BytesIO()
        fits.HDUList([fits.PrimaryHDU(), *_build_2d_images(exposure, rng)]).writeto(buffer)
        hdus.append(buffer.getvalue()[len(primary) :])
    return b"".join(hdus)


def _pad_to_fits_block(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 2880)  # FITS blocks


@cache
def _build_header_template() -> tuple[bytes, fits.Header]:
    """Return the primary HDU and the header of the table, without values of a particular file."""
    table = fits.BinTableHDU(np.zeros(N_PIXELS, _SPEC1D_DTYPE), name="SPEC1D")
    for i, unit in enumerate(_SPEC1D_UNITS.values(), start=1):
        if unit:
            table.header.set(f"TUNIT{i}", unit, after=f"TFORM{i}")
    for key, comment in _HEADER_COMMENTS.items():
        table.header[key] = ("", comment)
    return fits.PrimaryHDU().header.tostring().encode(), table.header


def _build_header_values(row: dict[str, Any]) -> dict[str, str | float]:
    return {
        "VERSION": MSAEXP_VERSION,
        "DATE": format_creation_time(row["index"]),
        "CAL_VER": "synthetic",
        "PROGRAM": f"{row['program']:0>5}",
        "FILTER": "CLEAR",
        "GRATING": "PRISM",
        "EXPTIME": row["exptime"],
        "NCOMBINE": max(1, round(row["exptime"] / 948.0)),
        "SRCNAME": f"{row['program']}_{row['srcid']}",
        "SOURCEID": int(row["srcid"]),
        "SRCRA": row["ra"],
        "SRCDEC": row["dec"],
        "CRDS_CTX": "synthetic",
    }


def _build_spec1d(exposure: ObservedSpectrum) -> np.ndarray[Any, np.dtype[np.void]]:
    """Build the SPEC1D table; columns other than wave, flux and err have plausible values."""
    table = np.zeros(N_PIXELS, _SPEC1D_DTYPE)
    valid = np.isfinite(exposure.flux)
    weight, path = 15.0, 1.23
    table["wave"], table["flux"], table["err"] = WAVE, exposure.flux, exposure.err
    table["sky"] = np.where(valid, 0.0, np.nan)
    table["path_corr"] = np.where(valid, path, np.nan)
    table["npix"] = np.where(valid, 90.0, 0.0)
    table["profile_sum"] = np.where(valid, weight, 0.0)
    table["flux_sum"] = np.where(valid, exposure.flux * weight / path, 0.0)
    table["var_sum"] = np.where(valid, (exposure.err * weight / path) ** 2, 0.0)
    return table


def _build_2d_images(exposure: ObservedSpectrum, rng: np.random.Generator) -> list[Any]:
    """Build two-dimensional images of shape (31, 473): SCI [uJy] and its weight WHT."""
    rows = np.arange(_N_SLIT_ROWS) - _N_SLIT_ROWS // 2
    profile = np.exp(-0.5 * (rows / 1.2) ** 2)
    profile /= profile.sum()
    err = np.broadcast_to(exposure.err * np.sqrt(np.sum(profile**2)), (_N_SLIT_ROWS, N_PIXELS))
    image = profile[:, None] * exposure.flux + err * rng.standard_normal(err.shape)
    return [fits.ImageHDU(image, name="SCI"), fits.ImageHDU(1.0 / err**2, name="WHT")]
