"""DESI's files: coadds with the spectra of many targets, and redrock files with their redshifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from distspec.archives.desi_cameras import CameraSpectra, read_camera
from distspec.archives.desi_observations import read_observations
from distspec.archives.multifiber import read_float_column
from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.core.spectrum import Floats
from distspec.io.fits.reading import FitsTable, read_fits_table
from distspec.io.remote.files import ArchiveFile


@dataclass(frozen=True, slots=True)
class RedrockTable:
    """Columns of a redrock file, ndarrays of shape (n_targets,).

    Attributes
    ----------
    target_id : ndarray of int
        Identifier of the target.
    is_target : ndarray of bool
        Whether the fiber was on a target, not on the sky.
    z : ndarray
        Redshift.
    zwarn : ndarray of int
        Bits of redshift warnings.
    spectype : ndarray of str
        Spectral type, in upper case.
    ra, dec : ndarray
        Position [deg].
    """

    target_id: Any
    is_target: Any
    z: Floats
    zwarn: Any
    spectype: Any
    ra: Floats
    dec: Floats


@dataclass(frozen=True, slots=True)
class Coadd:
    """Content of a coadd.

    Attributes
    ----------
    row_by_target : mapping of int to int
        Row of each target, by its identifier.
    objtype : ndarray of str, shape (n_targets,)
        Purpose of the fiber, "TGT" for targets.
    fiber_status : ndarray of int, shape (n_targets,)
        Bits of problems of the fiber.
    cameras : tuple of CameraSpectra
        One to three cameras.
    observations : mapping of int to mapping of str to str
        Observation of each target; see `distspec.archives.desi_observations`.
    """

    row_by_target: Mapping[int, int]
    objtype: Any
    fiber_status: Any
    cameras: tuple[CameraSpectra, ...]
    observations: Mapping[int, Mapping[str, str]]


_COADD_CACHE: WeakKeyDictionary[ArchiveFile, Coadd] = WeakKeyDictionary()


async def load_coadd(file: ArchiveFile) -> Coadd:
    """Return the content of a coadd, parsed once for all targets that a task reads from it.

    Parameters
    ----------
    file : ArchiveFile
        Coadd file.

    Raises
    ------
    InvalidSpectrumError
        If the file is damaged, truncated or of another format.
    """
    content = (await file.read_all()).data
    if file not in _COADD_CACHE:
        _COADD_CACHE[file] = _parse_coadd(content)
    return _COADD_CACHE[file]


def _parse_coadd(content: bytes) -> Coadd:
    """Return the content of a coadd from its bytes."""
    fibers = read_fits_table(content, "FIBERMAP")
    status = "coadd_fiberstatus" if "coadd_fiberstatus" in fibers.column_names else "fiberstatus"
    fibers.check_columns("targetid", "objtype", status)
    ids: list[int] = _read_integer_column(fibers, "targetid").tolist()
    cameras = tuple(filter(None, (read_camera(content, camera) for camera in "BRZ")))
    if len(cameras) < 3 or any(camera.mask is None for camera in cameras):
        _check_not_truncated(content)
    if not cameras:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, "the file has none of the cameras B, R and Z")
    if any(len(camera.flux) != len(ids) for camera in cameras):
        detail = f"{len(ids)} targets, {[len(camera.flux) for camera in cameras]} spectra"
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, detail)
    rows = {target: row for row, target in enumerate(ids)}
    return Coadd(
        rows,
        _read_text_column(fibers, "objtype"),
        _read_integer_column(fibers, status),
        cameras,
        read_observations(content),
    )


def _check_not_truncated(content: bytes) -> None:
    """Raise InvalidSpectrumError if a file is truncated between two HDUs: SCORES is the last one."""
    try:
        read_fits_table(content, "SCORES")
    except InvalidSpectrumError as error:
        detail = f"a camera or its mask is missing, and the file is truncated: {error.detail}"
        raise InvalidSpectrumError(QuarantineReason.UNREADABLE, detail) from error


def parse_redrock(content: bytes, file_size: int) -> RedrockTable:
    """Parse a redrock file.

    Parameters
    ----------
    content : bytes
        The file or its beginning.
    file_size : int
        Size of the complete file [bytes].

    Raises
    ------
    IncompleteContentError
        If a table extends beyond `content`.
    InvalidSpectrumError
        If the file is damaged or of another format.
    """
    table = read_fits_table(content, "REDSHIFTS", file_size)
    fibers = read_fits_table(content, "FIBERMAP", file_size)
    table.check_columns("targetid", "z", "zwarn", "spectype")
    fibers.check_columns("targetid", "objtype", "target_ra", "target_dec")
    ids = _read_integer_column(table, "targetid")
    if not np.array_equal(ids, _read_integer_column(fibers, "targetid")):
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, "REDSHIFTS and FIBERMAP list different targets"
        )
    return RedrockTable(
        ids,
        (_read_text_column(fibers, "objtype") == "TGT") & (ids > 0),
        read_float_column(table, "z"),
        _read_integer_column(table, "zwarn"),
        _read_text_column(table, "spectype"),
        read_float_column(fibers, "target_ra"),
        read_float_column(fibers, "target_dec"),
    )


def _read_integer_column(table: FitsTable, name: str) -> Any:
    values = table.column(name)
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"column {name} is {values.dtype} of shape {values.shape}"
        )
    return values


def _read_text_column(table: FitsTable, name: str) -> Any:
    return np.char.upper(np.char.strip(table.column(name).astype(str)))
