"""The Dark Energy Spectroscopic Instrument: ``coadd-*.fits``, hundreds of targets each, and their redshifts.

Formats: https://desidatamodel.readthedocs.io (coadd-SURVEY-PROGRAM-PIXNUM, coadd-SPECTROGRAPH-TILEID-GROUPID
and the redrock file beside each; bit masks: …/en/latest/bitmasks.html). Wavelengths are in vacuum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from distspec.archives.base import LISTING, Entry
from distspec.archives.catalogs import absolute
from distspec.archives.desi_cameras import Camera, join_cameras, read_camera
from distspec.archives.multifiber import FLUX_UNIT, list_files, masked, numbers
from distspec.core.errors import BadSpectrumError, Reason
from distspec.core.lines import GALAXY_LINES
from distspec.core.spectrum import Floats, Spectrum
from distspec.io.fits.reading import FitsTable, read_head, read_table
from distspec.io.remote.config import DEFAULT_ACCESS, AccessConfig, Listed
from distspec.io.remote.files import File, Files, open_files, run

HEAD = 200_000
"""First bytes of a redrock file: its redshifts and positions, unless it holds very many targets."""
HARMLESS: Mapping[str, int] = {
    "RESTRICTED": 3,
    "NEARCHARGETRAP": 13,
    "VARIABLETHRU": 14,
    "BADAMPB": 22,
    "BADAMPR": 23,
    "BADAMPZ": 24,
}
"""Bits of COADD_FIBERSTATUS with which a fibre is still a good one: notes, and those that concern one camera,
whose pixels have ivar 0 then. Any other: no spectrum of the target."""
_HARMLESS = sum(1 << bit for bit in HARMLESS.values())


@dataclass(frozen=True)
class DESI:
    """Dark Energy Spectroscopic Instrument: coadds with the redrock files beside them."""

    url: str = ""
    """Folder or bucket below which the coadd-*.fits and redrock-*.fits files are."""
    catalog: str = ""
    """Table of the coadds' paths in a column file, perhaps version; empty: url is listed."""
    spectypes: tuple[str, ...] = ("GALAXY", "QSO", "STAR")
    """Keep what redrock takes for one of these."""
    accept_warnings: bool = False
    """Take spectra of whose redshift redrock warns (ZWARN), too."""

    kind: ClassVar[str] = "desi"
    lines: ClassVar[Mapping[str, float]] = GALAXY_LINES
    spectrum_bytes: ClassVar[int] = 430_000

    def list(self, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """Return every target, sorted by ``object_id`` (a `LISTING` table).

        Sky fibres and fibres without a target are left out. Where a coadd's redshifts cannot be read, one
        row stands for all of its targets, with the redrock file as its ``uri``: reading it says what is
        wrong.
        """
        files = list_files(self.url, self.catalog, "(?:coadd|redrock)-", access)
        coadds = [file for file in files if "/redrock-" not in file.url]
        etags = {file.url: file.etag for file in files}
        tables = run(self._targets(coadds, etags, absolute(self.url), access))
        return pa.concat_tables([LISTING.empty_table(), *tables]).sort_by("object_id")

    def list_file(self, url: str, access: AccessConfig = DEFAULT_ACCESS) -> pa.Table:
        """Return the targets of one coadd that its redrock file knows, as `list` does."""
        base = url.rpartition("/")[0]
        return pa.concat_tables(run(self._targets([Listed(url, 0, "")], {}, base, access)))

    async def _targets(
        self, coadds: list[Listed], etags: Mapping[str, str], base: str, access: AccessConfig
    ) -> list[pa.Table]:
        async with open_files(base, access) as files:
            return await asyncio.gather(*(self._targets_of(coadd, etags, files) for coadd in coadds))

    async def _targets_of(self, coadd: Listed, etags: Mapping[str, str], files: Files) -> pa.Table:
        redrock = _redrock(coadd.url)
        stem = coadd.url.rpartition("/")[2].removesuffix(".gz").removesuffix(".fits").removeprefix("coadd-")
        version = f"{coadd.etag} {etags.get(redrock, '')}".strip()
        try:
            targets = await read_head(files.file(redrock), HEAD, _parse_redrock)
        except BadSpectrumError:
            return _rows([stem], [""], [version], [redrock], np.full((3, 1), np.nan), stem)
        keep = targets.observed & np.isin(targets.spectype, self.spectypes)
        ids: list[int] = targets.target_id[keep].tolist()
        warnings: list[int] = targets.zwarn[keep].tolist()
        uris = [f"{coadd.url}#{_part(*row, self.accept_warnings)}" for row in zip(ids, warnings, strict=True)]
        numbers_kept = np.stack([targets.ra, targets.dec, targets.z])[:, keep]
        names = [str(target) for target in ids]
        return _rows(
            [f"{stem}-{name}" for name in names], names, [version] * len(ids), uris, numbers_kept, stem
        )

    async def read(self, entry: Entry, file: File) -> Spectrum:
        """Read one target; see `distspec.archives.base.Archive.read`."""
        target, _, zwarn = entry.part.partition(";ZWARN=")
        if not target:
            await read_head(file, HEAD, _parse_redrock)
            raise BadSpectrumError(
                Reason.NOT_FOUND, f"{file.url} could not be read when its targets were listed"
            )
        if zwarn:
            raise BadSpectrumError(Reason.FLAGGED, f"ZWARN {zwarn}, z = {entry.z:.5f}")
        coadd = await _coadd(file)
        row = coadd.rows.get(int(target))
        if row is None:
            raise BadSpectrumError(
                Reason.NOT_FOUND, f"no target {target} among {len(coadd.rows)} in {file.url}"
            )
        if coadd.objtype[row] != "TGT" or int(coadd.status[row]) & ~_HARMLESS:
            seen = f"OBJTYPE {coadd.objtype[row]}, COADD_FIBERSTATUS {coadd.status[row]}"
            raise BadSpectrumError(Reason.NOT_A_TARGET, seen)
        wave, flux, ivar = join_cameras(coadd.cameras, row)
        flux, ivar = masked(flux, ivar, ivar == 0)
        return Spectrum(entry.object_id, wave, flux, ivar, FLUX_UNIT, entry.z)

    def truth(self) -> pa.Table | None:
        """Return None: what redrock takes targets for is no truth that an archive gives."""
        return None


@dataclass(frozen=True, slots=True)
class _Redshifts:
    """Of a redrock file, a row a target."""

    target_id: Any
    observed: Any
    z: Floats
    zwarn: Any
    spectype: Any
    ra: Floats
    dec: Floats


@dataclass(frozen=True, slots=True)
class _Coadd:
    """Of a coadd: where each target stands, what its fibre was for and how it fared, the cameras."""

    rows: Mapping[int, int]
    objtype: Any
    status: Any
    cameras: tuple[Camera, ...]


_COADDS: WeakKeyDictionary[File, _Coadd] = WeakKeyDictionary()


async def _coadd(file: File) -> _Coadd:
    """Return what a file holds, parsed once for all of its targets that a task reads."""
    content = (await file.whole()).data
    if file not in _COADDS:
        _COADDS[file] = _parse_coadd(content)
    return _COADDS[file]


def _parse_coadd(content: bytes) -> _Coadd:
    fibers = read_table(content, "FIBERMAP")
    ids: list[int] = _integers(fibers, "targetid").tolist()
    status = "coadd_fiberstatus" if "coadd_fiberstatus" in fibers.names else "fiberstatus"
    cameras = tuple(filter(None, (read_camera(content, camera) for camera in "BRZ")))
    if len(cameras) < 3 or any(camera.mask is None for camera in cameras):
        _check_end(content)
    if not cameras:
        raise BadSpectrumError(Reason.BAD_TABLE, "none of the cameras B, R and Z")
    if any(len(camera.flux) != len(ids) for camera in cameras):
        seen = f"{len(ids)} targets, {[len(camera.flux) for camera in cameras]} spectra"
        raise BadSpectrumError(Reason.BAD_TABLE, seen)
    rows = {target: row for row, target in enumerate(ids)}
    return _Coadd(rows, _text(fibers, "objtype"), _integers(fibers, status), cameras)


def _check_end(content: bytes) -> None:
    """Refuse a file that lost its end between two HDUs: SCORES stands last, behind the cameras."""
    try:
        read_table(content, "SCORES")
    except BadSpectrumError as error:
        seen = f"a camera or its mask is missing, and so is the file's end: {error.seen}"
        raise BadSpectrumError(Reason.UNREADABLE, seen) from error


def _parse_redrock(content: bytes, total: int) -> _Redshifts:
    table = read_table(content, "REDSHIFTS", total)
    fibers = read_table(content, "FIBERMAP", total)
    ids = _integers(table, "targetid")
    if not np.array_equal(ids, _integers(fibers, "targetid")):
        raise BadSpectrumError(Reason.BAD_TABLE, "REDSHIFTS and FIBERMAP are of different targets")
    return _Redshifts(
        ids,
        (_text(fibers, "objtype") == "TGT") & (ids > 0),
        numbers(table, "z"),
        _integers(table, "zwarn"),
        _text(table, "spectype"),
        numbers(fibers, "target_ra"),
        numbers(fibers, "target_dec"),
    )


def _integers(table: FitsTable, name: str) -> Any:
    values = table.column(name)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise BadSpectrumError(Reason.BAD_TABLE, f"column {name} is {values.dtype} of shape {values.shape}")
    return values


def _text(table: FitsTable, name: str) -> Any:
    return np.char.upper(np.char.strip(table.column(name).astype(str)))


def _redrock(coadd: str) -> str:
    folder, _, name = coadd.rpartition("/")
    return f"{folder}/redrock-{name.removeprefix('coadd-')}"


def _part(target: int, zwarn: int, accept_warnings: bool) -> str:
    # The coadd does not say what redrock warned of.
    return f"{target};ZWARN={zwarn}" if zwarn and not accept_warnings else f"{target}"


def _rows(
    names: list[str], targets: list[str], versions: list[str], uris: list[str], values: Any, stem: str
) -> pa.Table:
    n = len(names)
    columns: dict[str, Any] = {
        "object_id": names,
        "source_key": [f"DESI {target}" if target else "" for target in targets],
        "version": versions,
        "uri": uris,
        "ra": values[0],
        "dec": values[1],
        "z": values[2],
        "root": [stem] * n,
        "srcid": targets,
        "grating": ["DESI-BRZ"] * n,
        "filter": [""] * n,
        "grade": np.full(n, -1, np.int8),
    }
    return pa.table(columns, schema=LISTING)
