"""Sets of spectra in the forms in which people have their own, with a table of redshifts beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable, Table

N_PIXELS = 300


@dataclass(frozen=True)
class OwnSpectrum:
    """One spectrum: observed wavelength [um], flux and error [uJy], redshift and position [deg]."""

    name: str
    wave: np.ndarray
    flux: np.ndarray
    err: np.ndarray
    z: float
    ra: float
    dec: float


def simulate(n: int, seed: int = 0) -> list[OwnSpectrum]:
    """Return spectra of two kinds: blue with strong lines, and red with weak ones."""
    rng = np.random.default_rng(seed)
    wave = np.geomspace(0.6, 5.3, N_PIXELS)
    spectra: list[OwnSpectrum] = []
    for i in range(n):
        z = rng.uniform(4.5, 6.5)
        slope, strength = ((-2.3, 3.0), (-1.0, 0.5))[i % 2]
        rest = wave / (1.0 + z)
        flux = 0.5 * wave ** (slope + 2.0) * (rest > 0.1216)
        for line in (0.3728, 0.4863, 0.5008, 0.6565):
            flux = flux + strength * np.exp(-0.5 * ((rest - line) / (0.01 * line)) ** 2)
        err = np.full_like(wave, 0.04)
        noisy = flux + err * rng.normal(size=len(wave))
        spectra.append(OwnSpectrum(f"s{i:02d}", wave, noisy, err, round(z, 4), 150.0 + 0.01 * i, 2.0))
    return spectra


def write_csv(folder: Path, spectrum: OwnSpectrum) -> str:
    """Write a CSV table with units in the names and some empty cells."""
    rows = ["wavelength_um,flux_uJy,error"]
    for i, (wave, flux, err) in enumerate(zip(spectrum.wave, spectrum.flux, spectrum.err, strict=True)):
        rows.append(f"{wave:.6f},,{err:.3f}" if i % 97 == 5 else f"{wave:.6f},{flux:.6f},{err:.3f}")
    (folder / f"{spectrum.name}.csv").write_text("\n".join([*rows, ""]))
    return f"{spectrum.name}.csv"


def write_fits_table(folder: Path, spectrum: OwnSpectrum) -> str:
    """Write a FITS table in Angstrom and erg s-1 cm-2 Angstrom-1 with inverse variances, descending."""
    factor = 2.99792458e-19 / spectrum.wave**2  # uJy to erg s-1 cm-2 Angstrom-1
    columns = {
        "LAMBDA": (spectrum.wave * 1e4)[::-1] * u.AA,
        "FLUX": (spectrum.flux * factor)[::-1] * u.Unit("erg s-1 cm-2 AA-1"),
        "IVAR": (spectrum.err * factor)[::-1] ** -2.0,
    }
    hdu = fits.table_to_hdu(QTable(columns))
    hdu.writeto(folder / f"{spectrum.name}.fits")
    return f"{spectrum.name}.fits"


def write_specutils(folder: Path, spectrum: OwnSpectrum) -> str:
    """Write a file with specutils, in nanometers and mJy."""
    from astropy.nddata import StdDevUncertainty
    from specutils import Spectrum

    Spectrum(
        spectral_axis=(spectrum.wave * 1e3) * u.nm,
        flux=spectrum.flux * 1e-3 * u.mJy,
        uncertainty=StdDevUncertainty(spectrum.err * 1e-3 * u.mJy),
    ).write(folder / f"{spectrum.name}_spec.fits", format="tabular-fits")
    return f"{spectrum.name}_spec.fits"


def write_msaexp(folder: Path, spectrum: OwnSpectrum) -> str:
    """Write a gzipped file as msaexp does, under another name, with NaN at the edges and the position."""
    flux, err = spectrum.flux.copy(), spectrum.err.copy()
    flux[:3] = flux[-3:] = err[:3] = err[-3:] = np.nan
    columns = {"wave": spectrum.wave * u.um, "flux": flux * u.uJy, "err": err * u.uJy, "sky": err * 0}
    hdu = fits.table_to_hdu(QTable(columns))
    hdu.header["EXTNAME"], hdu.header["SRCRA"], hdu.header["SRCDEC"] = "SPEC1D", spectrum.ra, spectrum.dec
    name = f"galaxy {spectrum.name} prism.fits.gz"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(folder / name)
    return name


WRITERS: Mapping[str, Callable[[Path, OwnSpectrum], str]] = {
    "csv": write_csv,
    "fits": write_fits_table,
    "specutils": write_specutils,
    "msaexp": write_msaexp,
}
"""Functions that write a spectrum into a folder, and return the name of the file."""


def write_set(kind: str, folder: Path, spectra: list[OwnSpectrum]) -> Path:
    """Write spectra into a folder, and return the path of the table of redshifts beside it."""
    folder.mkdir(parents=True)
    names = [WRITERS[kind](folder, spectrum) for spectrum in spectra]
    table = Table({"file": names, "z": [spectrum.z for spectrum in spectra]})
    path = folder.with_name(f"{folder.name}_redshifts.csv")
    table.write(path, format="ascii.csv")
    return path
