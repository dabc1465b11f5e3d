"""Files that the FITS standard 4.0 permits, in unusual notation: every value equals that of astropy."""

import gzip
import io
import struct
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits import conversion
from distspec.io.fits.reading import read_fits_image, read_fits_table

N = 7
BLOCK, CARD = 2880, 80


def to_bytes(*hdus, checksum=False):
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(buffer, checksum=checksum)
    return buffer.getvalue()


def rewrite(content, change, before_end=()):
    """Apply a function to every card of the last header, and add cards before END."""
    start = content.rindex(b"XTENSION= ")
    end = start
    while not content.startswith(b"END     ", end):
        end += CARD
    cards = [content[i : i + CARD].decode() for i in range(start, end, CARD)]
    cards = [*map(change, cards), *before_end, "END"]
    header = "".join(card.ljust(CARD)[:CARD] for card in cards).encode()
    data = end + BLOCK - (end - start) % BLOCK
    return content[:start] + header + b" " * (-len(header) % BLOCK) + content[data:]


def assert_equal(ours, theirs):
    theirs = np.asarray(theirs)
    if theirs.dtype.kind == "O":
        for mine, other in zip(ours, theirs, strict=True):
            assert np.array_equal(mine, other)
    elif theirs.dtype.kind in "SU":
        assert np.array_equal(ours, np.char.rstrip(theirs))
    else:
        assert ours.dtype.kind == theirs.dtype.kind
        assert np.array_equal(ours, theirs, equal_nan=theirs.dtype.kind in "fc")


def assert_table_as_astropy(content):
    table = read_fits_table(content, "T")
    with fits.open(io.BytesIO(content)) as hdus:
        data, columns = hdus["T"].data, hdus["T"].columns
        assert table.column_names == tuple(column.name.lower() for column in columns)
        for column in columns:
            ours = table.column(column.name)
            theirs = np.array(data[column.name])
            if column.null not in (None, "") and theirs.dtype.kind in "iu":
                theirs = np.where(theirs == column.null, np.nan, theirs) if ours.dtype.kind == "f" else theirs
            assert_equal(ours, theirs)
            assert table.unit(column.name) == (column.unit or "")


REALS = st.floats(-1e6, 1e6, width=32)
DTYPES = {"B": "u1", "I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8", "C": "c8", "M": "c16"}


@st.composite
def column(draw, number):
    """A column of any type of the standard: plain, with several values, scaled, reshaped or of arrays."""
    name = f"c{number}"
    code = draw(st.sampled_from("LXBIJKAEDCMPQ"))
    repeat = draw(st.sampled_from([1, 1, 2, 6]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    unit = draw(st.sampled_from([None, "um", "erg s-1 cm-2", "x" * 80]))
    dim = "(3,2)" if repeat == 6 and draw(st.booleans()) and code not in "XPQ" else None
    shape = (N,) if repeat == 1 else (N, 2, 3) if dim else (N, repeat)
    options = {"unit": unit} | ({"dim": dim} if dim else {})
    if code == "L":
        return fits.Column(name, f"{repeat}L", array=rng.integers(0, 2, shape).astype(bool), **options)
    if code == "X":
        return fits.Column(name, f"{9 * repeat}X", array=rng.integers(0, 2, (N, 9 * repeat)), **options)
    if code == "A":
        text = np.array(["", "a", "b c", " d", "it's", "ab", "abc"])
        return fits.Column(name, f"{repeat + 4}A", array=text, unit=unit)
    if code in "PQ":
        kind = draw(st.sampled_from("LBIJKED"))
        arrays = np.empty(N, dtype=object)
        dtype = bool if kind == "L" else DTYPES[kind]
        arrays[:] = [rng.integers(0, 2, n).astype(dtype) for n in range(N)]
        return fits.Column(name, f"{code}{kind}()", array=arrays, unit=unit)
    values = (rng.normal(0, 30, shape) + 60).astype(DTYPES[code])
    if code in "IJK" and draw(st.booleans()):
        unsigned = values.astype(DTYPES[code].replace("i", "u"))
        zero = 1 << (8 * values.itemsize - 1)
        return fits.Column(name, f"{repeat}{code}", bzero=zero, array=unsigned, **options)
    if code in "BIJK" and draw(st.booleans()):
        options |= {"null": int(values.flat[0])}
    return fits.Column(name, f"{repeat}{code}", array=values, **options)


def lower_exponents(card):
    key, mark, value = card[:8], card[8:10], card[10:]
    number = value.partition("/")[0].strip()
    return card if "." not in number or "'" in value else f"{key}{mark}{number.lower():>20}"


def free_format(card):
    """Write a value directly after the value indicator."""
    if card[8:10] != "= " or card.startswith("XTENSION"):
        return card
    return card[:10] + card[10:].lstrip()


def with_options(card):
    """Add characters after the type of a column, which the standard leaves to conventions."""
    if not card.startswith("TFORM") or "P" in card or "Q" in card:
        return card
    form = card[10:].split("'")[1].strip()
    return f"{card[:10]}'{form}4:x'"


def as_it_is(card):
    return card


EXTRA = [
    "HIERARCH ESO INS FILT1 NAME = 'x' / comment",
    "COMMENT a comment = 'of text",
    "HISTORY made",
    "",
    "        blank keyword",
    "COMPLEX = (1.0, 2.0)",
    "NOVALUE =",
    "TSCAL999=              1.0e+00",
    "LONGTEXT= 'a long text &'",
    "CONTINUE  'that goes on' / comment",
    "DATE-OBS= '2020-01-01T00:00:00'",
    "TDISP1  = 'E15.7'",
    "BLANK   = 5",
]


@settings(max_examples=30)
@given(st.data())
def test_binary_tables_in_every_notation(data):
    n = data.draw(st.integers(1, 6))
    columns = [data.draw(column(i)) for i in range(n)]
    content = to_bytes(fits.BinTableHDU.from_columns(columns, name="T"))
    change = data.draw(st.sampled_from([as_it_is, lower_exponents, free_format, with_options]))
    extra = data.draw(st.lists(st.sampled_from(range(len(EXTRA))), unique=True).map(sorted))
    cards = [EXTRA[i] for i in extra]
    if "LONGTEXT= 'a long text &'" in cards and EXTRA[9] not in cards:
        cards.remove("LONGTEXT= 'a long text &'")
    if EXTRA[9] in cards and EXTRA[8] not in cards:
        cards.remove(EXTRA[9])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_table_as_astropy(rewrite(content, change, cards))


@settings(max_examples=20)
@given(st.data())
def test_images_in_every_type(data):
    dtype = data.draw(st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]))
    shape = data.draw(st.sampled_from([(5,), (3, 4), (2, 3, 4), (20, 30)]))
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    methods: list[str | None] = [None, "GZIP_1", "GZIP_2", "NOCOMPRESS"]
    methods += ["RICE_1"] * (values.itemsize < 8) + ["PLIO_1"] * (dtype in {"u1", "i2"})
    methods += ["HCOMPRESS_1"] * (shape == (20, 30) and dtype in {"i2", "f4"})
    method = data.draw(st.sampled_from(methods))
    hdu = (
        fits.CompImageHDU(values, name="I", compression_type=method)
        if method and len(shape) > 1
        else fits.ImageHDU(values, name="I")
    )
    content = to_bytes(hdu)
    with fits.open(io.BytesIO(content)) as hdus:
        assert_equal(read_fits_image(content, "I")[0], hdus["I"].data)


def test_ascii_tables():
    columns = [
        fits.Column("ra", "F12.6", array=np.linspace(150, 151, N), unit="deg", ascii=True),
        fits.Column("n", "I6", array=np.arange(N) - 2, null="-2", ascii=True),
        fits.Column("x", "E15.7", array=np.linspace(1, 2, N) * 1e-17, ascii=True),
        fits.Column("y", "D25.17", array=np.linspace(1, 2, N), ascii=True),
        fits.Column("name", "A5", array=np.array(["a", "bcd", "", "e f", "ghijk", "x", "y"]), ascii=True),
    ]
    content = to_bytes(fits.TableHDU.from_columns(columns, name="T"))
    table = read_fits_table(content, "T")
    with fits.open(io.BytesIO(content)) as hdus:
        for name in ("ra", "x", "y", "name"):
            assert_equal(table.column(name), hdus["T"].data[name])
    assert table.unit("ra") == "deg"
    assert np.isnan(table.column("n")[0])
    assert np.array_equal(table.column("n")[1:], np.arange(N - 1) - 1)
    beyond = rewrite(content, lambda card: "TBCOL5  = 999" if card.startswith("TBCOL5") else card)
    with pytest.raises(InvalidSpectrumError, match=r"bad_table: .*TBCOL5 is 999"):
        read_fits_table(beyond, "T")


@pytest.fixture
def plain():
    flux = fits.Column("flux", "D", array=np.arange(N) / 7, unit="uJy")
    flag = fits.Column("flag", "8A", array=np.array(["good"] * N))
    return to_bytes(fits.BinTableHDU.from_columns([flux, flag], name="T"), checksum=True)


def without_sums(content):
    return rewrite(content, lambda card: "COMMENT" if card[:8] in ("CHECKSUM", "DATASUM ") else card)


@pytest.mark.parametrize("tform", ["'8A4'", "'8A:SSTR4/032'", "'8a'", "' 8A'", "'A8'"])
def test_formats_of_text(plain, tform):
    content = without_sums(plain)
    content = rewrite(content, lambda card: f"TFORM2  = {tform}" if card.startswith("TFORM2") else card)
    assert_table_as_astropy(content)


def test_checksum_cards_in_other_notations(plain):
    def number(card):
        return card.replace("'", " ") if card.startswith("DATASUM") else card

    def without_checksum(card):
        return "COMMENT" if card.startswith("CHECKSUM") else number(card)

    content = rewrite(plain, without_checksum)
    assert_table_as_astropy(content)
    start = read_fits_table(content, "T")._start
    flipped = content[: start + 3] + b"\x01" + content[start + 4 :]
    with pytest.raises(InvalidSpectrumError, match="bad_checksum"):
        read_fits_table(flipped, "T")
    for value in ("", "''", "'          '"):

        def with_value(card, value=value):
            return card[:10] + value if card[:8] in {"CHECKSUM", "DATASUM "} else card

        assert_table_as_astropy(rewrite(plain, with_value))


def test_structural_texts_are_continued(plain):
    cards = "TUNIT1  = 'erg s-1 &'".ljust(CARD) + "CONTINUE  'cm-2'".ljust(CARD)
    content = without_sums(plain)
    at, end = content.index(b"TUNIT1"), content.rindex(b"END     ")
    content = content[:at] + cards.encode() + content[at + CARD : end + CARD] + content[end + 2 * CARD :]
    assert_table_as_astropy(content)
    assert read_fits_table(content, "T").unit("flux") == "erg s-1 cm-2"


def test_text_ends_at_its_first_null(plain):
    content = without_sums(plain)
    start = read_fits_table(content, "T")._start
    content = content[: start + 8] + b"go\0d\0\xff\0x" + content[start + 16 :]
    assert read_fits_table(content, "T").column("flag")[0] == "go"


def test_other_extensions_and_random_groups_are_passed_over(plain):
    foreign = fits.ImageHDU(np.zeros(10, np.uint8), name="F")
    content = to_bytes(foreign) + plain[BLOCK:]
    content = content.replace(b"XTENSION= 'IMAGE   '", b"XTENSION= 'FOREIGN '")
    assert_table_as_astropy(content)
    with pytest.raises(InvalidSpectrumError, match=r"unreadable: .*XTENSION is 'FOREIGN'"):
        read_fits_image(content, "F")
    cards = ["SIMPLE  = T", "BITPIX  = -32", "NAXIS   = 3", "NAXIS1  = 0", "NAXIS2  = 5", "NAXIS3  = 6"]
    cards += ["GROUPS  = T", "PCOUNT  = 1", "GCOUNT  = 40", "END"]
    groups = "".join(card.ljust(CARD) for card in cards).encode().ljust(BLOCK) + bytes(2 * BLOCK)
    assert_table_as_astropy(groups + plain[BLOCK:])


def test_nulls_of_columns_of_arrays_and_of_floating_point_numbers():
    arrays = np.empty(2, dtype=object)
    arrays[:] = [np.arange(3), np.arange(2)]
    columns = [
        fits.Column("a", "PJ()", array=arrays),
        fits.Column("x", "E", array=np.array([1.0, -1.0], np.float32), bscale=2.0, bzero=1.0),
    ]
    content = to_bytes(fits.BinTableHDU.from_columns(columns, name="T"))
    content = rewrite(content, as_it_is, ["TNULL1  = 2", "TNULL2  = -1"])
    table = read_fits_table(content, "T")
    assert np.array_equal(table.column("a")[0], np.arange(3))
    assert np.array_equal(table.column("x"), [1.0, -1.0])


def test_blank_in_an_image_of_floating_point_numbers_is_ignored():
    content = rewrite(to_bytes(fits.ImageHDU(np.arange(4.0), name="I")), as_it_is, ["BLANK   = -1"])
    assert np.array_equal(read_fits_image(content, "I")[0], np.arange(4.0))


def test_compressed_tiles_decompress_to_the_declared_size_at_most(monkeypatch):
    image = fits.CompImageHDU(np.zeros((4, 50), np.int16), name="I", compression_type="GZIP_1")
    content = to_bytes(image)
    at = content.index(b"\x1f\x8b")
    bomb = gzip.compress(bytes(20_000_000), 9)
    heap = content[at:]
    content = rewrite(
        content,
        lambda card: f"PCOUNT  = {len(bomb):>20}" if card.startswith("PCOUNT") else card,
    )
    at = content.index(heap[:10])
    start = content.rindex(b"END     ", 0, at)
    start += BLOCK - start % BLOCK
    rows = np.frombuffer(content[start:at], ">i4").reshape(4, 2).copy()
    rows[:] = [len(bomb), 0]
    content = content[:start] + rows.tobytes() + bomb
    content += b"\0" * (-len(content) % BLOCK)
    with pytest.raises(InvalidSpectrumError) as caught:
        read_fits_image(content, "I")
    assert caught.value.reason is QuarantineReason.TOO_LARGE


ALGORITHMS = ("GZIP_1", "GZIP_2", "RICE_1", "HCOMPRESS_1", "PLIO_1")


@pytest.fixture
def no_decompression(monkeypatch):
    """Fail if astropy is given an HDU to read."""
    monkeypatch.setattr(conversion, "_read_hdu", lambda *_: pytest.fail("astropy decompresses"))


@pytest.mark.usefixtures("no_decompression")
@pytest.mark.parametrize("key", ["ZNAXIS", "ZTILE"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_compressed_images_that_declare_too_much_are_not_decompressed(algorithm, key):
    image = np.arange(256, dtype=np.int16).reshape(16, 16)
    content = to_bytes(fits.CompImageHDU(image, name="I", compression_type=algorithm, tile_shape=(16, 16)))
    assert len(content) < 20_000
    axes = (f"{key}1", f"{key}2")
    content = rewrite(content, lambda card: f"{card[:8]}= {200_000:>20}" if card.startswith(axes) else card)
    with pytest.raises(InvalidSpectrumError, match=r"declares [0-9,]{11,} bytes") as caught:
        read_fits_image(content, "I")
    assert caught.value.reason is QuarantineReason.TOO_LARGE


@pytest.mark.usefixtures("no_decompression")
@pytest.mark.parametrize("size", [(16, 17), (2**31 - 1, 2**31 - 1), (-1, 5), (0, 0)])
def test_tiles_of_hcompress_of_another_size_are_not_decompressed(size):
    image = np.arange(256, dtype=np.int16).reshape(16, 16)
    content = to_bytes(
        fits.CompImageHDU(image, name="I", compression_type="HCOMPRESS_1", tile_shape=(16, 16))
    )
    at = content.index(b"\xdd\x99")
    content = content[: at + 2] + struct.pack(">ii", *size) + content[at + 10 :]
    with pytest.raises(InvalidSpectrumError, match="more than the declared 2,048 bytes"):
        read_fits_image(content, "I")


def test_arrays_that_overlap_are_limited():
    arrays = np.empty(3000, dtype=object)
    arrays[:] = [np.zeros(1)] * 3000
    arrays[0] = np.zeros(60_000)
    content = to_bytes(fits.BinTableHDU.from_columns([fits.Column("a", "PD()", array=arrays)], name="T"))
    start = read_fits_table(content, "T")._start
    rows = np.tile(np.array([60_000, 0], ">i4"), 3000).tobytes()
    content = content[:start] + rows + content[start + len(rows) :]
    with pytest.raises(InvalidSpectrumError, match="overlap"):
        read_fits_table(content, "T").column("a")
