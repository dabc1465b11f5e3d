"""Measured redshifts in the published tables: columns of ``objects``, and the table ``redshifts``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.anomaly.score import DOUBTFUL_PROBABILITY
from distspec.core import schema
from distspec.core.arrow import pc
from distspec.redshifts.measured import MEASURED_SCHEMA, build_keys, read_current, read_measured
from distspec.redshifts.selection import get_archive_version

REDSHIFT_TABLES = ("redshifts",)
"""Names of the tables, which editions of earlier versions do not have."""


def read_newest_measured(root: str) -> pa.Table:
    """Return the measured redshifts that are used, of the newest version of each spectrum.

    Parameters
    ----------
    root : str
        Root of the project.

    Returns
    -------
    Table
        `MEASURED_SCHEMA`; without rows if no redshift was measured.
    """
    current = read_current(root)
    if current is None:
        return MEASURED_SCHEMA.empty_table()
    table = read_measured(root, current.measurement_id, MEASURED_SCHEMA.names)
    newest = dict(zip(table["object_id"].to_pylist(), range(len(table)), strict=True))
    return table.take(pa.array(sorted(newest.values()), pa.int64()))


def match_objects(measured: pa.Table, ledger: pa.Table) -> dict[str, Any]:
    """Return the measured redshifts of the rows of a catalog.

    Parameters
    ----------
    measured : Table
        Result of `read_newest_measured`.
    ledger : Table
        Columns ``object_id`` and ``version`` of the rows.

    Returns
    -------
    dict of str to array of shape (n_rows,)
        The columns `distspec.core.schema.MEASURED_REDSHIFT_COLUMNS`, null where nothing was measured.
    """
    versions = pa.array([get_archive_version(v) for v in ledger["version"].to_pylist()], pa.string())
    keys = build_keys(pa.table({"object_id": ledger["object_id"], "version": versions}))
    found = measured.take(pc.index_in(keys, value_set=build_keys(measured)))
    return {column.name: _clean(found[column.name]) for column in schema.MEASURED_REDSHIFT_COLUMNS}


def build_redshifts(measured: pa.Table, objects: pa.Table, provenance: Mapping[str, str]) -> pa.Table:
    """Build ``redshifts``: all measured redshifts, the most doubtful ones of the archive first.

    Parameters
    ----------
    measured : Table
        Result of `read_newest_measured`.
    objects : Table
        The table ``objects``.
    provenance : mapping of str to str
        Metadata of the table.

    Returns
    -------
    Table
        With `distspec.core.schema.REDSHIFTS_SCHEMA`.
    """
    own = objects.take(pc.index_in(measured["object_id"], value_set=objects["object_id"]))
    p_outlier = own["p_outlier"].fill_null(np.nan).to_numpy()
    status = np.array(own["z_source"].fill_null("not used").to_pylist(), object)
    is_galaxy = np.array([name == "galaxy" for name in own["z_class"].to_pylist()], bool)
    status[(status == "archive") & is_galaxy & (p_outlier >= DOUBTFUL_PROBABILITY)] = "doubtful"
    order = pa.array(np.argsort(measured["ln_probability_archive"].to_numpy(), kind="stable"))  # NaN: last
    values = {name: _clean(measured[name]) for name in MEASURED_SCHEMA.names}
    values |= {"status": pa.array(status.tolist(), pa.string()), "z_source": own["z_source"]}
    table = pa.table(values).take(order)
    columns = {name: table[name] for name in table.column_names}
    return schema.build_table(columns, schema.REDSHIFTS_SCHEMA, provenance)


def _clean(values: pa.ChunkedArray) -> Any:
    """Return values with null for NaN and for empty texts."""
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), None, values)
    return pc.if_else(pc.equal(values, ""), None, values) if pa.types.is_string(values.type) else values
