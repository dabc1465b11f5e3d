"""Files that no catalogue lists, to be read as those of an archive are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.catalogs import make_absolute_url, read_catalog
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
        here = archive.external_archive(folder, has_redshifts=told)
        found = [entry for url, value in group for entry in here.list_external_file(url, value, access)]
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
