"""FITS files in forms that `distspec.io.spectra` does not know, read by loaders of specutils."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from distspec.core.errors import InvalidSpectrumError
from distspec.io.spectra.raw import RawSpectra, bad_table
from distspec.io.spectra.roles import ColumnInfo, Roles

GENERIC_LOADERS = frozenset({"ASCII", "ECSV", "IPAC", "tabular-fits", "wcs1d-fits"})
"""Loaders of any table or image, which would guess what our readers refuse to guess."""


def read_with_specutils(content: bytes, name: str, refusal: InvalidSpectrumError) -> RawSpectra:
    """Read the spectrum of a FITS file with the loader that specutils identifies.

    Parameters
    ----------
    content : bytes
        The file.
    name : str
        Its name, by which some loaders know their files.
    refusal : InvalidSpectrumError
        Why the file was refused; it is raised again, with the outcome here, if it stays so.

    Returns
    -------
    RawSpectra
        One spectrum, with wavelengths in um and standard deviations.

    Raises
    ------
    InvalidSpectrumError
        ``bad_table`` if specutils is not installed, if it identifies no loader of a particular form, or if
        the loader fails or gives several spectra.
    """
    if find_spec("specutils") is None:
        raise bad_table(
            f"{refusal.detail}; specutils may know its form: `pip install 'distspec[specutils]'`"
        ) from refusal
    # Loaders open files by name and keep them mapped: the arrays are copied before the folder goes.
    with TemporaryDirectory(prefix="distspec-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, _make_file_name(name))
        path.write_bytes(content)
        loaders = _identify_loaders(path)
        if not loaders:
            raise refusal
        try:
            if len(loaders) > 1:
                raise ValueError(f"it is not clear which of the loaders {', '.join(loaders)} to use")
            return _read(path, loaders[0])
        except Exception as error:  # loaders fail with any type of error
            detail = " ".join(f"{type(error).__name__}: {error}".split())
            named = " and ".join(loaders)
            raise bad_table(f"{refusal.detail}; specutils ({named}): {detail}") from error


def _make_file_name(name: str) -> str:
    """Return the name of a file without its folder and without the ending of compression."""
    base = re.sub(r"[^\w.+-]", "_", name.removesuffix(".gz"))[-100:]
    return base if base.lower().endswith((".fits", ".fit", ".fts")) else f"{base}.fits"


def _identify_loaders(path: Path) -> list[str]:
    """Return the names of the loaders that know a file, without the generic ones."""
    from specutils.io.registers import identify_spectrum_format

    try:
        found: Any = identify_spectrum_format(str(path))
    except Exception:  # identification fails like loaders
        return []
    names = [found] if isinstance(found, str) else list(found or ())
    return [name for name in names if name not in GENERIC_LOADERS]


def _read(path: Path, loader: str) -> RawSpectra:
    from astropy import units
    from astropy.nddata import StdDevUncertainty
    from specutils import Spectrum

    spectrum: Any = Spectrum.read(str(path), format=loader)
    shape = spectrum.flux.shape
    n_pixels = spectrum.spectral_axis.shape[-1]
    if np.prod(shape) != n_pixels or spectrum.spectral_axis.size != n_pixels:
        raise ValueError(f"flux of shape {shape}: write each spectrum as a file of its own")
    # A pixel number or velocity is no wavelength, and fails here.
    wave = units.Quantity(spectrum.spectral_axis).to_value(units.um, units.spectral())
    flux_unit = spectrum.flux.unit
    err = mask = None
    if spectrum.uncertainty is not None:
        sigma = spectrum.uncertainty.represent_as(StdDevUncertainty)
        err = sigma.quantity.to_value(flux_unit)
    if spectrum.mask is not None:
        mask = np.asarray(spectrum.mask).astype(bool)
    header = {str(key).upper(): value for key, value in dict(spectrum.meta.get("header") or {}).items()}
    roles = Roles(
        ColumnInfo("spectral_axis", "um"),
        ColumnInfo("flux", flux_unit.to_string()),
        None if err is None else ColumnInfo("uncertainty"),
        None if mask is None else ColumnInfo("mask"),
    )
    return RawSpectra(
        f"FITS read by specutils ({loader})",
        "",
        roles,
        [_copy(wave)],
        [_copy(spectrum.flux.value)],
        [] if err is None else [_copy(err)],
        [] if mask is None else [mask.reshape(-1)],
        headers=[header],
        in_air=True if str(header.get("CTYPE1", "")).startswith("AWAV") else None,
    )


def _copy(values: Any) -> Any:
    return np.array(values, dtype=np.float64).reshape(-1)
