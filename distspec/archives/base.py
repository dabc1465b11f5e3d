"""Base class of archives, the schema of their listings, and the entries that their readers take."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.core.instruments import Disperser
from distspec.core.listing import Listing
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig
from distspec.io.remote.files import ArchiveFile
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.galaxy_types import GalaxyTypeRule

FRAGMENT_PATTERN = re.compile(
    r"(?P<file>.*\.\w+)#(?P<fragment>(?!.*\.(?:fits?|fz|gz)$)[^/#]*)", re.DOTALL | re.IGNORECASE
)
"""URL of a file, whose name has a suffix, and a fragment.

Text after "#" that ends in a suffix of FITS files belongs to the name of the file."""

RedshiftSource = Literal["catalog", "best", "model"]
"""Redshifts at which spectra are used: those of the archive's catalog that the selection trusts; these, and
the model's for other spectra; or the model's wherever it is confident."""
LISTING_SCHEMA = pa.schema(
    [
        pa.field("object_id", pa.string(), nullable=False),
        # The archive's own identifier of the source on the sky; "" where position must decide.
        pa.field("source_key", pa.string(), nullable=False),
        # Changes whenever the spectrum or its redshift does.
        pa.field("version", pa.string(), nullable=False),
        # The file; "#fragment" selects one of its spectra.
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
"""One row per spectrum, sorted by ``object_id``. Positions are in degrees (ICRS). Position and redshift are
NaN where only the file contains them."""


@dataclass(frozen=True, slots=True)
class SpectrumEntry:
    """The columns of a listing's row that a reader needs.

    Attributes
    ----------
    object_id : str
        Identifier of the spectrum.
    version : str
        Version of the spectrum and of its redshift.
    uri : str
        URL of the file; a fragment selects one of its spectra.
    ra, dec : float
        Position [deg] (ICRS); NaN if only the file contains it.
    z : float
        Redshift; NaN if only the file contains it.
    """

    object_id: str
    version: str
    uri: str
    ra: float
    dec: float
    z: float

    @property
    def file_url(self) -> str:
        """URL of the file that contains the spectrum."""
        return split_fragment(self.uri)[0]

    @property
    def fragment(self) -> str:
        """Which of the file's spectra is meant; "" for a file with one spectrum."""
        return split_fragment(self.uri)[1]


def split_fragment(url: str) -> tuple[str, str]:
    """Return the URL of a file, and which of its spectra is meant.

    Names of files and folders may contain "#", so only what follows the suffix of a file name is a fragment.

    Parameters
    ----------
    url : str
        URL with or without a fragment.

    Returns
    -------
    file_url : str
        URL of the file.
    fragment : str
        What follows the "#"; "" if the URL has no fragment.

    Examples
    --------
    >>> split_fragment("s3://bucket/coadd.fits#39627")
    ('s3://bucket/coadd.fits', '39627')
    >>> split_fragment("file:///data/run #2/star #1.fits")
    ('file:///data/run #2/star #1.fits', '')
    """
    match = FRAGMENT_PATTERN.fullmatch(url)
    return (match["file"], match["fragment"]) if match else (url, "")


def build_spectrum_from_errors(
    entry: SpectrumEntry, wave: Floats, flux: Floats, err: Floats, valid: NDArray[np.bool_], unit: str
) -> Spectrum:
    """Build a spectrum from 1 sigma errors.

    Parameters
    ----------
    entry : SpectrumEntry
        Supplies the identifier and the redshift.
    wave : ndarray of shape (n_pixels,)
        Observed vacuum wavelength [um], strictly increasing.
    flux, err : ndarray of shape (n_pixels,)
        Flux density and its 1 sigma error, in `unit`.
    valid : ndarray of bool, shape (n_pixels,)
        False where a pixel is masked: its flux and inverse variance become 0.
    unit : str
        Unit of the flux density, in a form that astropy parses.

    Returns
    -------
    Spectrum
    """
    with np.errstate(over="ignore"):  # an extreme error gives a weight that is not finite, masked later
        ivar = np.where(valid, 1.0 / np.where(valid, err, 1.0) ** 2, 0.0)
    return Spectrum(entry.object_id, wave, np.where(valid, flux, 0.0), ivar, unit, entry.z)


@dataclass(frozen=True)
class ListingExplanation:
    """A listing, and what the archive's files were understood as.

    Attributes
    ----------
    listing : Listing
        The listing.
    lines : sequence of str
        Summary for reading, of a length that does not depend on the number of spectra.
    table : Table
        A row for each spectrum that is selected or refused, for scripts.
    """

    listing: Listing
    lines: Sequence[str]
    table: pa.Table


def _tabulate(listing: Listing) -> pa.Table:
    """Return the spectra of a listing, then those that cannot be used with the problem of each."""
    spectra = listing.spectra.select(["object_id", "uri", "z", "ra", "dec"])
    spectra = spectra.append_column("problem", pa.nulls(len(spectra), pa.string()))
    problems = [
        {"object_id": r.object_id, "uri": r.uri, "problem": f"{r.reason}: {r.detail}"}
        for r in listing.rejected
    ]
    return pa.concat_tables(
        [spectra, pa.Table.from_pylist(problems, pa.schema([f.with_nullable(True) for f in spectra.schema]))],
        promote_options="default",
    )


class Archive(ABC):
    """An archive of spectra.

    Subclasses are frozen dataclasses. Their fields are the options that users set, and they are sent to Ray
    workers by value. Their class variables describe the archive; nothing else in distspec depends on which
    archive it is. The guide "Add an archive" in the documentation has a complete example.
    """

    name: ClassVar[str] = ""
    """Name of the archive in recipes and records."""
    spectral_features: ClassVar[Mapping[str, float]] = {}
    """Lines and breaks that figures label: name to rest-frame vacuum wavelength [Angstrom]."""
    spectrum_bytes: ClassVar[int] = 100_000
    """Approximate number of bytes that are read per spectrum; it sets the size of ingest tasks."""
    disperser: ClassVar[Disperser | None] = None
    """Dispersion of the instrument over its detector, used to find bad pixels; None if unknown."""
    measurements: ClassVar[MeasurementSet] = MeasurementSet()
    """What is measured on every spectrum and on its reconstruction."""
    observation_columns: ClassVar[Sequence[Column]] = ()
    """Columns of text that the reader takes from the files, `Spectrum.observation`: which program, detector
    or reduction a spectrum comes from. They are published, null where they are unknown."""
    galaxy_types: ClassVar[Sequence[GalaxyTypeRule]] = ()
    """Rules that suggest galaxy types, in order of precedence; empty if the archive has none."""
    requires_position: ClassVar[bool] = True
    """Whether spectra without a position are quarantined. Where they are not, the ``source_key`` of such a
    spectrum must name its source, which no position can tell."""

    path_settings: ClassVar[Sequence[str]] = ("url", "catalog")
    """Fields that hold a path or a URL."""
    fixed_settings: ClassVar[Sequence[str]] = ()
    """Fields of numbers that change the values of spectra, with 0 for no change; a store fixes them."""
    proposed_settings: ClassVar[Sequence[str]] = ()
    """Those `fixed_settings` for which 0 means that they are proposed from the data."""

    url: Any
    """Folder or bucket that contains every file of the archive: a str; for some archives a str or a tuple of
    str, the places that are tried in order."""

    redshifts: RedshiftSource = "catalog"
    """Which redshifts spectra are used at; archives whose catalogs have untrusted ones make it an option."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Folders or buckets of the files, as they were given: one unless `url` names several."""
        return (self.url,) if isinstance(self.url, str) else tuple(self.url)

    def resolve_paths(self) -> Self:
        """Return the archive with absolute paths, because workers and later commands run in other folders.

        Returns
        -------
        Archive
        """
        settings: Any = self  # a dataclass, which its base class cannot declare
        values = {name: getattr(self, name, "") for name in self.path_settings}
        absolute = {
            name: _make_path_absolute(value)
            if isinstance(value, str)
            else tuple(map(_make_path_absolute, value))
            for name, value in values.items()
        }
        changed = {name: value for name, value in absolute.items() if value != values[name]}
        return replace(settings, **changed)

    def get_fixed_settings(self) -> dict[str, float]:
        """Return the settings that a store fixes when it is created.

        Returns
        -------
        dict of str to float
            Those `fixed_settings` that are not 0, by name.
        """
        return {name: value for name in self.fixed_settings if (value := getattr(self, name))}

    @abstractmethod
    def read_listing(self, access: AccessConfig = ...) -> Listing:
        """List the spectra that the archive offers now and that the options select.

        Runs once per ingest, in the driver.

        Parameters
        ----------
        access : AccessConfig
            Credentials, limits and timeouts.

        Returns
        -------
        Listing
            One row per spectrum, with `LISTING_SCHEMA`, and an account of every row of the catalog.

        Raises
        ------
        ArchiveError
            If the catalog or the folder cannot be used; the message names the setting.
        """

    def accepts_redshifts(self, z: Floats) -> NDArray[np.bool_]:
        """Return which redshifts the limits of the selection include.

        Parameters
        ----------
        z : ndarray of shape (n_spectra,)
            Redshifts.

        Returns
        -------
        ndarray of bool, shape (n_spectra,)
        """
        return np.isfinite(z)

    def explain_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> ListingExplanation:
        """List the spectra, and describe what the archive's files were understood as.

        Parameters
        ----------
        access : AccessConfig
            Credentials, limits and timeouts.

        Returns
        -------
        ListingExplanation
            Without lines if all files have the archive's format.
        """
        listing = self.read_listing(access)
        return ListingExplanation(listing, (), _tabulate(listing))

    def suggest_remedy(self, listing: Listing) -> str:
        """Return what the user can do about a listing of which nothing can be used.

        Parameters
        ----------
        listing : Listing
            Result of `read_listing`.
        """
        del listing
        return "check --archive.*"

    def list_spectra(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """Return the spectra of `read_listing` alone.

        Parameters
        ----------
        access : AccessConfig
            Credentials, limits and timeouts.

        Returns
        -------
        Table
            One row per spectrum, with `LISTING_SCHEMA`.
        """
        return self.read_listing(access).spectra

    @abstractmethod
    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one spectrum.

        Runs in Ray workers, many at a time.

        Parameters
        ----------
        entry : SpectrumEntry
            The listing's row.
        file : ArchiveFile
            The file at ``entry.file_url``. Entries of one file share it, and the bytes read from it.

        Returns
        -------
        Spectrum

        Raises
        ------
        InvalidSpectrumError
            With one reason code, for anything that is wrong with the file.
        """

    def read_truth(self) -> pa.Table | None:
        """Return known classes against which labels are scored, or None.

        Only the report reads them; no stage that assigns classes does.

        Returns
        -------
        Table or None
            Columns ``object_id``, ``truth_class`` and ``anomaly_type`` ("" for none).
        """
        return None

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the archive's own web page for a spectrum.

        Parameters
        ----------
        row : mapping
            Columns ``object_id``, ``root``, ``srcid``, ``ra`` [deg] and ``dec`` [deg] of the catalog's
            objects.

        Returns
        -------
        str
            "" if the archive has no such page.
        """
        del row
        return ""

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive with options that let it read loose files, which no catalog lists.

        Parameters
        ----------
        folder : str
            Folder or bucket of the files.
        has_redshifts : bool
            Whether the user supplies the redshifts, so that the archive's warnings about them do not apply.

        Returns
        -------
        Archive
            A copy of this archive with other options.
        """
        del has_redshifts
        return cast(Self, replace(cast(Any, self), url=folder))

    def list_external_file(self, url: str, z: float, access: AccessConfig) -> list[SpectrumEntry]:
        """List the spectra in one loose file.

        Parameters
        ----------
        url : str
            The file; ``#fragment`` selects one of its spectra.
        z : float
            Redshift given by the user, NaN if it is to be read from the file.
        access : AccessConfig
            Credentials, limits and timeouts.

        Returns
        -------
        list of SpectrumEntry
            Entries of the spectra, in the order of the file.
        """
        del access
        name = split_fragment(url)[0].rpartition("/")[2]
        return [SpectrumEntry(name, "", url, math.nan, math.nan, z)]


def _make_path_absolute(path: str) -> str:
    return str(Path(path).absolute()) if path and "://" not in path else path
