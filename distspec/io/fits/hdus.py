"""Finding an HDU in the beginning of a file, and checking that it is complete."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import BLOCK_SIZE, CARD_SIZE, Header, make_unreadable_error
from distspec.io.fits.layout import DataLayout, index_keywords, parse_layout

MAX_HEADER_SIZE = 1000 * BLOCK_SIZE
"""Maximum size of a header [bytes]."""
READ_AHEAD_SIZE = 16 * BLOCK_SIZE
"""Bytes to read after the start of a header whose length is not known yet."""
_FOREIGN_SIGNATURES = {
    b"\x1f\x8b": "gzip content within gzip",
    b"pk\x03\x04": "a zip archive",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<": "XML or HTML",
    b"version https://git-lfs": "a Git-LFS pointer, not the file",
    b"{": "JSON",
}
"""First bytes, in lower case, of files that servers return in place of FITS files."""
_CHECKSUM_CARD = re.compile(rb"(?:CHECKSUM= +'([^']*)'|DATASUM = +'( *\d* *)') *(?:/.*)?")
"""The usual form of the two cards; values of others are parsed by astropy."""


class IncompleteContentError(Exception):
    """The HDU is not complete in the bytes that were given.

    Parameters
    ----------
    n_bytes_needed : int
        Number of the file's first bytes to try next; even more may be needed then.
    """

    def __init__(self, n_bytes_needed: int) -> None:
        super().__init__(n_bytes_needed)
        self.n_bytes_needed = n_bytes_needed


@dataclass(frozen=True, slots=True)
class HDU:
    """Position and header of an HDU.

    Attributes
    ----------
    start, data_start, stop : int
        Offsets in the file of the header, of the data, and of the end with padding [bytes].
    header : Header
        Values of the header.
    layout : DataLayout
        Structure of the data.
    """

    start: int
    data_start: int
    stop: int
    header: Header
    layout: DataLayout


def find_hdu(content: bytes, hdu: str | int, file_size: int) -> HDU:
    """Find an HDU and verify its checksums.

    Parameters
    ----------
    content : bytes
        The file, or its beginning. If it is the complete file, all HDUs are checked.
    hdu : str or int
        EXTNAME in any case, of which the first counts, or the number of the HDU from 0.
    file_size : int
        Size of the complete file [bytes].

    Raises
    ------
    IncompleteContentError
        If the HDU is not complete in `content`.
    InvalidSpectrumError
        ``unreadable``, ``too_large``, ``bad_checksum``, or ``bad_table`` if there is no such HDU.
    """
    _check_signature(content, file_size)
    name_or_index = hdu.strip().upper() if isinstance(hdu, str) else hdu
    found: HDU | None = None
    names: list[str] = []
    start = 0
    while start < file_size and (found is None or len(content) == file_size):
        current = _parse_hdu(content, start, file_size)
        names.append(current.layout.name or (str(len(names)) if names else "PRIMARY"))
        if found is None and name_or_index in {names[-1], len(names) - 1}:
            found = current
        start = current.stop
    if found is None:
        raise InvalidSpectrumError(
            QuarantineReason.BAD_TABLE, f"no HDU {hdu}; the file has {', '.join(names)}"
        )
    if found.layout.hdu_type not in {"IMAGE", "BINTABLE", "TABLE"}:
        raise make_unreadable_error(
            f"HDU {hdu} is neither an image nor a table: its XTENSION is {found.layout.hdu_type!r}"
        )
    if found.stop > len(content):
        raise IncompleteContentError(found.stop)
    _verify_checksums(content, found)
    return found


def list_hdus(content: bytes) -> list[HDU]:
    """Return all HDUs of a complete file, without verifying their checksums.

    Parameters
    ----------
    content : bytes
        The file.

    Returns
    -------
    list of HDU

    Raises
    ------
    InvalidSpectrumError
        ``unreadable``, or ``too_large``.
    """
    _check_signature(content, len(content))
    hdus: list[HDU] = []
    while (start := hdus[-1].stop if hdus else 0) < len(content):
        hdus.append(_parse_hdu(content, start, len(content)))
    return hdus


def _check_signature(content: bytes, file_size: int) -> None:
    """Raise an error if the content is not that of a complete FITS file."""
    if not content.startswith(b"SIMPLE  ="):
        begin = content[:512].lstrip().lower()
        file_type = next(
            (name for magic, name in _FOREIGN_SIGNATURES.items() if begin.startswith(magic)),
            "not a FITS file",
        )
        file_type = "a tar archive" if content[257:262] == b"ustar" else file_type
        raise make_unreadable_error(
            f"{file_type}: begins with {content[:60]!r}" if content else "an empty file"
        )
    if file_size % BLOCK_SIZE:
        raise make_unreadable_error(
            f"truncated, or with extra bytes at its end: {file_size} bytes are not a multiple of {BLOCK_SIZE}"
        )


def _parse_hdu(content: bytes, start: int, file_size: int) -> HDU:
    if start and (begin := content[start : start + 9]) != b"XTENSION=" and len(begin) == 9:
        content_type = "another file" if begin == b"SIMPLE  =" else f"{begin!r}"
        raise make_unreadable_error(f"{content_type} instead of an HDU at byte {start}")
    end = _find_end_card(content, start, file_size)
    stop = end + BLOCK_SIZE - (end - start) % BLOCK_SIZE
    if stop > len(content):
        raise IncompleteContentError(stop)
    block = np.frombuffer(content, np.uint8, stop - start, start)
    if block.min() < 32 or block.max() > 126:
        raise make_unreadable_error(f"header at byte {start} contains bytes that are not ASCII text")
    if not content[end + 3 : stop].isspace():
        raise make_unreadable_error(f"header at byte {start} continues after its END card")
    cards = block[: end - start].reshape(-1, CARD_SIZE)
    index, structural = index_keywords(cards[:, :8].tobytes())
    declared = parse_layout(cards[structural].tobytes())
    data_stop = stop + declared.data_size
    data_stop += -data_stop % BLOCK_SIZE
    if data_stop > file_size:
        raise make_unreadable_error(f"truncated: an HDU ends at byte {data_stop}, the file at {file_size}")
    hdu = HDU(start, stop, data_stop, Header(index, content[start:end]), declared)
    _read_stated_checksums(hdu.header)
    return hdu


def _find_end_card(content: bytes, start: int, file_size: int) -> int:
    """Return the offset of the END card."""
    limit = start + MAX_HEADER_SIZE
    end = content.find(b"END     ", start, limit)
    while end >= 0 and (end - start) % CARD_SIZE:
        end = content.find(b"END     ", end + 1, limit)
    if end >= 0:
        return end
    if len(content) < min(file_size, limit):
        raise IncompleteContentError(min(file_size, max(start, len(content)) + READ_AHEAD_SIZE))
    raise make_unreadable_error(f"header at byte {start} has no END card")


def _verify_checksums(content: bytes, hdu: HDU) -> None:
    """Verify CHECKSUM and DATASUM, sums in ones' complement (FITS standard 4.0, appendix J)."""
    for key, stated in _read_stated_checksums(hdu.header).items():
        start = hdu.start if key == "CHECKSUM" else hdu.data_start
        words = np.frombuffer(content, ">u4", (hdu.stop - start) // 4, start)
        rest = int(words.sum(dtype=np.uint64)) - (int(stated) if key == "DATASUM" else 0)
        if rest % 0xFFFFFFFF:
            raise InvalidSpectrumError(
                QuarantineReason.BAD_CHECKSUM, f"HDU {hdu.layout.name} does not match its {key} {stated}"
            )


def _read_stated_checksums(header: Header) -> dict[str, str]:
    stated: dict[str, str] = {}
    for key in ("CHECKSUM", "DATASUM"):
        if key not in header:
            continue
        card = header.get_raw_cards(key)
        if match := _CHECKSUM_CARD.fullmatch(card):
            stated[key] = (match[1] or match[2] or b"").decode().strip()
            continue
        value = header[key]  # a number in place of text, or no value
        text = "" if value is None else str(value).strip()
        if key == "DATASUM" and text and not text.isdecimal():
            raise make_unreadable_error(f"invalid header card: {card.decode().rstrip()}")
        stated[key] = text
    return {key: value for key, value in stated.items() if value}
