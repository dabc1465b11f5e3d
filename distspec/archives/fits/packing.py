"""What a file is before it is read: unpacking gzip, and telling FITS from what is served in its place."""

from __future__ import annotations

import gzip
import io
import zlib

from distspec.archives.fits.cards import BLOCK, unreadable
from distspec.spectrum import BadSpectrumError, Reason

GZIP_MAGIC = b"\x1f\x8b"

_STRANGERS = {
    GZIP_MAGIC: "gzip within gzip",
    b"pk\x03\x04": "a zip archive",
    b"<!doctype html": "an HTML page",
    b"<html": "an HTML page",
    b"<": "XML or HTML",
    b"version https://git-lfs": "a Git-LFS pointer, not the file",
    b"{": "JSON",
}
"""How files begin that are served in place of FITS, in lower case."""


def unpack(content: bytes, limit: int) -> bytes:
    """Return a file's bytes, unpacked if they are gzipped, whatever its name says.

    Raises
    ------
    BadSpectrumError
        ``too_large`` beyond `limit` bytes; ``unreadable`` where gzip's data are cut short or damaged.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while part := file.read(1 << 20):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise BadSpectrumError(Reason.TOO_LARGE, f"unpacks to more than {limit:,} bytes")
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(f"gzip: {error}") from error
    return b"".join(parts)


def recognise(content: bytes, total: int) -> None:
    """Refuse what is no FITS file or no whole one, saying what it looks like; `total` is its size [bytes]."""
    if not content.startswith(b"SIMPLE  ="):
        begin = content[:512].lstrip().lower()
        looks = next((what for magic, what in _STRANGERS.items() if begin.startswith(magic)), "no FITS file")
        looks = "a tar archive" if content[257:262] == b"ustar" else looks
        raise unreadable(f"{looks}: begins with {content[:60]!r}" if content else "an empty file")
    if total % BLOCK:
        raise unreadable(f"cut short, or with junk at its end: {total} bytes are not blocks of {BLOCK}")
