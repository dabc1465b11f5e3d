"""Unpacking gzip that nobody vouches for."""

from __future__ import annotations

import gzip
import io
import zlib

from distspec.spectrum import BadSpectrumError, Reason

GZIP_MAGIC = b"\x1f\x8b"
STEP = 1 << 20


def unpack(content: bytes, limit: int) -> bytes:
    """Return what a gzip file holds, every member of it.

    Raises
    ------
    BadSpectrumError
        ``too_large`` beyond `limit` bytes; ``unreadable`` where it is cut short or its checksum is wrong.
    """
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            while part := file.read(min(STEP, limit + 1 - len(unpacked))):
                unpacked += part
                if len(unpacked) > limit:
                    seen = f"{len(content):,} bytes of gzip unpack to more than {limit:,}"
                    raise BadSpectrumError(Reason.TOO_LARGE, seen)
    except (EOFError, zlib.error, OSError) as error:
        seen = f"damaged gzip after {len(unpacked):,} unpacked bytes: {error}"
        raise BadSpectrumError(Reason.UNREADABLE, seen) from error
    return bytes(unpacked)
