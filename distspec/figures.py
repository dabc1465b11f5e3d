"""The report's figures: arrays and tables in, a matplotlib ``Figure`` out.

No pyplot, no state left behind. Classes wear Tol's colour-blind-safe "muted" scheme
(SRON/EPS/TN/09-002); past nine classes a marker tells equal colours apart, and the map names each
class by its number.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from distspec.spectrum import Floats, Floats32

P = ParamSpec("P")

WIDTH = 7.2  # [inch] a journal's two columns
DPI = 200
DATA, SIGMA, MODEL, FAINT = "#222222", "#b9c7d8", "#d55e00", "#8a8f98"
UNCLASSIFIED = "#bdbdbd"
CLASS_COLOURS = (
    "#332288", "#cc6677", "#117733", "#88ccee", "#aa4499",
    "#ddcc77", "#44aa99", "#882255", "#999933",
)  # fmt: skip
MARKERS = "o^sDvP"


class Table(Protocol):
    """What the report reads of a ``pyarrow.Table``, which ships no types."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""
        ...

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True)
class Examples:
    """A few spectra beside what the model makes of them, all on one rest-frame grid.

    Attributes
    ----------
    object_id : (n,) str
    z : (n,)
    flux : (n, L) [f_λ / f_λ(reference)]
    ivar : (n, L) [1 / flux²]
        0 marks a masked pixel.
    recon : (n, L) [f_λ / f_λ(reference)]
        Linear flux.
    caption : (n,) str
        What the title says after id and z: an error and its quartile, or a score and its reason.
    """

    object_id: list[str]
    z: Floats
    flux: Floats32
    ivar: Floats32
    recon: Floats32
    caption: list[str]


def style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib draws in the report's style."""
    return mpl.rc_context(
        {
            "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure on every machine
            "font.size": 7.5,
            "axes.titlesize": 7.0,
            "axes.labelsize": 7.5,
            "axes.linewidth": 0.6,
            "axes.edgecolor": "#444444",
            "xtick.labelsize": 6.5,
            "ytick.labelsize": 6.5,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "xtick.major.size": 2.5,
            "ytick.major.size": 2.5,
            "xtick.direction": "in",
            "ytick.direction": "in",
            "legend.fontsize": 6.5,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
        }
    )


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the report's style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return inner


def to_png(figure: Figure) -> bytes:
    """Render a figure as a PNG file's bytes."""
    file = io.BytesIO()
    with style():  # ticks are made, and read their style, only when drawn
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


def column(table: Table, name: str) -> Floats:
    """Return a table's numeric column, (n,) float64: nulls become NaN."""
    return np.asarray(table[name].cast("float64").to_numpy(), float)


def labels_of(table: Table) -> NDArray[np.int64]:
    """Return the column ``cluster_label``, (n,): a null is -1, as noise is."""
    return np.nan_to_num(column(table, "cluster_label"), nan=-1).astype(np.int64)


def class_colour(label: int) -> str:
    """Return a class's colour; grey for -1."""
    return UNCLASSIFIED if label < 0 else CLASS_COLOURS[label % len(CLASS_COLOURS)]


def class_marker(label: int) -> str:
    """Return a class's marker, which changes each time the colours start again."""
    return "o" if label < 0 else MARKERS[label // len(CLASS_COLOURS) % len(MARKERS)]


def class_word(label: int) -> str:
    """Return a class's name in a figure."""
    return "noise (−1)" if label < 0 else f"class {label}"


def flux_range(*curves: Floats) -> tuple[float, float]:
    """Return y limits that hold the curves, but not their one or two wildest pixels.

    Examples
    --------
    >>> low, high = flux_range(np.r_[np.linspace(0, 1, 500), 1e6, -1e6])
    >>> bool(-0.2 < low < high < 1.2)
    True
    """
    finite = [curve[np.isfinite(curve)] for curve in curves]
    finite = [curve for curve in finite if curve.size]
    if not finite:
        return 0.0, 1.0
    low = min(float(np.percentile(curve, 0.3, method="higher")) for curve in finite)
    high = max(float(np.percentile(curve, 99.7, method="lower")) for curve in finite)
    pad = 0.1 * (high - low) or 0.5
    return low - pad, high + pad


def spread(positions: Floats, apart: float, low: float, high: float) -> Floats:
    """Move sorted positions, (n,), as little as keeps neighbours ``apart`` and all in range.

    Least squares under "at least ``apart``" is isotonic regression of what is left once the spacing
    has been taken off.

    Examples
    --------
    >>> spread(np.array([1.0, 5.0, 5.2]), 1.0, 0.0, 10.0)
    array([1. , 4.6, 5.6])
    """
    if len(positions) < 2:
        return positions
    steps = min(apart, (high - low) / (len(positions) - 1)) * np.arange(len(positions))
    fitted = isotonic_regression(positions - steps).x
    return np.clip(fitted, low, high - steps[-1]) + steps


def repel(points: Floats, apart: float) -> Floats:
    """Push points, (n, 2), away from each other until about ``apart``.

    Examples
    --------
    >>> moved = repel(np.array([[0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]), 1.0)
    >>> bool(np.hypot(*(moved[1] - moved[0])) > 0.95), moved[2]
    (True, array([9., 9.]))
    """
    nudge = 1e-6 * apart * np.random.default_rng(0).normal(size=points.shape)  # parts equal points
    moved = points + nudge
    for _ in range(60):
        between = moved[:, None] - moved[None]
        distance = np.hypot(between[..., 0], between[..., 1])
        np.fill_diagonal(distance, np.inf)
        push = np.clip(apart - distance, 0, None) / (2 * distance)
        moved = moved + (push[..., None] * between).sum(axis=1)
    return np.where(np.abs(moved - points) < 1e-3 * apart, points, moved)


def _message(words: str) -> Figure:
    figure = Figure((WIDTH, 1.2), dpi=DPI)
    figure.text(0.5, 0.5, words, ha="center", va="center", color=FAINT)
    return figure


def _wave_axis(wave_rest: Floats) -> tuple[Floats, float, str]:
    """Return wavelengths to plot, what one Å is in their unit, and the axis label."""
    if wave_rest.max() > 1e4:
        return 1e-4 * wave_rest, 1e-4, "rest wavelength [µm]"
    return wave_rest, 1.0, "rest wavelength [Å]"


def _flux_label(reference: float) -> str:
    where = f"{1e-4 * reference:.3g} µm" if reference > 1e4 else f"{reference:.0f} Å"
    return rf"$f_\lambda\;/\;f_\lambda$({where})"


def _span(wave: Floats, seen: NDArray[np.bool_]) -> tuple[float, float]:
    inside = wave[seen] if seen.any() else wave
    return float(inside.min()) * 0.995, float(inside.max()) * 1.005


def _draw_spectrum(ax: Axes, wave: Floats, examples: Examples, i: int) -> Floats:
    """Draw spectrum ``i`` over its ±1σ band, the model on top; return (data - recon) / σ, (L,)."""
    valid = examples.ivar[i] > 0
    sigma = np.where(valid, 1 / np.sqrt(np.where(valid, examples.ivar[i], 1.0)), np.nan)
    data = np.where(valid, examples.flux[i], np.nan).astype(float)
    recon = examples.recon[i].astype(float)
    fitted = np.where(valid, recon, np.nan)
    ax.fill_between(wave, data - sigma, data + sigma, step="mid", color=SIGMA, lw=0, label="±1σ")
    ax.step(wave, data, where="mid", color=DATA, lw=0.4, label="data")
    ax.plot(wave, fitted, color=MODEL, lw=1.1, label="reconstruction", zorder=3)
    ax.plot(wave, recon, color=MODEL, lw=0.6, ls=(0, (3, 2)), label="reconstruction, no data")
    ax.set_ylim(flux_range(data, fitted))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    return (data - recon) / sigma


def _title(ax: Axes, examples: Examples, i: int, rank: str = "") -> None:
    name = examples.object_id[i]
    name = name if len(name) <= 44 else f"{name[:20]}…{name[-23:]}"
    words = textwrap.wrap(examples.caption[i], 66, max_lines=2, placeholder=" …")
    z = f"   z = {examples.z[i]:.3f}" if has_redshifts(examples.z) else ""
    title = "\n".join([f"{rank}{name}{z}", *words])
    ax.set_title(title, loc="left", parse_math=False, linespacing=1.25, pad=3)


def _legend(figure: Figure, ax: Axes) -> None:
    handles, names = ax.get_legend_handles_labels()
    legend = figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    for line in legend.get_lines():
        line.set_linewidth(1.1)


@styled
def reconstructions(wave_rest: Floats, examples: Examples, reference: float) -> Figure:
    """Draw spectra and reconstructions over their residuals (the paper's Figure 1).

    Parameters
    ----------
    wave_rest : (L,) [Å, rest frame]
    examples : Examples
    reference : float [Å]
        Where the flux was normalised.
    """
    n = len(examples.object_id)
    if n == 0:
        return _message("no spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((WIDTH, 0.5 + 2.45 * rows), dpi=DPI)
    axes = figure.subplots(2 * rows, cols, sharex=True, squeeze=False, height_ratios=[3, 1] * rows)
    wave, _, label = _wave_axis(wave_rest)
    for i in range(rows * cols):
        top, strip = axes[i // cols * 2, i % cols], axes[i // cols * 2 + 1, i % cols]
        if i >= n:
            top.set_axis_off()
            strip.set_axis_off()
            continue
        residual = _draw_spectrum(top, wave, examples, i)
        _title(top, examples, i)
        finite = np.abs(residual[np.isfinite(residual)])
        limit = float(np.clip(np.percentile(finite, 99), 4, 30)) if finite.size else 4.0
        strip.axhspan(-1, 1, color=SIGMA, lw=0)
        strip.axhline(0, color=MODEL, lw=0.6)
        strip.plot(wave, residual, ".", color=DATA, ms=1.3)
        strip.set(ylim=(-limit, limit), ylabel="residual / σ" if i % cols == 0 else "")
        strip.yaxis.label.set_size(6)
        strip.yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
    axes[0, 0].set_xlim(_span(wave, np.any(examples.ivar > 0, axis=0)))
    _legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(_flux_label(reference), size=7.5)
    return figure


def _name_features(
    top: Axes, axes: list[Axes], lines: Mapping[str, float], unit: float, width: float
) -> None:
    """Rule the features inside the plotted range through all axes, named above the first.

    ``unit`` is one Å on the x axis, ``width`` the axes' own [inch]: names keep a line's height
    apart.
    """
    low, high = top.get_xlim()
    inside = sorted((unit * w, name) for name, w in lines.items() if low < unit * w < high)
    at = np.array([x for x, _ in inside])
    placed = spread(at, 0.115 * (high - low) / width, low, high)
    for (x, name), x_name in zip(inside, placed, strict=True):
        for ax in axes:
            ax.axvline(x, color=FAINT, lw=0.4, ls=":", zorder=0)
        top.annotate(
            name,
            (x, 1.0),
            (float(x_name), 1.22),
            xycoords=top.get_xaxis_transform(),
            textcoords=top.get_xaxis_transform(),
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": FAINT,
                        "relpos": (0.5, 0.0), "shrinkA": 0, "shrinkB": 0},
            rotation=90, ha="center", va="bottom", size=6, color="#555555", parse_math=False,
        )  # fmt: skip


def _draw_redshifts(axes: list[Axes], labels: NDArray[np.int64], z: Floats, shown: list[int]) -> None:
    """Draw the redshift histogram of each class, on common bins, down a column of axes."""
    known = z[np.isfinite(z)]
    low, high = float(known.min()), float(known.max())
    edges = np.linspace(low, high, 31) if high > low else np.linspace(low - 0.5, high + 0.5, 31)
    for ax, label in zip(axes, shown, strict=True):
        counts = np.histogram(z[(labels == label) & np.isfinite(z)], edges)[0]
        ax.stairs(counts, edges, fill=True, color=class_colour(label), alpha=0.55, lw=0)
        ax.stairs(counts, edges, color=class_colour(label), lw=0.8)
        ax.set_ylim(0, max(1.15 * counts.max(), 1))
        ax.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        ax.yaxis.tick_right()
    axes[0].set_title(f"spectra per Δz = {edges[1] - edges[0]:.2g}", size=6.5)
    axes[-1].set_xlabel("redshift z")


@styled
def class_spectra(
    class_medians: Table,
    objects: Table,
    lines: Mapping[str, float],
    reference: float,
) -> Figure:
    """Draw each class's median spectrum and redshifts (the paper's Figure 2).

    Parameters
    ----------
    class_medians : Table
        Long: cluster_label, wave_rest [Å], flux_p16, flux_p50, flux_p84.
    objects : Table
        cluster_label, z. Where no z differs from 0, as for stars, there is no redshift column.
    lines : mapping of str to float
        Features to name: rest wavelength [Å].
    reference : float [Å]
    """
    of_row, wave_rest = labels_of(class_medians), column(class_medians, "wave_rest")
    shown = sorted({int(label) for label in of_row}, key=lambda label: (label < 0, label))
    if not shown:
        return _message("no class to show")
    labels, z = labels_of(objects), column(objects, "z")
    ratios, width = ([4.2, 1.5], 4.2) if has_redshifts(z) else ([1.0], 5.9)
    figure = Figure((WIDTH, 1.15 + 0.82 * len(shown)), dpi=DPI)
    axes = figure.subplots(len(shown), len(ratios), sharex="col", squeeze=False, width_ratios=ratios)
    wave, unit, wave_label = _wave_axis(wave_rest)
    low, mid, high = (column(class_medians, f"flux_p{p}") for p in (16, 50, 84))
    for ax, label in zip(axes[:, 0], shown, strict=True):
        rows = np.flatnonzero(of_row == label)
        rows = rows[np.argsort(wave[rows])]
        colour = class_colour(label)
        ax.fill_between(wave[rows], low[rows], high[rows], color=colour, alpha=0.35, lw=0)
        ax.plot(wave[rows], mid[rows], color=DATA, lw=0.8)
        ax.set_ylim(flux_range(low[rows], mid[rows], high[rows]))
        ax.yaxis.set_major_locator(MaxNLocator(3))
        n = int((labels == label).sum())
        size = f"{class_word(label)}\n{n:,} {'spectrum' if n == 1 else 'spectra'}"
        ax.set_ylabel(size, rotation=0, ha="right", va="center", size=6.5, linespacing=1.3)
        if not np.isfinite(mid[rows]).any():
            ax.text(0.5, 0.5, "too few spectra", transform=ax.transAxes, ha="center", color=FAINT)
    axes[0, 0].set_xlim(_span(wave, np.isfinite(mid)))
    axes[-1, 0].set_xlabel(wave_label)
    _name_features(axes[0, 0], list(axes[:, 0]), lines, unit, width)
    if len(ratios) > 1:
        _draw_redshifts(list(axes[:, 1]), labels, z, shown)
    figure.supylabel(_flux_label(reference), size=7.5)
    return figure


def has_redshifts(z: Floats) -> bool:
    """Say whether any redshift, (n,), is known and not 0, as it is for stars."""
    return bool(np.any(np.isfinite(z) & (z != 0)))


def _draw_shade(ax: Axes, umap: Floats, value: Floats, log: bool, label: str, size: float) -> None:
    """Draw the map in shades of one quantity, the scale cut at the 1st and 99th percentile."""
    finite = np.isfinite(value) & (value > 0 if log else np.isfinite(value))
    ax.scatter(*umap[~finite].T, s=size, c=UNCLASSIFIED, lw=0)
    if not finite.any():
        ax.set_title(f"{label}: none known")
        return
    low, high = (float(p) for p in np.percentile(value[finite], [1, 99]))
    high = high if high > low else low + (abs(low) or 1.0)
    norm = LogNorm(low, high) if log else Normalize(low, high)
    order = np.random.default_rng(0).permutation(np.flatnonzero(finite))  # no value hides others
    drawn = ax.scatter(*umap[order].T, s=size, c=value[order], cmap="cividis", norm=norm, lw=0)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, aspect=25, extend="both", extendfrac=0.02)
    bar.set_label(label)


def _number_classes(ax: Axes, umap: Floats, labels: NDArray[np.int64]) -> None:
    """Write each class's number at its median place, near enough: numbers keep clear of others."""
    seen = np.isfinite(umap).all(axis=1)
    numbers = np.unique(labels[seen & (labels >= 0)])
    if numbers.size < 2:
        return
    middles = np.stack([np.median(umap[seen & (labels == label)], axis=0) for label in numbers])
    extent = float(np.ptp(umap[seen], axis=0).max())
    edge = patheffects.withStroke(linewidth=2.2, foreground="white")
    for label, (x, y) in zip(numbers, repel(middles, 0.045 * extent or 1.0), strict=True):
        ax.text(x, y, str(label), size=8, weight="bold", ha="center", va="center",
                path_effects=[edge], zorder=5)  # fmt: skip


@styled
def latent_map(umap: Floats, labels: NDArray[np.int64], z: Floats, recon_mse: Floats) -> Figure:
    """Draw the UMAP by class, and in shades of redshift (if any) and of reconstruction error.

    Parameters
    ----------
    umap : (n, 2)
    labels : (n,)
        Classes; -1 is noise.
    z : (n,)
    recon_mse : (n,)
    """
    if len(labels) == 0:
        return _message("no spectrum to show")
    shades = [(z, False, "redshift z")] if has_redshifts(z) else []
    shades.append((recon_mse, True, "reconstruction error (MSE)"))
    sizes = {int(c): int((labels == c).sum()) for c in np.unique(labels)}
    named = sorted(sizes, key=lambda label: (label < 0, label))
    figure = Figure((WIDTH, 4.3 + 0.14 * (len(sizes) // 6)), dpi=DPI)
    grid = figure.add_gridspec(len(shades), 2, width_ratios=[1.75, 1])
    main = figure.add_subplot(grid[:, 0])
    size = float(np.clip(9000 / max(len(labels), 1), 0.3, 12))
    for label in sorted(sizes, key=lambda label: (label >= 0, -sizes[label])):
        at = umap[labels == label]  # noise first, small classes over large ones
        colour, marker = class_colour(label), class_marker(label)
        main.scatter(at[:, 0], at[:, 1], s=size, c=colour, marker=marker, lw=0, alpha=0.8)
    _number_classes(main, umap, labels)
    handles = [
        Line2D([], [], ls="", ms=4, mew=0, color=class_colour(label), marker=class_marker(label),
               label=f"{class_word(label)}: {sizes[label]:,}")
        for label in named
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=6, handletextpad=0.1)
    others = [figure.add_subplot(grid[i, 1]) for i in range(len(shades))]
    for ax, (value, log, name) in zip(others, shades, strict=True):
        _draw_shade(ax, umap, value, log, name, 0.6 * size)
    for ax in [main, *others]:
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    main.set(xlabel="UMAP 1", ylabel="UMAP 2")
    return figure


def best_epoch(history: Table) -> float:
    """Return the epoch of the lowest validation reconstruction loss; NaN where none is known."""
    loss = column(history, "val_recon")
    if not np.isfinite(loss).any():
        return float("nan")
    return float(column(history, "epoch")[np.nanargmin(loss)])


def _scale_loss(ax: Axes, losses: Floats) -> None:
    """Scale a loss: log where it can be, else linear without the first epochs' plunge."""
    finite = losses[np.isfinite(losses)]
    if finite.size == 0:
        return
    low, high = float(finite.min()), float(finite.max())
    if 0 < 5 * low < high:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    elif low <= 0:
        high = float(np.percentile(finite, 95))
        pad = 0.08 * (high - low) or 0.5
        ax.set_ylim(low - pad, high + pad)


@styled
def training_curves(history: Table, best: float) -> Figure:
    """Draw reconstruction loss, KL and learning rate against epoch.

    Parameters
    ----------
    history : Table
        epoch, train_recon, val_recon, train_kl, val_kl, lr.
    best : float
        The epoch to mark; NaN for none.
    """
    figure = Figure((WIDTH, 2.5), dpi=DPI)
    loss, kl, rate = figure.subplots(1, 3)
    epoch = column(history, "epoch")
    marker = "o" if len(epoch) < 4 else ""
    for ax, what in ((loss, "recon"), (kl, "kl")):
        for side, word, colour in (("train", "training", FAINT), ("val", "validation", MODEL)):
            curve = column(history, f"{side}_{what}")
            ax.plot(epoch, curve, color=colour, lw=1.0, marker=marker, ms=3, label=word)
    recon = [column(history, name) for name in ("train_recon", "val_recon")]
    _scale_loss(loss, np.concatenate(recon))
    lr = column(history, "lr")
    rate.plot(epoch, lr, color=DATA, lw=1.0, marker=marker, ms=3, drawstyle="steps-mid")
    rate.set_yscale("log" if np.any(lr > 0) else "linear")
    titles = ("reconstruction loss", "KL divergence [nat]", "learning rate")
    for ax, title in zip((loss, kl, rate), titles, strict=True):
        if np.isfinite(best):
            ax.axvline(best, color=DATA, lw=0.7, ls="--", label=f"best epoch: {best:.0f}")
        ax.set_xlabel("epoch")
        ax.set_title(title, loc="left", size=7.5)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    loss.legend(loc="best", frameon=True, edgecolor="none", framealpha=0.9)
    return figure


@styled
def odd_spectra(
    wave_rest: Floats, examples: Examples, lines: Mapping[str, float], reference: float
) -> Figure:
    """Draw the oddest spectra, at most ten, each with reconstruction, score and reason.

    Parameters
    ----------
    wave_rest : (L,) [Å, rest frame]
    examples : Examples
    lines : mapping of str to float
        Features to rule: rest wavelength [Å].
    reference : float [Å]
    """
    n = min(len(examples.object_id), 10)
    if n == 0:
        return _message("no odd spectrum to show")
    rows, cols = -(-n // 2), min(n, 2)
    figure = Figure((WIDTH, 0.9 + 1.75 * rows), dpi=DPI)
    axes = figure.subplots(rows, cols, sharex=True, squeeze=False)
    wave, unit, label = _wave_axis(wave_rest)
    axes[0, 0].set_xlim(_span(wave, np.any(examples.ivar > 0, axis=0)))
    for i, ax in enumerate(axes.flat):
        if i >= n:
            ax.set_axis_off()
            continue
        _draw_spectrum(ax, wave, examples, i)
        _title(ax, examples, i, f"{i + 1}  ")
        for x in lines.values():
            ax.axvline(unit * x, color=FAINT, lw=0.4, ls=":", zorder=0)
    _legend(figure, axes[0, 0])
    figure.supxlabel(label, size=7.5)
    figure.supylabel(_flux_label(reference), size=7.5)
    return figure


@styled
def sweep_scores(sweep: Table) -> Figure:
    """Draw silhouette against the number of classes, a point a trial, the chosen one ringed.

    Parameters
    ----------
    sweep : Table
        algorithm, k, silhouette, chosen.
    """
    k, silhouette = column(sweep, "k"), column(sweep, "silhouette")
    known = np.isfinite(k) & np.isfinite(silhouette)
    algorithm = [str(name) for name in sweep["algorithm"].to_pylist()]
    if not known.any():
        return _message("no trial has a silhouette")
    figure = Figure((WIDTH, 2.9), dpi=DPI)
    ax = figure.subplots()
    for i, name in enumerate(sorted(set(algorithm))):
        here = known & np.array([a == name for a in algorithm])
        colour, marker = class_colour(i), MARKERS[i % len(MARKERS)]
        steps = np.unique(k[here])
        middle = [np.median(silhouette[here & (k == step)]) for step in steps]
        ax.plot(steps, middle, color=colour, lw=0.9)
        ax.plot(k[here], silhouette[here], marker, color=colour, ms=3.5, mew=0, alpha=0.6,
                label=name)  # fmt: skip
    for i in np.flatnonzero([bool(row) for row in sweep["chosen"].to_pylist()]):
        choice = f"chosen: {algorithm[i]}, k = {k[i]:.0f}, silhouette {silhouette[i]:.3f}"
        ax.plot(k[i], silhouette[i], "o", ms=9, mfc="none", mec=DATA, mew=1.2, label=choice)
    ax.set(xlabel="number of classes k", ylabel="mean silhouette")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", color="#e6e6e6", lw=0.5)
    ax.set_axisbelow(True)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure
