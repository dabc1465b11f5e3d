"""SQL that converts the columns of a result to types that Arrow or the format of a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from distspec.core.text import FORMULA_PATTERN, escape_formula

ASTROPY_FORMATS = ("fits", "votable", "ecsv")

NATIVE_TYPES = ("boolean", "utinyint", "smallint", "integer", "bigint", "float", "double")
"""DuckDB's types that FITS, VOTable and ECSV hold."""
WIDER_TYPES = {"tinyint": "SMALLINT", "usmallint": "INTEGER", "uinteger": "BIGINT"}
"""Types in which FITS, VOTable and ECSV hold integers of other types of DuckDB."""
LARGE_INTEGERS = ("ubigint", "hugeint", "uhugeint")
NESTED_TYPES = ("list", "array", "struct", "map", "union", "variant")
NOT_IN_ARROW = ("bit", "time with time zone", "uhugeint", "bignum")
"""Types that lose their meaning in Arrow; they are texts there."""
TEXT_TYPES = ("varchar", "enum", "json", "blob")
"""DuckDB's types that are texts of any content in CSV."""


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names by which DuckDB calls the columns of a subquery; repeated names are numbered.

    Parameters
    ----------
    names : sequence of str
        Names of columns; names that differ only in case are repeated names.

    Returns
    -------
    list of str

    Examples
    --------
    >>> unique_names(["a", "A", "b"])
    ['a', 'A_1', 'b']
    """
    unique: list[str] = []
    for name in names:
        candidate, n = name, 0
        while candidate.lower() in (other.lower() for other in unique):
            n += 1
            candidate = f"{name}_{n}"
        unique.append(candidate)
    return unique


def select_columns(result: Any, output_format: str) -> Any:
    """Return a result with columns of unique names and of types that a format holds.

    Parameters
    ----------
    result : duckdb.DuckDBPyRelation
        Result of a query.
    output_format : str
        "arrow", or a format of `distspec.catalog.output_formats`.

    Returns
    -------
    duckdb.DuckDBPyRelation
    """
    selected: list[str] = []
    for name, column_type in zip(unique_names(result.columns), result.types, strict=True):
        expression = _convert(quote_name(name), name, column_type, output_format)
        alias = quote_name(escape_formula(name) if output_format == "csv" else name)
        selected.append(f"{expression} AS {alias}")
    return result.query("result", f"SELECT {', '.join(selected)} FROM result")


def find_xtype(column_type: Any, arrow_type: pa.DataType) -> str:
    """Return VOTable's xtype of texts that represent values of another type; empty if there is none.

    Parameters
    ----------
    column_type : duckdb.sqltypes.DuckDBPyType
        Type of a column of a result.
    arrow_type : DataType
        Type of the column that `select_columns` makes of it.

    Returns
    -------
    str
    """
    if not pa.types.is_string(arrow_type):
        return ""
    if column_type.id in NESTED_TYPES:
        return "json"
    return "timestamp" if column_type.id.startswith("timestamp") else ""


def _convert(expression: str, name: str, column_type: Any, output_format: str) -> str:
    """Return an SQL expression of a column in the form that a format can hold."""
    kind = column_type.id
    if output_format == "json":
        return _finite(expression, column_type)
    if kind in NOT_IN_ARROW:
        return f"{expression}::VARCHAR"
    if output_format == "csv":
        if kind in NESTED_TYPES:
            return _as_json(expression, column_type)
        return _escape_formula(f"{expression}::VARCHAR") if kind in TEXT_TYPES else expression
    if output_format in ASTROPY_FORMATS:
        return _convert_for_astropy(expression, name, column_type, output_format)
    if output_format == "parquet" and kind == "interval":
        return f"{expression}::VARCHAR"
    if output_format == "parquet" and kind in ("union", "variant"):
        return _as_json(expression, column_type)
    return expression


def _convert_for_astropy(expression: str, name: str, column_type: Any, output_format: str) -> str:
    """Return an SQL expression of a column in a type of FITS, VOTable and ECSV."""
    kind = column_type.id
    if kind in NATIVE_TYPES:
        return expression
    if kind in WIDER_TYPES:
        return f"{expression}::{WIDER_TYPES[kind]}"
    scale = dict(column_type.children)["scale"] if kind == "decimal" else 0
    if kind in LARGE_INTEGERS or kind == "decimal":
        target = "DOUBLE" if scale else "BIGINT"
        message = quote(
            f"column {name} has numbers of type {column_type} that {output_format.upper()} cannot hold: "
            f"select CAST({name} AS VARCHAR)"
        )
        converted = f"TRY_CAST({expression} AS {target})"
        is_same = f"TRY_CAST({converted} AS {column_type}) IS NOT DISTINCT FROM {expression}"
        return f"CASE WHEN {is_same} THEN {converted} ELSE error({message}) END"
    if kind in ("list", "array"):
        element = dict(column_type.children)["child"].id
        if element in (*NATIVE_TYPES, *WIDER_TYPES) and element != "boolean":
            return f"{expression}::{WIDER_TYPES.get(element, element)}[]"
    if kind in NESTED_TYPES:
        return _as_json(expression, column_type)
    if kind == "timestamp with time zone":
        return f"replace(timezone('UTC', {expression})::VARCHAR, ' ', 'T') || 'Z'"
    text = f"{expression}::VARCHAR"
    return f"replace({text}, ' ', 'T')" if kind.startswith("timestamp") else text


def _as_json(expression: str, column_type: Any) -> str:
    return f"to_json({_finite(expression, column_type)})::VARCHAR"


def _escape_formula(text: str) -> str:
    is_formula = f"regexp_matches({text}, {quote(FORMULA_PATTERN)})"
    return f"CASE WHEN {is_formula} THEN chr(39) || {text} ELSE {text} END"


def _finite(expression: str, column_type: Any, depth: int = 0) -> str:
    """Return an SQL expression in which numbers that are not finite, also nested ones, are null."""
    element = f"_element_{depth}"
    if column_type.id in ("float", "double"):
        return f"CASE WHEN isfinite({expression}) THEN {expression} END"
    if column_type.id in ("list", "array"):
        finite = _finite(element, dict(column_type.children)["child"], depth + 1)
        return (
            f"list_transform({expression}, lambda {element}: {finite})" if finite != element else expression
        )
    if column_type.id == "struct":
        fields = {name: f"struct_extract({expression}, {quote(name)})" for name, _ in column_type.children}
        values = {name: _finite(fields[name], child, depth + 1) for name, child in column_type.children}
        if values != fields:
            packed = ", ".join(f"{quote_name(name)} := {value}" for name, value in values.items())
            return f"CASE WHEN {expression} IS NOT NULL THEN struct_pack({packed}) END"
    if column_type.id == "map":
        value = f"struct_extract({element}, 'value')"
        if (finite := _finite(value, dict(column_type.children)["value"], depth + 1)) != value:
            pair = f"struct_pack(key := struct_extract({element}, 'key'), value := {finite})"
            return f"map_from_entries(list_transform(map_entries({expression}), lambda {element}: {pair}))"
    return expression


def quote(text: str) -> str:
    """Return a text as a string of SQL.

    Parameters
    ----------
    text : str
        The text.

    Returns
    -------
    str
    """
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return the name of a column or table as an identifier of SQL.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    str
    """
    return '"' + name.replace('"', '""') + '"'
