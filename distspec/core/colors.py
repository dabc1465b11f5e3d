"""NEEDS A DOCSTRING."""

from __future__ import annotations

DATA, SIGMA, MODEL, FAINT = "#222222", "#b9c7d8", "#d55e00", "#8a8f98"
UNCLASSIFIED = "#bdbdbd"
CLASS_COLOURS = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#aa4499",
    "#ddcc77", "#44aa99", "#882255", "#999933",
)  # fmt: skip


def class_colour(label: int) -> str:
    """Return a class's colour; grey for -1."""
    return UNCLASSIFIED if label < 0 else CLASS_COLOURS[label % len(CLASS_COLOURS)]
