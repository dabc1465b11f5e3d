"""The data behind the explorer: the current catalog, its spectra, and the model's reconstructions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from astropy.coordinates import Angle
from numpy.typing import NDArray

from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.editions import EditionRecord, find_record, open_record_tables
from distspec.catalog.run_record import read_run_record
from distspec.core.arrow import pc
from distspec.core.errors import DistspecError
from distspec.core.schema import GALAXY_TYPE_COLUMNS
from distspec.core.spectrum import Floats32
from distspec.explorer.columns import (
    LATENT_COLUMN_PATTERN,
    MAX_CATEGORIES,
    describe_column,
    is_displayable,
)
from distspec.explorer.payloads import ColumnInfo
from distspec.io.paths import model_url, run_url, store_url
from distspec.models.latents import read_latents
from distspec.models.model import Model, load_model
from distspec.models.neighbors import Posteriors, find_nearest
from distspec.store.sources import separation
from distspec.store.store import Store, open_store

N_NEIGHBORS = 12
"""Length of the lists of neighbors and of top anomalies."""
DEFAULT_RADIUS = 5.0
"""Radius of a cone search if none is given [arcsec]."""
MAX_RESULTS = 10_000
"""Largest number of search results that are sent to the page."""
MAX_POSITION_LENGTH = 200
"""Longest text that is parsed as a position [characters]."""
POSITION_PATTERN = re.compile(
    r"\s*([\d:.hms]+)[\s,]+([+-]?[\d:.dms]+)(?:[\s,]+([\d.]+)\s*(?:\"|″|arcsec)?)?\s*"
)


class ItemNotFoundError(DistspecError, LookupError):
    """A requested spectrum or column is not in the catalog."""


@dataclass(frozen=True)
class SkyPosition:
    """Position and radius of a cone search.

    Attributes
    ----------
    ra, dec : float
        ICRS coordinates [deg].
    radius : float
        Radius [arcsec].
    """

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True)
class ExplorerData:
    """A published catalog, opened for the explorer.

    Attributes
    ----------
    root : str
        Root URL.
    record : EditionRecord
        Record of the current edition.
    dataset : Dataset
        Table ``objects`` in storage, from which latents are read on request.
    table : Table
        Table ``objects`` in memory, without latents.
    classes : list of dict
        Rows of ``classes``.
    anomalies : Table
        Columns object_id and reason of the table ``anomalies``.
    redshifts : Dataset or None
        Table ``redshifts`` in storage; None in editions of earlier versions.
    store : Store
        Store of the spectra.
    store_rows : ndarray of shape (n_spectra,)
        Row of each spectrum in the store.
    model : Model
        Model of the run.
    posteriors : Posteriors
        Posteriors of the spectra in latent space.
    """

    root: str
    record: EditionRecord
    dataset: ds.Dataset
    table: pa.Table
    classes: list[dict[str, Any]]
    anomalies: pa.Table
    redshifts: ds.Dataset | None
    store: Store
    store_rows: NDArray[np.int64]
    model: Model
    posteriors: Posteriors

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def columns(self) -> dict[str, ColumnInfo]:
        """Columns of ``objects`` that can be shown, by name; no galaxy types if the archive has no rules."""
        loaded = set(self.table.column_names)
        untold = () if self.archive.galaxy_types else {column.name for column in GALAXY_TYPE_COLUMNS}
        return {
            field.name: describe_column(
                field, self.table[field.name] if field.name in loaded else None, self.archive
            )
            for field in self.dataset.schema
            if is_displayable(field.type) and field.name not in untold
        }

    @cached_property
    def archive(self) -> type[Archive]:
        """Archive of the spectra."""
        return get_archive(self.store.config.archive_name)

    @cached_property
    def object_ids(self) -> list[str]:
        """Identifiers of all spectra."""
        return self.table["object_id"].to_pylist()

    @cached_property
    def _row_by_id(self) -> dict[str, int]:
        return {object_id: row for row, object_id in enumerate(self.object_ids)}

    def _get_column(self, name: str) -> ColumnInfo:
        if name not in self.columns:
            raise ItemNotFoundError(f"objects has no column {name!r}: `distspec columns` lists them")
        return self.columns[name]

    def read_column(self, name: str) -> Floats32:
        """Read a column as numbers.

        Parameters
        ----------
        name : str
            Name of a column that holds numbers or categories.

        Returns
        -------
        ndarray of shape (n_spectra,), float32
            Numbers, or codes of categories; NaN for nulls.

        Raises
        ------
        ItemNotFoundError
            If there is no such column, or it holds text.
        """
        column = self._get_column(name)
        if column.value_type == "text":
            raise ItemNotFoundError(f"column {name} has more than {MAX_CATEGORIES} different texts")
        in_memory = name in self.table.column_names
        values: Any = self.table[name] if in_memory else self.dataset.to_table([name])[name]
        if column.value_type == "category":
            values = pc.index_in(values, pa.array(column.categories, pa.string()))
        return np.asarray(values.cast("float32").to_numpy(zero_copy_only=False), np.float32)

    def match_text(self, name: str, text: str) -> NDArray[np.uint32]:
        """Return the rows whose text column contains a text, ignoring case.

        Parameters
        ----------
        name : str
            Name of a column of text or categories.
        text : str
            Text to search for; it is not a pattern.

        Returns
        -------
        ndarray of uint32, shape (n_matches,)
            Row numbers in ascending order.

        Raises
        ------
        ItemNotFoundError
            If there is no such column of text.
        """
        if self._get_column(name).value_type == "number":
            raise ItemNotFoundError(f"column {name} holds numbers: filter it by a range")
        matches = pc.match_substring(self.table[name], text, ignore_case=True)
        return np.flatnonzero(matches.fill_null(False).to_numpy(zero_copy_only=False)).astype(np.uint32)

    def cone_search(self, position: SkyPosition) -> NDArray[np.uint32]:
        """Return the rows within a cone, nearest first.

        Parameters
        ----------
        position : SkyPosition
            Center and radius of the cone.

        Returns
        -------
        ndarray of uint32, shape (n_matches,)
            Row numbers, nearest first.
        """
        ra, dec = self.table["ra"].to_numpy(), self.table["dec"].to_numpy()
        distance = separation(ra, dec, np.array([position.ra]), np.array([position.dec]))
        inside = np.flatnonzero(distance <= position.radius)
        return inside[np.argsort(distance[inside], kind="stable")].astype(np.uint32)

    def find(self, query: str) -> tuple[str, NDArray[np.uint32]]:
        """Search by position, or by part of an object or source identifier.

        Parameters
        ----------
        query : str
            "ra dec [radius]" in degrees, or in hours and degrees with colons, and arcsec; or part of an
            identifier.

        Returns
        -------
        interpretation : str
            How the query was understood.
        rows : ndarray of uint32
            Rows found.
        """
        if position := parse_position(query):
            where = f"{position.ra:.5f}° {position.dec:+.5f}°"
            return f"within {position.radius:g}″ of {where}", self.cone_search(position)
        text = query.strip()
        rows = [self.match_text(name, text) for name in ("object_id", "source_id")]
        return f"ids containing “{text}”", np.union1d(*rows).astype(np.uint32)

    def spectrum(self, row: int) -> Floats32:
        """Return flux, inverse variance and reconstruction of a spectrum.

        Parameters
        ----------
        row : int
            Row number in ``objects``.

        Returns
        -------
        ndarray of shape (3, n_pixels)
            In the normalization of the store.
        """
        store_row = int(self.store_rows[row])
        flux, ivar = self.store.read_spectra(slice(store_row, store_row + 1))
        return np.stack([flux[0], ivar[0], self.reconstruct(np.array([row]))[0]])

    def reconstruct(self, rows: NDArray[np.int64]) -> Floats32:
        """Return reconstructions in the normalization of the store.

        Parameters
        ----------
        rows : ndarray of int, shape (n_spectra,)
            Row numbers in ``objects``.

        Returns
        -------
        ndarray of shape (n_spectra, n_pixels)
        """
        z, amplitude = (self.table[name].to_numpy()[rows] for name in ("z", "amplitude"))
        return self.model.decode(self.posteriors.mean[rows], z) * amplitude[:, None].astype(np.float32)

    def nearest_neighbors(self, row: int) -> list[tuple[int, float]]:
        """Return the rows of the most similar spectra, and the natural logarithms of their Bayes factors.

        Parameters
        ----------
        row : int
            Row number in ``objects``.

        Returns
        -------
        list of tuple (int, float)
            Row number and log Bayes factor of each neighbor, most similar first.
        """
        query = self.posteriors.take(np.array([row]))
        log_bayes_factors, rows = find_nearest(self.posteriors, query, N_NEIGHBORS + 1)
        others = np.flatnonzero(rows != row)[:N_NEIGHBORS]
        return [(int(rows[k]), float(log_bayes_factors[k])) for k in others]

    def read_redshift_density(self, object_id: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the probabilities of the redshifts of a spectrum.

        Parameters
        ----------
        object_id : str
            Identifier of the spectrum.

        Returns
        -------
        z, probability : tuple of float
            Redshifts and their probabilities; empty if no redshift was measured.
        """
        if self.redshifts is None:
            return (), ()
        columns = ["pdf_z", "pdf_probability"]
        found = self.redshifts.to_table(columns, filter=pc.field("object_id") == object_id).to_pylist()
        if not found:
            return (), ()
        z, probability = (tuple(found[0][name] or ()) for name in columns)
        return z, probability

    def top_anomalies(self) -> list[int]:
        """Return the rows with the highest anomaly scores.

        Returns
        -------
        list of int
            Row numbers, highest score first.
        """
        return np.argsort(self.table["anomaly_rank"].to_numpy(), kind="stable")[:N_NEIGHBORS].tolist()

    def get_row(self, row: int) -> dict[str, Any]:
        """Return a row of ``objects`` without latents; values that are not finite become None.

        Parameters
        ----------
        row : int
            Row number in ``objects``.

        Returns
        -------
        dict of str to object
            Values by column name.
        """
        values: dict[str, Any] = self.table.slice(row, 1).to_pylist()[0]
        return replace_nonfinite(values)

    def archive_url(self, row: int) -> str:
        """Return the address of a spectrum's page in the archive; empty for none.

        Parameters
        ----------
        row : int
            Row number in ``objects``.

        Returns
        -------
        str
            Address of the page; empty if there is none.
        """
        return self.archive.viewer_url(self.get_row(row))

    def find_row(self, object_id: str) -> int | None:
        """Return the row of a spectrum; None if it is not in the catalog.

        Parameters
        ----------
        object_id : str
            Identifier of the spectrum.

        Returns
        -------
        int or None
            Row number in ``objects``; None if the spectrum is not in the catalog.
        """
        return self._row_by_id.get(object_id)


def open_explorer_data(root: str) -> ExplorerData:
    """Open the current catalog of a root.

    Parameters
    ----------
    root : str
        Root URL.

    Returns
    -------
    ExplorerData

    Raises
    ------
    NotFoundError
        If nothing is published.
    """
    record = find_record(root)
    tables = open_record_tables(root, record)
    run = read_run_record(run_url(root, record.run_id))
    store = open_store(store_url(root), record.snapshot_id)
    dataset = tables["objects"]
    table = dataset.to_table(
        [name for name in dataset.schema.names if not LATENT_COLUMN_PATTERN.fullmatch(name)]
    )
    rows = table["store_row"].to_numpy()
    latents = read_latents(store, run.model_id, ("z_mean", "z_log_var"))
    data = ExplorerData(
        root=root,
        record=record,
        dataset=dataset,
        table=table.combine_chunks(),
        classes=[replace_nonfinite(row) for row in tables["classes"].to_table().to_pylist()],
        anomalies=tables["anomalies"].to_table(["object_id", "reason"]),
        redshifts=tables.get("redshifts"),
        store=store,
        store_rows=rows,
        model=load_model(model_url(root, run.model_id)),
        posteriors=Posteriors.from_log_variance(latents["z_mean"][rows], latents["z_log_var"][rows]),
    )
    data.nearest_neighbors(0)  # so that its function is compiled, or loaded, before the first click
    return data


def parse_position(text: str) -> SkyPosition | None:
    """Parse "ra dec [radius]".

    Parameters
    ----------
    text : str
        Coordinates in degrees, or in hours and degrees with colons; radius in arcsec, `DEFAULT_RADIUS` by
        default.

    Returns
    -------
    SkyPosition or None
        The position; None if the text is something else.

    Examples
    --------
    >>> parse_position("34.4048 -5.22487")
    SkyPosition(ra=34.4048, dec=-5.22487, radius=5.0)
    >>> parse_position('02:17:37.2 -05:13:30 2"')
    SkyPosition(ra=34.405, dec=-5.225, radius=2.0)
    >>> parse_position("mock-4055") is None
    True
    """
    parts = POSITION_PATTERN.fullmatch(text) if len(text) <= MAX_POSITION_LENGTH else None
    if parts is None:
        return None
    try:
        ra: Any = Angle(parts[1], "hourangle" if re.search("[:h]", parts[1]) else "deg")
        dec: Any = Angle(parts[2], "deg")
        radius = float(parts[3] or DEFAULT_RADIUS)
    except ValueError:
        return None
    position = SkyPosition(round(float(ra.degree), 10), round(float(dec.degree), 10), radius)
    return position if 0.0 <= position.ra <= 360.0 and abs(position.dec) <= 90.0 else None


def replace_nonfinite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with None for floats that JSON cannot represent.

    Parameters
    ----------
    row : mapping of str to object
        Values by column name; only floats are checked.

    Examples
    --------
    >>> replace_nonfinite({"z": float("nan"), "name": "a"})
    {'z': None, 'name': 'a'}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
