"""Export of the catalog in HATS format, partitioned by HEALPix pixel, for LSDB.

The files are written by the layout of HATS 1.0 rather than by the hats library, which accesses buckets in
another way than distspec does::

    hats.properties, properties         properties under their new and their old name; written last
    partition_info.csv                  order and number of every pixel that has a file
    dataset/Norder=<k>/Dir=<d>/Npix=<n>.parquet
    dataset/_metadata, _common_metadata

References
----------
Hierarchical Adaptive Tiling Scheme (HATS), IVOA Note, 2025.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray
from tqdm import tqdm

from distspec.catalog.editions import find_record, open_parquet_dataset
from distspec.catalog.healpix import HEALPIX_ORDER, degrade_to_order
from distspec.core.errors import CatalogError
from distspec.core.records import utc_now_iso
from distspec.core.schema import HEALPIX
from distspec.io.files import list_files, open_atomic, write_bytes
from distspec.io.parquet import AddedColumn, write_voparquet
from distspec.io.paths import catalog_url, join_url, store_url
from distspec.store.store import Store, open_store

log = logging.getLogger(__name__)
MAX_ROWS_PER_FILE = 250_000
"""A pixel with more spectra is divided into its four sub-pixels."""
MAX_NESTED_ROWS_PER_FILE, NESTED_ROW_GROUP_SIZE = 20_000, 4096
"""The same with spectra, and the number of rows of a row group: 32 MB for 640 pixels."""
MAX_PARTITION_ORDER = 10
"""Pixels of this order (3.4 arcmin) are not divided further."""
PIXELS_PER_DIR = 10_000
"""Number of pixels per folder."""


@dataclass(frozen=True)
class HealpixPixel:
    """HEALPix pixel in nested numbering.

    Attributes
    ----------
    order : int
        HEALPix order.
    pixel : int
        Number of the pixel within its order.
    """

    order: int
    pixel: int

    @property
    def path(self) -> str:
        """Path of the pixel's file below ``dataset``."""
        folder = self.pixel // PIXELS_PER_DIR * PIXELS_PER_DIR
        return f"Norder={self.order}/Dir={folder}/Npix={self.pixel}.parquet"

    @property
    def healpix_range(self) -> tuple[int, int]:
        """First cell of order 29 inside the pixel, and the one after its last."""
        shift = 2 * (HEALPIX_ORDER - self.order)
        return self.pixel << shift, (self.pixel + 1) << shift


def export_hats(root: str, url: str, run_id: str = "", with_spectra: bool = False) -> int:
    """Write the table ``objects`` of a published run as a HATS catalog.

    Parameters
    ----------
    root : str
        Root URL.
    url : str
        New folder, or s3://, gs:// or az:// bucket and prefix; its last component becomes the catalog's name.
    run_id : str
        Run or edition to export; empty for the current edition.
    with_spectra : bool
        Whether to add the column ``spectrum``: for each row the lists ``wave``, ``flux`` and ``ivar``, which
        nested-pandas and LSDB open as a nested column.

    Returns
    -------
    int
        Number of spectra written.

    Raises
    ------
    NotFoundError
        If nothing is published.
    CatalogError
        If the run is not published, no spectrum has a position, or `url` is not empty.

    Notes
    -----
    Spectra without a position have no place in such a catalog: they are left out, with a warning that counts
    them.
    """
    if list_files(url):
        raise CatalogError(f"{url} is not empty: export to a new folder")
    record = find_record(root, run_id)
    objects = open_parquet_dataset(join_url(catalog_url(root), record.files["objects"]))
    column = objects.to_table(columns=[HEALPIX.name])[HEALPIX.name]
    if column.null_count == len(column):
        raise CatalogError(
            "no spectrum has a position, by which HATS is divided: export with --format zarr, query the "
            "Parquet files, or add ra and dec to the table of redshifts and run again"
        )
    if column.null_count:
        log.warning(
            "%d of %d spectra have no position and are not in the HATS catalog",
            column.null_count,
            len(column),
        )
    cells = np.sort(column.drop_null().to_numpy())
    spectra = _make_spectrum_column(open_store(store_url(root), record.snapshot_id)) if with_spectra else None
    pixels = list(partition_sky(cells, MAX_NESTED_ROWS_PER_FILE if spectra else MAX_ROWS_PER_FILE))
    footers: list[pq.FileMetaData] = []
    for pixel in tqdm(pixels, desc="export", unit="file", disable=None):
        table = _read_pixel(objects, pixel)
        order = np.argsort(table[HEALPIX.name].to_numpy(), kind="stable")
        footer = write_voparquet(join_url(url, "dataset", pixel.path), table, order, spectra).footer
        footer.set_file_path(pixel.path)
        footers.append(footer)
    schema = objects.schema if spectra is None else objects.schema.append(spectra.field)
    _write_metadata(url, schema, footers)
    lines = ["Norder,Npix", *(f"{pixel.order},{pixel.pixel}" for pixel in pixels)]
    write_bytes(join_url(url, "partition_info.csv"), "\n".join([*lines, ""]).encode())
    catalog_name = url.rstrip("/").rpartition("/")[2]
    properties = _format_properties(catalog_name, record.run_id, cells, pixels, footers)
    for file in ("properties", "hats.properties"):
        write_bytes(join_url(url, file), properties)
    return len(cells)


def partition_sky(healpix: NDArray[np.int64], max_rows: int) -> Iterator[HealpixPixel]:
    """Divide the sky into non-empty pixels that hold at most a number of positions each.

    Pixels of order `MAX_PARTITION_ORDER` may hold any number.

    Parameters
    ----------
    healpix : ndarray of shape (n_positions,)
        HEALPix cells of order 29, in ascending order.
    max_rows : int
        Largest number of positions in a pixel.

    Yields
    ------
    HealpixPixel
        Pixels in ascending order of their first cell.

    Examples
    --------
    >>> list(partition_sky(np.array([5, 9, 3 << 58]), 2))
    [HealpixPixel(order=0, pixel=0), HealpixPixel(order=0, pixel=3)]
    """
    pending = [HealpixPixel(0, pixel) for pixel in range(12)][::-1]
    while pending:
        pixel = pending.pop()
        n = np.diff(np.searchsorted(healpix, pixel.healpix_range))[0]
        if n > max_rows and pixel.order < MAX_PARTITION_ORDER:
            pending += [HealpixPixel(pixel.order + 1, 4 * pixel.pixel + part) for part in (3, 2, 1, 0)]
        elif n:
            yield pixel


def _read_pixel(objects: ds.Dataset, pixel: HealpixPixel) -> pa.Table:
    """Return the rows of ``objects`` inside a pixel."""
    first, after = pixel.healpix_range
    return objects.to_table(filter=(ds.field(HEALPIX.name) >= first) & (ds.field(HEALPIX.name) < after))


def _make_spectrum_column(store: Store) -> AddedColumn:
    """Return the nested column of the spectra in a store."""
    wave = store.config.grid.wave_rest
    fields = [
        _make_list_field("wave", pa.float64(), "Angstrom", "Rest-frame vacuum wavelength."),
        _make_list_field(
            "flux", pa.float32(), "", "Flux density relative to that at the reference wavelength."
        ),
        _make_list_field("ivar", pa.float32(), "", "Inverse variance of flux; 0 where a pixel is masked."),
    ]

    def compute(rows: pa.Table) -> pa.Array:
        flux, ivar = store.read_spectra(rows["store_row"].to_numpy())
        offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * len(wave))
        values = (np.tile(wave, len(rows)), flux.ravel(), ivar.ravel())
        lists = [pa.ListArray.from_arrays(offsets, pa.array(column)) for column in values]
        return pa.StructArray.from_arrays(lists, fields=fields)

    description = {"description": "Spectrum in the rest frame; multiply flux by norm for absolute units."}
    field = pa.field("spectrum", pa.struct(fields), metadata=description)
    return AddedColumn(field, compute, NESTED_ROW_GROUP_SIZE)


def _make_list_field(name: str, element: pa.DataType, unit: str, description: str) -> pa.Field:
    return pa.field(name, pa.list_(element), metadata={"unit": unit, "description": description})


def _write_metadata(url: str, schema: pa.Schema, footers: list[pq.FileMetaData]) -> None:
    """Write the dataset's common schema and the collected footers of its files."""
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
    """Return the content of ``hats.properties``."""
    finest = max((pixel.order for pixel in pixels), default=0)
    covered = len(np.unique(degrade_to_order(healpix, MAX_PARTITION_ORDER))) / (12 << 2 * MAX_PARTITION_ORDER)
    properties = {
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
        "hats_max_rows": max((footer.num_rows for footer in footers), default=0),
        "hats_order": finest,
        "moc_sky_fraction": f"{covered:.3g}",
    }
    return "".join(f"{key}={value}\n" for key, value in properties.items()).encode()
