"""Cases 1–24: damaged files. Of DJA files only the beginning is read, of the others the whole file."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from astropy.io import fits

from distspec.core.errors import QuarantineReason
from distspec.io.remote.config import AccessConfig
from tests.faults.damage import BLOCK, card, flip, image, opened, place, summed, table
from tests.faults.harness import Case, Outcomes

UNREADABLE, BAD_TABLE = QuarantineReason.UNREADABLE, QuarantineReason.BAD_TABLE
TABLE = {"dja": "SPEC1D", "sdss": "COADD"}
KINDS = ("dja", "sdss", "jades", "spex", "desi")
LOSSLESS = {"compression_type": "GZIP_1", "quantize_level": 0}

NOT_FOUND_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n"
LOGIN_PAGE = b"\n<html lang='en'><body><form action='/login'>Sign in</form></body></html>"
S3_ERROR = b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>NoSuchKey</Code><Key>x.fits</Key></Error>"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 694080\n"


def naxis2(content, hdu, number):
    return card(content, hdu, "NAXIS2", f"NAXIS2  = {number:>20}")


def no_end(content, hdu):
    start, stop, _ = place(content, hdu)
    return content[:start] + content[start:stop].replace(b"END     ", b"FIN     ") + content[stop:]


def bad_text(content, hdu):
    start = place(content, hdu)[0]
    return content[: start + 200] + "é".encode("latin-1") + content[start + 201 :]


def middle(content, hdu):
    _, start, stop = place(content, hdu)
    return (start + stop) // 2 // BLOCK * BLOCK


def in_a_zip(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("spectrum.fits", content)
    return buffer.getvalue()


def in_a_tar(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("spectrum.fits")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def packed(content, **options):
    return image(content, lambda data: {"DATA": data["DATA"]}, **options)


def damaged_tile(content):
    content = packed(content, **LOSSLESS)
    _, start, stop = place(content, "DATA")
    heap = start + 32
    return content[:heap] + b"\xff" * min(400, stop - heap) + content[heap + 400 :]


def variable_length(content, bad):
    """Store the flux as variable-length arrays; if `bad`, with a descriptor that points outside the heap."""

    def change(columns):
        arrays = np.empty(len(columns["flux"]), dtype=object)
        arrays[:] = [np.array([value]) for value in columns["flux"]]
        return {"flux": fits.Column("flux", "PD()", unit="uJy", array=arrays)}

    content = table(content, "SPEC1D", change)
    if not bad:
        return content
    start = place(content, "SPEC1D")[1]
    at = start + opened(content)["SPEC1D"].columns.dtype.fields["flux"][1] + 4
    return content[:at] + (1 << 30).to_bytes(4, "big") + content[at + 4 :]


def halves(content):
    return content[: len(content) // 2], content[len(content) // 2 :]


def bomb(content):
    return gzip.compress(b"SIMPLE  =" + b"\0" * 40_000_000)


def everywhere(number, name, damage, reason, detail="", kinds="dja sdss jades"):
    return [Case(number, name, kind, damage, reason, detail) for kind in kinds.split()]


def tables(number, name, damage, reason, detail=""):
    """Return the cases of a fault in the table of DJA files and in the first one of SDSS files."""
    return [
        Case(number, name, kind, lambda content, hdu=hdu: damage(content, hdu), reason, detail)
        for kind, hdu in TABLE.items()
    ]


CASES = [
    *everywhere(1, "empty-file", lambda c: b"", UNREADABLE, "an empty file", "dja sdss jades spex"),
    *everywhere(2, "cut-in-the-header", lambda c: c[:2000], UNREADABLE, "truncated.*2000 bytes"),
    *everywhere(2, "cut-between-blocks-of-the-header", lambda c: c[: 2 * BLOCK], UNREADABLE, "no END"),
    Case(
        3,
        "cut-before-the-table",
        "dja",
        lambda c: c[:BLOCK],
        BAD_TABLE,
        "no HDU SPEC1D; the file has PRIMARY",
    ),
    Case(3, "cut-before-the-redshift", "sdss", lambda c: c[: place(c, 1)[2]], BAD_TABLE, "no HDU SPECOBJ"),
    Case(
        3,
        "cut-before-the-wavelengths",
        "jades",
        lambda c: c[: place(c, 7)[2]],
        BAD_TABLE,
        "no HDU WAVELENGTH",
    ),
    # The part that is read is complete; images that follow are not checked.
    Case(3, "cut-behind-the-table", "dja", lambda c: c[: place(c, "SPEC1D")[2]]),
    *tables(4, "cut-in-the-data", lambda c, hdu: c[: middle(c, hdu)], UNREADABLE, "truncated: an HDU ends"),
    Case(
        4,
        "cut-in-the-data",
        "spex",
        lambda c: gzip.compress(gzip.decompress(c)[:-BLOCK]),
        UNREADABLE,
        "truncated",
    ),
    *everywhere(5, "cut-in-the-last-hdu", lambda c: c[:-1000], UNREADABLE, "truncated"),
    Case(5, "cut-a-block-before-the-end", "sdss", lambda c: c[:-BLOCK], UNREADABLE, "truncated: an HDU ends"),
    Case(5, "cut-a-block-before-the-end", "dja", lambda c: c[:-BLOCK]),
    *everywhere(6, "trailing-junk", lambda c: c + b"\r\n\r\nOK", UNREADABLE, "extra bytes at its end"),
    *everywhere(
        6,
        "a-block-of-trailing-junk",
        lambda c: c + b"\0" * BLOCK,
        UNREADABLE,
        "instead of an HDU",
        "sdss jades",
    ),
    *everywhere(7, "two-files-concatenated", lambda c: c + c, UNREADABLE, "another file instead", "jades"),
    # Content after the part that is read is not checked: images, exposures, or another file.
    Case(7, "two-files-concatenated", "dja", lambda c: c + c),
    Case(7, "two-files-concatenated", "sdss", lambda c: c + c),
    *tables(8, "no-end-card", no_end, UNREADABLE, "no END|continues|not ASCII"),
    *tables(
        9, "bad-xtension", lambda c, h: card(c, h, "XTENSION", "XTENSION= 'BINTABEL'"), UNREADABLE, "BINTABEL"
    ),
    *tables(
        9, "xtension-no-text", lambda c, h: card(c, h, "XTENSION", "XTENSION= 12"), UNREADABLE, "XTENSION"
    ),
    *everywhere(10, "no-whole-blocks", lambda c: c[:-7], UNREADABLE, "not a multiple of 2880"),
    *tables(
        11,
        "huge-naxis2",
        lambda c, h: naxis2(c, h, 10**12),
        QuarantineReason.TOO_LARGE,
        "declares [0-9,]+ bytes",
    ),
    *tables(11, "naxis2-beyond-the-file", lambda c, h: naxis2(c, h, 10**5), UNREADABLE, "truncated"),
    *tables(12, "negative-naxis2", lambda c, h: naxis2(c, h, -473), UNREADABLE, "NAXIS2 is -473"),
    *[
        Case(
            13,
            "flipped-bit-under-checksum",
            kind,
            lambda c, hdu=hdu: flip(summed(c), place(summed(c), hdu)[1] + 8),
            QuarantineReason.BAD_CHECKSUM,
            hdu,
        )
        for kind, hdu in {**TABLE, "jades": "DATA"}.items()
    ],
    Case(
        13,
        "flipped-bit-under-checksum",
        "desi",
        lambda c: flip(c, place(c, "R_FLUX")[1]),
        QuarantineReason.BAD_CHECKSUM,
    ),
    Case(13, "checksums-that-hold", "sdss", summed),
    *tables(14, "header-not-ascii", bad_text, UNREADABLE, "not ASCII"),
    *everywhere(
        15, "html-404", lambda c: NOT_FOUND_PAGE, UNREADABLE, "HTML page.*404", "dja sdss jades spex"
    ),
    *everywhere(16, "s3-error", lambda c: S3_ERROR, UNREADABLE, "XML", "dja sdss jades spex"),
    Case(17, "truncated-gzip", "spex", lambda c: c[:-200], UNREADABLE, "damaged gzip.*end-of-stream"),
    Case(
        17,
        "truncated-gzip",
        "dja",
        lambda c: gzip.compress(c, 1)[:-100_000],
        UNREADABLE,
        "damaged gzip.*end-of-stream",
    ),
    Case(17, "gzip-without-its-end", "spex", lambda c: c[:-8], UNREADABLE, "damaged gzip.*end-of-stream"),
    Case(18, "bad-gzip-crc", "spex", lambda c: flip(c, len(c) - 6), UNREADABLE, "damaged gzip"),
    Case(18, "gzip-of-another-length", "spex", lambda c: flip(c, len(c) - 2), UNREADABLE, "damaged gzip"),
    Case(18, "junk-behind-gzip", "spex", lambda c: c + b"junk", UNREADABLE, "damaged gzip.*Not a gzipped"),
    *everywhere(
        19,
        "gzip-bomb",
        bomb,
        QuarantineReason.TOO_LARGE,
        "decompress to more than 4,000,000",
        "dja sdss spex",
    ),
    *[Case(20, "gzip-named-fits", kind, gzip.compress) for kind in ("dja", "sdss", "jades", "desi")],
    Case(20, "fits-named-gzip", "spex", gzip.decompress),
    Case(
        20, "gzip-in-two-members", "spex", lambda c: b"".join(map(gzip.compress, halves(gzip.decompress(c))))
    ),
    Case(20, "gzip-twice", "spex", gzip.compress, UNREADABLE, "gzip content within gzip"),
    *everywhere(21, "zip", in_a_zip, UNREADABLE, "zip archive"),
    *everywhere(21, "tar", in_a_tar, UNREADABLE, "tar archive"),
    Case(22, "compressed-tile", "jades", lambda c: packed(c, **LOSSLESS)),
    Case(22, "damaged-compressed-tile", "jades", damaged_tile, UNREADABLE, ""),
    Case(
        23,
        "bad-array-offset",
        "dja",
        lambda c: variable_length(c, True),
        UNREADABLE,
        "outside its table's heap",
    ),
    Case(
        23, "arrays-of-variable-length", "dja", lambda c: variable_length(c, False), BAD_TABLE, "not numeric"
    ),
    *everywhere(24, "git-lfs-pointer", lambda c: LFS_POINTER, UNREADABLE, "Git-LFS", "dja sdss jades spex"),
    *everywhere(24, "login-page", lambda c: LOGIN_PAGE, UNREADABLE, "HTML page", "dja spex"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return Outcomes(CASES, tmp_path_factory.mktemp("files"), AccessConfig(max_unpacked_mb=4.0))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, outcomes):
    outcomes.check(case)


@pytest.mark.parametrize("kind", KINDS)
def test_other_files_are_unaffected(kind, outcomes):
    outcomes.check_other_files(kind)
