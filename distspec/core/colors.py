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
SEQUENTIAL_COLORS = (
    "#440154", "#450559", "#460b5e", "#471164", "#481769", "#481c6e", "#482173", "#482677",
    "#472a7a", "#472f7d", "#463480", "#443983", "#433e85", "#414287", "#3f4788", "#3e4a89",
    "#3c4f8a", "#3a538b", "#38588c", "#365c8d", "#34608d", "#32648e", "#31678e", "#2f6b8e",
    "#2e6f8e", "#2c728e", "#2a768e", "#297a8e", "#277e8e", "#26818e", "#25848e", "#23888e",
    "#228c8d", "#21908d", "#20938c", "#1f978b", "#1f9a8a", "#1f9e89", "#1fa187", "#21a585",
    "#23a983", "#26ad81", "#2ab07f", "#2eb37c", "#34b679", "#3aba76", "#40bd72", "#48c16e",
    "#50c46a", "#58c765", "#60ca60", "#67cc5c", "#70cf57", "#7ad151", "#84d44b", "#8ed645",
    "#98d83e", "#a2da37", "#aadc32", "#b5de2b", "#c0df25", "#cae11f", "#d5e21a", "#dfe318",
)  # fmt: skip
"""Colors of increasing values: 64 steps of matplotlib's viridis, without its brightest end."""


def class_color(label: int) -> str:
    """Return the color of a class, as #rrggbb.

    Parameters
    ----------
    label : int
        Label of the class; -1 is noise.
    """
    return UNCLASSIFIED_COLOR if label < 0 else CLASS_COLORS[label % len(CLASS_COLORS)]
