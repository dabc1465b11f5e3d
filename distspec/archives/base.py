"""What an archive of spectra is to the rest of distspec: something to list and to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.spectrum import Floats, Spectrum
from distspec.io.remote.config import AccessConfig
from distspec.io.remote.files import ArchiveFile

LISTING_SCHEMA = pa.schema(
    [
        pa.field("object_id", pa.string(), nullable=False),
        # What the archive itself says is one thing on the sky; "" where position must decide.
        pa.field("source_key", pa.string(), nullable=False),
        # Whatever changes when the spectrum or its redshift does.
        pa.field("version", pa.string(), nullable=False),
        # The file; "#part" after it says which of its spectra.
        pa.field("uri", pa.string(), nullable=False),
        pa.field("ra", pa.float64(), nullable=False),
        pa.field("dec", pa.float64(), nullable=False),
        pa.field("z", pa.float64(), nullable=False),
        pa.field("root", pa.string(), nullable=False),
        pa.field("srcid", pa.string(), nullable=False),
        pa.field("grating", pa.string(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("grade", pa.int8(), nullable=False),
    ]
)
"""A row a spectrum, sorted by ``object_id``; positions in degrees (ICRS), NaN where the file knows them."""


@dataclass(frozen=True, slots=True)
class SpectrumEntry:
    """The part of a listing's row that reading needs."""

    object_id: str
    version: str
    uri: str
    ra: float
    dec: float
    z: float

    @property
    def file_url(self) -> str:
        """URL of the file that holds the spectrum."""
        return self.uri.partition("#")[0]

    @property
    def fragment(self) -> str:
        """Which of the file's spectra; "" where it holds one."""
        return self.uri.partition("#")[2]


def build_spectrum_from_errors(
    entry: SpectrumEntry, wave: Floats, flux: Floats, err: Floats, valid: NDArray[np.bool_], unit: str
) -> Spectrum:
    """Return a spectrum whose file holds 1σ errors.

    Parameters
    ----------
    entry : Entry
    wave : (n,) [um]
    flux, err : (n,) [unit]
    valid : (n,) bool
        Pixels that are not get no weight.
    unit : str
    """
    with np.errstate(over="ignore"):  # an absurd error gives no finite weight, and is masked later
        ivar = np.where(valid, 1.0 / np.where(valid, err, 1.0) ** 2, 0.0)
    return Spectrum(entry.object_id, wave, np.where(valid, flux, 0.0), ivar, unit, entry.z)


class Archive(Protocol):
    """An archive of spectra.

    Implementations are frozen dataclasses: their fields are the options that users set, and they travel
    to Ray workers by value. How to add one: the README beside this file.
    """

    name: ClassVar[str]
    """Its name in recipes and records."""
    spectral_features: ClassVar[Mapping[str, float]]
    """Features worth naming in its figures: rest-frame vacuum wavelengths [Å]."""
    spectrum_bytes: ClassVar[int]
    """Bytes that are read for one spectrum, about: sizes the tasks."""

    @property
    def url(self) -> str:
        """Folder or bucket below which every file lies."""
        ...

    def list_spectra(self, access: AccessConfig = ...) -> pa.Table:
        """Return what the archive offers now and the selection keeps, as a `LISTING_SCHEMA` table."""
        ...

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one spectrum.

        Parameters
        ----------
        entry : Entry
        file : File
            The file at ``entry.file``; entries of one file share it, and what was read of it.

        Raises
        ------
        BadSpectrumError
            With one reason code, whatever is wrong with the file.
        """
        ...

    def read_truth(self) -> pa.Table | None:
        """Return known classes to score against, or None.

        Columns: ``object_id``, ``truth_class`` and ``anomaly_type`` ("" for none). Never read by a
        stage that makes labels.
        """
        ...
