"""What an archive of spectra is to the rest of distspec: something to list and to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pyarrow as pa

from distspec.spectrum import Spectrum

LISTING = pa.schema(
    [
        pa.field("object_id", pa.string(), nullable=False),
        # What the archive itself says is one thing on the sky; "" where position must decide.
        pa.field("source_key", pa.string(), nullable=False),
        # Whatever changes when the spectrum or its redshift does.
        pa.field("version", pa.string(), nullable=False),
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
"""A row a spectrum, sorted by ``object_id``; positions in degrees (ICRS)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The part of a listing's row that reading needs."""

    object_id: str
    version: str
    uri: str
    ra: float
    dec: float
    z: float


class Archive(Protocol):
    """An archive of spectra.

    Implementations are frozen dataclasses: their fields are the options that users set, and they travel
    to Ray workers by value. A new archive is one new file that has these three methods.
    """

    lines: ClassVar[Mapping[str, float]]
    """Features worth naming in its figures: rest-frame vacuum wavelengths [Å]."""

    def list(self) -> pa.Table:
        """Return what the archive offers now and the selection keeps, as a `LISTING` table."""
        ...

    def read(self, entry: Entry) -> Spectrum:
        """Read one spectrum.

        Raises
        ------
        BadSpectrumError
            With one reason code, whatever is wrong with the file.
        """
        ...

    def truth(self) -> pa.Table | None:
        """Return known classes to score against, or None.

        Columns: ``object_id``, ``truth_class`` and ``anomaly_type`` ("" for none). Never read by a
        stage that makes labels.
        """
        ...
