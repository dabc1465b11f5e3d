"""Columns of ``objects`` as the explorer shows them: their values, groups and categories."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from distspec.archives.base import Archive
from distspec.explorer.payloads import ColumnInfo
from distspec.measurements.features import list_reconstruction_columns

MAX_CATEGORIES = 64
"""Largest number of distinct values of a text column that is treated as a category."""
LATENT_COLUMN_PATTERN = re.compile(r"z_(mean|log_var)_\d+")
MEASUREMENTS, RECONSTRUCTION, OTHER = "measurements", "measurements of the reconstruction", "other"
OBSERVATION = "observation"
GROUPS = (
    ("source", re.compile(r"object_id|source_id|root|srcid|ra|dec|_healpix_29|version|store_row")),
    (
        OBSERVATION,
        re.compile(
            r"z(_source|_class|_model.*)?|p_outlier|grating|filter|grade|snr|norm.*|slope|n_valid|split"
        ),
    ),
    (
        "class",
        re.compile(
            r"cluster_(label|prob|entropy|stability)|(previous_)?class_(id|name)|umap_\d|galaxy_type.*"
        ),
    ),
    ("class probabilities", re.compile(r"cluster_prob_\d+")),
    ("labels", re.compile(r"human_label|mark")),
    ("anomaly", re.compile(r"anomaly_.*|log_prob")),
    ("bad pixels", re.compile(r"artefact_.*|n_masked")),
    (MEASUREMENTS, re.compile("")),
    (RECONSTRUCTION, re.compile("")),
    (
        "latent variables and fit",
        re.compile(rf"{LATENT_COLUMN_PATTERN.pattern}|amplitude|recon_(mse|chi2_red)"),
    ),
    (OTHER, re.compile("")),
)
"""Groups of columns in the order in which they are listed, with a pattern of the names."""
NOT_COMPONENTS = ("anomaly_score", "anomaly_rank")
"""Columns of the anomaly that are no components of its score."""


def describe_column(field: pa.Field, values: pa.ChunkedArray | None, archive: type[Archive]) -> ColumnInfo:
    """Describe a column for the page.

    Parameters
    ----------
    field : Field
        Name, type, unit and description.
    values : ChunkedArray or None
        Its values; only those of texts are needed.
    archive : type of Archive
        Archive of the spectra, which defines the measurements.

    Returns
    -------
    ColumnInfo
    """
    metadata = field.metadata or {}
    unit, description = (metadata.get(key, b"").decode() for key in (b"unit", b"description"))
    group = find_group(field.name, archive)
    if values is None or not pa.types.is_string(field.type):
        return ColumnInfo(field.name, "number", unit, description, group=group)
    categories = list_categories(values)
    value_type = "category" if categories else "text"
    return ColumnInfo(field.name, value_type, unit, description, categories, group)


def find_group(name: str, archive: type[Archive]) -> str:
    """Return the group of a column, one of `GROUPS`.

    Parameters
    ----------
    name : str
        Name of the column.
    archive : type of Archive
        Archive of the spectra, which defines the measurements.

    Returns
    -------
    str
    """
    if name in {column.name for column in archive.observation_columns}:
        return OBSERVATION
    if name in {column.name for column in archive.measurements.columns}:
        return MEASUREMENTS
    if name in {column.name for column in list_reconstruction_columns(archive.measurements)}:
        return RECONSTRUCTION
    return next((group for group, pattern in GROUPS if pattern.fullmatch(name)), OTHER)


def list_anomaly_components(columns: Sequence[ColumnInfo]) -> tuple[str, ...]:
    """Return the names of the components of the anomaly score [dex], in the order of the table.

    Parameters
    ----------
    columns : sequence of ColumnInfo
        Columns of ``objects``.

    Returns
    -------
    tuple of str
    """
    return tuple(
        column.name
        for column in columns
        if column.group == "anomaly" and column.unit == "dex" and column.name not in NOT_COMPONENTS
    )


def is_displayable(data_type: pa.DataType) -> bool:
    """Return whether the page can show values of a type: texts and numbers.

    Parameters
    ----------
    data_type : DataType
        Type of a column.

    Returns
    -------
    bool
    """
    return pa.types.is_string(data_type) or pa.types.is_integer(data_type) or pa.types.is_floating(data_type)


def list_categories(values: pa.ChunkedArray) -> tuple[str, ...]:
    """Return the sorted values of a text column; empty if there are more than `MAX_CATEGORIES`.

    Parameters
    ----------
    values : ChunkedArray
        Texts.

    Returns
    -------
    tuple of str
    """
    if len(values.slice(0, 10 * MAX_CATEGORIES).unique()) > MAX_CATEGORIES:  # fast test on a sample
        return ()
    distinct: Sequence[str | None] = values.unique().to_pylist()
    if len(distinct) > MAX_CATEGORIES:
        return ()
    return tuple(sorted(value for value in distinct if value is not None))
