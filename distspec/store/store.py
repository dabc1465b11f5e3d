"""The growing store: spectra, ledger, quarantine and latents in one Icechunk repository.

Layout (Zarr v3; open it with zarr or xarray from an Icechunk read-only session):

    flux, ivar      (row, wave_rest)    float32, chunks of about 1.3 MB
    wave_rest       (wave_rest,)        Å
    LEDGER columns  (row,)              who each row is, and how it was normalised
    ledger_checksum (row,)              of those columns: `compute_metadata_checksums`
    quarantine/     (entry,)            a log: what could not be used and why, and what was settled since
    marks/          (mark,)             a log: rows that the archive withdrew or brought back
    latents/<model> (row, latent)       what each model says of each row: see `distspec.models.latents`

Every commit holds rows, their ledger and the quarantine together, so a reader never sees one without the
other. Rows and log entries are only ever appended: see `distspec.store.transactions`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from distspec.core.arrow import pc
from distspec.core.spectrum import Floats32, WavelengthGrid
from distspec.io.storage import icechunk_storage, split_url
from distspec.store.columns import METADATA_COLUMNS, QUARANTINE_COLUMNS, WITHDRAWAL_COLUMNS
from distspec.store.sources import MATCH_RADIUS

icechunk.set_logs_filter("error")  # one committer at a time is our rule; it need not warn at every open
FORMAT_VERSION = 2
"""Of the layout; a store of another format is refused."""
CHUNK_BYTES = 1_300_000
LOG_CHUNK_ROWS = 16_384


@dataclass(frozen=True)
class StoreConfig:
    """What is chosen when a store is made and never changes: rows of all years stay comparable."""

    grid: WavelengthGrid
    reference_wave: float
    """Rest wavelength [Å] at which the flux is 1."""
    default_slope: float
    """UV slope used where a spectrum's own cannot be fitted."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The preprocessing settings that were asked for, as JSON: later runs must ask for the same."""
    join_radius: float = MATCH_RADIUS
    """A spectrum this near [arcsec] to a source's first position is of that source."""
    archive_name: str = ""
    """Which kind of archive it follows: `distspec.archives.base.Archive.name`."""


@dataclass(frozen=True)
class Store:
    """One state of a store: `open_store` gives the newest, or the one that is asked for."""

    url: str
    snapshot_id: str
    group: zarr.Group

    @property
    def config(self) -> StoreConfig:
        """What was chosen at creation."""
        attrs: dict[str, Any] = dict(self.group.attrs)
        named = {
            name: attrs[name] for name in ("reference", "sample_slope", "settings", "join_radius", "kind")
        }
        return StoreConfig(grid=WavelengthGrid(**attrs["grid"]), **named)

    @property
    def n_rows(self) -> int:
        """Spectra in the store, those that do not stand any more among them."""
        return self.open_array("flux").shape[0]

    @property
    def n_ingest_commits(self) -> int:
        """Commits of rows, rejections and marks so far: the next one's number."""
        return int(str(self.group.attrs["n_batches"]))

    @property
    def chunk_rows(self) -> int:
        """Spectra in one chunk."""
        return self.open_array("flux").chunks[0]

    def ledger(self, columns: Sequence[str] = tuple(METADATA_COLUMNS)) -> pa.Table:
        """Return columns of the ledger, a row a spectrum."""
        return pa.table({name: pa.array(np.asarray(self.open_array(name)[:])) for name in columns})

    def read_log(self, name: str, columns: Mapping[str, str]) -> pa.Table:
        """Return a log, "quarantine" or "marks", from its first entry to its last."""
        return pa.table({c: pa.array(np.asarray(self.open_array(f"{name}/{c}")[:])) for c in columns})

    def latest_rows(self) -> pa.Table:
        """Return of each object its newest row: object_id, version, row, withdrawn; in order of rows."""
        ledger = self.ledger(["object_id", "version"])
        rows = pa.array(_last_occurrences(ledger["object_id"]))
        withdrawn = pa.array(self.withdrawn_mask()).take(rows)
        if len(rows) < len(ledger):  # seldom: no copy for nothing
            ledger = ledger.take(rows)
        return ledger.append_column("row", rows).append_column("withdrawn", withdrawn)

    def withdrawn_mask(self) -> NDArray[np.bool_]:
        """Tell which rows the archive has withdrawn, (n_rows,)."""
        marks = self.read_log("marks", WITHDRAWAL_COLUMNS)
        flags = np.zeros(self.n_rows, dtype=bool)
        for row, withdrawn in zip(marks["row"].to_numpy(), marks["withdrawn"].to_pylist(), strict=True):
            flags[row] = withdrawn
        return flags

    def current_rows(self) -> NDArray[np.int64]:
        """Return the rows that stand: of each object the newest, less what was withdrawn, in order."""
        latest = self.latest_rows()
        return latest.filter(pc.invert(latest["withdrawn"]))["row"].to_numpy()

    def read_quarantine(self) -> pa.Table:
        """Return what is in quarantine now, a row an object: object_id, version, uri, reason, detail, batch."""
        log = self.read_log("quarantine", QUARANTINE_COLUMNS)
        return log.take(pa.array(_last_occurrences(log["object_id"]))).filter(pc.field("reason") != "")

    def read_spectra(self, rows: NDArray[np.int64] | slice) -> tuple[Floats32, Floats32]:
        """Return flux and ivar, (n, L) float32, of some rows in the order given."""
        flux, ivar = self.open_array("flux"), self.open_array("ivar")
        if isinstance(rows, slice):
            return np.asarray(flux[rows]), np.asarray(ivar[rows])
        return np.asarray(flux.oindex[rows]), np.asarray(ivar.oindex[rows])

    def dataset_checksum(self) -> str:
        """Return a SHA-256 of which spectra stand in here on which grid: the name of a data set."""
        frozen = self.config
        made_with = [
            frozen.grid.to_dict(),
            frozen.reference_wave,
            frozen.default_slope,
            dict(frozen.preprocessing),
        ]
        made_with.append(frozen.join_radius)
        names = self.ledger(["object_id", "version"]).take(pa.array(self.current_rows())).to_pydict()
        rows = sorted(zip(names["object_id"], names["version"], strict=True))
        return hashlib.sha256(json.dumps([made_with, rows], sort_keys=True).encode()).hexdigest()

    def content_checksum(self) -> str:
        """Return a SHA-256 of every row, its source and its pixels, whatever commits brought them."""
        columns = [name for name in METADATA_COLUMNS if name != "batch"]
        rows = self.ledger(columns).append_column("withdrawn", pa.array(self.withdrawn_mask()))
        rows = rows.sort_by([("object_id", "ascending"), ("version", "ascending"), ("checksum", "ascending")])
        sink = hashlib.sha256()
        for name in rows.column_names:
            sink.update(name.encode() + json.dumps(rows[name].to_pylist()).encode())
        return sink.hexdigest()

    def open_array(self, name: str) -> zarr.Array[Any]:
        """Return one Zarr array by its path."""
        array = self.group[name]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{self.url}: {name} is no array; was the store made by something else?")
        return array


def create_store(url: str, store_config: StoreConfig) -> Store:
    """Make an empty store.

    Parameters
    ----------
    url : str
        A folder, or s3://, gs:// or az:// bucket and prefix.
    store_config : Frozen
    """
    grid = store_config.grid
    session = icechunk.Repository.open_or_create(icechunk_storage(url)).writable_session("main")
    group = zarr.create_group(session.store)
    group.attrs.update(
        {
            "distspec_store": FORMAT_VERSION,
            "n_batches": 0,
            "grid": grid.to_dict(),
            "reference": store_config.reference_wave,
            "sample_slope": store_config.default_slope,
            "settings": dict(store_config.preprocessing),
            "join_radius": store_config.join_radius,
            "kind": store_config.archive_name,
            "flux_unit": f"f_lambda / f_lambda({store_config.reference_wave:g} Angstrom, rest frame)",
        }
    )
    wave = group.create_array("wave_rest", data=grid.wave_rest, dimension_names=("wave_rest",))
    wave.attrs["units"] = "Angstrom"
    rows = 2 ** max(0, round(np.log2(CHUNK_BYTES / (4 * grid.n_pixels))))
    for name in ("flux", "ivar"):
        group.create_array(
            name,
            shape=(0, grid.n_pixels),
            chunks=(rows, grid.n_pixels),
            dtype="float32",
            fill_value=0.0,
            dimension_names=("row", "wave_rest"),
        )
    ledger = {**METADATA_COLUMNS, "ledger_checksum": "uint64"}
    logs = {
        "": (ledger, "row"),
        "quarantine/": (QUARANTINE_COLUMNS, "entry"),
        "marks/": (WITHDRAWAL_COLUMNS, "mark"),
    }
    for prefix, (columns, dimension) in logs.items():
        for name, dtype in columns.items():
            group.create_array(
                prefix + name, shape=(0,), chunks=(LOG_CHUNK_ROWS,), dtype=dtype, dimension_names=(dimension,)
            )
    session.commit("create")
    return open_store(url)


def open_store(url: str, snapshot: str = "") -> Store:
    """Open the newest state of a store, or an earlier one.

    Parameters
    ----------
    url : str
    snapshot : str
        A snapshot's id or tag; empty for the newest.

    Raises
    ------
    FileNotFoundError
        When there is no store at `url`.
    ValueError
        When it has no such snapshot, or another version of distspec made it.
    """
    if not store_exists(url):
        raise FileNotFoundError(f"no store at {url}: run `python -m jobs.ingest RECIPE --root …` first")
    repo = open_repository(url)
    if not snapshot:
        session = repo.readonly_session("main")
    elif snapshot in repo.list_tags():
        session = repo.readonly_session(tag=snapshot)
    else:
        try:
            session = repo.readonly_session(snapshot_id=snapshot)
        except (icechunk.IcechunkError, ValueError) as error:
            raise ValueError(
                f"{url} has no snapshot or tag {snapshot}: `distspec snapshots` lists them"
            ) from error
    group = zarr.open_group(session.store, mode="r")
    made = group.attrs["distspec_store"]
    if made != FORMAT_VERSION:
        raise ValueError(
            f"{url} has format {made}, this distspec reads {FORMAT_VERSION}: ingest into a new --root"
        )
    return Store(url, session.snapshot_id, group)


def store_exists(url: str) -> bool:
    """Tell whether there is a store at `url`; a creation cut short left none."""
    try:
        zarr.open_group(open_repository(url).readonly_session("main").store, mode="r")
    except FileNotFoundError:
        return False
    return True


def open_repository(url: str) -> icechunk.Repository:
    """Open the Icechunk repository of a store.

    Raises
    ------
    FileNotFoundError
        When there is none at `url`.
    """
    scheme, _, path = split_url(url)
    is_place = scheme != "file" or Path(path).is_dir()  # Icechunk makes the folder that it looks into
    if not is_place or not icechunk.Repository.exists(icechunk_storage(url)):
        raise FileNotFoundError(f"no store at {url}: run `python -m jobs.ingest RECIPE --root …` first")
    return icechunk.Repository.open(icechunk_storage(url))


def _last_occurrences(names: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the place of each name's last occurrence, in order."""
    table = pa.table({"name": names, "place": np.arange(len(names))})
    return np.sort(table.group_by("name").aggregate([("place", "max")])["place_max"].to_numpy())
