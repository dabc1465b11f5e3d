"""A catalogue as HATS, cut up by place on the sky: what LSDB reads and crossmatches.

HATS 1.0 (Hierarchical Adaptive Tiling Scheme; IVOA Note, 2025), written by its layout: the libraries that
write it reach buckets in another way than we do.

    hats.properties, properties         the same, by its new and its old name; written last
    partition_info.csv                  order and number of every cell that has a file
    dataset/Norder=<k>/Dir=<d>/Npix=<n>.parquet
    dataset/_metadata, _common_metadata
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from distspec.catalog.editions import open_file, record_of
from distspec.catalog.healpix import ORDER, coarser
from distspec.core.records import now
from distspec.core.schema import HEALPIX
from distspec.io.files import names, put, writing
from distspec.io.parquet import write
from distspec.io.paths import catalog_url, join

MAX_ROWS = 250_000
"""A file with more spectra is cut into its cell's four parts."""
FINEST = 10
"""Cells of this order (3.4 arcmin) are cut no more."""
FOLDER = 10_000
"""Cells in a folder."""


class Cell(NamedTuple):
    """A HEALPix cell, nested."""

    order: int
    pixel: int

    @property
    def path(self) -> str:
        """Where its file is below ``dataset``."""
        return f"Norder={self.order}/Dir={self.pixel // FOLDER * FOLDER}/Npix={self.pixel}.parquet"

    @property
    def bounds(self) -> tuple[int, int]:
        """Its first cell of order 29 and the one after its last."""
        shift = 2 * (ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift


def export_hats(root: str, url: str, run: str = "") -> int:
    """Write the spectra of a published run as a HATS catalogue, and return how many there are.

    Parameters
    ----------
    root : str
    url : str
        A new folder, or s3://, gs:// or az:// bucket and prefix; its last part names the catalogue.
    run : str
        A published run's id; empty: the current one.

    Raises
    ------
    ValueError
        When something lies at `url` already.
    """
    if names(url):
        raise ValueError(f"{url} holds files already: export to another place")
    record = record_of(root, run)
    objects = open_file(join(catalog_url(root), record["files"]["objects"]))
    where = np.sort(objects.to_table(columns=[HEALPIX.name])[HEALPIX.name].to_numpy())
    cells = list(tiles(where))
    written: list[pq.FileMetaData] = []
    for cell in tqdm(cells, desc="export", unit="file", disable=None):
        file = join(url, "dataset", cell.path)
        table = _within(objects, cell)
        said = write(file, table, np.argsort(table[HEALPIX.name].to_numpy(), kind="stable")).footer
        said.set_file_path(cell.path)
        written.append(said)
    _put_metadata(url, objects.schema, written)
    lines = ["Norder,Npix", *(f"{cell.order},{cell.pixel}" for cell in cells)]
    put(join(url, "partition_info.csv"), "\n".join([*lines, ""]).encode())
    properties = _properties(url.rstrip("/").rpartition("/")[2], record["run_id"], where, cells, written)
    for name in ("properties", "hats.properties"):
        put(join(url, name), properties)
    return len(where)


def tiles(where: NDArray[np.int64]) -> Iterator[Cell]:
    """Cut the sky into cells of at most `MAX_ROWS` positions each (the finest: of any number); none is empty.

    Parameters
    ----------
    where : (N,) int64, ascending
        Cells of order 29.

    Examples
    --------
    >>> list(tiles(np.array([5, 9, 3 << 58])))
    [Cell(order=0, pixel=0), Cell(order=0, pixel=3)]
    """
    waiting = [Cell(0, pixel) for pixel in range(12)][::-1]
    while waiting:
        cell = waiting.pop()
        n = np.diff(np.searchsorted(where, cell.bounds))[0]
        if n > MAX_ROWS and cell.order < FINEST:
            waiting += [Cell(cell.order + 1, 4 * cell.pixel + part) for part in (3, 2, 1, 0)]
        elif n:
            yield cell


def _within(objects: ds.Dataset, cell: Cell) -> pa.Table:
    first, after = cell.bounds
    return objects.to_table(filter=(ds.field(HEALPIX.name) >= first) & (ds.field(HEALPIX.name) < after))


def _put_metadata(url: str, schema: pa.Schema, written: list[pq.FileMetaData]) -> None:
    for name, collected in (("_common_metadata", None), ("_metadata", written)):
        with writing(join(url, "dataset", name)) as file:
            pq.write_metadata(schema, file, metadata_collector=collected)


def _properties(
    name: str, run_id: str, where: NDArray[np.int64], cells: list[Cell], written: list[pq.FileMetaData]
) -> bytes:
    finest = max((cell.order for cell in cells), default=0)
    covered = len(np.unique(coarser(where, FINEST))) / (12 << 2 * FINEST)
    said = {
        "obs_collection": name,
        "obs_description": f"distspec run {run_id}",
        "dataproduct_type": "object",
        "hats_version": "v1.0",
        "hats_builder": f"distspec {version('distspec')}",
        "hats_creation_date": now(),
        "hats_nrows": len(where),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": HEALPIX.name,
        "hats_col_healpix_order": ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max((file.num_rows for file in written), default=0),
        "hats_order": finest,
        "moc_sky_fraction": f"{covered:.3g}",
    }
    return "".join(f"{key}={value}\n" for key, value in said.items()).encode()
