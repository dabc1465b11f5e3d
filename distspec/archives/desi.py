"""The Dark Energy Spectroscopic Instrument: ``coadd-*.fits`` files of many targets, and their redshifts.

Formats: https://desidatamodel.readthedocs.io (coadd-SURVEY-PROGRAM-PIXNUM, coadd-SPECTROGRAPH-TILEID-GROUPID
and the redrock file in the folder of each; bit masks: …/en/latest/bitmasks.html). Wavelengths are in vacuum.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING_SCHEMA, Archive, SpectrumEntry, split_fragment
from distspec.archives.catalogs import make_absolute_url
from distspec.archives.desi_cameras import coadd_cameras
from distspec.archives.desi_files import load_coadd, parse_redrock
from distspec.archives.desi_observations import OBSERVATION_COLUMNS
from distspec.archives.multifiber import FLUX_UNIT, list_fits_files, mask_pixels
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.instruments import DESI_SPECTROGRAPH, Disperser
from distspec.core.lines import GALAXY_LINES
from distspec.core.listing import Listing, RowSelection
from distspec.core.schema import Column
from distspec.core.spectrum import Spectrum
from distspec.io.fits.reading import parse_head
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, ListedFile
from distspec.io.remote.files import ArchiveClient, ArchiveFile, open_archive_client, run_coroutine
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.standard_sets import DESI_MEASUREMENTS

HEAD_BYTES = 200_000
"""Number of bytes read from the start of a redrock file; they contain its redshifts and positions, unless it
has very many targets."""
HARMLESS_FIBER_BITS: Mapping[str, int] = {
    "RESTRICTED": 3,
    "NEARCHARGETRAP": 13,
    "VARIABLETHRU": 14,
    "BADAMPB": 22,
    "BADAMPR": 23,
    "BADAMPZ": 24,
}
"""Bits of COADD_FIBERSTATUS of usable fibers: notes, and problems of one camera, whose pixels then have
ivar 0. With any other bit, the spectrum is not that of the target."""
_HARMLESS_FIBER_BITMASK = sum(1 << bit for bit in HARMLESS_FIBER_BITS.values())


@dataclass(frozen=True)
class DESI(Archive):
    """Dark Energy Spectroscopic Instrument: coadds, with redrock files in the same folders."""

    url: str = ""
    """Folder or bucket that contains the coadd-*.fits and redrock-*.fits files, at any depth."""
    catalog: str = ""
    """Table with a column file (path of a coadd) and optionally version; if empty, url is listed."""
    spectypes: tuple[str, ...] = ("GALAXY", "QSO", "STAR")
    """Spectral types assigned by redrock to keep."""
    accept_z_warnings: bool = False
    """Also keep spectra with a redshift warning of redrock (ZWARN)."""

    name: ClassVar[str] = "desi"
    spectral_features: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = 430_000
    disperser: ClassVar[Disperser | None] = DESI_SPECTROGRAPH
    measurements: ClassVar[MeasurementSet] = DESI_MEASUREMENTS
    observation_columns: ClassVar[Sequence[Column]] = OBSERVATION_COLUMNS

    def read_listing(self, access: AccessConfig = DEFAULT_ACCESS) -> Listing:
        """List all targets; see `Archive.read_listing`.

        Sky fibers and fibers without a target are left out. If the redshifts of a coadd cannot be read, one
        row represents all of its targets, with the redrock file as ``uri``; reading it reports the problem.
        """
        files, deselected, rejected = list_fits_files(self.url, self.catalog, "(?:coadd|redrock)-", access)
        coadds = [file for file in files if "/redrock-" not in file.url]
        etags = {file.url: file.etag for file in files}
        parts = run_coroutine(self._list_coadds(coadds, etags, make_absolute_url(self.url), access))
        counts = sum((Counter(part.deselected) for part in parts), Counter(deselected))
        tables = [part.spectra for part in parts]
        table = pa.concat_tables([LISTING_SCHEMA.empty_table(), *tables]).sort_by("object_id")
        return Listing(table, counts, rejected)

    def list_coadd(self, url: str, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """List the targets of one coadd that its redrock file contains.

        Parameters
        ----------
        url : str
            Coadd file.
        access : AccessConfig
            Credentials, limits and timeouts.

        Returns
        -------
        Table
            With `LISTING_SCHEMA`.
        """
        base = url.rpartition("/")[0]
        [listing] = run_coroutine(self._list_coadds([ListedFile(url, 0, "")], {}, base, access))
        return listing.spectra

    async def _list_coadds(
        self, coadds: list[ListedFile], etags: Mapping[str, str], base_url: str, access: AccessConfig
    ) -> list[Listing]:
        async with open_archive_client(base_url, access) as files:
            return await asyncio.gather(*(self._list_coadd_targets(coadd, etags, files) for coadd in coadds))

    async def _list_coadd_targets(
        self, coadd: ListedFile, etags: Mapping[str, str], files: ArchiveClient
    ) -> Listing:
        redrock = _redrock_url(coadd.url)
        stem = coadd.url.rpartition("/")[2].removesuffix(".gz").removesuffix(".fits").removeprefix("coadd-")
        version = f"{coadd.etag} {etags.get(redrock, '')}".strip()
        try:
            targets = await parse_head(files.get_file(redrock), HEAD_BYTES, parse_redrock)
        except InvalidSpectrumError:
            return Listing(_build_table([stem], [""], [version], [redrock], np.full((3, 1), np.nan), stem))
        selection = RowSelection(len(targets.is_target))
        selection.deselect(~targets.is_target, "not a target")
        selection.deselect(~np.isin(targets.spectype, self.spectypes), "spectype")
        keep = selection.selected
        ids: list[int] = targets.target_id[keep].tolist()
        warnings: list[int] = targets.zwarn[keep].tolist()
        uris = [
            f"{coadd.url}#{_format_fragment(*row, self.accept_z_warnings)}"
            for row in zip(ids, warnings, strict=True)
        ]
        positions_z = np.stack([targets.ra, targets.dec, targets.z])[:, keep]
        target_ids = [str(target) for target in ids]
        object_ids, versions = [f"{stem}-{target}" for target in target_ids], [version] * len(ids)
        table = _build_table(object_ids, target_ids, versions, uris, positions_z, stem)
        return Listing(table, selection.deselected)

    async def read(self, entry: SpectrumEntry, file: ArchiveFile) -> Spectrum:
        """Read one target; see `Archive.read`."""
        target, _, zwarn = entry.fragment.partition(";ZWARN=")
        if not target:
            await parse_head(file, HEAD_BYTES, parse_redrock)
            raise InvalidSpectrumError(
                QuarantineReason.NOT_FOUND,
                f"the redshifts in {file.url} could not be read when targets were listed",
            )
        if zwarn:
            raise InvalidSpectrumError(QuarantineReason.FLAGGED, f"ZWARN {zwarn}, z = {entry.z:.5f}")
        coadd = await load_coadd(file)
        row = coadd.row_by_target.get(int(target))
        if row is None:
            raise InvalidSpectrumError(
                QuarantineReason.NOT_FOUND,
                f"target {target} is not among the {len(coadd.row_by_target)} targets of {file.url}",
            )
        if coadd.objtype[row] != "TGT" or int(coadd.fiber_status[row]) & ~_HARMLESS_FIBER_BITMASK:
            detail = f"OBJTYPE {coadd.objtype[row]}, COADD_FIBERSTATUS {coadd.fiber_status[row]}"
            raise InvalidSpectrumError(QuarantineReason.NOT_A_TARGET, detail)
        wave, flux, ivar = coadd_cameras(coadd.cameras, row)
        flux, ivar = mask_pixels(flux, ivar, ivar == 0)
        observation = coadd.observations.get(int(target), {})
        return Spectrum(entry.object_id, wave, flux, ivar, FLUX_UNIT, entry.z, observation=observation)

    @classmethod
    def viewer_url(cls, row: Mapping[str, Any]) -> str:
        """Return the address of the Legacy Survey's viewer for a target; see `Archive.viewer_url`."""
        target = str(row["srcid"])
        if not target.isdecimal():
            return ""
        return f"https://www.legacysurvey.org/viewer/desi-spectrum/dr1/targetid{target}"

    def external_archive(self, folder: str, *, has_redshifts: bool) -> Self:
        """Return this archive with options for loose coadds; see `Archive.external_archive`."""
        return replace(self, url=folder, accept_z_warnings=self.accept_z_warnings or has_redshifts)

    def list_external_file(self, url: str, z: float, access: AccessConfig) -> list[SpectrumEntry]:
        """List the targets of a coadd, or the one in the fragment; see `Archive.list_external_file`."""
        file, target = split_fragment(url)
        entries = [
            SpectrumEntry(row["object_id"], "", row["uri"], row["ra"], row["dec"], row["z"])
            for row in self.list_coadd(file, access).to_pylist()
        ]
        selected = [
            replace(entry, z=z) if math.isfinite(z) else entry
            for entry in entries
            if not target or entry.fragment.partition(";")[0] == target
        ]
        return selected or super().list_external_file(url, z, access)


def _redrock_url(coadd_url: str) -> str:
    folder, _, name = coadd_url.rpartition("/")
    return f"{folder}/redrock-{name.removeprefix('coadd-')}"


def _format_fragment(target: int, zwarn: int, accept_warnings: bool) -> str:
    """Return the fragment for a target; it carries the warning, which the coadd does not contain."""
    return f"{target};ZWARN={zwarn}" if zwarn and not accept_warnings else f"{target}"


def _build_table(
    object_ids: list[str],
    target_ids: list[str],
    versions: list[str],
    uris: list[str],
    positions_z: Any,
    stem: str,
) -> pa.Table:
    n = len(object_ids)
    columns: dict[str, Any] = {
        "object_id": object_ids,
        "source_key": [f"DESI {target}" if target else "" for target in target_ids],
        "version": versions,
        "uri": uris,
        "ra": positions_z[0],
        "dec": positions_z[1],
        "z": positions_z[2],
        "root": [stem] * n,
        "srcid": target_ids,
        "grating": ["DESI-BRZ"] * n,
        "filter": [""] * n,
        "grade": np.full(n, -1, np.int8),
    }
    return pa.table(columns, schema=LISTING_SCHEMA)
