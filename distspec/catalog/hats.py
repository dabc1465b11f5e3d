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

from distspec.catalog.editions import find_record, open_parquet_dataset
from distspec.catalog.healpix import HEALPIX_ORDER, degrade_to_order
from distspec.core.records import utc_now_iso
from distspec.core.schema import HEALPIX
from distspec.io.files import list_files, open_atomic, write_bytes
from distspec.io.parquet import write_voparquet
from distspec.io.paths import catalog_url, join_url

MAX_ROWS_PER_FILE = 250_000
"""A file with more spectra is cut into its cell's four parts."""
MAX_PARTITION_ORDER = 10
"""Cells of this order (3.4 arcmin) are cut no more."""
PIXELS_PER_DIR = 10_000
"""Cells in a folder."""


class HealpixPixel(NamedTuple):
    """A HEALPix cell, nested."""

    order: int
    pixel: int

    @property
    def path(self) -> str:
        """Where its file is below ``dataset``."""
        return f"Norder={self.order}/Dir={self.pixel // PIXELS_PER_DIR * PIXELS_PER_DIR}/Npix={self.pixel}.parquet"

    @property
    def healpix_range(self) -> tuple[int, int]:
        """Its first cell of order 29 and the one after its last."""
        shift = 2 * (HEALPIX_ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift


def export_hats(root: str, url: str, run_id: str = "") -> int:
    """Write the spectra of a published run as a HATS catalogue, and return how many there are.

    Parameters
    ----------
    root : str
    url : str
        A new folder, or s3://, gs:// or az:// bucket and prefix; its last part names the catalogue.
    run_id : str
        A published run's id; empty: the current one.

    Raises
    ------
    ValueError
        When something lies at `url` already.
    """
    if list_files(url):
        raise ValueError(f"{url} holds files already: export to another place")
    record = find_record(root, run_id)
    objects = open_parquet_dataset(join_url(catalog_url(root), record["files"]["objects"]))
    where = np.sort(objects.to_table(columns=[HEALPIX.name])[HEALPIX.name].to_numpy())
    cells = list(partition_sky(where))
    written: list[pq.FileMetaData] = []
    for cell in tqdm(cells, desc="export", unit="file", disable=None):
        file = join_url(url, "dataset", cell.path)
        table = _read_pixel(objects, cell)
        said = write_voparquet(file, table, np.argsort(table[HEALPIX.name].to_numpy(), kind="stable")).footer
        said.set_file_path(cell.path)
        written.append(said)
    _write_metadata(url, objects.schema, written)
    lines = ["Norder,Npix", *(f"{cell.order},{cell.pixel}" for cell in cells)]
    write_bytes(join_url(url, "partition_info.csv"), "\n".join([*lines, ""]).encode())
    properties = _format_properties(
        url.rstrip("/").rpartition("/")[2], record["run_id"], where, cells, written
    )
    for name in ("properties", "hats.properties"):
        write_bytes(join_url(url, name), properties)
    return len(where)


def partition_sky(healpix: NDArray[np.int64]) -> Iterator[HealpixPixel]:
    """Cut the sky into cells of at most `MAX_ROWS_PER_FILE` positions each (the finest: of any number); none is empty.

    Parameters
    ----------
    healpix : (N,) int64, ascending
        Cells of order 29.

    Examples
    --------
    >>> list(tiles(np.array([5, 9, 3 << 58])))
    [Cell(order=0, pixel=0), Cell(order=0, pixel=3)]
    """
    waiting = [HealpixPixel(0, pixel) for pixel in range(12)][::-1]
    while waiting:
        cell = waiting.pop()
        n = np.diff(np.searchsorted(healpix, cell.healpix_range))[0]
        if n > MAX_ROWS_PER_FILE and cell.order < MAX_PARTITION_ORDER:
            waiting += [HealpixPixel(cell.order + 1, 4 * cell.pixel + part) for part in (3, 2, 1, 0)]
        elif n:
            yield cell


def _read_pixel(objects: ds.Dataset, pixel: HealpixPixel) -> pa.Table:
    first, after = pixel.healpix_range
    return objects.to_table(filter=(ds.field(HEALPIX.name) >= first) & (ds.field(HEALPIX.name) < after))


def _write_metadata(url: str, schema: pa.Schema, footers: list[pq.FileMetaData]) -> None:
    for name, collected in (("_common_metadata", None), ("_metadata", footers)):
        with open_atomic(join_url(url, "dataset", name)) as file:
            pq.write_metadata(schema, file, metadata_collector=collected)


def _format_properties(
    name: str,
    run_id: str,
    healpix: NDArray[np.int64],
    pixels: list[HealpixPixel],
    footers: list[pq.FileMetaData],
) -> bytes:
    finest = max((cell.order for cell in pixels), default=0)
    covered = len(np.unique(degrade_to_order(healpix, MAX_PARTITION_ORDER))) / (12 << 2 * MAX_PARTITION_ORDER)
    said = {
        "obs_collection": name,
        "obs_description": f"distspec run {run_id}",
        "dataproduct_type": "object",
        "hats_version": "v1.0",
        "hats_builder": f"distspec {version('distspec')}",
        "hats_creation_date": utc_now_iso(),
        "hats_nrows": len(healpix),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": HEALPIX.name,
        "hats_col_healpix_order": HEALPIX_ORDER,
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": max((file.num_rows for file in footers), default=0),
        "hats_order": finest,
        "moc_sky_fraction": f"{covered:.3g}",
    }
    return "".join(f"{key}={value}\n" for key, value in said.items()).encode()
