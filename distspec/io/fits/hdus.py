"""Finding one HDU in a file or in its beginning, and making sure that it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from distspec.core.errors import InvalidSpectrumError, QuarantineReason
from distspec.io.fits.cards import BLOCK_SIZE, CARD_SIZE, Header, make_unreadable_error
from distspec.io.fits.layout import DataLayout, index_keywords, parse_layout

MAX_HEADER_SIZE = 1000 * BLOCK_SIZE
"""Longest header [bytes]."""
READ_AHEAD_SIZE = 16 * BLOCK_SIZE
"""How much to ask for where a header of unknown length begins [bytes]."""
_FOREIGN_SIGNATURES = {
    b"\x1f\x8b": "gzip, once unpacked still",
    b"pk\x03\x04": "a zip archive",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<": "XML or HTML",
    b"version https://git-lfs": "a Git-LFS pointer, not the file",
    b"{": "JSON",
}
"""How files begin that are served in place of FITS, in lower case."""
_CHECKSUM_CARD = re.compile(rb"(?:CHECKSUM= +'([^']*)'|DATASUM = +'( *\d* *)') *(?:/.*)?")


class IncompleteContentError(Exception):
    """What is asked for lies beyond the bytes given.

    Parameters
    ----------
    n_bytes_needed : int
        Try again with this many of the file's first bytes; more may be needed then.
    """

    def __init__(self, n_bytes_needed: int) -> None:
        super().__init__(n_bytes_needed)
        self.n_bytes_needed = n_bytes_needed


@dataclass(frozen=True, slots=True)
class HDU:
    """Where an HDU lies in the file [bytes], and what its header says."""

    start: int
    data_start: int
    stop: int
    header: Header
    layout: DataLayout


def find_hdu(content: bytes, hdu: str | int, file_size: int) -> HDU:
    """Return the first HDU of that name, its data within `content` and as its checksums say."""
    _check_signature(content, file_size)
    wanted = hdu.strip().upper() if isinstance(hdu, str) else hdu
    found: HDU | None = None
    names: list[str] = []
    start = 0
    while start < file_size and (found is None or len(content) == file_size):
        here = _parse_hdu(content, start, file_size)
        names.append(here.layout.name or (str(len(names)) if names else "PRIMARY"))
        if found is None and wanted in {names[-1], len(names) - 1}:
            found = here
        start = here.stop
    if found is None:
        raise InvalidSpectrumError(QuarantineReason.BAD_TABLE, f"no HDU {hdu}; there are {', '.join(names)}")
    if found.stop > len(content):
        raise IncompleteContentError(found.stop)
    _verify_checksums(content, found)
    return found


def _check_signature(content: bytes, file_size: int) -> None:
    """Refuse what is no FITS file or no whole one, saying what it looks like; `file_size` is its size [bytes]."""
    if not content.startswith(b"SIMPLE  ="):
        begin = content[:512].lstrip().lower()
        looks = next(
            (what for magic, what in _FOREIGN_SIGNATURES.items() if begin.startswith(magic)), "no FITS file"
        )
        looks = "a tar archive" if content[257:262] == b"ustar" else looks
        raise make_unreadable_error(f"{looks}: begins with {content[:60]!r}" if content else "an empty file")
    if file_size % BLOCK_SIZE:
        raise make_unreadable_error(
            f"cut short, or with junk at its end: {file_size} bytes are not blocks of {BLOCK_SIZE}"
        )


def _parse_hdu(content: bytes, start: int, file_size: int) -> HDU:
    if start and (begin := content[start : start + 9]) != b"XTENSION=" and len(begin) == 9:
        what = "another file begins" if begin == b"SIMPLE  =" else f"{begin!r}, no HDU, stands"
        raise make_unreadable_error(f"{what} at byte {start}")
    end = _find_end_card(content, start, file_size)
    stop = end + BLOCK_SIZE - (end - start) % BLOCK_SIZE
    if stop > len(content):
        raise IncompleteContentError(stop)
    block = np.frombuffer(content, np.uint8, stop - start, start)
    if block.min() < 32 or block.max() > 126:
        raise make_unreadable_error(f"header at byte {start} holds what is not ASCII text")
    if not content[end + 3 : stop].isspace():
        raise make_unreadable_error(f"header at byte {start} goes on after its END")
    cards = block[: end - start].reshape(-1, CARD_SIZE)
    index, structural = index_keywords(cards[:, :8].tobytes())
    declared = parse_layout(cards[structural].tobytes())
    data_stop = stop + declared.data_size
    data_stop += -data_stop % BLOCK_SIZE
    if data_stop > file_size:
        raise make_unreadable_error(f"cut short: an HDU ends at byte {data_stop} of {file_size}")
    hdu = HDU(start, stop, data_stop, Header(index, content[start:end]), declared)
    _read_stated_checksums(hdu.header)
    return hdu


def _find_end_card(content: bytes, start: int, file_size: int) -> int:
    """Return where the END card begins."""
    limit = start + MAX_HEADER_SIZE
    end = content.find(b"END     ", start, limit)
    while end >= 0 and (end - start) % CARD_SIZE:
        end = content.find(b"END     ", end + 1, limit)
    if end >= 0:
        return end
    if len(content) < min(file_size, limit):
        raise IncompleteContentError(min(file_size, max(start, len(content)) + READ_AHEAD_SIZE))
    raise make_unreadable_error(f"header at byte {start} has no END")


def _verify_checksums(content: bytes, hdu: HDU) -> None:
    """Compare with CHECKSUM and DATASUM, sums in ones' complement (FITS standard 4.0, appendix J)."""
    for key, stated in _read_stated_checksums(hdu.header).items():
        start = hdu.start if key == "CHECKSUM" else hdu.data_start
        words = np.frombuffer(content, ">u4", (hdu.stop - start) // 4, start)
        rest = int(words.sum(dtype=np.uint64)) - (int(stated) if key == "DATASUM" else 0)
        if rest % 0xFFFFFFFF:
            raise InvalidSpectrumError(
                QuarantineReason.BAD_CHECKSUM, f"HDU {hdu.layout.name}: not of {key} {stated}"
            )


def _read_stated_checksums(header: Header) -> dict[str, str]:
    stated: dict[str, str] = {}
    for key in ("CHECKSUM", "DATASUM"):
        if key in header:
            match = _CHECKSUM_CARD.fullmatch(header.get_raw_cards(key))
            if not match:
                raise make_unreadable_error(
                    f"a card that cannot be read: {header.get_raw_cards(key).decode().rstrip()}"
                )
            stated[key] = (match[1] or match[2]).decode().strip()
    return {key: value for key, value in stated.items() if value}
