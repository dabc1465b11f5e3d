"""What the explorer shows: the current catalogue, its spectra, and what the model makes of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from astropy.coordinates import Angle
from numpy.typing import NDArray

from distspec.archives.registry import get_archive
from distspec.catalog.editions import find_record, open_record_tables
from distspec.catalog.runs import read_run_record
from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core.arrow import pc
from distspec.core.spectrum import Floats32
from distspec.io.paths import model_url, run_url, store_url
from distspec.models.latents import read_latents
from distspec.models.model import Model, load_model
from distspec.models.neighbors import find_nearest
from distspec.store.sources import separation
from distspec.store.store import Store, open_store

MAX_CATEGORIES = 64
"""A text column with more different values is no category: it can be searched, not coloured by."""
N_NEIGHBOURS = 12
DEFAULT_RADIUS = 5.0
"""Around a position, where no radius is given [arcsec]."""
MAX_RESULTS = 10_000
LATENT_COLUMN_PATTERN = re.compile(r"z_(mean|log_var)_\d+")
POSITION_PATTERN = re.compile(
    r"\s*([\d:.hms]+)[\s,]+([+-]?[\d:.dms]+)(?:[\s,]+([\d.]+)\s*(?:\"|″|arcsec)?)?\s*"
)


class NotFoundError(LookupError):
    """What was asked for is not in the catalogue; the message says what is."""


class ColumnInfo(NamedTuple):
    """A column of ``objects`` as the page needs to know it."""

    name: str
    value_type: Literal["number", "category", "text"]
    unit: str
    description: str
    categories: list[str]
    """Values of a category, in the order of their codes."""


@dataclass(frozen=True)
class ExplorerData:
    """One published catalogue, opened to be looked at.

    Attributes
    ----------
    root : str
    record : mapping
        What ``current.json`` says.
    dataset : Dataset
        ``objects``: what is not in `table`, latents, is read from here when asked for.
    table : Table
        ``objects`` without its latents, N rows.
    classes : list of dict
        Rows of ``classes``.
    store : Store
        The state that the catalogue was made of.
    store_rows : (N,) int64
        Where each object is in the store.
    model : Model
    scaled_latents : (N, D)
        In units of the posteriors' widths: distances are in sigma.
    z_mean : (N, D)
        As the model gave them.
    """

    root: str
    record: dict[str, Any]
    dataset: ds.Dataset
    table: pa.Table
    classes: list[dict[str, Any]]
    store: Store
    store_rows: NDArray[np.int64]
    model: Model
    scaled_latents: Floats32
    z_mean: Floats32

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def columns(self) -> dict[str, ColumnInfo]:
        """All columns of ``objects`` by name, in order."""
        return {
            field.name: self._describe_column(field)
            for field in self.dataset.schema
            if _is_displayable(field.type)
        }

    @cached_property
    def object_ids(self) -> list[str]:
        """Each object's id, (N,)."""
        return self.table["object_id"].to_pylist()

    @cached_property
    def _index_by_id(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.object_ids)}

    def _describe_column(self, field: pa.Field) -> ColumnInfo:
        said = field.metadata or {}
        unit, description = (said.get(key, b"").decode() for key in (b"unit", b"description"))
        if not pa.types.is_string(field.type):
            return ColumnInfo(field.name, "number", unit, description, [])
        values = _category_values(self.table[field.name])
        return ColumnInfo(field.name, "category" if values else "text", unit, description, values)

    def _get_column(self, name: str) -> ColumnInfo:
        if name not in self.columns:
            raise NotFoundError(f"no column {name!r} in objects: `distspec columns` lists them")
        return self.columns[name]

    def read_column(self, name: str) -> Floats32:
        """Return a column as float32, (N,): a number, or the code of a category; NaN where there is none.

        Raises
        ------
        Unknown
            When there is no such column, or it is text.
        """
        column = self._get_column(name)
        if column.value_type == "text":
            raise NotFoundError(f"{name} has more than {MAX_CATEGORIES} different texts")
        known = name in self.table.column_names
        values: Any = self.table[name] if known else self.dataset.to_table([name])[name]
        if column.value_type == "category":
            values = pc.index_in(values, pa.array(column.categories, pa.string()))
        return np.asarray(values.cast("float32").to_numpy(zero_copy_only=False), np.float32)

    def match_text(self, name: str, text: str) -> NDArray[np.uint32]:
        """Return the objects whose text column contains a text, whatever the case.

        Raises
        ------
        Unknown
            When there is no such column of texts.
        """
        if self._get_column(name).value_type == "number":
            raise NotFoundError(f"{name} holds numbers: give a range")
        found = pc.match_substring(self.table[name], text, ignore_case=True)
        return np.flatnonzero(found.fill_null(False).to_numpy(zero_copy_only=False)).astype(np.uint32)

    def cone_search(self, ra: float, dec: float, radius: float) -> NDArray[np.uint32]:
        """Return the objects within a radius [arcsec] of a position [deg, ICRS], nearest first."""
        of_all = self.table["ra"].to_numpy(), self.table["dec"].to_numpy()
        apart = separation(*of_all, np.array([ra]), np.array([dec]))
        inside = np.flatnonzero(apart <= radius)
        return inside[np.argsort(apart[inside], kind="stable")].astype(np.uint32)

    def find(self, query: str) -> tuple[str, NDArray[np.uint32]]:
        """Return what was understood, and the objects found: by position, else by object or source id.

        Parameters
        ----------
        query : str
            "ra dec [radius]", degrees or sexagesimal hours and degrees, radius in arcsec; or part of an id.
        """
        if place := parse_position(query):
            ra, dec, radius = place
            return f"within {radius:g}″ of {ra:.5f}° {dec:+.5f}°", self.cone_search(ra, dec, radius)
        text = query.strip()
        by_id = [self.match_text(name, text) for name in ("object_id", "source_id")]
        return f"ids with “{text}”", np.union1d(*by_id).astype(np.uint32)

    def spectrum(self, i: int) -> Floats32:
        """Return an object's flux, ivar and reconstruction, (3, L), as the store's spectra are scaled."""
        flux, ivar = self.store.read_spectra(slice(int(self.store_rows[i]), int(self.store_rows[i]) + 1))
        recon = self.model.decode(self.z_mean[i : i + 1], float(self.table["z"][i].as_py()))
        return np.stack([flux[0], ivar[0], recon[0] * np.float32(self.table["amplitude"][i].as_py())])

    def nearest_neighbors(self, i: int) -> list[tuple[int, float]]:
        """Return the nearest others in latent space, and how far they are [sigma of the posteriors]."""
        apart, rows = find_nearest(self.scaled_latents, self.scaled_latents[i], N_NEIGHBOURS + 1)
        others = np.flatnonzero(rows != i)[:N_NEIGHBOURS]
        return [(int(rows[k]), float(apart[k])) for k in others]

    def top_anomalies(self) -> list[int]:
        """Return the first few by rank of oddness."""
        return np.argsort(self.table["anomaly_rank"].to_numpy(), kind="stable")[:N_NEIGHBOURS].tolist()

    def get_row(self, i: int) -> dict[str, Any]:
        """Return an object's row without its latents; what is not finite is None."""
        row: dict[str, Any] = self.table.slice(i, 1).to_pylist()[0]
        return replace_nonfinite(row)

    def archive_url(self, i: int) -> str:
        """Return the address of the archive's page of an object, "" where there is none."""
        return get_archive(self.store.config.archive_name).viewer_url(self.get_row(i))

    def index(self, object_id: str) -> int | None:
        """Return the place of an object, None where it is not in the catalogue."""
        return self._index_by_id.get(object_id)


def open_explorer_data(root: str) -> ExplorerData:
    """Open the current catalogue of a root.

    Raises
    ------
    FileNotFoundError
        Before anything was published.
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
    said = read_latents(store, run.model_id, ("z_mean", "z_log_var"))
    z_mean, z_log_var = said["z_mean"][rows], said["z_log_var"][rows]
    return ExplorerData(
        root=root,
        record=record,
        dataset=dataset,
        table=table.combine_chunks(),
        classes=[replace_nonfinite(row) for row in tables["classes"].to_table().to_pylist()],
        store=store,
        store_rows=rows,
        model=load_model(model_url(root, run.model_id)),
        scaled_latents=scale_by_posterior_width(z_mean, z_log_var),
        z_mean=z_mean,
    )


def parse_position(text: str) -> tuple[float, float, float] | None:
    """Read "ra dec [radius]": degrees [ICRS] and arcsec; None where it is something else.

    Examples
    --------
    >>> position("34.4048 -5.22487")
    (34.4048, -5.22487, 5.0)
    >>> position('02:17:37.2 -05:13:30 2"')
    (34.405, -5.225, 2.0)
    >>> position("mock-4055") is None
    True
    """
    parts = POSITION_PATTERN.fullmatch(text)
    if parts is None:
        return None
    try:
        ra: Any = Angle(parts[1], "hourangle" if re.search("[:h]", parts[1]) else "deg")
        dec: Any = Angle(parts[2], "deg")
        radius = float(parts[3] or DEFAULT_RADIUS)
    except ValueError:
        return None
    at = round(float(ra.degree), 10), round(float(dec.degree), 10)
    return (*at, radius) if 0.0 <= at[0] <= 360.0 and abs(at[1]) <= 90.0 else None


def replace_nonfinite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with None for what JSON cannot say.

    Examples
    --------
    >>> finite({"z": float("nan"), "name": "a"})
    {'z': None, 'name': 'a'}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _is_displayable(data_type: pa.DataType) -> bool:
    return pa.types.is_string(data_type) or pa.types.is_integer(data_type) or pa.types.is_floating(data_type)


def _category_values(values: pa.ChunkedArray) -> list[str]:
    """Return a text column's values in order, or none where they are too many; a sample tells most."""
    if len(values.slice(0, 10 * MAX_CATEGORIES).unique()) > MAX_CATEGORIES:
        return []
    distinct: Sequence[str | None] = values.unique().to_pylist()
    return sorted(value for value in distinct if value is not None) if len(distinct) <= MAX_CATEGORIES else []
