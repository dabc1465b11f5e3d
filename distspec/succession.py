"""Which class of a run continues which of the last, from the spectra that both runs hold and where they lie.

Centres lie in the new run's space, into which the old class's spectra are put too: another model's latents
have other axes, and the shared spectra are in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from distspec.spectrum import Floats

GOES_ON = 1 / 3
"""A class goes on where it shares at least this much of all spectra that either holds: so wherever most of
each is in the other (Jaccard ≥ 1/3)."""
MOST = 0.5
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Overlap:
    """How the classes of two runs share spectra, and how far apart they are.

    Attributes
    ----------
    counts : (A + 2, B + 2)
        Spectra of each of A old classes in each of B new ones; after the classes noise, and those that the
        other run does not hold.
    distance : (A, B)
        Between centres in the new run's space, in root mean square radii of the two; inf where an old class
        has no spectrum left.
    """

    counts: Ints
    distance: Floats

    @property
    def shared(self) -> Ints:
        """Spectra of old in new classes, (A, B)."""
        return self.counts[:-2, :-2]

    @property
    def of_old(self) -> Floats:
        """Share of an old class's spectra, of those still there, that is in each new class, (A, B)."""
        return _ratio(self.shared, self.counts[:-2, :-1].sum(axis=1)[:, None])

    @property
    def of_new(self) -> Floats:
        """Share of a new class's spectra, of those that the old run held, from each old class, (A, B)."""
        return _ratio(self.shared, self.counts[:-1, :-2].sum(axis=0)[None, :])

    @property
    def jaccard(self) -> Floats:
        """Shared over all that either holds, of the spectra in both runs, (A, B)."""
        old, new = self.counts[:-2, :-1].sum(axis=1), self.counts[:-1, :-2].sum(axis=0)
        return _ratio(self.shared, old[:, None] + new[None, :] - self.shared)


def _ratio(part: Ints, whole: Ints) -> Floats:
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def overlap(old: Ints, new: Ints, points: Floats, lost: Ints) -> Overlap:
    """Compare two runs.

    Parameters
    ----------
    old, new : (N,)
        Class of each of the new run's spectra in either run, from 0; −1 noise; in `old` −2: it was not there.
    points : (N, D)
        Where they lie in the new run's space.
    lost : (A,)
        Spectra of each old class that are no longer there; A is the number of old classes.

    Examples
    --------
    >>> old, new = np.array([0, 0, 1, 1]), np.array([1, 1, 0, -1])
    >>> overlap(old, new, np.eye(4), np.array([0, 0])).jaccard
    array([[0. , 1. ],
           [0.5, 0. ]])
    """
    n_old, n_new = len(lost), int(new.max(initial=-1)) + 1
    counts = np.zeros((n_old + 2, n_new + 2), np.int64)
    np.add.at(counts, (np.where(old < 0, n_old - 1 - old, old), np.where(new < 0, n_new, new)), 1)
    counts[:n_old, -1] = lost
    before, after = _spheres(old, points, n_old), _spheres(new, points, n_new)
    apart = np.linalg.norm(before[0][:, None] - after[0][None], axis=2)
    radius = np.sqrt(0.5 * (before[1][:, None] + after[1][None]))
    distance = np.divide(apart, radius, out=np.where(apart > 0, np.inf, apart), where=radius > 0)
    return Overlap(counts, np.where(np.isfinite(distance), distance, np.inf))


def _spheres(labels: Ints, points: Floats, n: int) -> tuple[Floats, Floats]:
    """Return each class's centre, (n, D), and its mean squared distance from it, (n,); NaN of none."""
    centre, square = np.full((n, points.shape[1]), np.nan), np.full(n, np.nan)
    for label in range(n):
        own = points[labels == label]
        if len(own):
            centre[label] = own.mean(axis=0)
            square[label] = np.square(own - centre[label]).sum(axis=1).mean()
    return centre, square


def successors(found: Overlap) -> Ints:
    """Return which old class each new one continues, (B,); −1 for none.

    Of the pairs that share `GOES_ON`, those of the assignment that maximises the sum of
    Jaccard / (1 + distance): where two could continue one, what lies where it lay has the better claim.
    """
    jaccard = found.jaccard
    worth = np.where(jaccard >= GOES_ON, jaccard / (1.0 + found.distance), 0.0)
    result = np.full(worth.shape[1], -1)
    for i, j in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if worth[i, j] > 0:
            result[j] = i
    return result


@dataclass(frozen=True)
class Fates:
    """What became of classes.

    Attributes
    ----------
    new : (B,) str
        ``kept``; ``split``, most of it from a class that goes on elsewhere or no more; ``merged``, most of it
        from classes that ended in it; ``new``.
    old : (A,) str
        ``kept``; ``merged``, most of it in one class that continues another; ``split``, most of it in
        classes that are mostly from it; ``gone``.
    """

    new: list[str]
    old: list[str]


def fates(found: Overlap, continued: Ints) -> Fates:
    """Say what became of classes, given which old class each new one continues, (B,)."""
    of_old, of_new = found.of_old, found.of_new
    goes_on = np.isin(np.arange(len(of_old)), continued)
    pieces = (of_new >= MOST) & (continued < 0)
    ended = (of_old >= MOST) & ~goes_on[:, None]
    new, old = ["new"] * len(continued), ["gone"] * len(of_old)
    for j, i in enumerate(continued):
        if i >= 0:
            new[j] = "kept"
        elif pieces[:, j].any():
            new[j] = "split"
        elif np.sum(of_new[:, j], where=ended[:, j]) >= MOST:
            new[j] = "merged"
    for i in range(len(of_old)):
        if goes_on[i]:
            old[i] = "kept"
        elif ended[i].any():
            old[i] = "merged"
        elif np.sum(of_old[i], where=pieces[i]) >= MOST:
            old[i] = "split"
    return Fates(new, old)
