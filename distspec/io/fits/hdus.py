"""Finding one HDU in a file or in its beginning, and making sure that it is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from distspec.core.errors import BadSpectrumError, Reason
from distspec.io.fits.cards import BLOCK, CARD, Header, unreadable
from distspec.io.fits.layout import Layout, keywords, layout

MAX_HEADER = 1000 * BLOCK
"""Longest header [bytes]."""
AHEAD = 16 * BLOCK
"""How much to ask for where a header of unknown length begins [bytes]."""
_STRANGERS = {
    b"\x1f\x8b": "gzip, once unpacked still",
    b"pk\x03\x04": "a zip archive",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<": "XML or HTML",
    b"version https://git-lfs": "a Git-LFS pointer, not the file",
    b"{": "JSON",
}
"""How files begin that are served in place of FITS, in lower case."""
_SUM = re.compile(rb"(?:CHECKSUM= +'([^']*)'|DATASUM = +'( *\d* *)') *(?:/.*)?")


class Incomplete(Exception):
    """What is asked for lies beyond the bytes given.

    Parameters
    ----------
    needed : int
        Try again with this many of the file's first bytes; more may be needed then.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


@dataclass(frozen=True, slots=True)
class Hdu:
    """Where an HDU lies in the file [bytes], and what its header says."""

    start: int
    data: int
    stop: int
    header: Header
    layout: Layout


def find_hdu(content: bytes, name: str | int, total: int) -> Hdu:
    """Return the first HDU of that name, its data within `content` and as its checksums say."""
    _recognise(content, total)
    wanted = name.strip().upper() if isinstance(name, str) else name
    found: Hdu | None = None
    names: list[str] = []
    start = 0
    while start < total and (found is None or len(content) == total):
        hdu = _hdu_at(content, start, total)
        names.append(hdu.layout.name or (str(len(names)) if names else "PRIMARY"))
        if found is None and wanted in {names[-1], len(names) - 1}:
            found = hdu
        start = hdu.stop
    if found is None:
        raise BadSpectrumError(Reason.BAD_TABLE, f"no HDU {name}; there are {', '.join(names)}")
    if found.stop > len(content):
        raise Incomplete(found.stop)
    _check_sums(content, found)
    return found


def _recognise(content: bytes, total: int) -> None:
    """Refuse what is no FITS file or no whole one, saying what it looks like; `total` is its size [bytes]."""
    if not content.startswith(b"SIMPLE  ="):
        begin = content[:512].lstrip().lower()
        looks = next((what for magic, what in _STRANGERS.items() if begin.startswith(magic)), "no FITS file")
        looks = "a tar archive" if content[257:262] == b"ustar" else looks
        raise unreadable(f"{looks}: begins with {content[:60]!r}" if content else "an empty file")
    if total % BLOCK:
        raise unreadable(f"cut short, or with junk at its end: {total} bytes are not blocks of {BLOCK}")


def _hdu_at(content: bytes, start: int, total: int) -> Hdu:
    if start and (begin := content[start : start + 9]) != b"XTENSION=" and len(begin) == 9:
        what = "another file begins" if begin == b"SIMPLE  =" else f"{begin!r}, no HDU, stands"
        raise unreadable(f"{what} at byte {start}")
    end = _end_card(content, start, total)
    stop = end + BLOCK - (end - start) % BLOCK
    if stop > len(content):
        raise Incomplete(stop)
    block = np.frombuffer(content, np.uint8, stop - start, start)
    if block.min() < 32 or block.max() > 126:
        raise unreadable(f"header at byte {start} holds what is not ASCII text")
    if not content[end + 3 : stop].isspace():
        raise unreadable(f"header at byte {start} goes on after its END")
    cards = block[: end - start].reshape(-1, CARD)
    index, structural = keywords(cards[:, :8].tobytes())
    declared = layout(cards[structural].tobytes())
    data_stop = stop + declared.size
    data_stop += -data_stop % BLOCK
    if data_stop > total:
        raise unreadable(f"cut short: an HDU ends at byte {data_stop} of {total}")
    hdu = Hdu(start, stop, data_stop, Header(index, content[start:end]), declared)
    _stated_sums(hdu.header)
    return hdu


def _end_card(content: bytes, start: int, total: int) -> int:
    """Return where the END card begins."""
    limit = start + MAX_HEADER
    end = content.find(b"END     ", start, limit)
    while end >= 0 and (end - start) % CARD:
        end = content.find(b"END     ", end + 1, limit)
    if end >= 0:
        return end
    if len(content) < min(total, limit):
        raise Incomplete(min(total, max(start, len(content)) + AHEAD))
    raise unreadable(f"header at byte {start} has no END")


def _check_sums(content: bytes, hdu: Hdu) -> None:
    """Compare with CHECKSUM and DATASUM, sums in ones' complement (FITS standard 4.0, appendix J)."""
    for key, stated in _stated_sums(hdu.header).items():
        start = hdu.start if key == "CHECKSUM" else hdu.data
        words = np.frombuffer(content, ">u4", (hdu.stop - start) // 4, start)
        rest = int(words.sum(dtype=np.uint64)) - (int(stated) if key == "DATASUM" else 0)
        if rest % 0xFFFFFFFF:
            raise BadSpectrumError(Reason.BAD_CHECKSUM, f"HDU {hdu.layout.name}: not of {key} {stated}")


def _stated_sums(header: Header) -> dict[str, str]:
    stated: dict[str, str] = {}
    for key in ("CHECKSUM", "DATASUM"):
        if key in header:
            match = _SUM.fullmatch(header.cards(key))
            if not match:
                raise unreadable(f"a card that cannot be read: {header.cards(key).decode().rstrip()}")
            stated[key] = (match[1] or match[2]).decode().strip()
    return {key: value for key, value in stated.items() if value}
