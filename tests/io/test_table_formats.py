import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from distspec.core.errors import ArchiveError
from distspec.io.table_formats import parse_table

TABLE = Table({"name": ["a", "b"], "ra": MaskedColumn([0.5, 1.5], mask=[False, True], unit="rad")})


def parse(content, url="t"):
    return parse_table(content, url)


def write(table, **options):
    if options["format"] == "parquet":  # astropy writes it only to a path
        with TemporaryDirectory() as folder:
            table.write(f"{folder}/t.parquet")
            return Path(f"{folder}/t.parquet").read_bytes()
    buffer = io.StringIO() if options["format"].startswith("ascii") else io.BytesIO()
    table.write(buffer, **options)
    content = buffer.getvalue()
    return content.encode() if isinstance(content, str) else content


@pytest.mark.parametrize("name", ["ascii.ecsv", "ascii.ipac", "fits", "votable", "parquet"])
def test_formats_are_recognized_by_content_with_units_and_nulls(name):
    content = parse(write(TABLE, format=name), "wrong.csv")
    assert content.columns.to_pydict() == {"name": ["a", "b"], "ra": [0.5, None]}
    assert content.units == {"ra": "rad"}


@pytest.mark.parametrize(
    "text",
    [
        b"a,b\n1,x y\n",
        b"\xef\xbb\xbfa,b\r\n1,x y\r\n",
        b"# comment\n#\na;b\n1;x y",
        b"a\tb\n1\tx y\n\n",
        b"a , b\n1,x y\n# end\n",
        b"a|b\r1|x y\r",
        "a,b\n1,x y\n".encode("utf-16"),
    ],
)
def test_csv_notations(text):
    assert parse(text).columns.to_pydict() == {"a": ["1"], "b": ["x y"]}


def test_ipac_with_keywords_and_a_header_of_two_lines():
    text = b"\\fixlen = T\n\\ from a survey\n| name|       z|\r\n| char|  double|\n  a b   5.25  \n"
    assert parse(text).columns.to_pydict() == {"name": ["a b"], "z": [5.25]}


def test_csv_cells_keep_their_text():
    text = b"id,v\n007,0.10\n9007199254740993,\n"
    assert parse(text).columns.to_pydict() == {"id": ["007", "9007199254740993"], "v": ["0.10", ""]}


def test_latin_1_header():
    assert parse("name,größe\nä,1\n".encode("latin-1")).columns.to_pydict() == {"name": ["ä"], "größe": ["1"]}


def test_lines_with_another_number_of_cells_are_reported():
    content = parse(b"a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert content.columns["a"].to_pylist() == ["1", "7"]
    assert content.bad_lines == {
        3: "line 3 has 1 cells instead of 2: 3",
        4: "line 4 has 3 cells instead of 2: 4,5,6",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"<!DOCTYPE html><html></html>", "begins with"),
        (b'a,b\n1,"2\n3,4\n5,6\n', "quotation mark"),
        (b"\x00\x01\x02", "binary"),
        (b"PAR1 no", "Parquet"),
        (b"SIMPLE  =  no", "FITS"),
        (fits.PrimaryHDU().header.tostring().encode(), "no table"),
        (b"<?xml version='1.0'?><VOTABLE><broken", "VOTable"),
    ],
)
def test_other_content_is_refused_in_one_line(content, message):
    with pytest.raises(ArchiveError, match=f"^t.csv is unreadable as .*{message}") as caught:
        parse(content, "t.csv")
    assert "\n" not in str(caught.value)


def test_quotation_marks_within_a_cell():
    assert parse(b'a,b\n5" slit,1\n').columns.to_pydict() == {"a": ['5" slit'], "b": ["1"]}
    assert parse(b'a,b\n"x\ny",2\n').columns.to_pydict() == {"a": ["x\ny"], "b": ["2"]}


def test_units_in_the_fields_of_parquet_and_the_index_of_pandas():
    schema = pa.schema([pa.field("ra", pa.float64(), metadata={"unit": "rad"})])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"ra": [1.0]}, schema=schema), buffer)
    assert parse(buffer.getvalue()).units == {"ra": "rad"}
    frame = pd.DataFrame({"a": [1, 2]}, index=[3, 4])
    assert parse(frame.to_parquet()).columns.column_names == ["a"]


def test_fits_table_and_integers_with_a_null():
    columns = [
        fits.Column("id", "J", array=np.array([5, -99], np.int32), null=-99),
        fits.Column("v", "2D", array=np.ones((2, 2))),
        fits.Column("s", "3A", array=np.array(["x", ""])),
    ]
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="FIRST")]
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])], name="OBS_INFO"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    assert parse_table(buffer.getvalue(), "t", "Obs_info").columns.to_pydict() == {"a": [1]}
    table = parse(buffer.getvalue()).columns
    assert table["id"].to_pylist() == [5, None]
    assert table["s"].to_pylist()[0] == "x"
    assert pa.types.is_list(table["v"].type)
