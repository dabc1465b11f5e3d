"""FITS header cards: 80 characters with keyword, value and comment (FITS standard 4.0, section 4)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from astropy.io import fits

from distspec.core.errors import InvalidSpectrumError, QuarantineReason

CARD_SIZE, BLOCK_SIZE = 80, 2880
HeaderValue = bool | int | float | str | None
_CARD = re.compile(
    r"(?P<key>[A-Z]+\d*) *(?<=^.{8})= +(?:'(?P<text>(?:[^']|'')*)'|(?P<integer>[+-]?\d+)|(?P<logical>[TF])"
    r"|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?))? *(?:/.*)?"
)


class Header(Mapping[str, HeaderValue]):
    """Values of a header by keyword; each is parsed by astropy when it is requested.

    The first card of a repeated keyword counts, and a card without a value is None. Comments and HIERARCH
    keywords are left out.

    Parameters
    ----------
    index : mapping
        Number of the first card of each keyword.
    cards : bytes
        All cards of the header.
    """

    def __init__(self, index: Mapping[str, int], cards: bytes) -> None:
        self._index, self._cards = index, cards

    def __getitem__(self, key: str) -> HeaderValue:
        return _parse_value(self.get_raw_cards(key))

    def get_raw_cards(self, key: str) -> bytes:
        """Return the bytes of a keyword's card, and of the CONTINUE cards that follow it.

        Parameters
        ----------
        key : str
            Keyword, in upper case.

        Returns
        -------
        bytes
            The cards of 80 bytes each, one after the other.
        """
        start = CARD_SIZE * self._index[key]
        stop = start + CARD_SIZE
        while self._cards.startswith(b"CONTINUE", stop):
            stop += CARD_SIZE
        return self._cards[start:stop]

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


@lru_cache(maxsize=1024)
def _parse_value(cards: bytes) -> HeaderValue:
    try:
        value: Any = fits.Card.fromstring(cards).value
    except Exception as error:  # astropy raises errors of several types for invalid cards
        raise make_unreadable_error(f"invalid header card: {cards[:CARD_SIZE].decode().rstrip()}") from error
    return None if isinstance(value, fits.card.Undefined) else value


def parse_cards(cards: bytes) -> dict[str, HeaderValue]:
    """Parse cards with numbers, logicals and text.

    Parameters
    ----------
    cards : bytes
        Cards of 80 bytes each.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if a card does not conform to the standard, or if a keyword has two values.
    """
    values: dict[str, HeaderValue] = {}
    for i in range(0, len(cards), CARD_SIZE):
        card = cards[i : i + CARD_SIZE].decode()
        match = _CARD.fullmatch(card)
        if not match:
            raise make_unreadable_error(f"invalid header card: {card.rstrip()}")
        key, text, integer, logical, real = match.groups()
        value: HeaderValue = None
        if text is not None:
            value = text.replace("''", "'")
        elif integer or real:
            value = int(integer) if integer else float(real.replace("D", "E"))
        elif logical:
            value = logical == "T"
        if key in values and values[key] != value:
            raise make_unreadable_error(f"{key} occurs twice, as {values[key]!r} and as {value!r}")
        values[key] = value
    return values


def make_unreadable_error(detail: str) -> InvalidSpectrumError:
    """Return the error for a damaged file."""
    return InvalidSpectrumError(QuarantineReason.UNREADABLE, detail)
