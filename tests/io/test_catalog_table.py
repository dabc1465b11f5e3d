import math

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import Angle
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import ArchiveError, QuarantineReason
from distspec.io.catalog_table import MISSING_VALUES, CatalogTable
from distspec.io.table_formats import TableContent, parse_table


def table(columns, units=None):
    return CatalogTable(TableContent(pa.table(columns), units or {}), "t.csv")


def csv(text):
    return CatalogTable(parse_table(text.encode(), "t.csv"), "t.csv")


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1.5, None, math.nan]),
        pa.array(["1.5", None, "nan"]),
        pa.array([b"+1.5", b"", b"--"]),
        pa.array([" 1.50 ", "N/A", "null"]).dictionary_encode(),
        pa.array(["15e-1", "---", "<NA>"], pa.large_string()),
    ],
)
def test_numbers_of_all_types(values):
    read = table({"z": values})
    assert np.array_equal(read.numbers("z"), [1.5, np.nan, np.nan], equal_nan=True)
    assert not read.problems


def test_malformed_cells_concern_their_row_only():
    read = table({"z": ["1.5?", "2", "inf", "1,5", "3."]})
    assert np.array_equal(read.numbers("z"), [np.nan, 2, np.nan, np.nan, 3], equal_nan=True)
    assert read.problems[0] == "row 1 of the table: z is '1.5?', not a finite number"
    assert sorted(read.problems) == [0, 2, 3]
    assert read.has_problem.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize(
    "values", [["QSO", "GALAXY"], [True, False], [[1.0], [2.0]], pa.array([1, 2], pa.timestamp("s"))]
)
def test_column_without_numbers_is_refused(values):
    with pytest.raises(ArchiveError, match=r"^t\.csv: .*column z"):
        table({"z": values}).numbers("z")


@pytest.mark.parametrize("bad", [2.5, 255.0, -1e300, math.inf])
def test_integers(bad):
    read = table({"grade": [3.0, None, bad]})
    assert read.integers("grade", missing=-1).tolist() == [3, -1, -1]
    assert list(read.problems) == [2]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["110.0", "007", " 5 ", "", "1e1", "1.5", "a.0"], ["110", "007", "5", "", "1e1", "1.5", "a.0"]),
        (pa.array([110, None, 2**62 + 1]), ["110", "", str(2**62 + 1)]),
        ([110.0, math.nan, None, 1.0058975e7], ["110", "", "", "10058975"]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        ([b"x1", b"--"], ["x1", ""]),
        (["1.10000000000000000e+02", "9007199254740993"], ["110", "9007199254740993"]),
    ],
)
def test_identifiers(values, expected):
    read = table({"id": values})
    assert read.identifiers("id") == expected
    assert not read.problems


def test_identifiers_that_lost_digits_are_malformed():
    read = table({"id": [39627664646473313.0, 1.0]})
    read.identifiers("id")
    assert "not an exact identifier" in read.problems[0]
    assert len(read.problems) == 1


@pytest.mark.parametrize("name", ["z", "Z_spec"])
def test_names_that_differ_in_case(name):
    read = table({name: [1.0], "other": [2.0]})
    assert read.require_column("q", name.swapcase()) == name
    assert read.find_column(name.swapcase(), exact=True) == ""
    with pytest.raises(ArchiveError, match="no column q or w; its columns are"):
        read.require_column("q", "w")


@pytest.mark.parametrize("header", ["z,Z", "z,z", "Z,z"])
def test_columns_of_one_name_are_refused_with_all_of_them(header):
    first, second = header.split(",")
    with pytest.raises(ArchiveError, match=f"be z: '{first}' .column 1. and '{second}' .column 2.; keep one"):
        csv(f"{header}\n1,2\n").require_column("z")


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("", 1),
        ("deg", 1),
        ("Degrees", 1),
        ("RAD", 180 / math.pi),
        ("radians", 180 / math.pi),
        ("hours", 15),
        ("h", 15),
        ("hourangle", 15),
        ("arcmin", 1 / 60),
        ("mas", 1 / 3.6e6),
    ],
)
def test_units_of_positions(unit, factor):
    ra = table({"ra": [2.0, None]}, {"ra": unit}).degrees("ra", is_right_ascension=True)
    assert np.allclose(ra, [2.0 * factor, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("column", "unit"), [("ra", "furlong"), ("dec", "hourangle"), ("dec", "h:m:s"), ("ra", "what?")]
)
def test_other_units_of_positions_are_refused(column, unit):
    read = table({column: [1.0]}, {column: unit})
    with pytest.raises(ArchiveError, match=rf"unit '{unit.replace('?', '.')}' of column {column}"):
        read.degrees(column, is_right_ascension=column == "ra")


@pytest.mark.parametrize("unit", ["mag", "km/s", "deg"])
def test_redshift_with_a_unit_is_refused(unit):
    with pytest.raises(ArchiveError, match=f"unit '{unit}' of column z is not dimensionless"):
        table({"z": [1.0]}, {"z": unit}).numbers("z")


RA = 15.0 * (3 + 32 / 60 + 44.1 / 3600)


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("03:32:44.1", "", RA),
        ("03 32 44.1", "hourangle", RA),
        ("03h32m44.1s", "deg", RA),
        ("3:32:44.1", '"h:m:s"', RA),
        ("53:11:01.5", "deg", 53 + 11 / 60 + 1.5 / 3600),
        ("53d11m01.5s", "", 53 + 11 / 60 + 1.5 / 3600),
        ("53.5", "", 53.5),
    ],
)
def test_sexagesimal_right_ascension(text, unit, expected):
    read = table({"ra": [text]}, {"ra": unit})
    assert np.allclose(read.degrees("ra", is_right_ascension=True), [expected], rtol=0, atol=1e-9)
    assert not read.problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-00:30:36", -0.51), ("+62d15m", 62.25), ("-27°48′36″", -27.81), ("-5 30 0", -5.5)],
)
def test_sexagesimal_declination(text, expected):
    assert np.allclose(table({"d": [text]}).degrees("d", is_right_ascension=False), [expected], atol=1e-9)


@pytest.mark.parametrize("text", ["25:00:00", "03:32:99", "03:99:00", "3:32:44:1", "a:b:c", "east", "inf"])
def test_text_that_is_no_angle_is_malformed(text):
    read = table({"ra": [text, "1.0"]})
    assert np.array_equal(read.degrees("ra", is_right_ascension=True), [np.nan, 1.0], equal_nan=True)
    assert read.problems[0].endswith("not an angle")


@settings(max_examples=30)
@given(st.floats(0, 359.99), st.floats(-90, 90))
def test_sexagesimal_text_is_the_inverse_of_astropy(ra, dec):
    texts = {
        "ra": [Angle(ra, "deg").to_string("hourangle", sep=":", precision=7)],
        "dec": [Angle(dec, "deg").to_string("deg", sep=" ", precision=6, pad=True, alwayssign=True)],
    }
    read = table(texts)
    assert read.degrees("ra", is_right_ascension=True)[0] == pytest.approx(ra, abs=1e-8)
    assert read.degrees("dec", is_right_ascension=False)[0] == pytest.approx(dec, abs=1e-8)


@settings(max_examples=30)
@given(
    st.lists(
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([*MISSING_VALUES, "NaN", "x", "1.5?"])), min_size=1
    )
)
def test_every_cell_is_a_number_missing_or_malformed(cells):
    read = table({"z": [str(cell) for cell in cells] + ["1", "2"]})
    z = read.numbers("z")
    for row, cell in enumerate(cells):
        if isinstance(cell, float):
            assert z[row] == cell
        else:
            assert np.isnan(z[row])
            assert (row in read.problems) == (cell in {"x", "1.5?"})


def test_bad_lines_become_records():
    [record] = csv("a,b\n1,2\n3\n").describe_bad_lines()
    assert record.reason is QuarantineReason.BAD_ROW
    assert record.object_id == "t.csv line 3"
