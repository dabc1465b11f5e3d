"""Data types of spectra: observed spectra, rest-frame grids, and normalized batches on a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """One observed spectrum, as its archive holds it.

    Attributes
    ----------
    object_id : str
        Unique key of the spectrum in the archive.
    wave : ndarray of shape (n_pixels,)
        Pixel centers, strictly increasing vacuum wavelengths in the observed frame [um].
    flux : ndarray of shape (n_pixels,)
        Flux density [unit]; ignored where ``ivar`` is 0.
    ivar : ndarray of shape (n_pixels,)
        Inverse variance [unit**-2]; 0 marks masked pixels.
    unit : str
        Flux density unit in astropy's notation, per frequency or per wavelength; "" if the file does not
        state it, so that only the shape of the spectrum is known.
    z : float
        Redshift; 0 for stars.
    ra, dec : float
        Position from the file [deg, ICRS]; NaN if only the catalog has it.
    observation : mapping of str to str
        Program, detector, reduction and the like, as the file states them, by the name of the archive's
        `distspec.archives.base.Archive.observation_columns`; unknown ones are left out.
    """

    object_id: str
    wave: Floats
    flux: Floats
    ivar: Floats
    unit: str
    z: float
    ra: float = math.nan
    dec: float = math.nan
    observation: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class WavelengthGrid:
    """A rest-frame wavelength grid; a store has one grid for all its spectra.

    Attributes
    ----------
    spacing : {"log", "uniform"}
        Whether the steps are equal in ln(wavelength) or in wavelength.
    start, stop : float
        Outer edges of the first and the last pixel [Angstrom, rest frame].
    n_pixels : int
        Number of pixels.

    Examples
    --------
    >>> grid = WavelengthGrid("uniform", 1000.0, 2000.0, 10)
    >>> grid.wave_rest[:2]
    array([1050., 1150.])
    >>> len(grid.edges)
    11
    """

    spacing: Literal["log", "uniform"]
    start: float
    stop: float
    n_pixels: int

    @cached_property
    def edges(self) -> Floats:
        """Pixel edges [Angstrom, rest frame], ndarray of shape (n_pixels + 1,)."""
        space = np.geomspace if self.spacing == "log" else np.linspace
        return space(self.start, self.stop, self.n_pixels + 1)

    @cached_property
    def wave_rest(self) -> Floats:
        """Pixel centers [Angstrom, rest frame], ndarray of shape (n_pixels,); geometric on a log grid."""
        low, high = self.edges[:-1], self.edges[1:]
        return np.sqrt(low * high) if self.spacing == "log" else 0.5 * (low + high)

    def to_dict(self) -> dict[str, Any]:
        """Return the four attributes, from which ``WavelengthGrid(**attributes)`` makes an equal grid.

        Returns
        -------
        dict of str to object
            The attributes by name.
        """
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SpectrumBatch:
    """Normalized spectra on one rest-frame grid: the result of preprocessing.

    Attributes
    ----------
    object_id : list of str, length n_spectra
        Unique keys of the spectra in the archive.
    flux : ndarray of shape (n_spectra, n_pixels), float32
        Flux density f_lambda relative to its value at the reference wavelength.
    ivar : ndarray of shape (n_spectra, n_pixels), float32
        Inverse variance of ``flux``; 0 marks masked pixels.
    norm, norm_err : ndarray of shape (n_spectra,)
        Flux density at the reference wavelength, by which ``flux`` was divided, and its 1 sigma uncertainty
        [erg s-1 cm-2 Angstrom-1, rest frame: (1 + z) times observed f_lambda]; NaN if the unit is unknown.
    norm_snr : ndarray of shape (n_spectra,), float32
        norm / norm_err; known even if the unit is not.
    slope : ndarray of shape (n_spectra,)
        Fitted exponent beta of f_lambda ~ lambda**beta in the normalization windows; NaN where the store's
        default slope was used.
    norm_window : ndarray of shape (n_spectra,), int8
        Index of the normalization window that was used; 0 is the preferred one.
    snr : ndarray of shape (n_spectra,), float32
        Median of flux * sqrt(ivar) over the valid pixels.
    n_valid : ndarray of shape (n_spectra,), int32
        Number of valid pixels.
    ra, dec : ndarray of shape (n_spectra,)
        Positions from the files [deg, ICRS]; NaN if only the catalog has them.
    z : ndarray of shape (n_spectra,)
        Redshifts by which the spectra were shifted to the rest frame.
    checksum : ndarray of shape (n_spectra,), uint64
        `compute_row_checksums` of flux and ivar.
    """

    object_id: list[str]
    flux: Floats32
    ivar: Floats32
    norm: Floats
    norm_err: Floats
    norm_snr: Floats32
    slope: Floats
    norm_window: NDArray[np.int8]
    snr: Floats32
    n_valid: NDArray[np.int32]
    ra: Floats
    dec: Floats
    z: Floats
    checksum: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.object_id)


def compute_row_checksums(flux: Floats32, ivar: Floats32) -> NDArray[np.uint64]:
    """Return a checksum of each spectrum that is the same on every machine.

    It is an 8-byte BLAKE2b digest, read as a little-endian integer, over the little-endian float32 values of
    flux and then of ivar.

    Parameters
    ----------
    flux, ivar : ndarray of shape (n_spectra, n_pixels), float32
        Normalized spectra.

    Returns
    -------
    ndarray of shape (n_spectra,), uint64
    """
    digests: list[bytes] = []
    for row in zip(np.ascontiguousarray(flux, "<f4"), np.ascontiguousarray(ivar, "<f4"), strict=True):
        checksum = blake2b(row[0], digest_size=8)
        checksum.update(row[1])
        digests.append(checksum.digest())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
