"""Flux axes that show bright lines and the continuum: linear, or arcsinh-scaled where lines are bright."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from distspec.core.spectrum import Floats
from distspec.report.figures.style import flux_range

MAX_LINEAR_RATIO = 5.0
"""Ratio of the highest to the median flux of a curve from which flux axes are arcsinh-scaled."""
MIN_TICK_SEPARATION = 0.2
"""Smallest distance between ticks as a fraction of an arcsinh axis."""


def choose_linear_width(curves: Iterable[Floats]) -> float | None:
    """Choose the scale of the flux axes of a figure, which all its panels share.

    Parameters
    ----------
    curves : iterable of ndarray
        Curves without noise, such as medians and reconstructions; NaN where there are no data.

    Returns
    -------
    float or None
        Flux up to which the axis is linear: the median flux of a typical curve. None if a linear axis shows
        the lines and the continuum of every curve.

    Examples
    --------
    >>> print(choose_linear_width([np.array([1.0, 1.0, 1.0, 4.0])]))
    None
    >>> choose_linear_width([np.array([1.0, 1.0, 1.0, 40.0])])
    1.0
    """
    levels: list[float] = []
    largest_ratio = 0.0
    for curve in curves:
        flux = np.abs(curve[np.isfinite(curve)])
        level = float(np.median(flux)) if flux.size else 0.0
        if level > 0.0:
            levels.append(level)
            largest_ratio = max(largest_ratio, float(flux.max()) / level)
    return float(np.median(levels)) if largest_ratio > MAX_LINEAR_RATIO else None


def set_flux_axis(
    ax: Axes, noisy: Sequence[Floats], smooth: Sequence[Floats], linear_width: float | None
) -> None:
    """Set scale, limits and ticks of a flux axis.

    Parameters
    ----------
    ax : Axes
        Axes to set.
    noisy, smooth, linear_width
        As in `find_flux_limits`.
    """
    limits = find_flux_limits(noisy, smooth, linear_width)
    if linear_width is None:
        ax.set_ylim(*limits)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        return
    ax.set_yscale("asinh", linear_width=linear_width)
    ax.set_ylim(*limits)
    ax.yaxis.set_major_locator(FixedLocator(_choose_ticks(*limits, linear_width)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))


def find_flux_limits(
    noisy: Sequence[Floats], smooth: Sequence[Floats], linear_width: float | None
) -> tuple[float, float]:
    """Return limits of the flux of curves, with a small margin.

    Parameters
    ----------
    noisy : sequence of ndarray
        Curves whose most extreme 0.3 % at either end may be outside of the limits.
    smooth : sequence of ndarray
        Curves that are inside of the limits as a whole.
    linear_width : float or None
        Result of `choose_linear_width`.
    """
    low, high = flux_range(*noisy, *smooth)
    for curve in smooth:
        finite = curve[np.isfinite(curve)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    bottom, top = scale_flux(np.array([low, high]), linear_width)
    pad = 0.06 * (top - bottom)
    limits = np.array([bottom - pad, top + pad])
    low, high = limits if linear_width is None else linear_width * np.sinh(limits)
    return float(low), float(high)


def scale_flux(flux: Floats, linear_width: float | None) -> Floats:
    """Return flux on the scale of the axis: unchanged, or arcsinh of the flux in units of the linear width.

    Parameters
    ----------
    flux : ndarray
        Flux.
    linear_width : float or None
        Result of `choose_linear_width`.
    """
    return flux if linear_width is None else np.arcsinh(flux / linear_width)


def _choose_ticks(low: float, high: float, linear_width: float) -> list[float]:
    """Return round values whose arcsinh are far enough apart: 0 first, then powers of ten, then between."""
    decades = 10.0 ** np.arange(-4, 7)
    candidates = [0.0, *decades[::-1], *-decades[::-1], *(3 * decades[::-1]), *(-3 * decades[::-1])]
    length = np.arcsinh(high / linear_width) - np.arcsinh(low / linear_width)
    chosen: list[float] = []
    for value in candidates:
        position = np.arcsinh(value / linear_width)
        distances = [abs(position - np.arcsinh(other / linear_width)) for other in chosen]
        if low <= value <= high and min(distances, default=length) >= MIN_TICK_SEPARATION * length:
            chosen.append(value)
    return sorted(chosen)
