"""The growing store: spectra, ledger, quarantine and latents in one Icechunk repository.

Layout (Zarr v3; open it with zarr or xarray from an Icechunk read-only session):

    flux, ivar      (row, wave_rest)    float32, chunks of about 1.3 MB
    wave_rest       (wave_rest,)        Å
    LEDGER columns  (row,)              who each row is, and how it was normalised
    quarantine/     (entry,)            what could not be used and why
    latents/<model> (row, latent)       what each model says of each row: see `distspec.latents`

Every commit holds rows, their ledger and the quarantine together, so a reader never sees one without the
other; rows are only ever appended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import icechunk
import numpy as np
import pyarrow as pa
import zarr
from numpy.typing import NDArray

from distspec.spectrum import Floats, Floats32, Rejected, SpectrumBatch, WaveGrid

icechunk.set_logs_filter("error")  # one committer at a time is our rule; it need not warn at every open

LEDGER: Mapping[str, str] = {
    "object_id": "str",
    "source_id": "str",
    "version": "str",
    "uri": "str",
    "root": "str",
    "srcid": "str",
    "grating": "str",
    "filter": "str",
    "grade": "int8",
    "ra": "float64",
    "dec": "float64",
    "z": "float64",
    "norm": "float64",
    "norm_err": "float64",
    "norm_snr": "float32",
    "slope": "float64",
    "norm_window": "int8",
    "snr": "float32",
    "n_valid": "int32",
}
"""Columns of the ledger, a value a row; units as in `SpectrumBatch` and degrees."""

QUARANTINE = ("object_id", "version", "uri", "reason", "seen")
CHUNK_BYTES = 1_300_000
LEDGER_CHUNK = 16_384


@dataclass(frozen=True)
class Frozen:
    """What is chosen when a store is made and never changes: rows of all years stay comparable."""

    grid: WaveGrid
    reference: float
    """Rest wavelength [Å] at which the flux is 1."""
    sample_slope: float
    """UV slope used where a spectrum's own cannot be fitted."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The preprocessing settings that were asked for, as JSON: later runs must ask for the same."""


@dataclass(frozen=True)
class Store:
    """One state of a store.

    `open_store` gives the newest state; `append` commits and returns the state after.
    """

    url: str
    snapshot_id: str
    group: zarr.Group

    @property
    def frozen(self) -> Frozen:
        """What was chosen at creation."""
        attrs: dict[str, Any] = dict(self.group.attrs)
        grid = WaveGrid(**attrs["grid"])
        return Frozen(grid, attrs["reference"], attrs["sample_slope"], attrs["settings"])

    @property
    def n_rows(self) -> int:
        """Spectra in the store."""
        return self.array("flux").shape[0]

    @property
    def chunk_rows(self) -> int:
        """Spectra in one chunk."""
        return self.array("flux").chunks[0]

    def ledger(self, columns: Sequence[str] = tuple(LEDGER)) -> pa.Table:
        """Return columns of the ledger, a row a spectrum."""
        return pa.table({name: _to_arrow(self.array(name)) for name in columns})

    def standing(self) -> NDArray[np.int64]:
        """Return the rows that stand: of several versions of one spectrum the newest, in order."""
        names = np.array(self.ledger(["object_id"])["object_id"].to_pylist(), dtype=np.str_)
        _, last = np.unique(names[::-1], return_index=True)
        return np.sort(len(names) - 1 - last)

    def quarantine(self) -> pa.Table:
        """Return the quarantine: object_id, version, uri, reason, seen."""
        return pa.table({name: _to_arrow(self.array(f"quarantine/{name}")) for name in QUARANTINE})

    def spectra(self, rows: NDArray[np.int64] | slice) -> tuple[Floats32, Floats32]:
        """Return flux and ivar, (n, L) float32, of some rows in the order given."""
        flux, ivar = self.array("flux"), self.array("ivar")
        if isinstance(rows, slice):
            return np.asarray(flux[rows]), np.asarray(ivar[rows])
        return np.asarray(flux.oindex[rows]), np.asarray(ivar.oindex[rows])

    def digest(self) -> str:
        """Return a SHA-256 of which spectra are in here on which grid: the name of a data set."""
        attrs = dict(self.group.attrs)
        names = self.ledger(["object_id", "version"]).to_pydict()
        rows = sorted(zip(names["object_id"], names["version"], strict=True))
        return hashlib.sha256(json.dumps([attrs, rows], sort_keys=True).encode()).hexdigest()

    def array(self, name: str) -> zarr.Array[Any]:
        """Return one Zarr array by its path."""
        array = self.group[name]
        if not isinstance(array, zarr.Array):
            raise TypeError(f"{self.url}: {name} is no array; was the store made by something else?")
        return array

    def append(
        self,
        batch: SpectrumBatch,
        identity: Mapping[str, Sequence[Any]],
        rejected: Sequence[Rejected],
        message: str,
    ) -> Store:
        """Commit a batch of rows, their ledger and what was rejected beside them.

        Parameters
        ----------
        batch : SpectrumBatch
        identity : mapping of column to (N,) values
            The ledger columns that the batch does not hold.
        rejected : sequence of Rejected
        message : str
            Commit message.

        Raises
        ------
        RuntimeError
            When another run committed meanwhile; nothing of this batch is then in the store.
        """
        session = repository(self.url).writable_session("main")
        if session.snapshot_id != self.snapshot_id:
            raise RuntimeError(
                f"another run committed to {self.url} meanwhile: wait for it to end, then run this again"
            )
        group = zarr.open_group(session.store, mode="r+")
        columns: dict[str, Any] = {name: getattr(batch, name, None) for name in LEDGER} | {**identity}
        for name in LEDGER:
            _extend(group, name, columns[name])
        _extend(group, "flux", batch.flux)
        _extend(group, "ivar", batch.ivar)
        for name in QUARANTINE:
            _extend(group, f"quarantine/{name}", [str(getattr(row, name)) for row in rejected])
        return commit(self.url, session, message)


def commit(url: str, session: icechunk.Session, message: str) -> Store:
    """Commit a session and return the state after.

    Raises
    ------
    RuntimeError
        When another run committed meanwhile; nothing of this session is then in the store.
    """
    try:
        session.commit(message)
    except icechunk.ConflictError as error:
        raise RuntimeError(
            f"another run committed to {url} meanwhile: wait for it to end, then run this again"
        ) from error
    return open_store(url)


def create_store(url: str, frozen: Frozen) -> Store:
    """Make an empty store.

    Parameters
    ----------
    url : str
        A folder, or s3:// or gs:// bucket and prefix.
    frozen : Frozen
    """
    grid = frozen.grid
    session = icechunk.Repository.open_or_create(_storage(url)).writable_session("main")
    group = zarr.create_group(session.store)
    group.attrs.update(
        {
            "distspec_store": 1,
            "grid": grid.to_dict(),
            "reference": frozen.reference,
            "sample_slope": frozen.sample_slope,
            "settings": dict(frozen.settings),
            "flux_unit": f"f_lambda / f_lambda({frozen.reference:g} Angstrom, rest frame)",
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
    text = {f"quarantine/{name}": ("str", "entry") for name in QUARANTINE}
    for name, (dtype, dim) in ({k: (v, "row") for k, v in LEDGER.items()} | text).items():
        group.create_array(name, shape=(0,), chunks=(LEDGER_CHUNK,), dtype=dtype, dimension_names=(dim,))
    session.commit("create")
    return open_store(url)


def open_store(url: str) -> Store:
    """Open the newest state of a store.

    Raises
    ------
    FileNotFoundError
        When there is no store at `url`.
    """
    if not store_exists(url):
        raise FileNotFoundError(f"no store at {url}: run `python -m jobs.ingest RECIPE --root …` first")
    session = repository(url).readonly_session("main")
    return Store(url, session.snapshot_id, zarr.open_group(session.store, mode="r"))


def store_exists(url: str) -> bool:
    """Tell whether there is a store at `url`; a creation cut short left none."""
    if not icechunk.Repository.exists(_storage(url)):
        return False
    try:
        zarr.open_group(repository(url).readonly_session("main").store, mode="r")
    except FileNotFoundError:
        return False
    return True


def repository(url: str) -> icechunk.Repository:
    """Open the Icechunk repository of a store."""
    return icechunk.Repository.open(_storage(url))


def _storage(url: str) -> icechunk.Storage:
    """Map a URL to Icechunk's storage; credentials come from the environment."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return icechunk.local_filesystem_storage(rest if separator else url)
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3":
        return icechunk.s3_storage(bucket=bucket, prefix=prefix, from_env=True)
    if scheme in {"gs", "gcs"}:
        return icechunk.gcs_storage(bucket=bucket, prefix=prefix, from_env=True)
    raise ValueError(f"--root {url}: use a folder, s3://bucket/prefix or gs://bucket/prefix")


def _extend(group: zarr.Group, name: str, values: Any) -> None:
    """Append along the first axis: only the partial last chunk is read again."""
    array: Any = group[name]
    n = array.shape[0]
    array.resize((n + len(values), *array.shape[1:]))
    if len(values):
        array[n:] = np.asarray(values, dtype=array.dtype)


def _to_arrow(array: zarr.Array[Any]) -> pa.Array:
    values = np.asarray(array[:])
    return pa.array(values.tolist(), pa.string()) if values.dtype.kind == "T" else pa.array(values)


def known_sources(ledger: pa.Table) -> tuple[Floats, Floats, list[str]]:
    """Return first position (ra, dec) [deg] and name of each source in a ledger."""
    names = np.array(ledger["source_id"].to_pylist(), dtype=object)
    _, first = np.unique(names.astype(str), return_index=True)
    ra, dec = ledger["ra"].to_numpy(), ledger["dec"].to_numpy()
    return ra[first], dec[first], names[first].tolist()
