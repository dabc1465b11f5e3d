"""The report's figures: arrays and tables in, a matplotlib ``Figure`` out; no pyplot, no state left."""

from distspec.core.colors import class_colour
from distspec.report.figures.marks import found_by_marks
from distspec.report.figures.runs import best_epoch, latent_map, sweep_scores, training_curves
from distspec.report.figures.spectra import (
    IN_A_ROW,
    Examples,
    class_members,
    class_spectra,
    odd_spectra,
    reconstructions,
)
from distspec.report.figures.style import class_marker, column, has_redshifts, labels_of, spread, to_png

__all__ = [
    "IN_A_ROW",
    "Examples",
    "best_epoch",
    "class_colour",
    "class_marker",
    "class_members",
    "class_spectra",
    "column",
    "found_by_marks",
    "has_redshifts",
    "labels_of",
    "latent_map",
    "odd_spectra",
    "reconstructions",
    "spread",
    "sweep_scores",
    "to_png",
    "training_curves",
]
