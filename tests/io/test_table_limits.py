"""Tables of others that would make a reader open other files, or allocate without bound."""

import gzip
import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from distspec.archives.catalogs import read_catalog
from distspec.core.errors import ArchiveError
from distspec.io.remote.config import AccessConfig
from distspec.io.table_formats import parse_table
from distspec.io.table_limits import check_votable, read_parquet

ROW = "<DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA>"
ROWS = "<DATA><TABLEDATA><TR><TD>&e;</TD></TR></TABLEDATA></DATA>"


def votable(data=ROW, table="", doctype="", datatype="int"):
    return (
        f'<?xml version="1.0"?>{doctype}<VOTABLE version="1.3"><RESOURCE><TABLE {table}>'
        f'<FIELD name="x" datatype="{datatype}"/>{data}</TABLE></RESOURCE></VOTABLE>'
    ).encode()


def test_a_votable_is_read():
    assert parse_table(votable(table='nrows="1"'), "x.vot").columns["x"].to_pylist() == [1]


@pytest.mark.parametrize("kind", ["BINARY", "BINARY2", "FITS"])
@pytest.mark.parametrize("way", ["plain", "prefix", "entity", "utf-16"])
def test_a_votable_reads_no_other_file(tmp_path, kind, way):
    secret = tmp_path / "secret"
    secret.write_bytes(b"password")
    stream = f'<STREAM href="file://{secret}" encoding="none"/>'
    data = f"<DATA><{kind}>{stream}</{kind}></DATA>"
    content = votable(data)
    if way == "prefix":
        content = content.replace(b"STREAM ", b"v:STREAM ").replace(
            b"<VOTABLE ", b'<VOTABLE xmlns:v="urn:x" '
        )
    elif way == "entity":
        doctype = f"<!DOCTYPE VOTABLE [<!ENTITY s '{stream}'>]>"
        content = votable(data.replace(stream, "&s;"), doctype=doctype)
    elif way == "utf-16":
        content = content.decode().encode("utf-16")
    with pytest.raises(ArchiveError) as caught:
        parse_table(content, "x.vot")
    assert "password" not in str(caught.value)
    if way != "utf-16":
        with pytest.raises(ValueError, match="another URL"):
            check_votable(content)


def test_entities_of_a_votable_neither_expand_without_bound_nor_read_files(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("4711")
    levels = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    laughs = f'<!DOCTYPE x [<!ENTITY a0 "aaaaaaaaaa">{levels}]>'
    with pytest.raises(ArchiveError, match=r"amplification|entities"):
        parse_table(votable(ROWS.replace("&e;", "&a9;"), doctype=laughs), "x.vot")
    external = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    content = votable(ROWS, doctype=external, datatype="double")
    assert 4711 not in parse_table(content, "x.vot").columns["x"].to_pylist()


def test_nested_elements_and_declared_rows_are_limited():
    deep = b'<?xml version="1.0"?><VOTABLE version="1.3">' + b"<RESOURCE>" * 100_000
    with pytest.raises(ArchiveError):
        parse_table(deep, "x.vot")
    with pytest.raises(ArchiveError, match="declares 2000000000 rows"):
        parse_table(votable(table='nrows="2000000000"'), "x.vot")


@pytest.mark.parametrize(
    ("datatype", "array_size"), [("double", "100000000"), ("bit", "80000x1000"), ("char", "9000000000")]
)
def test_arrays_of_a_votable_have_an_element_in_the_file(datatype, array_size):
    content = votable().replace(b'datatype="int"', f'datatype="{datatype}" arraysize="{array_size}"'.encode())
    with pytest.raises(ArchiveError, match=r"declares [0-9,]{10,} numbers and letters"):
        parse_table(content, "x.vot")


def test_tables_of_a_votable_are_limited_one_by_one():
    fields = "".join(f'<FIELD name="f{i}" datatype="int"/>' for i in range(2000))
    wide = f"<TABLE>{fields}<DATA><TABLEDATA><TR>{'<TD>1</TD>' * 2000}</TR></TABLEDATA></DATA></TABLE>"
    rows = "<TR><TD>1</TD></TR>" * 5000
    content = votable(f"<DATA><TABLEDATA>{rows}</TABLEDATA></DATA>")
    both = content.replace(b"</RESOURCE>", wide.encode() + b"</RESOURCE>")
    assert parse_table(both, "x.vot").columns.num_rows == 5000
    parameter = b'<PARAM name="p" datatype="double" arraysize="999999999" value="1"/>'
    with pytest.raises(ArchiveError, match="declares 999,999,999 numbers"):
        parse_table(content.replace(b"<TABLE", parameter + b"<TABLE", 1), "x.vot")


def test_binary_rows_of_a_votable_have_bytes():
    data = '<DATA><BINARY><STREAM encoding="base64">YWJj</STREAM></BINARY></DATA>'
    content = votable(data).replace(b'datatype="int"', b'datatype="char" arraysize="0"')
    with pytest.raises(ArchiveError, match="rows of no bytes"):
        parse_table(content, "x.vot")


@pytest.mark.parametrize("array_size", ["5", "255", "*", "64*", "1"])
def test_texts_of_a_votable_may_be_shorter_than_declared(array_size):
    content = votable().replace(b'datatype="int"', f'datatype="char" arraysize="{array_size}"'.encode())
    assert parse_table(content, "x.vot").columns["x"].to_pylist() == ["1"]


def test_a_fits_table_of_empty_rows_is_refused():
    cards = ["XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 2000000000"]
    cards += ["PCOUNT  = 0", "GCOUNT  = 1", "TFIELDS = 1", "TTYPE1  = 'file'", "TFORM1  = '0A'", "END"]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU()]).writeto(buffer)
    content = buffer.getvalue() + "".join(card.ljust(80) for card in cards).encode().ljust(2880)
    with pytest.raises(ArchiveError, match="declares 2000000000 rows in 5,760 bytes"):
        parse_table(content, "x.fits")


def test_the_number_of_columns_is_limited():
    names = [f"c{i}" for i in range(20_000)]
    with pytest.raises(ArchiveError, match="20,000 columns, more than 10,000"):
        parse_table(",".join(names).encode() + b"\n", "x.csv")
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: [1] for name in names}), buffer)
    with pytest.raises(ArchiveError, match="20,000 columns, more than 10,000"):
        parse_table(buffer.getvalue(), "x.parquet")


@pytest.mark.parametrize("store_schema", [True, False])
def test_a_long_text_in_every_row_of_parquet_is_not_decoded(store_schema):
    column = pa.DictionaryArray.from_arrays(np.zeros(60_000, np.int32), ["x" * 1_000_000])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": column}), buffer, compression="zstd", store_schema=store_schema)
    content = buffer.getvalue()
    assert len(content) < 1000
    before = pa.total_allocated_bytes()
    with pytest.raises(ArchiveError, match="expand to more than"):
        parse_table(content, "x.parquet")
    assert pa.total_allocated_bytes() - before < 50_000_000


def test_arrays_of_parquet_are_not_read():
    arrays = pa.array([[1, 2], None])
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": arrays, "id": ["x", None], "s": [{"b": 1}, {"b": 2}]}), buffer)
    table = read_parquet(buffer.getvalue())
    assert table.column_names == ["a", "id", "s"]
    assert table["id"].to_pylist() == ["x", None]
    assert table["a"].null_count == table["s"].null_count == 2


@pytest.mark.parametrize("name", ["csv", "ecsv", "fits", "vot", "parquet"])
def test_a_gzip_bomb_in_place_of_a_catalog(tmp_path, name):
    starts = {"csv": b"file,z\n", "ecsv": b"# %ECSV 1.0\n", "fits": b"SIMPLE  =", "parquet": b"PAR1"}
    start = starts.get(name, b"<?xml version='1.0'?><VOTABLE>")
    path = tmp_path / f"t.{name}.gz"
    path.write_bytes(gzip.compress(start + bytes(3_000_000), 1))
    with pytest.raises(ArchiveError, match=r"too_large: .* decompress to more than 1,000,000$"):
        read_catalog(str(path), AccessConfig(max_catalog_mb=1.0))


def test_an_archive_of_files_is_no_catalog():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("t.csv", b"0" * 10_000_000)
    with pytest.raises(ArchiveError, match="binary file"):
        parse_table(buffer.getvalue(), "t.csv")


def test_parquet_expands_to_a_limit():
    column = pa.DictionaryArray.from_arrays(np.zeros(1_000_000, np.int32), ["abcdefghij"]).cast(pa.string())
    buffer = io.BytesIO()
    pq.write_table(pa.table({"id": column}), buffer)
    content = buffer.getvalue()
    assert len(content) < 10_000
    assert read_parquet(content).num_rows == 1_000_000
    with pytest.raises(ValueError, match="expand to more than 2,000,000"):
        read_parquet(content, 2_000_000)


def test_arrays_in_a_fits_catalog_are_not_read():
    n = 20_000
    arrays = np.empty(n, dtype=object)
    arrays[:] = [np.zeros(1)] * n
    arrays[0] = np.zeros(n)
    columns = [fits.Column("id", "J", array=np.arange(n)), fits.Column("a", "PD()", array=arrays, null=None)]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(buffer)
    content = buffer.getvalue()
    end = content.rindex(b"END     ")
    start = end + 2880 - end % 2880
    rows = np.column_stack([np.arange(n), np.full(n, n), np.zeros(n)]).astype(">i4").tobytes()
    content = content[:start] + rows + content[start + len(rows) :]  # 3.2 GB in 0.5 MB
    table = parse_table(content, "x.fits").columns
    assert table["id"].to_pylist() == list(range(n))
    assert table["a"].null_count == n


@pytest.mark.parametrize(
    "meta", ["!!python/object/apply:os.system ['touch PWNED']", "[" * 10_000], ids=["object", "nested"]
)
def test_metadata_of_ecsv_run_no_code(tmp_path, monkeypatch, meta):
    monkeypatch.chdir(tmp_path)
    text = f"# %ECSV 1.0\n# ---\n# datatype:\n# - {{name: x, datatype: int64}}\n# meta: {meta}\nx\n1\n"
    with pytest.raises(ArchiveError, match="yaml"):
        parse_table(text.encode(), "x.ecsv")
    assert not list(tmp_path.iterdir())
