"""Arrays and attributes of a store.

Layout (Zarr v3 in an Icechunk repository; zarr and xarray open it from a read-only Icechunk session):

    flux, ivar        (row, wave_rest)    float32, chunks of about 1.3 MB
    wave_rest         (wave_rest,)        rest wavelength [Angstrom]
    ledger columns    (row,)              identity and normalization of each row: `METADATA_COLUMNS`
    ledger_checksum   (row,)              checksum of the ledger columns: `compute_metadata_checksums`
    observation/      (row,)              program, detector …, created with the first rows that have them
    quarantine/       (entry,)            log of rejected objects and of their later release
    withdrawals/      (withdrawal,)       log of rows that the archive withdrew or listed again
    latents/<model>/  (row, latent)       results of each model: see `distspec.models.latents`
"""

from __future__ import annotations

from collections.abc import Mapping

import zarr

from distspec.store.columns import (
    METADATA_COLUMNS,
    OBSERVATION_GROUP,
    QUARANTINE_COLUMNS,
    WITHDRAWAL_COLUMNS,
)
from distspec.store.config import StoreConfig

FORMAT_VERSION = 3
"""Version of the layout; stores of other versions are refused."""
LOG_CHUNK_ROWS = 16_384
"""Values in a chunk of a ledger or log column."""


def create_layout(group: zarr.Group, config: StoreConfig, chunk_rows: int) -> None:
    """Write the attributes and the empty arrays of a new store.

    Parameters
    ----------
    group : zarr.Group
        Root group of the store, empty and writable.
    config : StoreConfig
        Settings of the store.
    chunk_rows : int
        Number of spectra in a chunk of flux or ivar.
    """
    grid = config.grid
    group.attrs.update(
        {
            "format_version": FORMAT_VERSION,
            "n_ingest_commits": 0,
            "config": config.to_json(),
            "flux_unit": f"f_lambda / f_lambda({config.reference_wave:g} Angstrom, rest frame)",
        }
    )
    wave = group.create_array("wave_rest", data=grid.wave_rest, dimension_names=("wave_rest",))
    wave.attrs["units"] = "Angstrom"
    for name in ("flux", "ivar"):
        group.create_array(
            name,
            shape=(0, grid.n_pixels),
            chunks=(chunk_rows, grid.n_pixels),
            dtype="float32",
            fill_value=0.0,
            dimension_names=("row", "wave_rest"),
        )
    _create_columns(group, "", {**METADATA_COLUMNS, "ledger_checksum": "uint64"}, "row")
    _create_columns(group, "quarantine/", QUARANTINE_COLUMNS, "entry")
    _create_columns(group, "withdrawals/", WITHDRAWAL_COLUMNS, "withdrawal")


def create_observation_column(group: zarr.Group, name: str, n_rows: int) -> None:
    """Create a column of `OBSERVATION_GROUP`, in which nothing is known of the rows so far.

    Parameters
    ----------
    group : zarr.Group
        Root group of the store, writable.
    name : str
        Name of the column.
    n_rows : int
        Number of rows of the store.
    """
    group.create_array(
        f"{OBSERVATION_GROUP}/{name}",
        shape=(n_rows,),
        chunks=(LOG_CHUNK_ROWS,),
        dtype="str",
        fill_value="",
        dimension_names=("row",),
    )


def _create_columns(group: zarr.Group, prefix: str, columns: Mapping[str, str], dimension: str) -> None:
    """Create an empty one-dimensional array for each column."""
    for name, dtype in columns.items():
        group.create_array(
            prefix + name, shape=(0,), chunks=(LOG_CHUNK_ROWS,), dtype=dtype, dimension_names=(dimension,)
        )
