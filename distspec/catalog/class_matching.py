"""Overlap of the classes of two runs, and which new class continues which old one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from distspec.core.spectrum import Floats

Ints = NDArray[np.int64]
MIN_JACCARD = 1 / 3
"""Smallest Jaccard index at which a class continues another: if more than half of each is in the other, it is
at least 1/3."""
MAJORITY_FRACTION = 0.5
"""Smallest fraction of a class that counts as most of it."""


@dataclass(frozen=True)
class ClassOverlap:
    """Overlap of the classes of an old and a new run, and the distances between them.

    Attributes
    ----------
    counts : ndarray of shape (n_old + 2, n_new + 2)
        Number of spectra by old class (rows) and new class (columns). The last but one row and column are
        noise; the last are spectra that the other run does not contain.
    distance : ndarray of shape (n_old, n_new)
        Distance between class centers in the new run's latent space, in units of the root-mean-square
        radius of the two classes; infinite if no spectrum of the old class is left.
    """

    counts: Ints
    distance: Floats

    @property
    def shared_counts(self) -> Ints:
        """Number of spectra of each old class in each new class, of shape (n_old, n_new)."""
        return self.counts[:-2, :-2]

    @property
    def fraction_of_old(self) -> Floats:
        """Fraction of each old class, among the spectra in both runs, in each new class, (n_old, n_new)."""
        return _ratio(self.shared_counts, self.counts[:-2, :-1].sum(axis=1)[:, None])

    @property
    def fraction_of_new(self) -> Floats:
        """Fraction of each new class, among the spectra in both runs, from each old class, (n_old, n_new)."""
        return _ratio(self.shared_counts, self.counts[:-1, :-2].sum(axis=0)[None, :])

    @property
    def jaccard(self) -> Floats:
        """Jaccard index of each pair of classes, for the spectra in both runs, of shape (n_old, n_new)."""
        old, new = self.counts[:-2, :-1].sum(axis=1), self.counts[:-1, :-2].sum(axis=0)
        return _ratio(self.shared_counts, old[:, None] + new[None, :] - self.shared_counts)


def _ratio(numerator: Ints, denominator: Ints) -> Floats:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)


def compute_overlap(old_labels: Ints, new_labels: Ints, points: Floats, n_lost: Ints) -> ClassOverlap:
    """Compare the classes of two runs.

    Parameters
    ----------
    old_labels : ndarray of shape (n_spectra,)
        Old class of each spectrum of the new run, from 0; -1 for noise, -2 if the old run did not contain it.
    new_labels : ndarray of shape (n_spectra,)
        New class of each spectrum, from 0; -1 for noise.
    points : ndarray of shape (n_spectra, n_dims)
        Positions in the new run's latent space.
    n_lost : ndarray of shape (n_old,)
        Number of spectra of each old class that the new run does not contain.

    Returns
    -------
    ClassOverlap
        Counts and distances.

    Examples
    --------
    >>> old, new = np.array([0, 0, 1, 1]), np.array([1, 1, 0, -1])
    >>> compute_overlap(old, new, np.eye(4), np.array([0, 0])).jaccard
    array([[0. , 1. ],
           [0.5, 0. ]])
    """
    n_old, n_new = len(n_lost), int(new_labels.max(initial=-1)) + 1
    counts = np.zeros((n_old + 2, n_new + 2), np.int64)
    rows = np.where(old_labels < 0, n_old - 1 - old_labels, old_labels)
    columns = np.where(new_labels < 0, n_new, new_labels)
    np.add.at(counts, (rows, columns), 1)
    counts[:n_old, -1] = n_lost
    old_centers, old_radii = _compute_centers(old_labels, points, n_old)
    new_centers, new_radii = _compute_centers(new_labels, points, n_new)
    separation = np.linalg.norm(old_centers[:, None] - new_centers[None], axis=2)
    radius = np.sqrt(0.5 * (old_radii[:, None] + new_radii[None]))
    distance = np.divide(
        separation, radius, out=np.where(separation > 0, np.inf, separation), where=radius > 0
    )
    return ClassOverlap(counts, np.where(np.isfinite(distance), distance, np.inf))


def _compute_centers(labels: Ints, points: Floats, n_classes: int) -> tuple[Floats, Floats]:
    """Return the center of each class and its mean squared radius; NaN for empty classes."""
    centers, square_radii = np.full((n_classes, points.shape[1]), np.nan), np.full(n_classes, np.nan)
    for label in range(n_classes):
        members = points[labels == label]
        if len(members):
            centers[label] = members.mean(axis=0)
            square_radii[label] = np.square(members - centers[label]).sum(axis=1).mean()
    return centers, square_radii


def match_classes(overlap: ClassOverlap) -> Ints:
    """Find the old class that each new class continues.

    Only pairs with a Jaccard index of at least `MIN_JACCARD` can match. Among them, the assignment
    maximizes the sum of Jaccard / (1 + distance), so that of two equally large candidates the nearer one
    wins.

    Parameters
    ----------
    overlap : ClassOverlap
        Overlap of the two runs.

    Returns
    -------
    ndarray of shape (n_new,)
        Index of the old class; -1 for none.
    """
    jaccard = overlap.jaccard
    weight = np.where(jaccard >= MIN_JACCARD, jaccard / (1.0 + overlap.distance), 0.0)
    predecessors = np.full(weight.shape[1], -1)
    for i, j in zip(*linear_sum_assignment(weight, maximize=True), strict=True):
        if weight[i, j] > 0:
            predecessors[j] = i
    return predecessors


@dataclass(frozen=True)
class ChangeTypes:
    """How the classes changed between two runs.

    Attributes
    ----------
    new_classes : list of str
        For each new class ``kept``; ``split``, if most of it comes from one old class that it does not
        continue; ``merged``, if most of it comes from classes that ended in it; or ``new``.
    old_classes : list of str
        For each old class ``kept``; ``merged``, if most of it is in one class that continues another;
        ``split``, if most of it is in classes that mostly come from it; or ``gone``.
    """

    new_classes: list[str]
    old_classes: list[str]


def classify_changes(overlap: ClassOverlap, predecessors: Ints) -> ChangeTypes:
    """Classify how the classes changed between two runs.

    Parameters
    ----------
    overlap : ClassOverlap
        Overlap of the two runs.
    predecessors : ndarray of shape (n_new,)
        Old class that each new class continues, from `match_classes`.
    """
    of_old, of_new = overlap.fraction_of_old, overlap.fraction_of_new
    continued = np.isin(np.arange(len(of_old)), predecessors)
    is_piece = (of_new >= MAJORITY_FRACTION) & (predecessors < 0)
    has_ended_in = (of_old >= MAJORITY_FRACTION) & ~continued[:, None]
    new, old = ["new"] * len(predecessors), ["gone"] * len(of_old)
    for j, i in enumerate(predecessors):
        if i >= 0:
            new[j] = "kept"
        elif is_piece[:, j].any():
            new[j] = "split"
        elif np.sum(of_new[:, j], where=has_ended_in[:, j]) >= MAJORITY_FRACTION:
            new[j] = "merged"
    for i in range(len(of_old)):
        if continued[i]:
            old[i] = "kept"
        elif has_ended_in[i].any():
            old[i] = "merged"
        elif np.sum(of_old[i], where=is_piece[i]) >= MAJORITY_FRACTION:
            old[i] = "split"
    return ChangeTypes(new, old)
