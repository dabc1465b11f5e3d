"""Catalogs of all archives: every row is accounted for, however the catalog is written."""

import csv
import io
import math
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.spex import SpeX
from distspec.core.errors import ArchiveError
from distspec.ingest.diff import clean_listing, compare_listing, count_rows

FORMATS = ("csv", "fits", "ascii.ecsv", "votable", "parquet", "parquet.pandas")
ANGLES = ("deg", "sexagesimal", "rad", "hourangle")
TIMES = ("T", " ", "Z", "+02:00", "float", "text", "native")


def as_float(values):
    """Write a column as floating-point numbers, as pandas does where a value is missing."""
    return [None if value is None else float(value) for value in values]


def as_integer(values):
    return [None if value is None else int(value) for value in values]


def as_float32(values):
    return [None if value is None else np.float32(value) for value in values]


def as_text(values, start=""):
    return [None if value is None else f"{start}{value}" for value in values]


def write_times(times, notation):
    def write(time):
        if notation == "native":
            return time
        if notation in ("float", "text"):
            return str(time.timestamp()) if notation == "text" else time.timestamp()
        if notation == "+02:00":
            time = time.astimezone(timezone(timedelta(hours=2)))
        return time.isoformat("T" if notation == "T" else " ").replace("+00:00", notation.strip("T "))

    return [None if time is None else write(time) for time in times]


def write_angles(angles, notation, *, is_right_ascension):
    """Return angles in a notation, and the unit to declare."""
    if notation == "deg":
        return angles, "deg"
    if notation == "sexagesimal":
        unit = "hourangle" if is_right_ascension else "deg"
        return [Angle(angle, "deg").to_string(unit, sep=":", precision=8) for angle in angles], None
    unit = notation if notation != "hourangle" or is_right_ascension else "deg"
    return [float(Angle(angle, "deg").to_value(unit)) for angle in angles], unit


def to_bytes(columns, form):
    """Return a table in a format; its columns are pairs of values, None where missing, and a unit or None."""
    buffer = io.BytesIO()
    if form == "csv":
        text = io.StringIO()
        rows = zip(*(values for values, _ in columns.values()), strict=True)
        csv.writer(text).writerows(
            [list(columns), *(["" if cell is None else cell for cell in row] for row in rows)]
        )
        return text.getvalue().encode()
    if form == "parquet":
        fields, arrays = [], []
        for name, (values, unit) in columns.items():
            arrays.append(pa.array(values))
            fields.append(pa.field(name, arrays[-1].type, metadata={"unit": unit} if unit else None))
        pq.write_table(pa.table(arrays, schema=pa.schema(fields)), buffer)
    elif form == "parquet.pandas":
        pa.table({name: values for name, (values, _) in columns.items()}).to_pandas().to_parquet(buffer)
    else:
        table = Table()
        for name, (values, unit) in columns.items():
            fill = next(value for value in values if value is not None)
            filled = [fill if value is None else value for value in values]
            unit = None if form == "fits" else unit
            table[name] = MaskedColumn(filled, mask=[value is None for value in values], unit=unit)
        if form == "fits":  # astropy itself refuses to write hours
            hdu = fits.table_to_hdu(table)
            for name, (_, unit) in columns.items():
                hdu.columns.change_unit(name, unit or "")
            hdu.writeto(buffer)
        elif form == "ascii.ecsv":
            text = io.StringIO()
            table.write(text, format=form)
            return text.getvalue().encode()
        else:
            table.write(buffer, format=form)
    return buffer.getvalue()


@st.composite
def catalogs(draw):
    """Return rows of a catalog with gaps, malformed values and repeated files."""
    start = datetime(2024, 5, 1, 22, tzinfo=UTC)
    row = st.fixed_dictionaries(
        {
            "number": st.sampled_from([*range(1, 9), None]),
            "z": st.sampled_from([None, math.inf, -1.0, 0.5, 4.5, 6.123, 30.0]),
            "grade": st.sampled_from([3, 3, 3, 2, 2.5, None]),
            "ra": st.sampled_from([0.0, 53.125, 359.5, 150.25]),
            "dec": st.sampled_from([-89.5, -27.75, 0.0, 2.5]),
            "time": st.sampled_from([None, start, start + timedelta(days=40, milliseconds=500)]),
        }
    )
    rows = draw(st.lists(row, min_size=1, max_size=10))
    # One row has no gap, so that no column is empty or malformed as a whole.
    rows.append({"number": 9, "z": 5.0, "grade": 3, "ra": 10.0, "dec": 1.0, "time": start})
    return {name: [row[name] for row in rows] for name in rows[0]}


SPELLINGS = st.fixed_dictionaries(
    {
        "form": st.sampled_from(FORMATS),
        "angles": st.sampled_from(ANGLES),
        "times": st.sampled_from(TIMES),
        "rename": st.sampled_from([str.lower, str.upper, str]),
        "ids": st.sampled_from([list, as_float, as_text, partial(as_text, start="00")]),
        "z": st.sampled_from([list, as_float32, as_text]),
    }
)


def positions(rows, spelling, ra, dec):
    notation = spelling["angles"]
    if spelling["form"] in ("csv", "parquet.pandas") and notation not in ("deg", "sexagesimal"):
        notation = "deg"  # these formats have no units
    return {
        ra: write_angles(rows["ra"], notation, is_right_ascension=True),
        dec: write_angles(rows["dec"], notation, is_right_ascension=False),
    }


def write_times_of(rows, spelling):
    notation = spelling["times"]
    if notation == "native" and "parquet" not in spelling["form"]:
        notation = "T"
    return write_times(rows["time"], notation)


def file_names(rows, pattern):
    return [None if number is None else pattern.format(number) for number in rows["number"]]


def dja(rows, spelling):
    rename = spelling["rename"]
    versions = [0.1, "0.10", "0.1"][TIMES.index(spelling["times"]) % 3]
    n = len(rows["z"])
    columns = {
        "file": (file_names(rows, "a-v4_prism-clear_1_{}.spec.fits"), None),
        "root": (["a-v4"] * n, None),
        **positions(rows, spelling, "ra", "dec"),
        "z_best": (spelling["z"](rows["z"]), None),
        "grade": (as_float(rows["grade"]), None),
    }
    exact = {"ctime": (write_times_of(rows, spelling), None), "version": ([versions] * n, None)}
    return {rename(name): column for name, column in columns.items()} | exact


def jades(rows, spelling):
    columns = {
        "NIRSpec_ID": (spelling["ids"](rows["number"]), None),
        "z_Spec": (spelling["z"](rows["z"]), None),
        **positions(rows, spelling, "RA_TARG", "Dec_TARG"),
    }
    return {spelling["rename"](name): column for name, column in columns.items()}


def spex(rows, spelling):
    pattern = "%Y-%m-%d" if spelling["times"] in ("T", "Z") else "%Y%m%d"
    dates = [None if time is None else time.strftime(pattern) for time in rows["time"]]
    write = {list: list, as_float: as_float}.get(spelling["ids"], as_text)
    columns = {
        "DATA_FILE": (file_names(rows, "{}.fits.gz"), None),
        "SOURCE_KEY": (write(rows["number"]), None),
        "OBSERVATION_DATE": (dates if "-" in pattern else write(as_integer(dates)), None),
        **positions(rows, spelling, "RA", "DEC"),
    }
    return {spelling["rename"](name): column for name, column in columns.items()}


def multifiber(rows, spelling, pattern):
    columns = {"file": (file_names(rows, pattern), None), "version": (write_times_of(rows, spelling), None)}
    return {spelling["rename"](name): column for name, column in columns.items()}


ARCHIVES = {
    "dja": (DJA, dja),
    "jades": (JADES, jades),
    "spex": (SpeX, spex),
    "sdss": (SDSS, partial(multifiber, pattern="spec-1-2-{}.fits")),
    "desi": (DESI, partial(multifiber, pattern="coadd-main-dark-{}.fits")),
}


def store_of(listing):
    """Return what `compare_listing` needs of a store into which a listing was ingested."""
    diff = compare_listing(listing.spectra, None, malformed=listing.rejected)
    n = len(diff.to_read)
    latest = diff.to_read.select(["object_id", "version"])
    latest = latest.append_column("withdrawn", pa.array([False] * n, pa.bool_()))
    latest = latest.append_column("row", pa.array(range(n), pa.int64()))
    records = {
        name: pa.array([str(getattr(record, name)) for record in diff.rejected], pa.string())
        for name in ("object_id", "version", "reason")
    }
    return SimpleNamespace(latest_rows=lambda: latest, read_quarantine=lambda: pa.table(records))


@pytest.mark.parametrize("name", ARCHIVES)
@settings(max_examples=8)
@given(data=st.data())
def test_every_row_is_counted_and_another_spelling_is_nothing_new(name, tmp_path_factory, data):
    archive, spell = ARCHIVES[name]
    folder = tmp_path_factory.mktemp(name)
    rows, listings = data.draw(catalogs()), []
    for number in set(rows["number"]) - {None}:
        (folder / f"00{number}_prism_clear_v5.0_1D.fits").touch()
    for i in range(2):
        spelling = data.draw(SPELLINGS)
        # The name of the file is that of the records of rows, and thus the same.
        path = folder / f"{i}" / "table"
        path.parent.mkdir()
        path.write_bytes(to_bytes(spell(rows, spelling), spelling["form"]))
        listings.append(archive(catalog=str(path), url=str(folder)).read_listing())
    one, other = listings
    counts, of_other = (count_rows(listing.counts, listing.spectra) for listing in listings)
    assert counts == of_other
    assert counts.read == len(rows["z"]), f"{counts}"
    assert counts.selected == len(clean_listing(one.spectra)[0])
    for column in ("ra", "dec", "z"):
        assert np.allclose(one.spectra[column], other.spectra[column], atol=1e-6, equal_nan=True)
    assert compare_listing(other.spectra, store_of(one), malformed=other.rejected).is_empty


PLAIN = {"form": "csv", "angles": "deg", "times": "T", "rename": str, "ids": list, "z": list}
KEYS = {"dja": "file", "jades": "NIRSpec_ID", "spex": "DATA_FILE", "sdss": "file", "desi": "file"}
NUMBERS = {
    "dja": ("ra", "dec", "z_best", "grade"),
    "jades": ("RA_TARG", "Dec_TARG", "z_Spec"),
    "spex": ("RA", "DEC"),
}
COLUMNS = [*KEYS.items(), *((name, column) for name, columns in NUMBERS.items() for column in columns)]


@pytest.fixture
def list_changed(tmp_path):
    """Return a function that lists three good spectra of an archive after a change of its catalog."""
    for number in (110, 120, 130):
        (tmp_path / f"000{number}_prism_clear_v5.0_1D.fits").touch()

    def list_catalog(name, change=lambda columns: None, form="csv"):
        archive, spell = ARCHIVES[name]
        rows = {"number": [110, 120, 130], "z": [5.0, 6.0, 7.0], "grade": [3] * 3, "ra": [10.0, 20.0, 30.0]}
        rows |= {"dec": [-5.0, 0.0, 5.0], "time": [datetime(2024, 5, 1, tzinfo=UTC)] * 3}
        columns = spell(rows, PLAIN)
        change(columns)
        (tmp_path / "table").write_bytes(to_bytes(columns, form))
        return archive(catalog=str(tmp_path / "table"), url=str(tmp_path)).read_listing()

    return list_catalog


def replace_second(column, cell):
    """Return a change of the second cell of a column."""

    def change(columns):
        values, unit = columns[column]
        values = as_float(values) if isinstance(cell, float) else values
        columns[column] = ([values[0], cell, values[2]], unit)

    return change


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_missing_column_is_named_in_one_line(list_changed, name, column):
    assert len(list_changed(name).spectra) == 3
    with pytest.raises(ArchiveError, match=rf"has no column (?i:.*{column}.*); its columns are") as caught:
        list_changed(name, lambda columns: columns.pop(column))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ARCHIVES)
def test_all_missing_columns_are_named_at_once(list_changed, name):
    with pytest.raises(ArchiveError, match="table has no column") as caught:
        list_changed(
            name,
            lambda columns: (
                [columns.pop(column) for column in list(columns)] and columns.update(own=([1, 2, 3], None))
            ),
        )
    message = str(caught.value)
    assert all(column.lower() in message.lower() for archive, column in COLUMNS if archive == name)
    assert message.count(" no column ") == {"dja": 6, "jades": 4, "spex": 5}.get(name, 1)
    assert "; its columns are own: rename columns of it, or give another table" in message
    assert "\n" not in message


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_columns_of_one_name_are_refused_with_all_of_them(list_changed, name, column):
    other = column.swapcase()
    with pytest.raises(ArchiveError, match=f"'{column}' .* and '{other}' .*; (keep|give)"):
        list_changed(name, lambda columns: columns.update({other: ([1, 2, 3], None)}))


@pytest.mark.parametrize(
    ("name", "column", "cell"),
    [
        *((name, column, "5,1") for name, columns in NUMBERS.items() for column in columns),
        *(("dja", "grade", cell) for cell in (2.5, 255.0, math.inf)),
        ("spex", "SOURCE_KEY", float(2**53 + 2)),
    ],
)
def test_a_malformed_cell_quarantines_its_row_only(list_changed, name, column, cell):
    first, second, third = list_changed(name).spectra["object_id"].to_pylist()
    form = "csv" if isinstance(cell, str) else "parquet"
    listing = list_changed(name, replace_second(column, cell), form)
    assert listing.spectra["object_id"].to_pylist() == [first, third]
    [record] = listing.rejected
    assert (record.object_id, str(record.reason)) == (second, "bad_row")
    assert f"row 2 of the table: {column} is" in record.detail


@pytest.mark.parametrize("cell", [None, "--", "N/A", math.nan])
@pytest.mark.parametrize(
    ("name", "column", "reason"), [("dja", "z_best", "no redshift"), ("dja", "grade", "grade")]
)
def test_a_missing_cell_is_counted(list_changed, name, column, reason, cell):
    listing = list_changed(name, replace_second(column, cell))
    assert (len(listing.spectra), listing.deselected, listing.rejected) == (2, {reason: 1}, [])


@pytest.mark.parametrize("cell", [None, "--"])
@pytest.mark.parametrize("column", ["OBSERVATION_DATE", "SOURCE_KEY"])
def test_a_star_without_a_date_or_a_key_is_listed(list_changed, column, cell):
    listing = list_changed("spex", replace_second(column, cell))
    name = {"OBSERVATION_DATE": "version", "SOURCE_KEY": "source_key"}[column]
    assert listing.spectra[name].to_pylist()[1] == ""
    assert len(listing.spectra) == 3


@pytest.mark.parametrize("ids", [as_float, as_text, partial(as_text, start="000")])
@pytest.mark.parametrize("form", FORMATS)
def test_redshifts_are_found_by_ids_of_any_type(list_changed, ids, form):
    def change(columns):
        columns["NIRSpec_ID"] = (ids(columns["NIRSpec_ID"][0]), None)

    assert list_changed("jades", change, form).spectra["z"].to_pylist() == [5.0, 6.0, 7.0]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("notation", ANGLES)
@pytest.mark.parametrize("form", ["ascii.ecsv", "fits", "votable", "parquet"])
def test_positions_are_in_degrees_whatever_the_declared_unit(list_changed, name, notation, form):
    def change(columns):
        for column in NUMBERS[name][:2]:
            values = columns[column][0]
            is_right_ascension = "RA" in column.upper()
            columns[column] = write_angles(values, notation, is_right_ascension=is_right_ascension)

    listing = list_changed(name, change, form)
    assert np.allclose(listing.spectra["ra"], [10.0, 20.0, 30.0], atol=1e-7)
    assert np.allclose(listing.spectra["dec"], [-5.0, 0.0, 5.0], atol=1e-7)


def test_json_is_no_format_of_catalogs(tmp_path):
    (tmp_path / "t.json").write_text('[{"file": "a.fits", "z": 5.0}]')
    with pytest.raises(ArchiveError, match=r"t\.json") as caught:
        DJA(catalog=str(tmp_path / "t.json"), url=str(tmp_path)).read_listing()
    assert "\n" not in str(caught.value)
