"""Tables of others that would make a reader open other files, or allocate without bound."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from distspec.core.errors import ArchiveError
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
