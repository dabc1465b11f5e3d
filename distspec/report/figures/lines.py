"""Marks and names of spectral lines in figures of spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from distspec.core.colors import MUTED_COLOR
from distspec.report.figures.style import spread_labels

LABEL_SIZE = 5.2
"""Font size of the names of lines [pt]."""
LABEL_SEPARATION = 0.092
"""Smallest distance between the names of lines [inch]."""
LEADER_HEIGHT = 0.13
"""Height of the leaders between axes and names [inch]."""


def mark_lines(axes: Sequence[Axes], lines: Mapping[str, float], unit_per_angstrom: float) -> None:
    """Mark spectral features by dotted vertical lines.

    Parameters
    ----------
    axes : sequence of Axes
        Axes with rest wavelength on the x axis.
    lines : mapping of str to float
        Rest wavelengths of the features [Angstrom].
    unit_per_angstrom : float
        Length of 1 Angstrom in the unit of the x axis.
    """
    for ax in axes:
        segments = [
            [(unit_per_angstrom * wave, 0.0), (unit_per_angstrom * wave, 1.0)] for wave in lines.values()
        ]
        _add_segments(ax, segments, linestyles=":", zorder=0)


def _add_segments(ax: Axes, segments: Sequence[Sequence[tuple[float, float]]], **settings: Any) -> None:
    """Draw segments, x in data and y in fractions of the axes; one artist is much faster than many."""
    transform = ax.get_xaxis_transform()
    collection = LineCollection(segments, colors=MUTED_COLOR, linewidths=0.4, transform=transform, **settings)
    collection.set_in_layout(False)
    ax.add_collection(collection, autolim=False)


def name_lines(
    ax: Axes,
    lines: Mapping[str, float],
    unit_per_angstrom: float,
    width_inches: float,
    height_inches: float,
) -> float:
    """Write the names of spectral features above an axes, without overlaps.

    Parameters
    ----------
    ax : Axes
        Axes whose limits in x are set.
    lines : mapping of str to float
        Rest wavelengths of the features [Angstrom]; those outside of the limits are left out.
    unit_per_angstrom : float
        Length of 1 Angstrom in the unit of the x axis.
    width_inches, height_inches : float
        Approximate size of the axes [inch].

    Returns
    -------
    float
        Height of the names above the axes [pt]; 0 if there are none.
    """
    low, high = ax.get_xlim()
    inside = sorted(
        (unit_per_angstrom * wave, name)
        for name, wave in lines.items()
        if low < unit_per_angstrom * wave < high
    )
    positions = np.array([x for x, _ in inside])
    placed = spread_labels(positions, LABEL_SEPARATION * (high - low) / width_inches, low, high)
    top = 1.0 + LEADER_HEIGHT / height_inches
    leaders = [[(x, 1.0), (float(x_name), top)] for (x, _), x_name in zip(inside, placed, strict=True)]
    _add_segments(ax, leaders, clip_on=False)
    for (_, name), x_name in zip(inside, placed, strict=True):
        ax.text(
            *(float(x_name), top, name), transform=ax.get_xaxis_transform(),
            rotation=90, ha="center", va="bottom", size=LABEL_SIZE, color="#555555", parse_math=False,
        )  # fmt: skip
    longest = max((len(name) for _, name in inside), default=0)
    return (72 * LEADER_HEIGHT + 0.52 * LABEL_SIZE * longest) if longest else 0.0


def find_line_name(wave: float, lines: Mapping[str, float], tolerance: float = 0.012) -> str:
    """Return the name of the spectral feature at a wavelength, or the wavelength as text.

    Parameters
    ----------
    wave : float
        Rest wavelength [Angstrom].
    lines : mapping of str to float
        Rest wavelengths of the features [Angstrom].
    tolerance : float
        Largest relative difference in wavelength.

    Examples
    --------
    >>> find_line_name(5000.0, {"Hβ": 4862.7, "[O III] 5007": 5008.2}), find_line_name(5400.0, {"Hβ": 4862.7})
    ('[O III] 5007', '5400 Å')
    """
    nearest = min(lines, key=lambda name: abs(lines[name] - wave), default="")
    if nearest and abs(lines[nearest] - wave) <= tolerance * wave:
        return nearest
    return f"{wave:.0f} Å"
