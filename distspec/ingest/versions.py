"""Versions of spectra, which are compared by value however a catalog writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

MIN_UNIX_TIME, MAX_UNIX_TIME = 100_000_000, 100_000_000_000
"""Numbers in this range [s] in a version are compared as times, to the millisecond."""
_EPOCH, _MICROSECOND = datetime.fromtimestamp(0, UTC), timedelta(microseconds=1)
# Longer numbers are checksums and are compared as text.
_NUMBER = re.compile(r"[+-]?\d{1,17}(?:\.\d{0,17})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:T|$)", re.ASCII)
_DATE_AND_TIME = re.compile(
    r"(?P<date>\b\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d[:.\d]*)(?: ?(?P<zone>UTC|GMT|[+-]\d\d:?\d\d)\b)?",
    re.ASCII,
)


def normalize_version(version: str) -> str:
    """Return a version in a form that depends only on the values of its words.

    Numbers are compared as numbers (0.10 is 0.1, and 5.0 is 5). A date with or without a time of day, in ISO
    8601, is compared with UNIX times [s] as an instant, to the millisecond; it is in UTC if it has no zone.
    Other words are compared as text, as is a part such as ``z=5.10000``.

    Parameters
    ----------
    version : str
        Version in a listing or a store.

    Returns
    -------
    str

    Examples
    --------
    >>> normalize_version("2024-05-01T12:00:00+02:00 0.10 z=5.1")
    '1714557600 0.1 z=5.1'
    >>> normalize_version("1714557600.0 0.1 z=5.1")
    '1714557600 0.1 z=5.1'
    """
    words = _DATE_AND_TIME.sub(_join_time, version).split()
    return " ".join(_normalize_word(word) for word in words)


def _join_time(match: re.Match[str]) -> str:
    zone = (match["zone"] or "").replace("UTC", "Z").replace("GMT", "Z")
    return f"{match['date']}T{match['time']}{zone}"


def _normalize_word(word: str) -> str:
    if _NUMBER.fullmatch(word):
        value = Decimal(word)
        if MIN_UNIX_TIME <= value < MAX_UNIX_TIME:
            value = round(value, 3)
    elif _ISO_DATE.match(word):
        try:
            time = datetime.fromisoformat(word)
        except ValueError:
            return word
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        value = round(Decimal((time - _EPOCH) // _MICROSECOND) / 1_000_000, 3)
    else:
        return word
    return f"{value.normalize():f}" if value else "0"
