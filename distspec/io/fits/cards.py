"""FITS header cards: 80 characters with keyword, value and comment (FITS standard 4.0, section 4).

Cards of the usual form are parsed here and all others by astropy: one is invalid if astropy cannot read it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from astropy.io import fits

from distspec.core.errors import InvalidSpectrumError, QuarantineReason

CARD_SIZE, BLOCK_SIZE = 80, 2880
HeaderValue = bool | int | float | str | None
_KEYWORD = re.compile(r"[A-Z]+\d*")
_CARD = re.compile(
    r"(?P<key>[A-Z]+\d*) *(?<=^.{8})= +(?:'(?P<text>(?:[^']|'')*)'|(?P<integer>[+-]?\d+)|(?P<logical>[TF])"
    r"|(?P<real>[+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d+)?))? *(?:/.*)?"
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
    return _parse_with_astropy(cards)[1]


def _parse_with_astropy(cards: bytes) -> tuple[str, Any]:
    """Return keyword and value of a card and of the CONTINUE cards that follow it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            card = fits.Card.fromstring(cards)
            keyword, value = str(card.keyword).upper(), card.value
    except Exception as error:  # astropy raises errors of several types for invalid cards
        raise make_unreadable_error(f"invalid header card: {cards[:CARD_SIZE].decode().rstrip()}") from error
    return keyword, None if isinstance(value, fits.card.Undefined) else value


def parse_cards(cards: bytes) -> dict[str, HeaderValue]:
    """Parse cards with numbers, logicals and text.

    Parameters
    ----------
    cards : bytes
        Cards of 80 bytes each, with the CONTINUE cards of long texts.

    Raises
    ------
    InvalidSpectrumError
        ``unreadable`` if astropy cannot read a card, or if a keyword has two values.
    """
    values: dict[str, HeaderValue] = {}
    start = 0
    while start < len(cards):
        stop = start + CARD_SIZE
        while cards.startswith(b"CONTINUE", stop):
            stop += CARD_SIZE
        key, value = _parse_card(cards[start:stop])
        if key in values and values[key] != value:
            raise make_unreadable_error(f"{key} occurs twice, as {values[key]!r} and as {value!r}")
        values[key] = value
        start = stop
    return values


def _parse_card(card: bytes) -> tuple[str, HeaderValue]:
    match = _CARD.fullmatch(card.decode()) if len(card) == CARD_SIZE else None
    if not match:
        key, value = _parse_with_astropy(card)
        if not _KEYWORD.fullmatch(key):
            raise make_unreadable_error(f"invalid header card: {card[:CARD_SIZE].decode().rstrip()}")
        return key, value
    key, text, integer, logical, real = match.group("key", "text", "integer", "logical", "real")
    if text is not None:
        return key, text.replace("''", "'")
    if integer or real:
        return key, int(integer) if integer else float(real.upper().replace("D", "E"))
    return key, logical == "T" if logical else None


def make_unreadable_error(detail: str) -> InvalidSpectrumError:
    """Return the error for a damaged file.

    Parameters
    ----------
    detail : str
        What is damaged.
    """
    return InvalidSpectrumError(QuarantineReason.UNREADABLE, detail)
