"""Every value of every published table survives every format, as the guide to catalogs states it."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import warnings

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

import distspec
from distspec.catalog.editions import publish
from distspec.catalog.output_formats import SUFFIXES, duckdb_errors, find_output_format
from distspec.catalog.sql_columns import unique_names
from distspec.core.errors import CatalogError, ConfigError, StorageError
from distspec.core.text import unescape_formula
from distspec.project.tables import QueryResult
from tests.helpers.published import tables as made_tables

FORMATS = ("csv", "json", "parquet", "fits", "votable", "ecsv")
NAN_IS_NULL = ("json", "fits", "votable")
"""Formats in which NaN and null are the same."""
KEPT_COLUMNS = ("object_id", "ra", "dec", "z", "_healpix_29", "cluster_label", "anomaly_rank")
TEXTS = (
    "",
    "α 3σ, 5000 Å",
    " a ",
    '"',
    '"a"',
    "=1+1",
    "a,b\n\tc",
    "\x00",
    "\x85\u2028",
    "𝒵",
    "nan",
    "\\u0061",
)
FLOATS = (0.1, -0.0, math.inf, -math.inf, 1e-300, None)
TABLES = made_tables(20)


def awkward_values(arrow_type, n, shift):
    """Return values that some format would change, and nulls."""
    if pa.types.is_list(arrow_type):
        values = (
            [["Å,", ""], [], ["a", '"b"', "]"]]
            if pa.types.is_string(arrow_type.value_type)
            else [[1], [], [2, 3]]
        )
    elif pa.types.is_string(arrow_type):
        values = [*TEXTS, None]
    elif pa.types.is_boolean(arrow_type):
        values = [True, None, False]
    elif pa.types.is_integer(arrow_type):
        limits = np.iinfo(arrow_type.to_pandas_dtype())
        values = [int(limits.min), None, int(limits.max), 0, int(limits.max) // 2**10 + 1]
    else:
        values = [np.float32(x) if x and arrow_type == pa.float32() else x for x in FLOATS]
    return pa.array([values[(i + shift) % len(values)] for i in range(n)], arrow_type)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A root with every table, and awkward values in most columns."""
    root = str(tmp_path_factory.mktemp("published"))
    tables = {}
    for name, table in TABLES.items():
        columns = [
            table[field.name] if field.name in KEPT_COLUMNS else awkward_values(field.type, len(table), i)
            for i, field in enumerate(table.schema)
        ]
        tables[name] = pa.Table.from_arrays(columns, schema=table.schema)
    publish(root, tables, "r-made", "snapshot", {})
    return distspec.open(root)


def read_astropy(path, **options):
    """Return the columns of a table that astropy reads, decoded as documented."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = Table.read(path, **options)
    return {decode_text(name): [decode_cell(cell) for cell in table[name]] for name in table.colnames}


def decode_cell(cell):
    if cell is np.ma.masked or isinstance(cell, np.ma.core.MaskedConstant):
        return None
    if isinstance(cell, np.ndarray | list):
        return [decode_cell(element) for element in cell]
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, bytes):
        cell = cell.decode("ascii")
    return decode_text(cell) if isinstance(cell, str) else cell


def decode_text(text):
    return json.loads(text) if text.startswith('"') else text or None


def read_csv(path):
    """Return the columns of a CSV file as texts; only cells without quotation marks are null."""
    convert = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    lines = csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, parse_options=lines) as reader:
        convert.column_types = dict.fromkeys(reader.schema.names, pa.string())
    table = csv.read_csv(path, parse_options=lines, convert_options=convert)
    return {
        unescape_formula(name): [text and unescape_formula(text) for text in column.to_pylist()]
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def read_json(path, names):
    rows = json.loads(path.read_bytes(), parse_constant=refuse_constant)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else names)}


def refuse_constant(text):
    raise AssertionError(f"{text} is not JSON")


def read_back(path, output_format, names):
    """Return the columns of a file as lists."""
    if output_format == "csv":
        return read_csv(path)
    if output_format == "json":
        return read_json(path, names)
    if output_format == "parquet":
        return pq.read_table(path).to_pydict()
    options = {"use_names_over_ids": True} if output_format == "votable" else {}
    return read_astropy(path, format="ascii.ecsv" if output_format == "ecsv" else output_format, **options)


def parse(value, arrow_type, is_lost):
    """Return a value, or its representation in a file, as Python's value of a type; null if it is lost."""
    types = pa.types
    if types.is_nested(arrow_type) and isinstance(value, str):
        value = json.loads(value)
    if value is None:
        return None
    if types.is_struct(arrow_type):
        return {field.name: parse(value[field.name], field.type, is_lost) for field in arrow_type}
    if types.is_nested(arrow_type):
        return [parse(element, arrow_type.value_type, is_lost) for element in value]
    if types.is_boolean(arrow_type):
        return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    if types.is_floating(arrow_type):
        number = float(np.float64(value).astype(arrow_type.to_pandas_dtype()))
        return None if is_lost(number) else number
    if types.is_integer(arrow_type):
        return int(value)
    if types.is_decimal(arrow_type):
        return decimal.Decimal(str(value)).normalize()
    if types.is_timestamp(arrow_type):
        time = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
        return time.astimezone(datetime.UTC) if time.tzinfo else time
    if types.is_temporal(arrow_type):
        of_type = datetime.date if types.is_date(arrow_type) else datetime.time
        return of_type.fromisoformat(value) if isinstance(value, str) else value
    return value


def same(found, value, arrow_type, output_format):
    """Return whether a value of a file is the one that was written, as far as the format keeps it."""
    is_nested = pa.types.is_nested(arrow_type)
    is_json = output_format == "json" or (is_nested and isinstance(found, str))
    nan_is_null = output_format in NAN_IS_NULL or (is_nested and output_format != "parquet")

    def is_lost(number):
        return is_json if math.isinf(number) else nan_is_null and math.isnan(number)

    return repr(parse(found, arrow_type, is_lost)) == repr(parse(value, arrow_type, is_lost))


def check(table, path, output_format):
    """Check that all values of a file are those of a table."""
    names = unique_names(table.column_names)
    found = read_back(path, output_format, names)
    assert list(found) == names
    for name, column in zip(names, table.columns, strict=True):
        values = column.to_pylist()
        assert len(found[name]) == len(values)
        for one, other in zip(found[name], values, strict=True):
            assert same(one, other, column.type, output_format), (name, column.type, one, other)


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("name", TABLES)
def test_every_table_survives_every_format(project, tmp_path, name, output_format):
    path = tmp_path / f"table.{output_format}"
    with path.open("wb") as file:
        project.save_query(f"FROM {name}", output_format, file)
    check(project.tables[name].to_arrow(), path, output_format)


@pytest.mark.parametrize("output_format", FORMATS)
def test_tables_without_rows_keep_their_columns(project, tmp_path, output_format):
    for name in ("sweep", "confusion"):
        path = tmp_path / f"{name}.{output_format}"
        result = project.query(f"FROM {name} WHERE false")
        result.write(path)
        check(result.table, path, output_format)


@pytest.mark.parametrize("output_format", ["parquet", "parquet.votable", "fits", "votable", "ascii.ecsv"])
def test_units_and_descriptions_survive(project, tmp_path, output_format):
    result = project.query("SELECT object_id, lya_ew, norm, galaxy_type_reason FROM objects")
    path = tmp_path / f"a.{output_format.rpartition('.')[2]}"
    result.write(path, {"parquet.votable": "parquet"}.get(output_format, ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Table.read(path, format=output_format)
    for field in result.table.schema:
        unit = field.metadata[b"unit"].decode()
        assert found[field.name].unit == (Unit(unit) if unit else None)
        assert " ".join(found[field.name].description.split()) == field.metadata[b"description"].decode()
    if output_format == "fits":
        header = fits.getheader(path, 1)
        assert header["TCOMM2"] == found["lya_ew"].description


INTEGER_TYPES = [getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32)] + [
    pa.int64()
]
LIMITS = {arrow_type: np.iinfo(arrow_type.to_pandas_dtype()) for arrow_type in INTEGER_TYPES}
NUMBERS = {
    **{key: st.integers(int(limits.min), int(limits.max)) for key, limits in LIMITS.items()},
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
}
VALUES = {
    **NUMBERS,
    pa.bool_(): st.booleans(),
    pa.string(): st.text() | st.sampled_from(TEXTS),
    pa.decimal128(12, 3): st.integers(-(10**12) + 1, 10**12 - 1).map(lambda n: decimal.Decimal(n).scaleb(-3)),
    pa.timestamp("us"): st.datetimes(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(datetime.UTC)),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from(TEXTS),
    **{pa.list_(key): st.lists(st.none() | value) for key, value in NUMBERS.items()},
    pa.list_(pa.string()): st.lists(st.none() | st.sampled_from(TEXTS)),
    pa.list_(pa.list_(pa.bool_())): st.lists(st.lists(st.booleans())),
    pa.struct([("a", pa.string()), ("b", pa.float64())]): st.fixed_dictionaries(
        {"a": st.none() | st.sampled_from(TEXTS), "b": st.floats()}
    ),
}
NAMES = ("a", "A", "α β", " x", "=n", '"q"', "count_star()", "nan")


@st.composite
def random_tables(draw):
    n = draw(st.integers(0, 4))
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3))
    columns = [pa.array(range(n), pa.int32())]
    for _ in names:
        arrow_type = draw(st.sampled_from(list(VALUES)))
        values = st.lists(st.none() | VALUES[arrow_type], min_size=n, max_size=n)
        columns.append(pa.array(draw(values), arrow_type))
    return pa.Table.from_arrays(columns, names=["row", *names])


@settings(max_examples=15)
@given(table=random_tables())
def test_any_table_survives_every_format(tmp_path_factory, table):
    folder = tmp_path_factory.mktemp("any")
    for output_format in FORMATS:
        path = folder / f"a.{output_format}"
        QueryResult(table).write(path)
        check(table, path, output_format)


SQL_VALUES = {
    "count(*)": 3,
    "sum(i)": 3,
    "1.5": 1.5,
    "TIMESTAMPTZ '2020-01-01 01:00+02'": "2019-12-31T23:00:00Z",
    "'infinity'::TIMESTAMP": "infinity",
    "INTERVAL 1 DAY": "1 day",
    "'101'::BIT": "101",
    "340282366920938463463374607431768211455::UHUGEINT": "340282366920938463463374607431768211455",
    "'01:00:00+02'::TIMETZ": "01:00:00+02",
    "'a'::ENUM('a')": "a",
    r"'\xAA='::BLOB": r"\xAA=",
    "map{'a': [1]}": '{"a":[1]}',
    "[1, 2]::INT[2]": [1, 2],
    "[true]": "[true]",
    "['α']": '["α"]',
    "union_value(a := 1)": '{"a":1}',
    "NULL": None,
}


@pytest.mark.parametrize("output_format", FORMATS)
def test_other_types_of_queries(project, tmp_path, output_format):
    columns = ", ".join(f"{value} AS c{i}" for i, value in enumerate(SQL_VALUES))
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        project.save_query(f"SELECT {columns} FROM range(3) AS r(i)", output_format, file)
    if output_format == "parquet":
        found = duckdb.sql(f"FROM read_parquet('{path}')").fetchall()[0]
        assert found[:3] == (3, 3, decimal.Decimal("1.5"))
    else:
        found = [cells[0] for cells in read_back(path, output_format, []).values()]
    assert len(found) == len(SQL_VALUES)
    if output_format in ("fits", "votable", "ecsv"):
        hidden = r"\u03b1" if output_format == "fits" else "α"
        assert found == [x.replace("α", hidden) if isinstance(x, str) else x for x in SQL_VALUES.values()]


def test_values_that_a_format_cannot_hold_are_refused(project, tmp_path):
    for value in (2**63, "12345678901234567890.5"):
        message = r"^column x has numbers of type \S+ that FITS cannot hold: select CAST\(x AS VARCHAR\)$"
        with pytest.raises(CatalogError, match=message):
            project.query(f"SELECT {value} AS x").write(tmp_path / "a.fits")
    assert list(tmp_path.iterdir()) == []
    project.query(f"SELECT {2**63} AS x").write(tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet")["x"].to_pylist() == [2**63]
    with pytest.raises(CatalogError, match="at most 999 columns"):
        QueryResult(pa.table({f"c{i}": [1] for i in range(1000)})).write(tmp_path / "a.fits")


def test_columns_of_one_name_have_the_description_of_their_table(project):
    for name in ("confusion", "classes"):
        field = project.query(f"SELECT share FROM {name}").table.schema.field("share")
        assert field.metadata == TABLES[name].schema.field("share").metadata
    joined = project.query("SELECT share FROM confusion JOIN classes USING (cluster_label, share)")
    assert set(joined.table.schema.field("share").metadata) == {b"unit"}


def test_repeated_names_are_numbered(project):
    result = project.query("SELECT 1 AS d, 2 AS d, 'a' AS \"D\"")
    assert result.columns == ["d", "d_1", "D_2"]
    assert result.to_astropy()["d_1"][0] == 2


def test_all_numbers_of_a_type_and_null(tmp_path):
    QueryResult(pa.table({"x": pa.array([*range(256), None], pa.uint8())})).write(tmp_path / "a.fits")
    assert read_astropy(tmp_path / "a.fits")["x"] == [*range(256), None]


def test_nan_is_found_in_parquet(tmp_path):
    QueryResult(pa.table({"x": [1.0, math.nan]})).write(tmp_path / "a.parquet")
    sql = f"SELECT count(*) FROM '{tmp_path / 'a.parquet'}' WHERE isnan(x)"
    assert duckdb.sql(sql).fetchall() == [(1,)]


def test_the_format_follows_from_the_name_or_is_given():
    assert {ending: find_output_format(f"s3://b/a.{ending.upper()}") for ending in SUFFIXES} == SUFFIXES
    assert find_output_format("a.dat", "fits") == "fits"
    with pytest.raises(ConfigError, match=r"the name of a\.txt ends in none of \.csv, .*: rename it"):
        find_output_format("a.txt")
    with pytest.raises(ConfigError, match="no format hdf5: use one of csv"):
        find_output_format("a.fits", "hdf5")


def test_a_full_temporary_folder_is_a_storage_error():
    error = duckdb.IOException(
        '{"exception_message":"Could not write file \\"/t/result\\": No space left on device"}'
    )
    with pytest.raises(StorageError, match="No space left on device: free some space"), duckdb_errors():
        raise error
