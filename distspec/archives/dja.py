"""The DAWN JWST Archive: NIRSpec spectra reduced with msaexp.

Formats: the v1, v2 and v4 SPEC1D tables and catalogues (https://dawn-cph.github.io/dja;
Heintz et al. 2025, A&A 693, A60; de Graaff et al. 2025, A&A 697, A189).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units
from astropy.io import fits
from scipy.ndimage import median_filter

from distspec.archives.protocol import LISTING, Entry
from distspec.archives.tables import absolute, choose_layout, fetch, read_table
from distspec.lines import GALAXY_LINES
from distspec.spectrum import BadSpectrumError, Floats, Reason, Spectrum

PUBLIC_URL = "https://s3.amazonaws.com/msaexp-nirspec/extractions"
PUBLIC_CATALOG = f"{PUBLIC_URL}/dja_msaexp_emission_lines_v4.4.csv.gz"

LAYOUTS = ("{root}/{file}", "{file}")
"""Where a file lies below the archive's URL: the public bucket, or one flat folder."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "file": ("file",),
    "root": ("root",),
    "ra": ("ra",),
    "dec": ("dec",),
    "z": ("z_best", "z", "zfit"),
    "grade": ("grade",),
}
"""Our name of a column to the archive's, the newest release's first. Required in every release."""

FLUX_UNIT = "uJy"

FILE_NAME = re.compile(
    r"^(?P<root>.+?)_(?P<grating>[a-z0-9]+)-(?P<filter>[a-z0-9]+)_(?:(?P<program>[^_]+)_)?(?P<srcid>[^_]+)\.spec\.fits$"
)
"""``{root}_{grating}-{filter}_{program}_{srcid}.spec.fits``."""


@dataclass(frozen=True)
class DJA:
    """DAWN JWST Archive: which spectra, and from where."""

    catalog: str = PUBLIC_CATALOG
    """Catalogue: CSV, CSV.gz, ECSV or Parquet at any fsspec URL."""
    url: str = PUBLIC_URL
    """Folder or bucket that holds {root}/{file}, or the files directly."""
    grating: str = "PRISM"
    """Keep this disperser."""
    filter: str = "CLEAR"
    """Keep this blocking filter."""
    grades: tuple[int, ...] = (3,)
    """Keep these redshift grades (3 robust, 2 ambiguous, 1 none, 0 bad, -1 not graded)."""
    z_min: float = 4.0
    """Keep redshifts above this."""
    z_max: float = 20.0
    """Keep redshifts up to this."""
    truth_table: str = ""
    """Table of object_id, truth_class, anomaly_type to score the labels against (optional)."""

    lines: ClassVar[Mapping[str, float]] = GALAXY_LINES

    def __post_init__(self) -> None:
        if not self.z_min < self.z_max:
            raise ValueError(f"--archive.z-min {self.z_min} must lie below --archive.z-max {self.z_max}")

    def list(self) -> pa.Table:
        """Return the selected rows of the catalogue, sorted by ``object_id`` (a `LISTING` table)."""
        table = _standard_columns(read_table(self.catalog), self.catalog)
        keep = (
            (pc.field("grating") == self.grating.upper())
            & (pc.field("filter") == self.filter.upper())
            & pc.field("grade").isin([*self.grades])
            & (pc.field("z") > self.z_min)
            & (pc.field("z") <= self.z_max)
        )
        table = table.filter(keep).sort_by("object_id")
        return table.append_column(LISTING.field("uri"), self._uris(table)).select(LISTING.names)

    def _uris(self, table: pa.Table) -> pa.Array:
        base = absolute(self.url)
        rows = zip(table["root"].to_pylist(), table["object_id"].to_pylist(), strict=True)
        places = [
            [f"{base}/{layout.format(root=root, file=file)}" for layout in LAYOUTS] for root, file in rows
        ]
        return pa.array(choose_layout(places), pa.string())

    def read(self, entry: Entry) -> Spectrum:
        """Read one SPEC1D table; see `distspec.archives.protocol.Archive.read`."""
        columns = _read_spec1d(fetch(entry.uri))
        flux, err = columns["flux"], columns["err"]
        valid = valid_pixels(flux, err)
        return Spectrum(
            object_id=entry.object_id,
            wave=columns["wave"],
            flux=np.where(valid, flux, 0.0),
            ivar=np.where(valid, 1.0 / np.where(valid, err, 1.0) ** 2, 0.0),
            unit=FLUX_UNIT,
            z=entry.z,
        )

    def truth(self) -> pa.Table | None:
        """Return the table that `truth_table` names, if it names one."""
        if not self.truth_table:
            return None
        return read_table(self.truth_table).select(["object_id", "truth_class", "anomaly_type"])


def valid_pixels(flux: Floats, err: Floats) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell which pixels msaexp calls valid.

    Finite, err > 0, flux ≠ 0, and an error that is not implausibly small: above half the 5th percentile
    and above a fifth of its own 11-pixel running median.

    Parameters
    ----------
    flux, err : (n,) [any one flux density]

    Returns
    -------
    (n,) bool

    Examples
    --------
    >>> flux, err = np.ones(40), np.ones(40)
    >>> flux[0], flux[1], err[2], err[20] = np.nan, 0.0, -1.0, 0.1
    >>> np.flatnonzero(~valid_pixels(flux, err))
    array([ 0,  1,  2, 20])
    """
    valid = np.isfinite(flux) & np.isfinite(err) & (err > 0) & (flux != 0)
    if not valid.any():
        return valid
    good = err[valid]
    plausible = (good > 0.5 * np.percentile(good, 5)) & (good > 0.2 * median_filter(good, 11))
    valid[valid] = plausible
    return valid


def _read_spec1d(content: bytes) -> dict[str, Floats]:
    """Return ``wave`` [µm], ``flux`` and ``err`` [µJy], native-endian, whatever units the table is in."""
    try:
        with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=True) as hdus:
            table: Any = hdus["SPEC1D"]
            data, columns = table.data, table.columns
            fields = {name.lower(): name for name in columns.names}
            result: dict[str, Floats] = {}
            for name, unit in (("wave", "um"), ("flux", FLUX_UNIT), ("err", FLUX_UNIT)):
                given: Any = units.Unit(columns[fields[name]].unit or unit)
                result[name] = np.array(data[fields[name]], dtype=np.float64) * given.to(unit)
            if any(values.shape != result["wave"].shape or values.ndim != 1 for values in result.values()):
                shapes = {name: values.shape for name, values in result.items()}
                raise BadSpectrumError(Reason.BAD_TABLE, f"columns of shapes {shapes}")
            return result
    except BadSpectrumError:
        raise
    except KeyError as error:
        seen = f"{error.args[0]} is missing"
        raise BadSpectrumError(Reason.BAD_TABLE, seen) from error
    except (ValueError, TypeError) as error:
        raise BadSpectrumError(Reason.BAD_TABLE, str(error)) from error
    except Exception as error:  # astropy raises nearly anything on a damaged file
        raise BadSpectrumError(Reason.UNREADABLE, f"{type(error).__name__}: {error}") from error


def _standard_columns(table: pa.Table, url: str) -> pa.Table:
    """Bring any release's catalogue to the columns of `LISTING`, less ``uri``."""
    picked: dict[str, pa.ChunkedArray] = {}
    for ours, theirs in ALIASES.items():
        name = next((name for name in theirs if name in table.column_names), None)
        if name is None:
            raise ValueError(
                f"{url} has no column {' or '.join(theirs)}: is it a DJA catalogue? "
                f"It has {', '.join(table.column_names[:12])} …"
            )
        picked[ours] = table[name]
    files: list[str] = [file or "" for file in picked["file"].cast(pa.string()).to_pylist()]
    names = [FILE_NAME.match(file) for file in files]

    def from_name(group: str) -> list[str]:
        return [match[group] if match else "" for match in names]

    def upper(name: str) -> list[str]:
        # The v2 table's "Grating" lists a source's *other* spectra: only the file name is right there.
        values = table[name].to_pylist() if name in table.column_names else from_name(name)
        return [(value or "").upper() for value in values]

    z = picked["z"].cast(pa.float64())
    standard = pa.table(
        {
            "object_id": files,
            "source_key": [""] * len(files),
            "version": _versions(table, z.to_pylist()),
            "ra": picked["ra"].cast(pa.float64()),
            "dec": picked["dec"].cast(pa.float64()),
            "z": z,
            "root": picked["root"].cast(pa.string()).fill_null(""),
            "srcid": [match["srcid"] if match else file for file, match in zip(files, names, strict=True)],
            "grating": upper("grating"),
            "filter": upper("filter"),
            "grade": picked["grade"].cast(pa.float64()).fill_null(-1).cast(pa.int8()),
        }
    )
    return standard.filter(pc.field("object_id") != "")


def _canonical(value: object) -> str:
    """Write a time or a text the same way whatever format the catalogue came in."""
    if value is None:
        return ""
    if isinstance(value, datetime):  # pandas' timestamps are datetimes
        return value.isoformat(timespec="milliseconds")
    try:
        return datetime.fromisoformat(str(value)).isoformat(timespec="milliseconds")
    except ValueError:
        return str(value)


def _versions(table: pa.Table, z: list[float | None]) -> list[str]:
    """When each file was made, by which msaexp, and its redshift: a change of any is a new version."""
    parts = [
        [_canonical(value) for value in table[name].to_pylist()]
        for name in ("ctime", "version")
        if name in table.column_names
    ]
    redshifts = ["" if value is None else f"z={value:.5f}" for value in z]
    return [" ".join(filter(None, row)) for row in zip(*parts, redshifts, strict=True)]
