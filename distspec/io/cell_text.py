"""Texts in the cells of FITS, VOTable and ECSV tables, where a format would change them: JSON strings."""

from __future__ import annotations

import json


def encode_text(text: str, ascii_only: bool = False) -> str:
    r"""Return a text, or the JSON string of a text that a format would change.

    These are the empty text, which is read as null, texts that begin or end with white space or have
    unprintable characters, and texts that begin with a quotation mark. ``json.loads`` returns the text.

    Parameters
    ----------
    text : str
        Value of a column, or its name.
    ascii_only : bool
        Whether characters outside of ASCII are escaped too.

    Returns
    -------
    str

    Examples
    --------
    >>> print(encode_text("Hα"), encode_text("Hα", ascii_only=True), encode_text(""), encode_text(" a"))
    Hα "H\u03b1" "" " a"
    """
    is_kept = text and text[0] != '"' and text == text.strip() and text.isprintable()
    return text if is_kept and (text.isascii() or not ascii_only) else json.dumps(text)


def decode_text(text: str) -> str:
    """Return the text of a cell that `encode_text` wrote.

    Parameters
    ----------
    text : str
        Value of a column of texts.

    Examples
    --------
    >>> decode_text(encode_text("Hα", ascii_only=True)), decode_text('"not JSON')
    ('Hα', '"not JSON')
    """
    try:
        decoded = json.loads(text) if text.startswith('"') else text
    except json.JSONDecodeError:
        return text
    return str(decoded)


def escape_json(text: str, ascii_only: bool = False) -> str:
    """Return JSON whose strings have escapes in place of unprintable characters.

    Parameters
    ----------
    text : str
        JSON.
    ascii_only : bool
        Whether characters outside of ASCII are escaped too.

    Returns
    -------
    str
    """
    return "".join(
        character
        if character.isprintable() and (character.isascii() or not ascii_only)
        else json.dumps(character)[1:-1]
        for character in text
    )
