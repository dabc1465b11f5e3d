import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.hdus import IncompleteContentError
from distspec.io.fits.reading import read_fits_image, read_fits_table
from tests.conftest import DATA

N = 40
COLUMNS = ("wave", "flux", "err")


def table_hdu(name="SPEC1D", **kwargs):
    wave = np.linspace(0.6, 5.3, N)
    columns = [
        fits.Column("wave", "D", unit="um", array=wave),
        fits.Column("flux", "E", unit="uJy", array=np.where(wave < 1, np.nan, wave)),
        fits.Column("ERR", "D", unit="uJy", array=wave / 10),
        fits.Column("mask", "J", array=np.arange(N) - 3),
        fits.Column("id", "K", array=np.arange(N) + (1 << 60)),
        fits.Column("ok", "L", array=np.arange(N) % 2 == 0),
        fits.Column("label", "5A", array=np.array(["a", "bcd", "", "e f", "ghijk"] * (N // 5))),
        fits.Column("pair", "2I", array=np.arange(2 * N).reshape(N, 2)),
    ]
    return fits.BinTableHDU.from_columns(columns, name=name, **kwargs)


def image_hdu(name="SCI"):
    return fits.ImageHDU(np.arange(12.0).reshape(3, 4), name=name)


def to_bytes(*hdus, checksum=False):
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer, checksum=checksum)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def whole():
    return to_bytes(
        image_hdu(), table_hdu(), image_hdu("WHT"), fits.ImageHDU(np.ones((90, 90)), name="PROFILE")
    )


def edited(content, card, new):
    """Put `new` over the first card that begins with `card`."""
    at = content.index(card.encode())
    return content[:at] + new.ljust(80).encode() + content[at + 80 :]


def reason(content, name="SPEC1D", total=None, read=read_fits_table, column=None):
    with pytest.raises(InvalidSpectrumError) as caught:
        read(content, name, total) if column is None else read(content, name, total).column(column)
    assert caught.value.detail
    return caught.value.reason


def same(ours, theirs):
    theirs = np.asarray(theirs)
    if theirs.dtype.kind == "U":
        return np.array_equal(ours, np.char.rstrip(theirs))
    return ours.dtype == theirs.dtype.newbyteorder("=") and np.array_equal(
        ours, theirs, equal_nan=theirs.dtype.kind == "f"
    )


def assert_as_astropy(content, name="SPEC1D"):
    table = read_fits_table(content, name)
    with fits.open(io.BytesIO(content)) as hdus:
        for column in hdus[name].columns:
            assert same(table.column(column.name), hdus[name].data[column.name]), column.name
            assert table.unit(column.name) == (column.unit or "")


def test_tables_equal_those_of_astropy(whole):
    assert_as_astropy(whole)
    assert read_fits_table(whole, 2).column_names == (
        "wave",
        "flux",
        "err",
        "mask",
        "id",
        "ok",
        "label",
        "pair",
    )
    assert read_fits_table(whole, "spec1d").column("WAVE").dtype.isnative


def test_images_equal_those_of_astropy(whole):
    image, header = read_fits_image(whole, "wht")
    assert np.array_equal(image, np.arange(12.0).reshape(3, 4))
    assert header["EXTNAME"] == "WHT"
    scaled = fits.ImageHDU(np.arange(6, dtype=np.uint16).reshape(2, 3), name="DQ")
    assert np.array_equal(read_fits_image(to_bytes(scaled), "DQ")[0], np.arange(6).reshape(2, 3))
    packed = fits.CompImageHDU(np.arange(400.0).reshape(20, 20), name="PACKED", compression_type="GZIP_1")
    assert np.array_equal(read_fits_image(to_bytes(packed), "PACKED")[0], np.arange(400.0).reshape(20, 20))


def test_header_values_are_parsed_on_request():
    hdu = table_hdu()
    hdu.header["SRCRA"] = (150.25, "of the source")
    hdu.header["QUOTED"] = "it's"
    hdu.header["LONG"] = "x" * 100
    hdu.header["NOTHING"] = None
    hdu.header["HISTORY"] = "made"
    header = read_fits_table(to_bytes(hdu), "SPEC1D").header
    expected = (150.25, "it's", "x" * 100, None)
    assert tuple(header[key] for key in ("SRCRA", "QUOTED", "LONG", "NOTHING")) == expected
    assert "DATE" not in header
    assert header.get("DATE", "no") == "no"
    assert {"SRCRA", "TTYPE1"} <= set(header)
    assert "HISTORY" not in set(header)


def test_hdus_are_found_in_any_order(whole):
    other = to_bytes(table_hdu(), image_hdu())
    for column in COLUMNS:
        assert same(read_fits_table(whole, "SPEC1D").column(column), read_fits_table(other, 1).column(column))


def test_the_beginning_of_a_file_suffices(whole):
    asked, table = [100], None
    while table is None:
        try:
            table = read_fits_table(whole[: asked[-1]], "SPEC1D", len(whole))
        except IncompleteContentError as error:
            asked.append(error.n_bytes_needed)
    assert asked == sorted(set(asked))
    assert asked[0] < asked[-1] < len(whole)
    assert same(table.column("wave"), read_fits_table(whole, "SPEC1D").column("wave"))


@pytest.mark.parametrize(
    "column",
    [
        fits.Column("x", "J", array=np.arange(N, dtype=np.uint32), bzero=1 << 31),
        fits.Column("x", "6E", dim="(3,2)", array=np.arange(6.0 * N).reshape(N, 2, 3)),
        fits.Column("x", "C", array=np.arange(N) * 1j),
        fits.Column("x", "10X", array=np.arange(10 * N).reshape(N, 10) % 3 == 0),
    ],
    ids=["unsigned", "dimensions", "complex", "bits"],
)
def test_columns_that_need_conversion_equal_those_of_astropy(column):
    plain = fits.Column("wave", "D", array=np.arange(N))
    assert_as_astropy(to_bytes(fits.BinTableHDU.from_columns([plain, column], name="SPEC1D")))


def test_text_that_is_not_ascii_is_refused(whole):
    assert reason(whole.replace(b"ghijk", b"gh\xefjk"), column="label") is QuarantineReason.BAD_TABLE


def test_scaled_columns():
    hdu = table_hdu()
    hdu.header.update({"TSCAL4": 0.5, "TZERO4": 10.0, "TNULL4": -1})
    content = to_bytes(hdu)
    assert b"TSCAL4" in content
    expected = np.where(np.arange(N) == 2, np.nan, (np.arange(N) - 3) * 0.5 + 10.0)
    assert np.array_equal(read_fits_table(content, "SPEC1D").column("mask"), expected, equal_nan=True)


def test_variable_length_arrays():
    arrays = np.array([np.arange(3.0), np.arange(5.0)], dtype=object)
    hdu = fits.BinTableHDU.from_columns([fits.Column("x", "PD()", array=arrays)], name="SPEC1D")
    content = to_bytes(hdu)
    for ours, theirs in zip(read_fits_table(content, "SPEC1D").column("x"), arrays, strict=True):
        assert np.array_equal(ours, theirs)
    start = read_fits_table(content, "SPEC1D")._start
    for descriptor in ((3, -8), (-1, 0), (3, 1 << 30), (1 << 30, 0)):
        bad = content[:start] + np.array(descriptor, ">i4").tobytes() + content[start + 8 :]
        assert reason(bad, column="x") is QuarantineReason.UNREADABLE


def test_missing_integers_are_nan_and_identifiers_keep_their_digits():
    columns = [
        fits.Column("x", "J", null=-9, array=np.where(np.arange(N) % 2, -9, 7)),
        fits.Column("id", "K", null=999999, array=np.arange(N) + (1 << 60)),
    ]
    table = read_fits_table(to_bytes(fits.BinTableHDU.from_columns(columns, name="SPEC1D")), "SPEC1D")
    assert np.array_equal(table.column("x"), np.where(np.arange(N) % 2, np.nan, 7), equal_nan=True)
    assert np.array_equal(table.column("id"), np.arange(N) + (1 << 60))


def test_missing_or_ambiguous_tables_and_columns_are_refused(whole):
    assert reason(whole, "SPECTRUM") is QuarantineReason.BAD_TABLE
    assert reason(whole, "SCI") is QuarantineReason.BAD_TABLE
    assert reason(whole, "SPEC1D", read=read_fits_image) is QuarantineReason.BAD_TABLE
    assert reason(whole, 0, read=read_fits_image) is QuarantineReason.BAD_TABLE
    assert reason(whole, column="ivar") is QuarantineReason.BAD_TABLE
    twice = edited(whole, "TTYPE3", "TTYPE3  = 'FLUX    '")
    assert reason(twice, column="flux") is QuarantineReason.BAD_TABLE
    assert reason(edited(whole, "TFORM1", "TFORM1  = 'E       '")) is QuarantineReason.BAD_TABLE
    assert reason(edited(whole, "TFORM1", "TFORM1  = 'Y       '")) is QuarantineReason.BAD_TABLE


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html>404</html>", "HTML"),
        (b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>", "XML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS"),
        (b"PK\x03\x04rest", "zip"),
        (b"\0" * 257 + b"ustar\0", "tar"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x89HDF", "not a FITS file"),
    ],
)
def test_other_file_types_are_named(content, looks):
    with pytest.raises(InvalidSpectrumError, match=f"unreadable: .*{looks}"):
        read_fits_table(content, "SPEC1D")


def test_truncated_files_are_refused(whole):
    table_end = read_fits_table(whole[:-1], "SPEC1D", len(whole))._start + 2880 * 2
    assert reason(whole[: len(whole) // 2]) is QuarantineReason.UNREADABLE
    for cut in (100, 2880 + 80, len(whole) - 2880, len(whole) - 1):
        assert reason(whole[:cut]) is QuarantineReason.UNREADABLE, cut
    assert reason(whole[:2880]) is QuarantineReason.BAD_TABLE, "at the boundary of an HDU: no table"
    assert table_end < len(whole)


def test_extra_bytes_are_refused(whole):
    assert reason(whole + b"junk") is QuarantineReason.UNREADABLE
    assert reason(whole + b"\0" * 2880) is QuarantineReason.UNREADABLE
    assert reason(whole + whole) is QuarantineReason.UNREADABLE


@pytest.mark.parametrize(
    ("card", "new", "expected"),
    [
        ("NAXIS2  =                   40", "NAXIS2  =         999999999999", QuarantineReason.TOO_LARGE),
        ("NAXIS2  =                   40", f"NAXIS2  = {10**40}", QuarantineReason.TOO_LARGE),
        ("NAXIS2  =                   40", "NAXIS2  =                 4000", QuarantineReason.UNREADABLE),
        ("NAXIS2  =                   40", "NAXIS2  =                  -40", QuarantineReason.UNREADABLE),
        ("NAXIS2  =                   40", "NAXIS2  =                  4.0", QuarantineReason.UNREADABLE),
        ("NAXIS2  =                   40", "NAXIS3  =                   40", QuarantineReason.UNREADABLE),
        ("XTENSION= 'BINTABLE'", "XTENSION= 'BINTABLF'", QuarantineReason.UNREADABLE),
        ("XTENSION= 'BINTABLE'", "XTENSION= 7", QuarantineReason.UNREADABLE),
        ("XTENSION= 'BINTABLE'", "YTENSION= 'BINTABLE'", QuarantineReason.UNREADABLE),
        ("TFIELDS =", "TFIELDS =                 1000", QuarantineReason.UNREADABLE),
        ("TTYPE1", "TTYPE1  = 'flux", QuarantineReason.UNREADABLE),
        ("TTYPE1", "TTYPE2  = 'more    '", QuarantineReason.UNREADABLE),
        ("TUNIT1", "TUNIT1 0= 'um'", QuarantineReason.UNREADABLE),
        ("PCOUNT", "COMMENT", QuarantineReason.UNREADABLE),
        ("BITPIX", "BITPIX  =                    7", QuarantineReason.UNREADABLE),
        ("GCOUNT", "COMMENT", QuarantineReason.UNREADABLE),
        ("TTYPE1", "TTYPE1  = ''", QuarantineReason.BAD_TABLE),
        ("TTYPE1", "COMMENT caf\x07", QuarantineReason.UNREADABLE),
        ("SIMPLE", "SIMPLE  =                    F", QuarantineReason.UNREADABLE),
    ],
)
def test_invalid_headers_are_refused(whole, card, new, expected):
    assert reason(edited(whole, card, new)) is expected


def test_headers_without_end_or_with_other_bytes_are_refused(whole):
    assert reason(whole.replace(b"END     ", b"FIN     ")) is QuarantineReason.UNREADABLE
    at = whole.index(b"TTYPE1")
    assert reason(whole[:at] + b"\xe9" + whole[at + 1 :]) is QuarantineReason.UNREADABLE


def test_checksums_are_verified():
    content = to_bytes(table_hdu(), image_hdu(), checksum=True)
    assert_as_astropy(content)
    assert (
        reason(edited(content, "DATASUM", "DATASUM = '12a'"), "SCI", read=read_fits_image)
        is QuarantineReason.UNREADABLE
    )
    start = read_fits_table(content, "SPEC1D")._start
    flipped = bytearray(content)
    flipped[start + 100] ^= 4
    assert reason(bytes(flipped)) is QuarantineReason.BAD_CHECKSUM
    comment = content.index(b"TUNIT1") + 40
    assert reason(content[:comment] + b"/" + content[comment + 1 :]) is QuarantineReason.BAD_CHECKSUM
    assert reason(bytes(flipped[:-2880]), total=len(content)) is QuarantineReason.BAD_CHECKSUM


def samples():
    contents = [to_bytes(table_hdu(), image_hdu()), to_bytes(image_hdu(), table_hdu(), checksum=True)]
    real = sorted((DATA / "dja").glob("*-v[24]_*.fits"))[::20]
    plain = (path.read_bytes() for path in real)
    return contents + [content for content in plain if content.startswith(b"SIMPLE")]


SAMPLES = samples()


@st.composite
def damaged(draw):
    """Cut anywhere, or flip some bits, most of them where the table's structure is written."""
    content = bytearray(draw(st.sampled_from(SAMPLES)))
    cut = draw(st.sampled_from([0, 0, 0, 1, 2880]))
    if cut:
        return bytes(content[: cut * draw(st.integers(0, len(content) // cut))])
    columns = content.index(b"TTYPE1")
    for _ in range(draw(st.integers(1, 3))):
        low, high = draw(
            st.sampled_from([(0, 2880), (2880, 2880 + 800), (columns, columns + 1600), (0, len(content))])
        )
        content[draw(st.integers(low, high - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content)


@settings(max_examples=150)
@given(damaged(), st.booleans())
def test_damaged_files_are_refused_or_read_as_astropy_reads_them(content, beginning):
    """Never a row that astropy would read differently."""
    n = len(content) if not beginning else min(len(content), 80640)
    try:
        table = read_fits_table(content[:n], "SPEC1D", len(content))
        ours = {name: table.column(name) for name in table.column_names}
    except (InvalidSpectrumError, IncompleteContentError):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(io.BytesIO(content), memmap=False) as hdus:
            data = hdus["SPEC1D"].data
            assert len(data.columns.names) == len(ours)
            for name, values in ours.items():
                assert same(values, data[name]), name
