"""Colors that the report's figures and the explorer share."""

from __future__ import annotations

DATA_COLOR, ERROR_COLOR, MODEL_COLOR, MUTED_COLOR = "#222222", "#b9c7d8", "#d55e00", "#8a8f98"
UNCLASSIFIED_COLOR = "#bdbdbd"
"""Color of spectra without a class (label -1)."""
CLASS_COLORS = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#aa4499",
    "#ddcc77", "#44aa99", "#882255", "#999933",
)  # fmt: skip
"""Colors of the classes, repeated if there are more: Paul Tol's muted scheme."""


def class_color(label: int) -> str:
    """Return the color of a class, as #rrggbb."""
    return UNCLASSIFIED_COLOR if label < 0 else CLASS_COLORS[label % len(CLASS_COLORS)]
