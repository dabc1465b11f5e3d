"""Open, create and read the store of a root: spectra, ledger, quarantine and latents.

The arrays and their dimensions are listed in `distspec.store.layout`. Each commit holds rows, their ledger
and the quarantine together, so that a reader always sees a consistent state. Rows and log entries are only
ever appended: see `distspec.store.transactions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.errors import NotFoundError, StoreError
from distspec.core.spectrum import Floats32
from distspec.io.storage import icechunk_storage, split_url
from distspec.store.columns import (
    METADATA_COLUMNS,
    OBSERVATION_GROUP,
    QUARANTINE_COLUMNS,
    REDSHIFT_SOURCE,
    WITHDRAWAL_COLUMNS,
)
from distspec.store.config import StoreConfig
from distspec.store.layout import FORMAT_VERSION, create_layout

CHUNK_BYTES = 1_300_000
"""Approximate size of a chunk of flux or ivar."""


@dataclass(frozen=True)
class Store:
    """One snapshot of a store; `open_store` returns the newest one or the one that is requested.

    Attributes
    ----------
    url : str
        Location of the store.
    snapshot_id : str
        Icechunk identifier of the snapshot.
    group : zarr.Group
        Root group of the snapshot, read-only.
    """

    url: str
    snapshot_id: str
    group: zarr.Group

    @property
    def config(self) -> StoreConfig:
        """Settings fixed when the store was created."""
        record: Any = self.group.attrs["config"]
        return StoreConfig.from_json(record)

    @property
    def n_rows(self) -> int:
        """Number of spectra in the store, including superseded and withdrawn ones."""
        return self.open_array("flux").shape[0]

    @property
    def n_ingest_commits(self) -> int:
        """Number of ingest commits so far, which is also the number of the next one."""
        return int(str(self.group.attrs["n_ingest_commits"]))

    @property
    def chunk_rows(self) -> int:
        """Number of spectra in one chunk of flux or ivar."""
        return self.open_array("flux").chunks[0]

    def ledger(self, columns: Sequence[str] = tuple(METADATA_COLUMNS)) -> pa.Table:
        """Return ledger columns of all rows.

        Parameters
        ----------
        columns : sequence of str, optional
            Names from `METADATA_COLUMNS`; all of them by default.

        Returns
        -------
        pyarrow.Table
            One row for each spectrum in the store, in the store's order.
        """
        return pa.table({name: pa.array(np.asarray(self.open_array(name)[:])) for name in columns})

    def read_observations(self) -> pa.Table:
        """Return from which observation and reduction all rows come.

        Returns
        -------
        pyarrow.Table
            One column of texts for each that the store has, null where it is unknown. A store whose rows were
            all appended without them has no column.
        """
        columns = {path.partition("/")[2]: self.open_array(path)[:] for path in self.observation_paths()}
        return pa.table(
            {
                name: pa.array(np.asarray(values, object), pa.string(), mask=np.asarray(values) == "")
                for name, values in columns.items()
            }
        )

    def observation_paths(self) -> list[str]:
        """Return the paths of the arrays in `OBSERVATION_GROUP`, sorted.

        Returns
        -------
        list of str
            Paths as `open_array` takes them; empty for a store without these columns.
        """
        group = self.group.get(OBSERVATION_GROUP)
        names = sorted(group.array_keys()) if isinstance(group, zarr.Group) else []
        return [f"{OBSERVATION_GROUP}/{name}" for name in names]

    def read_log(self, name: str, columns: Mapping[str, str]) -> pa.Table:
        """Return the entries of a log, oldest first.

        Parameters
        ----------
        name : {"quarantine", "withdrawals"}
            Name of the log.
        columns : mapping of str to str
            Columns to read: `QUARANTINE_COLUMNS`, `WITHDRAWAL_COLUMNS` or some of them.

        Returns
        -------
        pyarrow.Table
            One row for each entry.
        """
        return pa.table({c: pa.array(np.asarray(self.open_array(f"{name}/{c}")[:])) for c in columns})

    def latest_rows(self) -> pa.Table:
        """Return the newest row of each object, ordered by row: object_id, version, row, withdrawn.

        Returns
        -------
        pyarrow.Table
            Columns object_id, version, row and withdrawn.
        """
        ledger = self.ledger(["object_id", "version"])
        rows = pa.array(_last_occurrences(ledger["object_id"]))
        withdrawn = pa.array(self.withdrawn_mask()).take(rows)
        if len(rows) < len(ledger):  # rare, so the copy is usually avoided
            ledger = ledger.take(rows)
        return ledger.append_column("row", rows).append_column("withdrawn", withdrawn)

    def withdrawn_mask(self) -> NDArray[np.bool_]:
        """Return which rows the archive has withdrawn.

        Returns
        -------
        ndarray of bool, shape (n_rows,)
        """
        log = self.read_log("withdrawals", WITHDRAWAL_COLUMNS)
        mask = np.zeros(self.n_rows, dtype=bool)
        for row, withdrawn in zip(log["row"].to_numpy(), log["withdrawn"].to_pylist(), strict=True):
            mask[row] = withdrawn
        return mask

    def current_rows(self) -> NDArray[np.int64]:
        """Return the rows that are neither superseded by a newer version nor withdrawn, ascending.

        Returns
        -------
        ndarray of int64, shape (n_current,)
            Row numbers in ascending order.
        """
        latest = self.latest_rows()
        return latest.filter(pc.invert(latest["withdrawn"]))["row"].to_numpy()

    def measured_rows(self) -> NDArray[np.bool_]:
        """Return which rows are at the redshift that a model has measured.

        Returns
        -------
        ndarray of bool, shape (n_rows,)
            The other rows are at the redshift of the archive.
        """
        path = f"{OBSERVATION_GROUP}/{REDSHIFT_SOURCE}"
        if path not in self.observation_paths():
            return np.zeros(self.n_rows, bool)
        return np.asarray(self.open_array(path)[:]) == "model"

    def trusted_rows(self) -> NDArray[np.int64]:
        """Return the rows that a model is trained on: the current ones at the redshift of the archive.

        Returns
        -------
        ndarray of int64, shape (n_trusted,)
            Row numbers in ascending order; all current rows if none is at the redshift of the archive.
        """
        current = self.current_rows()
        trusted = current[~self.measured_rows()[current]]
        return trusted if len(trusted) else current

    def read_quarantine(self) -> pa.Table:
        """Return the objects that are in quarantine now, with the columns `QUARANTINE_COLUMNS`.

        Returns
        -------
        pyarrow.Table
            Columns `QUARANTINE_COLUMNS`.
        """
        log = self.read_log("quarantine", QUARANTINE_COLUMNS)
        return log.take(pa.array(_last_occurrences(log["object_id"]))).filter(pc.field("reason") != "")

    def read_spectra(self, rows: NDArray[np.int64] | slice) -> tuple[Floats32, Floats32]:
        """Read spectra in the order of the rows given.

        Parameters
        ----------
        rows : ndarray of shape (n_spectra,) or slice
            Rows of the store; they may repeat and come in any order.

        Returns
        -------
        flux, ivar : ndarray of shape (n_spectra, n_pixels)
            Normalized flux and its inverse variance; ivar is 0 in masked pixels.
        """
        flux, ivar = self.open_array("flux"), self.open_array("ivar")
        if isinstance(rows, slice):
            return np.asarray(flux[rows]), np.asarray(ivar[rows])
        return np.asarray(flux.oindex[rows]), np.asarray(ivar.oindex[rows])

    def dataset_checksum(self) -> str:
        """Return a SHA-256 of the store's settings and of the objects and versions that are current.

        Returns
        -------
        str
            Hexadecimal SHA-256.
        """
        config = self.config
        settings = [config.grid.to_dict(), config.reference_wave, config.default_slope]
        settings += [dict(config.preprocessing), config.join_radius]
        current = self.ledger(["object_id", "version"]).take(pa.array(self.current_rows())).to_pydict()
        rows = sorted(zip(current["object_id"], current["version"], strict=True))
        return hashlib.sha256(json.dumps([settings, rows], sort_keys=True).encode()).hexdigest()

    def open_array(self, name: str) -> zarr.Array[Any]:
        """Return one Zarr array by its path in the store.

        Parameters
        ----------
        name : str
            Path of the array in the store.

        Returns
        -------
        zarr.Array
            The array; no chunk is read yet.

        Raises
        ------
        StoreError
            If the path names a group.
        """
        array = self.group[name]
        if not isinstance(array, zarr.Array):
            raise StoreError(f"{self.url}: {name} is not an array; restore the store from a copy")
        return array


def create_store(url: str, config: StoreConfig) -> Store:
    """Create an empty store.

    Parameters
    ----------
    url : str
        A folder, or a URL of the form s3://, gs:// or az:// with bucket and prefix.
    config : StoreConfig
        Settings of the store, which never change.

    Returns
    -------
    Store
        The store, without rows.
    """
    _quiet_icechunk()
    _quiet_icechunk()
    session = icechunk.Repository.open_or_create(icechunk_storage(url)).writable_session("main")
    chunk_rows = 2 ** max(0, round(np.log2(CHUNK_BYTES / (4 * config.grid.n_pixels))))
    create_layout(zarr.create_group(session.store), config, chunk_rows)
    session.commit("create")
    return open_store(url)


def open_store(url: str, snapshot: str = "") -> Store:
    """Open the newest snapshot of a store, or an earlier one.

    Parameters
    ----------
    url : str
        Location of the store.
    snapshot : str, optional
        Identifier or tag of a snapshot; the newest one by default.

    Returns
    -------
    Store
        The snapshot, read-only.

    Raises
    ------
    NotFoundError
        If there is no store at `url`.
    StoreError
        If the store has no such snapshot, or has another format version.
    """
    if not store_exists(url):
        raise _no_store_error(url)
    repository = open_repository(url)
    if not snapshot:
        session = repository.readonly_session("main")
    elif snapshot in repository.list_tags():
        session = repository.readonly_session(tag=snapshot)
    else:
        try:
            session = repository.readonly_session(snapshot_id=snapshot)
        except (icechunk.IcechunkError, ValueError) as error:
            raise StoreError(
                f"{url} has no snapshot or tag {snapshot}: `distspec snapshots` lists them"
            ) from error
    group = zarr.open_group(session.store, mode="r")
    format_version = group.attrs.get(
        "format_version", group.attrs.get("distspec_store")
    )  # its name up to version 2
    if format_version != FORMAT_VERSION:
        raise StoreError(
            f"{url} has format {format_version}, this distspec reads {FORMAT_VERSION}: "
            "ingest into a new --root"
        )
    return Store(url, session.snapshot_id, group)


def store_exists(url: str) -> bool:
    """Return whether there is a store at `url`; an interrupted creation does not count as one.

    Parameters
    ----------
    url : str
        URL of the store.

    Returns
    -------
    bool
    """
    try:
        zarr.open_group(open_repository(url).readonly_session("main").store, mode="r")
    except FileNotFoundError:
        return False
    return True


def open_repository(url: str) -> icechunk.Repository:
    """Open the Icechunk repository of a store.

    Parameters
    ----------
    url : str
        URL of the store.

    Raises
    ------
    NotFoundError
        If there is no repository at `url`.
    """
    _quiet_icechunk()
    scheme, _, path = split_url(url)
    # Icechunk creates the local folder that it looks into, so the folder is checked first.
    may_exist = scheme != "file" or Path(path).is_dir()
    if not may_exist or not icechunk.Repository.exists(icechunk_storage(url)):
        raise _no_store_error(url)
    return icechunk.Repository.open(icechunk_storage(url))


@cache
def _quiet_icechunk() -> None:
    """Silence Icechunk's warning about concurrent writers at each opening: a root's lease admits one."""
    icechunk.set_logs_filter("error")


def _no_store_error(url: str) -> NotFoundError:
    return NotFoundError(f"no store at {url}: run `distspec run ingest RECIPE --root …` first")


def _last_occurrences(names: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the position of the last occurrence of each name, ascending."""
    table = pa.table({"name": names, "position": np.arange(len(names))})
    return np.sort(table.group_by("name").aggregate([("position", "max")])["position_max"].to_numpy())
