"""The Example Survey: one FITS file per spectrum, redshifts in a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from distspec import ArchiveError, Config, InvalidSpectrumError, Spectrum
from distspec.archives import Archive, SpectrumEntry, build_listing, make_absolute_url, read_catalog
from distspec.core import QuarantineReason
from distspec.core.instruments import Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing, RowSelection
from distspec.io.fits import read_fits_table
from distspec.io.remote import DEFAULT_ACCESS, AccessConfig, ArchiveFile
from distspec.measurements import MeasurementSet, define_equivalent_width
from distspec.preprocessing import GridConfig, NormConfig

COLUMNS = ("name", "updated", "warning", "z", "ra", "dec")
FLUX_UNIT = "1e-17 erg s-1 cm-2 AA-1"
SPECTROGRAPH = Disperser(wave=(0.35, 1.0), resolution=(1000.0, 1500.0), pixels_per_fwhm=3.0)
HBETA_EW = define_equivalent_width(
    "hbeta_ew", "Hbeta", ((4780.0, 4830.0), (4835.0, 4890.0), (4895.0, 4940.0)), SPECTROGRAPH, scale=5.0
)


@dataclass(frozen=True)
class ExampleSurvey(Archive):
    """The Example Survey: galaxies at z < 1.5."""

    url: str = ""
    """Folder or bucket of targets.csv and spectra/."""
    z_max: float = 1.5
    """Upper limit of the redshift, included."""

    name: ClassVar[str] = "example"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = 60_000
    disperser: ClassVar[Disperser | None] = SPECTROGRAPH
    measurements: ClassVar[MeasurementSet] = MeasurementSet((HBETA_EW,), reference_redshift=0.3)

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List the targets up to `z_max`."""
        if not self.url:
            raise ArchiveError("--archive.url is empty: give the folder of targets.csv")
        base = make_absolute_url(self.url)
        targets = read_catalog(f"{base}/targets.csv", access)
        found = targets.require_columns({name: (name,) for name in COLUMNS})
        names, updated = (targets.text(found[name]) for name in ("name", "updated"))
        warnings = targets.integers(found["warning"], missing=0)
        z, n = targets.numbers(found["z"]), len(targets)
        columns: dict[str, Any] = {
            "object_id": names,
            "source_key": [""] * n,
            "version": [f"{date} z={redshift:.5f}" for date, redshift in zip(updated, z, strict=True)],
            "uri": [f"{base}/spectra/{name}.fits" for name in names],
            "ra": targets.degrees(found["ra"], is_right_ascension=True),
            "dec": targets.degrees(found["dec"], is_right_ascension=False),
            "z": z,
            "root": ["example"] * n,
            "srcid": names,
            "grating": ["LOW"] * n,
            "filter": [""] * n,
            "grade": np.where(warnings, 0, 3).astype(np.int8),
        }
        selection = RowSelection(n)
        selection.deselect(np.isnan(z) & ~targets.has_problem, "no redshift")
        selection.deselect(z > self.z_max, "z")
        return build_listing(targets, selection, columns)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one file."""
        table = read_fits_table((await file.read_all()).data, "SPECTRUM")
        if table.unit("wave") != "Angstrom":
            detail = f"wave in {table.unit('wave') or 'no unit'}, not Angstrom"
            raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
        flux, ivar = (table.column(name).astype(float) for name in ("flux", "ivar"))
        valid = np.isfinite(flux) & np.isfinite(ivar) & (ivar > 0) & (table.column("mask") == 0)
        return Spectrum(
            object_id=entry.object_id,
            wave=table.column("wave").astype(float) * 1e-4,
            flux=np.where(valid, flux, 0.0),
            ivar=np.where(valid, ivar, 0.0),
            unit=FLUX_UNIT,
            z=entry.z,
        )

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the survey's page of a target."""
        return f"https://example.org/targets/{row['srcid']}"


def example(root: str) -> Config:
    """Return the settings for the Example Survey: galaxies at z < 1.5, normalized at 4200 Å."""
    windows = ((4150.0, 4250.0), (5050.0, 5150.0), (3600.0, 3700.0))
    return Config(
        root,
        "example",
        ExampleSurvey(),
        grid=GridConfig(start=2600.0, stop=8000.0, n_pixels=1024),
        norm=NormConfig(reference_wave=4200.0, windows=windows, fallback_slope=-1.0),
    )
