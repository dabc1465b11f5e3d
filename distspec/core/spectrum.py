"""The small types that travel between stages."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
        The archive's unique key of the spectrum.
    wave : (n,) [um, observed frame, vacuum]
        Strictly increasing pixel centres.
    flux : (n,) [unit]
        Flux density; what stands in masked pixels has no meaning.
    ivar : (n,) [unit⁻²]
        Inverse variance; 0 marks a masked pixel, and nothing else does.
    unit : str
        An astropy unit string of a flux density, per frequency or per wavelength; "" where the file does
        not say, which leaves the shape and no brightness.
    z : float
        Redshift; 0 for stars.
    ra, dec : float [deg, ICRS]
        Where the file says; NaN where only the catalogue does.
    """

    object_id: str
    wave: Floats
    flux: Floats
    ivar: Floats
    unit: str
    z: float
    ra: float = math.nan
    dec: float = math.nan


@dataclass(frozen=True)
class WavelengthGrid:
    """A rest-frame wavelength grid, chosen once and frozen in the store.

    Attributes
    ----------
    spacing : {"log", "uniform"}
        Equal steps in ln λ or in λ.
    start, stop : float [Å, rest frame]
        Outer edges of the first and last pixel.
    n_pixels : int

    Examples
    --------
    >>> grid = WaveGrid("uniform", 1000.0, 2000.0, 10)
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
        """Pixel edges, (L + 1,) [Å, rest frame]."""
        space = np.geomspace if self.spacing == "log" else np.linspace
        return space(self.start, self.stop, self.n_pixels + 1)

    @cached_property
    def wave_rest(self) -> Floats:
        """Pixel centres, (L,) [Å, rest frame]: geometric means of the edges on a log grid."""
        low, high = self.edges[:-1], self.edges[1:]
        return np.sqrt(low * high) if self.spacing == "log" else 0.5 * (low + high)

    def to_dict(self) -> dict[str, Any]:
        """Return what the store keeps; ``WaveGrid(**d)`` brings it back."""
        return {
            "spacing": self.spacing,
            "start": self.start,
            "stop": self.stop,
            "n_pixels": self.n_pixels,
        }


@dataclass(frozen=True, slots=True)
class SpectrumBatch:
    """Spectra on one rest-frame grid, normalised: what preprocessing returns.

    Attributes
    ----------
    object_id : (N,) str
    flux : (N, L) float32 [f_λ / f_λ(reference wavelength)]
        Linear; arcsinh belongs to the model's input and is never stored.
    ivar : (N, L) float32 [1 / flux²]
        0 marks a masked pixel.
    norm, norm_err : (N,) [erg s⁻¹ cm⁻² Å⁻¹, rest frame: (1 + z) × observed f_λ]
        The flux density that was divided out, and its 1σ uncertainty; NaN where the unit is unknown.
    norm_snr : (N,)
        norm / norm_err, known also where the unit is not.
    slope : (N,)
        Fitted β of f_λ ∝ λ^β over the windows that serve; NaN where the sample's median stood in.
    norm_window : (N,) int
        Which declared window served: 0 is the first choice.
    snr : (N,)
        Median flux × √ivar over valid pixels of the grid.
    n_valid : (N,) int
        Valid pixels of the grid.
    ra, dec : (N,) [deg, ICRS]
        Where the file said; NaN where only the catalogue does.
    z : (N,)
        The redshift that brought it to the rest frame.
    checksum : (N,) uint64
        Of its flux and ivar: `compute_row_checksums`.
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
    """Return a checksum a row, that any machine gives for the same numbers.

    BLAKE2b of 8 bytes, read little-endian, over the row's little-endian float32 flux, then ivar.

    Parameters
    ----------
    flux, ivar : (N, L) float32

    Returns
    -------
    (N,) uint64
    """
    digests: list[bytes] = []
    for row in zip(np.ascontiguousarray(flux, "<f4"), np.ascontiguousarray(ivar, "<f4"), strict=True):
        checksum = blake2b(row[0], digest_size=8)
        checksum.update(row[1])
        digests.append(checksum.digest())
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
