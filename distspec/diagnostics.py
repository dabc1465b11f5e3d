"""Measures read off a spectrum itself, by no model, each with its error; over whole batches.

Which are taken depends on the kind of archive: `MEASURES`. A new one is a function and a line there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from distspec.lyman import PRISM, lya
from distspec.schema import Column
from distspec.spectrum import Floats, Floats32, WaveGrid


@dataclass(frozen=True)
class Measure:
    """A number that a function reads off each spectrum, with its error.

    Attributes
    ----------
    value, error : what they are
    scale : float
        A value that is much, in its unit.
    of : callable
        Flux, ivar (N, L), z (N,) and their grid to a mapping of both names to (N,) float32, NaN where not
        covered. A row's numbers depend on that row alone.
    """

    value: Column
    error: Column
    scale: float
    of: Callable[[Floats32, Floats32, Floats, WaveGrid], Mapping[str, Floats32]]


LYA_EW = Measure(
    Column(
        "lya_ew",
        pa.float32(),
        "Angstrom",
        "net rest equivalent width of Lya, emission positive; NaN where not covered",
    ),
    Column("lya_ew_err", pa.float32(), "Angstrom", "1 sigma uncertainty of lya_ew, continuum included"),
    25.0,
    partial(lya, disperser=PRISM),
)
MEASURES: Mapping[str, tuple[Measure, ...]] = {"dja": (LYA_EW,), "jades": (LYA_EW,)}
"""What is measured, by kind of archive (`distspec.archives.protocol.Archive.kind`); of others nothing."""


def measured(kind: str) -> tuple[Column, ...]:
    """Return the columns that are measured in archives of a kind.

    Examples
    --------
    >>> [column.name for column in measured("dja")], measured("spex")
    (['lya_ew', 'lya_ew_err'], ())
    """
    return tuple(column for each in MEASURES.get(kind, ()) for column in (each.value, each.error))


def measure(kind: str, flux: Floats32, ivar: Floats32, z: Floats, grid: WaveGrid) -> dict[str, Floats32]:
    """Return the columns `measured` of spectra: flux, ivar (N, L), z (N,); (N,) each."""
    values: dict[str, Floats32] = {}
    for each in MEASURES.get(kind, ()):
        values |= each.of(flux, ivar, z, grid)
    return values


def strengths(kind: str, names: Sequence[str], values: Mapping[str, Floats32]) -> Floats:
    """Return how strong measures are, (N, len(names)): arcsinh of value over error and scale together.

    0 where a spectrum does not cover a measure, or says nothing of it; never NaN.

    Parameters
    ----------
    kind : str
        Of the archive.
    names : of measures, as their values are named
    values : mapping
        The columns `measured`, (N,) each, among others.

    Raises
    ------
    ValueError
        When a measure is not taken in archives of this kind.
    """
    known = {each.value.name: each for each in MEASURES.get(kind, ())}
    if unknown := set(names) - known.keys():
        raise ValueError(
            f"clustering.measures {', '.join(sorted(unknown))}: of archives of kind {kind!r} there are "
            f"{', '.join(known) or 'none'}"
        )
    found = [
        np.arcsinh(values[name] / np.hypot(values[known[name].error.name], known[name].scale))
        for name in names
    ]
    shape = len(next(iter(values.values()))), len(names)
    return np.nan_to_num(np.array(found, np.float64).T.reshape(shape))
