"""What repeats of a clustering agree on: stability, a consensus labelling, and whose membership is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from distspec.clustering.algorithms import Labels, labels_from_prob
from distspec.core.spectrum import Floats, Floats32

MIN_CLASS_FRACTION = 0.005
"""A class of the consensus holds at least this share of the sample: smaller ones join who is like them."""
CONSENSUS_SAMPLE_SIZE = 4_000
"""Above so many spectra the consensus is found on a sample of this size; the others follow it."""


def contingency_matrix(labels_a: Labels, labels_b: Labels) -> NDArray[np.int64]:
    """Return how many points have each pair of labels, (K₁ + 1, K₂ + 1); noise comes first.

    Examples
    --------
    >>> contingency_matrix(np.array([0, 0, 1, -1]), np.array([1, 1, 0, 0]))
    array([[0, 1, 0],
           [0, 0, 2],
           [0, 1, 0]])
    """
    n_one, n_other = int(labels_a.max(initial=-1)) + 2, int(labels_b.max(initial=-1)) + 2
    cells = (labels_a.astype(np.int64) + 1) * n_other + labels_b + 1
    return np.bincount(cells, minlength=n_one * n_other).reshape(n_one, n_other)


def adjusted_rand_index(labels_a: Labels, labels_b: Labels) -> float:
    """Return the adjusted Rand index of two labellings, noise a cluster as any; 1 where both are one cluster.

    Hubert & Arabie 1985, J. Classif. 2, 193, eq. 5.
    """

    def pairs(counts: NDArray[np.int64]) -> float:
        return float((counts * (counts - 1.0)).sum() / 2)

    table = contingency_matrix(labels_a, labels_b)
    both, of_one, of_other = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = of_one * of_other / max(len(labels_a) * (len(labels_a) - 1.0) / 2, 1.0)
    most = (of_one + of_other) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)


def compute_stability(member_labels: Sequence[Labels]) -> Floats:
    """Return each repeat's mean adjusted Rand index with the others, (T,); NaN of a single one."""
    index = np.full((len(member_labels), len(member_labels)), np.nan)
    for i, j in combinations(range(len(member_labels)), 2):
        index[i, j] = index[j, i] = adjusted_rand_index(member_labels[i], member_labels[j])
    return np.nanmean(index, axis=1) if len(member_labels) > 1 else np.full(len(member_labels), np.nan)


def coassociation_matrix(member_labels: Sequence[Labels]) -> Floats32:
    """Return in which share of repeats two points are in one cluster, (N, N); noise is with nobody."""
    n = len(member_labels[0])
    together = np.zeros((n, n), np.float32)
    for each in member_labels:
        member = np.eye(int(each.max(initial=-1)) + 2, dtype=np.float32)[each][:, :-1]
        together += member @ member.T
    together /= len(member_labels)
    np.fill_diagonal(together, 1.0)
    return together


@dataclass(frozen=True)
class Consensus:
    """A labelling that repeats agree on.

    Attributes
    ----------
    labels : (N,) int32
        0 the largest class; -1 where most repeats found noise.
    class_given_cluster : list of (K_t, K)
        How the members of repeat t's clusters share out over the classes.
    cluster_given_class : list of (K_t, K)
        How the members of each class share out over repeat t's clusters.
    """

    labels: Labels
    class_given_cluster: Sequence[Floats]
    cluster_given_class: Sequence[Floats]

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return int(self.labels.max(initial=-1)) + 1

    @classmethod
    def from_members(cls, member_labels: Sequence[Labels], class_labels: Labels) -> Consensus:
        """Say what the clusters of repeats mean for classes, both (N,), −1 noise."""
        k = int(class_labels.max(initial=-1)) + 1
        sizes = np.maximum(np.bincount(class_labels[class_labels >= 0], minlength=k), 1)
        counts = [contingency_matrix(each, class_labels)[1:].astype(np.float64) for each in member_labels]
        meaning = [each[:, 1 : k + 1] / np.maximum(each.sum(axis=1, keepdims=True), 1.0) for each in counts]
        return cls(class_labels, meaning, [each[:, 1 : k + 1] / sizes for each in counts])

    def predict_proba(self, member_labels: Sequence[Labels]) -> Floats:
        """Return points' probability of each class, (M, K): the mean of what their clusters mean.

        What a row lacks to 1 is noise.

        Parameters
        ----------
        member_labels : sequence of (M,) int32
            Each repeat's labels of the same points.
        """
        return _mean_over_members(self.class_given_cluster, member_labels)

    def membership_stability(self, member_labels: Sequence[Labels], class_labels: Labels) -> Floats:
        """Return with how much of their class points share their cluster, mean over repeats, (M,).

        1 where a class always stays together and the point in it: the mean co-association with its class. 0
        for noise.

        Parameters
        ----------
        member_labels : sequence of (M,) int32
        class_labels : (M,) int32
            The points' classes.
        """
        shared = _mean_over_members(self.cluster_given_class, member_labels)
        inside = np.flatnonzero(class_labels >= 0)
        found = np.zeros(len(class_labels))
        found[inside] = shared[inside, class_labels[inside]]
        return found


def _mean_over_members(tables: Sequence[Floats], member_labels: Sequence[Labels]) -> Floats:
    """Return the mean over repeats of their table's row for each label, (M, K); of noise it is zero."""
    k = tables[0].shape[1]
    total = np.zeros((len(member_labels[0]), k))
    for each, table in zip(member_labels, tables, strict=True):
        total += np.vstack([table, np.zeros((1, k))])[each]
    return total / len(member_labels)


def find_consensus(member_labels: Sequence[Labels], n_classes: int, rng: np.random.Generator) -> Consensus:
    """Return what repeats agree on, in `n_classes` classes or fewer: average linkage of the co-association.

    Fred & Jain 2005, IEEE Trans. PAMI 27, 835. Above `CONSENSUS_SAMPLE_SIZE` points it is found on a sample, and
    every point follows what its clusters mean there.

    Parameters
    ----------
    member_labels : sequence of (N,) int32
    n_classes : int
    rng : numpy Generator
        Draws the sample.
    """
    n = len(member_labels[0])
    sample = np.arange(n)
    if n > CONSENSUS_SAMPLE_SIZE:
        sample = np.sort(rng.choice(n, CONSENSUS_SAMPLE_SIZE, replace=False))
    few = [each[sample] for each in member_labels]
    noise = np.mean([each < 0 for each in few], axis=0) > 0.5
    found = np.full(len(sample), -1, np.int32)
    inside = np.flatnonzero(~noise)
    if len(inside) > 1:
        apart = squareform(1.0 - coassociation_matrix([each[inside] for each in few]), checks=False)
        found[inside] = _cut_dendrogram(
            linkage(apart, "average"), n_classes, max(2, round(MIN_CLASS_FRACTION * len(inside)))
        )
    elif len(inside):
        found[inside] = 0
    if n > CONSENSUS_SAMPLE_SIZE:
        found = labels_from_prob(Consensus.from_members(few, found).predict_proba(member_labels))
    return Consensus.from_members(member_labels, relabel_by_size(found))


def _cut_dendrogram(tree: Floats, n_classes: int, min_size: int) -> Labels:
    """Cut a tree where `n_classes` of its branches hold `min_size` points or more; the rest join the largest of theirs.

    Average linkage splits off single points first: cutting at `n_classes` branches would call those classes.
    """
    n = len(tree) + 1
    found = np.zeros(n, np.int32)
    for n_branches in range(1, n + 1):
        branch = fcluster(tree, n_branches, "maxclust") - 1
        sizes = np.bincount(branch)
        large = np.flatnonzero(sizes >= min_size)
        if len(large) > n_classes:
            break
        found = _merge_small_branches(tree, branch, large) if len(large) else found
        if len(large) == n_classes or n_branches > 20 * n_classes:
            break
    return found


def _merge_small_branches(
    tree: Floats, branch: NDArray[np.int32], large_branches: NDArray[np.int64]
) -> Labels:
    """Return branches numbered from 0, large ones only; other points go to the one that they meet first."""
    n = len(tree) + 1
    rank = np.full(branch.max() + 1, -1, np.int32)
    rank[large_branches] = np.arange(len(large_branches))
    found = rank[branch]
    members: list[NDArray[np.int64]] = [np.array([i]) for i in range(n)]
    for one, other in tree[:, :2].astype(np.int64):
        pair = members[one], members[other]
        seen = [found[each][found[each] >= 0] for each in pair]
        for mine, theirs in ((0, 1), (1, 0)):
            if not len(seen[mine]) and len(seen[theirs]):
                found[pair[mine]] = np.bincount(seen[theirs]).argmax()
        members.append(np.concatenate(pair))
    return found


def relabel_by_size(labels: Labels) -> Labels:
    """Return labels numbered anew, 0 the largest class; −1 stays.

    Examples
    --------
    >>> relabel_by_size(np.array([4, 2, 2, -1], np.int32))
    array([ 1,  0,  0, -1], dtype=int32)
    """
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    ranked = {int(name): i for i, name in enumerate(names[np.argsort(-counts, kind="stable")])}
    return np.array([ranked.get(int(label), -1) for label in labels], np.int32)
