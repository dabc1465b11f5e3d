"""Files that no catalogue lists, to be read as those of an archive are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import groupby
from typing import Any

import numpy as np

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url, read_catalog
from distspec.archives.desi import DESI
from distspec.io.remote.config import AccessConfig

FILE_COLUMNS = ("file", "object_id")
REDSHIFT_COLUMNS = ("z", "z_best", "z_spec", "zfit")
"""What tables of redshifts call a file, and its redshift, in lower case."""


def iter_external_entries(
    archive: Archive, urls: Sequence[str], z: Sequence[float], access: AccessConfig
) -> Iterator[tuple[Archive, list[SpectrumEntry]]]:
    """Yield what reads files, and what they hold, folder by folder, in their order.

    Parameters
    ----------
    archive : Archive
        In whose format they are.
    urls : sequence of str
        Paths or URLs; of a file that holds many spectra (DESI's coadds) all, or with ``#part`` one.
    z : sequence of float
        Redshifts, one a file; NaN where the file, or what lies beside it, knows.
    access : AccessConfig
    """
    rows = zip((make_absolute_url(file) for file in urls), z, strict=True)
    for (folder, told), group in groupby(
        rows, key=lambda row: (_parent_folder(row[0]), math.isfinite(row[1]))
    ):
        here = _relocate_archive(archive, folder, told)
        found = [entry for url, value in group for entry in _build_entries(here, url, value, access)]
        yield here, found


def read_redshifts(urls: Sequence[str], catalog: str, access: AccessConfig) -> list[float]:
    """Return files' redshifts from a table with their names; NaN of those that it does not name.

    Raises
    ------
    ValueError
        When it has no columns of names and redshifts.
    """
    rows = read_catalog(catalog, access)
    columns = {name.lower(): name for name in rows.column_names}
    picked: list[list[Any]] = []
    for names in (FILE_COLUMNS, REDSHIFT_COLUMNS):
        name = next((columns[each] for each in names if each in columns), None)
        if name is None:
            raise ValueError(f"{catalog} has no column {' or '.join(names)}: it has {', '.join(columns)}")
        picked.append(rows[name].to_pylist())
    known = {str(file): float(np.nan if z is None else z) for file, z in zip(*picked, strict=True)}
    return [known.get(file.partition("#")[0].rpartition("/")[2], math.nan) for file in urls]


def _parent_folder(url: str) -> str:
    return url.partition("#")[0].rpartition("/")[0]


def _relocate_archive(archive: Any, url: str, has_redshift: bool) -> Any:
    """Return an archive that reads from another folder; no warning of redshifts counts that are told."""
    changes: dict[str, Any] = {"bulk": "", "url": url}
    changes |= {"accept_z_warnings": True} if has_redshift else {}
    known = {field.name for field in fields(archive)}
    return replace(archive, **{name: value for name, value in changes.items() if name in known})


def _build_entries(archive: Archive, url: str, z: float, access: AccessConfig) -> list[SpectrumEntry]:
    file, _, part = url.partition("#")
    name = file.rpartition("/")[2]
    if not isinstance(archive, DESI):
        return [SpectrumEntry(name, "", url, math.nan, math.nan, z if archive.name != "spex" else 0.0)]
    found: list[SpectrumEntry] = []
    for row in archive.list_coadd(file, access).to_pylist():
        entry = SpectrumEntry(row["object_id"], "", row["uri"], row["ra"], row["dec"], row["z"])
        if not part or entry.fragment.partition(";")[0] == part:
            found.append(replace(entry, z=z) if math.isfinite(z) else entry)
    return found or [SpectrumEntry(name, "", url, math.nan, math.nan, z)]
