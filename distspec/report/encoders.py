"""Encoders of the spectra of an edition: the model, weighted PCA, and tables of embeddings."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.table import Table
from numpy.typing import NDArray

from distspec.clustering.feature_space import scale_by_posterior_width
from distspec.core.errors import CatalogError, ConfigError
from distspec.core.spectrum import Floats
from distspec.io.files import read_bytes
from distspec.io.table_formats import parse_table
from distspec.models.weighted_pca import N_COMPONENTS, WeightedPCA
from distspec.report.external import ID_COLUMNS, find_id_column, match_rows
from distspec.store.store import Store

MODEL_NAME, PCA_NAME = "model", "weighted PCA"
MAX_FITTED_SPECTRA = 4_000
"""Largest number of spectra that weighted PCA is fitted to."""
BLOCK_SIZE = 500
"""Number of spectra that weighted PCA encodes at a time."""


@dataclass(frozen=True)
class Encoder:
    """Spectra as points of a space.

    Attributes
    ----------
    name : str
        Name of the encoder.
    description : str
        What the points are, one sentence.
    points : ndarray of shape (n_spectra, n_dimensions)
        One point per row of ``objects``; NaN for spectra that the encoder does not have, or that are not
        compared.
    n_known : int
        Number of spectra that the encoder has.
    """

    name: str
    description: str
    points: Floats
    n_known: int

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether the encoder has each spectrum."""
        return np.asarray(np.isfinite(self.points).all(axis=1))


def parse_embedding_options(options: Sequence[str]) -> dict[str, str]:
    """Return the files of embeddings by name.

    Parameters
    ----------
    options : sequence of str
        Texts of the form ``NAME=FILE``.

    Raises
    ------
    ConfigError
        If a text has another form, or a name occurs twice.

    Examples
    --------
    >>> parse_embedding_options(["hyrax=umap.parquet", "findakin=/data/a=b.csv"])
    {'hyrax': 'umap.parquet', 'findakin': '/data/a=b.csv'}
    """
    files: dict[str, str] = {}
    for option in options:
        name, equals, url = option.partition("=")
        if not (name and equals and url):
            raise ConfigError(f"--embedding {option}: give NAME=FILE, such as hyrax=embedding.parquet")
        if name in {*files, MODEL_NAME, PCA_NAME}:
            raise ConfigError(f"--embedding {option}: the name {name} is taken: choose another one")
        files[name] = url
    return files


def encode_with_model(objects: pa.Table) -> Encoder:
    """Return the latents of the model of the edition, in units of the widths of their posteriors.

    Parameters
    ----------
    objects : Table
        Table ``objects``.
    """
    mean, log_variance = (
        np.column_stack(
            [objects[name].to_numpy() for name in objects.column_names if name.startswith(prefix)]
        )
        for prefix in ("z_mean_", "z_log_var_")
    )
    points = scale_by_posterior_width(mean, log_variance).astype(np.float64)
    text = f"{points.shape[1]} latents of the edition's model, in units of their posterior widths"
    return Encoder(MODEL_NAME, text, points, len(points))


def encode_with_pca(objects: pa.Table, store: Store, rows: NDArray[np.int64], seed: int) -> Encoder:
    """Fit weighted PCA to spectra of the training set, and encode some spectra.

    Parameters
    ----------
    objects : Table
        Columns ``store_row`` and ``split``.
    store : Store
        Store of the spectra.
    rows : ndarray of shape (n_encoded,)
        Positions in `objects` of the spectra to encode; the points of the others are NaN.
    seed : int
        Seed of the sample to fit, and of the fit.
    """
    store_rows = objects["store_row"].to_numpy()
    is_trained = np.array([split != "validation" for split in objects["split"].to_pylist()], bool)
    fitted = np.random.default_rng(seed).permutation(np.flatnonzero(is_trained))[:MAX_FITTED_SPECTRA]
    pca = WeightedPCA.fit(*store.read_spectra(np.sort(store_rows[fitted])), seed)
    points = np.full((len(objects), N_COMPONENTS), np.nan)
    for start in range(0, len(rows), BLOCK_SIZE):
        block = rows[start : start + BLOCK_SIZE]
        points[block] = pca.embed(*store.read_spectra(store_rows[block])).mean
    points = pca.scale_to_reconstructions(points)
    text = (
        f"{N_COMPONENTS} noise-weighted principal components (Bailey 2012), fitted to {len(fitted):,} "
        "spectra; distances are those between the reconstructions"
    )
    return Encoder(PCA_NAME, text, points, len(points))


def read_embedding(name: str, url: str, objects: pa.Table) -> Encoder:
    """Read a table of embeddings, and join it to the spectra of an edition.

    The table has a column ``object_id``, or else ``source_id``, and either one column with a list of numbers
    per row, or a column of numbers for each dimension.

    Parameters
    ----------
    name : str
        Name of the encoder.
    url : str
        File or URL: Parquet, CSV, ECSV, FITS or VOTable.
    objects : Table
        Columns ``object_id`` and ``source_id``, one row per spectrum.

    Raises
    ------
    CatalogError
        If the table has no identifier, an identifier twice, none of the spectra, several columns of lists,
        lists of different lengths, or no numbers.
    """
    content = read_bytes(url)
    table = parse_table(content, url).columns
    id_column = find_id_column(table, url)
    values, text = _read_points(table, content, url)
    rows = match_rows(table[id_column].cast("string"), objects[id_column], url, id_column)
    points = np.full((len(objects), values.shape[1]), np.nan)
    matched = np.flatnonzero(np.asarray(rows.is_valid()))
    points[matched] = values[rows.drop_null().to_numpy()]
    n_known = int(np.isfinite(points).all(axis=1).sum())
    return Encoder(name, f"{text} of {url.rpartition('/')[2]}", points, n_known)


def _read_points(table: pa.Table, content: bytes, url: str) -> tuple[Floats, str]:
    """Return the points of a table, and their description."""
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    if len(lists) > 1:
        raise CatalogError(f"{url} has {len(lists)} columns of lists, {', '.join(lists)}: keep one of them")
    if lists:
        points = _read_lists(content, lists[0], url)
        return points, f"column {lists[0]} with {points.shape[1]} numbers"
    columns = {
        name: numbers
        for name in table.column_names
        if name not in ID_COLUMNS and (numbers := _to_numbers(table[name])) is not None
    }
    if not columns:
        raise CatalogError(
            f"{url} has no column of numbers beside the identifier; its columns are "
            f"{', '.join(table.column_names)}: give one column per dimension, or one of lists"
        )
    names = [*columns]
    shown = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
    return np.column_stack([*columns.values()]), f"{len(names)} columns ({shown})"


def _read_lists(content: bytes, name: str, url: str) -> Floats:
    """Return a column with several numbers per row, which tables of catalogs leave out."""
    try:
        if content.startswith(b"PAR1"):
            rows: Any = pq.read_table(io.BytesIO(content), columns=[name])[name].to_pylist()
        else:
            file_format = "fits" if content.startswith(b"SIMPLE") else "votable"
            rows = Table.read(io.BytesIO(content), format=file_format)[name]
        width = max((len(row) for row in rows if row is not None), default=0)
        missing = [np.nan] * width
        points = np.array([missing if row is None else row for row in rows], np.float64)
    except (ValueError, TypeError) as error:
        raise CatalogError(f"{url}: column {name} has no lists of equally many numbers ({error})") from error
    if points.ndim != 2 or not width:
        raise CatalogError(f"{url}: column {name} has no lists of numbers")
    return points


def _to_numbers(column: pa.ChunkedArray) -> Floats | None:
    """Return a column as numbers with NaN for missing ones; None if it is something else."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(column.cast("float64").to_numpy(), np.float64)
    if not pa.types.is_string(column.type):
        return None
    try:
        return np.array([float(text) if text else np.nan for text in column.to_pylist()])
    except ValueError:
        return None


def read_known_classes(url: str, objects: pa.Table, column: str) -> Mapping[str, list[str | None]]:
    """Read known classes of the spectra of an edition.

    Parameters
    ----------
    url : str
        Table with a column ``object_id``, or else ``source_id``.
    objects : Table
        Columns ``object_id`` and ``source_id``.
    column : str
        Column of the classes; empty: ``truth_class``, or else the only other column.

    Returns
    -------
    mapping of str to list of str or None
        Class of each spectrum by the name of the column, None where the table has none.

    Raises
    ------
    CatalogError
        If there is no such column, or the tables cannot be joined.
    """
    table = parse_table(read_bytes(url), url).columns
    id_column = find_id_column(table, url)
    others = [name for name in table.column_names if name not in ID_COLUMNS]
    name = column or ("truth_class" if "truth_class" in others else others[0] if len(others) == 1 else "")
    if name not in others:
        raise CatalogError(
            f"{url} has no column {name or 'truth_class'}: give --class-column one of {', '.join(others)}"
        )
    rows = match_rows(table[id_column].cast("string"), objects[id_column], url, id_column)
    return {name: [value or None for value in table[name].cast("string").take(rows).to_pylist()]}
