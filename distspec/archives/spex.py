"""The SpeX Prism Library: low-resolution near-infrared spectra of M, L and T dwarfs.

Burgasser & Splat Development Team 2017, ASI Conf. Ser. 14, 7. The objects are stars and brown dwarfs at z =
0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from distspec.archives.base import Archive, SpectrumEntry, build_spectrum_from_errors
from distspec.archives.catalogs import (
    build_listing,
    find_path_template,
    make_absolute_url,
    read_catalog,
)
from distspec.core.errors import ArchiveError, InvalidSpectrumError, QuarantineReason
from distspec.core.instruments import SPEX_PRISM, Disperser
from distspec.core.lines import STAR_FEATURES
from distspec.core.listing import Listing, RowSelection
from distspec.core.spectrum import Spectrum
from distspec.io.catalog_table import CatalogTable
from distspec.io.fits.reading import read_fits_image
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import SPEX_MEASUREMENTS

PATH_TEMPLATES = ("spectra/{file}", "{file}")
"""Path of a file below the archive's URL."""
REQUIRED_COLUMNS = ("DATA_FILE", "SOURCE_KEY", "RA", "DEC", "OBSERVATION_DATE")
"""Columns that the table must have."""
YUNITS_ALIASES = {"wm-2um-1": "W m-2 um-1", "ergss-1cm-2a-1": "erg s-1 cm-2 AA-1"}
"""Unit by the spelling of YUNITS, without spaces and in lower case."""


@dataclass(frozen=True)
class SpeX(Archive):
    """SpeX Prism Library: spectra of M, L and T dwarfs."""

    url: str = ""
    """Folder or bucket of the FITS files, or of a folder spectra/ that contains them."""
    catalog: str = ""
    """Table of DATA_FILE, SOURCE_KEY, RA, DEC, OBSERVATION_DATE and cls; if empty, labels.csv in url."""

    name: ClassVar[str] = "spex"
    spectral_features: ClassVar[Mapping[str, float]] = STAR_FEATURES
    spectrum_bytes: ClassVar[int] = 20_000
    disperser: ClassVar[Disperser | None] = SPEX_PRISM
    measurements: ClassVar[MeasurementSet] = SPEX_MEASUREMENTS

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List all spectra of the table; see `Archive.read_listing`.

        A missing key of the source leaves the identification to the position, a missing date the version "".
        """
        table = self._read_catalog(access)
        found = table.require_columns({name: (name,) for name in REQUIRED_COLUMNS})
        files = table.text(found["DATA_FILE"])
        keys, dates = (table.identifiers(found[name]) for name in ("SOURCE_KEY", "OBSERVATION_DATE"))
        base, n = make_absolute_url(self.url), len(table)
        selection = RowSelection(n)
        selection.deselect(np.array([not name for name in files], bool), "no file name")
        probes = [{"file": name} for name in files if name]
        template = find_path_template(PATH_TEMPLATES, probes, base, access)
        columns: dict[str, Any] = {
            "object_id": files,
            "source_key": [f"SPL {key}" if key else "" for key in keys],
            "version": [_compact_date(date) for date in dates],
            "uri": [f"{base}/{template.format(file=name)}" for name in files],
            "ra": table.degrees(found["RA"], is_right_ascension=True),
            "dec": table.degrees(found["DEC"], is_right_ascension=False),
            "z": np.zeros(n),
            "root": ["spex"] * n,
            "srcid": keys,
            "grating": ["SPEX-PRISM"] * n,
            "filter": [""] * n,
            "grade": np.full(n, -1, np.int8),
        }
        return build_listing(table, selection, columns)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one file; see `Archive.read`."""
        planes, unit = _read_planes((await file.read_all()).data)
        wave, flux, noise = planes[0], planes[1], planes[2]
        # Orders are padded with zeros or NaN at their ends: these are not pixels.
        has_wave = np.isfinite(wave) & (wave > 0)
        wave, flux, noise = wave[has_wave], flux[has_wave], noise[has_wave]
        valid = np.isfinite(flux) & np.isfinite(noise) & (noise > 0) & (flux != 0)
        return build_spectrum_from_errors(entry, wave, flux, noise, valid, unit)

    def read_truth(self) -> pa.Table | None:
        """Return the spectral classes M, L and T, if the table has them."""
        table = self._read_catalog(DEFAULT_ACCESS)
        class_column = table.find_column("cls")
        if not class_column:
            return None
        files = table.text(table.require_column("DATA_FILE"))
        return pa.table(
            {
                "object_id": files,
                "truth_class": table.text(class_column),
                "anomaly_type": pa.array([""] * len(files), pa.string()),
            }
        )

    def list_external_file(self, url: str, z: float, access: AccessConfig) -> list[SpectrumEntry]:
        """List the spectrum of a file at z = 0; see `Archive.list_external_file`."""
        return super().list_external_file(url, 0.0, access)

    def _read_catalog(self, access: AccessConfig) -> CatalogTable:
        if not self.url:
            raise ArchiveError("--archive.url is empty: give the folder of the SpeX files")
        return read_catalog(self.catalog or f"{make_absolute_url(self.url)}/labels.csv", access)


def _compact_date(date: str) -> str:
    """Return a date as the library writes it, YYYYMMDD, also if the table writes it in ISO 8601."""
    return re.sub(r"^(\d{4})-(\d\d)-(\d\d)(?:[T ]00:00.*)?$", r"\1\2\3", date)


def _read_planes(content: bytes) -> tuple[Any, str]:
    """Return the image (wavelength, flux, noise, and in some files flags, by pixel) and the unit of the flux.

    The library grew over two decades: some files are transposed, some lack the noise, and a third do not
    give the unit of the flux.
    """
    image, header = read_fits_image(content, 0)
    unit = YUNITS_ALIASES.get(str(header.get("YUNITS", "")).replace(" ", "").lower(), "")
    planes = np.array(image, dtype=np.float64)
    if planes.ndim == 2 and planes.shape[0] > planes.shape[1]:
        planes = planes.T
    if planes.ndim != 2 or planes.shape[0] < 3:
        detail = f"image of shape {image.shape} instead of rows of wavelength, flux and noise"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    return planes, unit
