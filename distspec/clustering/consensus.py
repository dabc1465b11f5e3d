"""Agreement between the members of an ensemble of clusterings: stability, and a consensus labeling."""

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
"""Smallest size of a consensus class as a fraction of the sample; smaller ones are merged with the most
similar."""
CONSENSUS_SAMPLE_SIZE = 4_000
"""Number of points above which the consensus is found on a random sample; the other points follow."""
MAX_BRANCHES_PER_CLASS = 20
"""A dendrogram is cut into at most this many branches for each class that is asked for."""


def contingency_matrix(labels_a: Labels, labels_b: Labels) -> NDArray[np.int64]:
    """Return how many points have each pair of labels.

    Parameters
    ----------
    labels_a, labels_b : ndarray of int32, shape (n_points,)
        Two labelings of the same points; -1 is noise.

    Returns
    -------
    ndarray of int64, shape (n_clusters_a + 1, n_clusters_b + 1)
        Noise comes first.

    Examples
    --------
    >>> contingency_matrix(np.array([0, 0, 1, -1]), np.array([1, 1, 0, 0]))
    array([[0, 1, 0],
           [0, 0, 2],
           [0, 1, 0]])
    """
    n_a, n_b = int(labels_a.max(initial=-1)) + 2, int(labels_b.max(initial=-1)) + 2
    cells = (labels_a.astype(np.int64) + 1) * n_b + labels_b + 1
    return np.bincount(cells, minlength=n_a * n_b).reshape(n_a, n_b)


def adjusted_rand_index(labels_a: Labels, labels_b: Labels) -> float:
    """Return the adjusted Rand index of two labelings, with noise as a cluster; 1 if both are one cluster.

    About 30 times as fast as scikit-learn's, which would nearly triple the time of the published sweep.

    Parameters
    ----------
    labels_a, labels_b : ndarray of int32, shape (n_points,)
        Two labelings of the same points; -1 is noise.

    References
    ----------
    Hubert & Arabie 1985, J. Classif. 2, 193, eq. 5.
    """

    def count_pairs(counts: NDArray[np.int64]) -> float:
        return float((counts * (counts - 1.0)).sum() / 2)

    table = contingency_matrix(labels_a, labels_b)
    in_both = count_pairs(table)
    in_a, in_b = count_pairs(table.sum(axis=1)), count_pairs(table.sum(axis=0))
    expected = in_a * in_b / max(len(labels_a) * (len(labels_a) - 1.0) / 2, 1.0)
    maximum = (in_a + in_b) / 2
    return 1.0 if maximum == expected else (in_both - expected) / (maximum - expected)


def compute_stability(member_labels: Sequence[Labels], model_numbers: Sequence[int] = ()) -> Floats:
    """Return the mean adjusted Rand index of each ensemble member with the others.

    Parameters
    ----------
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Labels of the same points by each member.
    model_numbers : sequence of int, optional
        Number of the model whose latents each member clustered. If there are several models, members of the
        same model are not compared, since the weights of one model favor the same classes every time.

    Returns
    -------
    ndarray of shape (n_members,)
        NaN if there is only one member.
    """
    index = np.full((len(member_labels), len(member_labels)), np.nan)
    has_several_models = len(set(model_numbers)) > 1
    for i, j in combinations(range(len(member_labels)), 2):
        if has_several_models and model_numbers[i] == model_numbers[j]:
            continue
        index[i, j] = index[j, i] = adjusted_rand_index(member_labels[i], member_labels[j])
    return np.nanmean(index, axis=1) if len(member_labels) > 1 else np.full(len(member_labels), np.nan)


def coassociation_matrix(member_labels: Sequence[Labels]) -> Floats32:
    """Return the fraction of ensemble members in which two points share a cluster.

    Parameters
    ----------
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Labels of the same points by each member; noise shares no cluster.

    Returns
    -------
    ndarray of shape (n_points, n_points)
        1 on the diagonal.
    """
    n = len(member_labels[0])
    shared = np.zeros((n, n), np.float32)
    for labels in member_labels:
        one_hot = np.eye(int(labels.max(initial=-1)) + 2, dtype=np.float32)[labels][:, :-1]
        shared += one_hot @ one_hot.T
    shared /= len(member_labels)
    np.fill_diagonal(shared, 1.0)
    return shared


@dataclass(frozen=True)
class Consensus:
    """Classes, and how the clusters of each ensemble member relate to them.

    Attributes
    ----------
    labels : ndarray of int32, shape (n_points,)
        Classes in order of decreasing size; -1 where most members found noise.
    class_given_cluster : sequence of ndarray of shape (n_clusters, n_classes)
        For each member, how the points of each cluster are distributed over the classes.
    cluster_given_class : sequence of ndarray of shape (n_clusters, n_classes)
        For each member, how the points of each class are distributed over the clusters.
    """

    labels: Labels
    class_given_cluster: Sequence[Floats]
    cluster_given_class: Sequence[Floats]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max(initial=-1)) + 1

    @classmethod
    def from_members(cls, member_labels: Sequence[Labels], class_labels: Labels) -> Consensus:
        """Relate the clusters of ensemble members to given classes.

        Parameters
        ----------
        member_labels : sequence of ndarray of int32, shape (n_points,)
            Clusters by each member; -1 is noise.
        class_labels : ndarray of int32, shape (n_points,)
            Classes; -1 is noise.

        Returns
        -------
        Consensus
        """
        k = int(class_labels.max(initial=-1)) + 1
        sizes = np.maximum(np.bincount(class_labels[class_labels >= 0], minlength=k), 1)
        counts = [contingency_matrix(labels, class_labels)[1:].astype(np.float64) for labels in member_labels]
        class_given_cluster = [
            count[:, 1 : k + 1] / np.maximum(count.sum(axis=1, keepdims=True), 1.0) for count in counts
        ]
        return cls(class_labels, class_given_cluster, [count[:, 1 : k + 1] / sizes for count in counts])

    def predict_proba(self, member_labels: Sequence[Labels]) -> Floats:
        """Return class probabilities: the mean over members of the class distribution of a point's cluster.

        Parameters
        ----------
        member_labels : sequence of ndarray of int32, shape (n_points,)
            Clusters of the same points by each member.

        Returns
        -------
        ndarray of shape (n_points, n_classes)
            What a row lacks to 1 is noise.
        """
        return _mean_over_members(self.class_given_cluster, member_labels)

    def membership_stability(self, member_labels: Sequence[Labels], class_labels: Labels) -> Floats:
        """Return the mean fraction of a point's class that shares its cluster, over the members.

        This is the mean co-association of the point with its class: 1 if the class is always one cluster and
        the point is in it.

        Parameters
        ----------
        member_labels : sequence of ndarray of int32, shape (n_points,)
            Clusters of the points by each member.
        class_labels : ndarray of int32, shape (n_points,)
            Classes of the points.

        Returns
        -------
        ndarray of shape (n_points,)
            0 for noise.
        """
        shared = _mean_over_members(self.cluster_given_class, member_labels)
        in_class = np.flatnonzero(class_labels >= 0)
        stability = np.zeros(len(class_labels))
        stability[in_class] = shared[in_class, class_labels[in_class]]
        return stability


def _mean_over_members(tables: Sequence[Floats], member_labels: Sequence[Labels]) -> Floats:
    """Return the mean over members of the table row of each label; noise counts as a row of zeros."""
    k = tables[0].shape[1]
    total = np.zeros((len(member_labels[0]), k))
    for labels, table in zip(member_labels, tables, strict=True):
        total += np.vstack([table, np.zeros((1, k))])[labels]
    return total / len(member_labels)


def find_consensus(member_labels: Sequence[Labels], n_classes: int, rng: np.random.Generator) -> Consensus:
    """Find the classes that ensemble members agree on, by average linkage of their co-association.

    Above `CONSENSUS_SAMPLE_SIZE` points, classes are found on a random sample and every point follows its
    clusters.

    Parameters
    ----------
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Clusters by each member; -1 is noise.
    n_classes : int
        Largest number of classes.
    rng : numpy.random.Generator
        Draws the sample.

    Returns
    -------
    Consensus

    References
    ----------
    Fred & Jain 2005, IEEE Trans. PAMI 27, 835.
    """
    n = len(member_labels[0])
    sample = np.arange(n)
    if n > CONSENSUS_SAMPLE_SIZE:
        sample = np.sort(rng.choice(n, CONSENSUS_SAMPLE_SIZE, replace=False))
    sampled = [labels[sample] for labels in member_labels]
    is_noise = np.mean([labels < 0 for labels in sampled], axis=0) > 0.5
    classes = np.full(len(sample), -1, np.int32)
    kept = np.flatnonzero(~is_noise)
    if len(kept) > 1:
        distance = squareform(1.0 - coassociation_matrix([labels[kept] for labels in sampled]), checks=False)
        classes[kept] = _cut_dendrogram(
            linkage(distance, "average"), n_classes, max(2, round(MIN_CLASS_FRACTION * len(kept)))
        )
    elif len(kept):
        classes[kept] = 0
    if n > CONSENSUS_SAMPLE_SIZE:
        classes = labels_from_prob(Consensus.from_members(sampled, classes).predict_proba(member_labels))
    return _drop_empty_classes(Consensus.from_members(member_labels, relabel_by_size(classes)), member_labels)


def _drop_empty_classes(consensus: Consensus, member_labels: Sequence[Labels]) -> Consensus:
    """Return a consensus in which every class is the most probable one of some point.

    The probabilities of a class that shares its clusters with larger ones may be below theirs at all of its
    points, which then get other labels. Such points join the classes that they are labeled with.
    """
    while True:
        assigned = labels_from_prob(consensus.predict_proba(member_labels))
        is_empty = (consensus.labels >= 0) & ~np.isin(consensus.labels, assigned)
        if not is_empty.any():
            return consensus
        classes = np.where(is_empty, assigned, consensus.labels).astype(np.int32)
        consensus = Consensus.from_members(member_labels, relabel_by_size(classes))


def compute_class_jaccard(member_labels: Sequence[Labels], class_labels: Labels) -> Floats:
    """Return how well each class is found again by the members.

    Parameters
    ----------
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Clusters by each member; -1 is noise.
    class_labels : ndarray of int32, shape (n_points,)
        Classes of the same points; -1 is noise.

    Returns
    -------
    ndarray of shape (n_classes,)
        Mean over the members of the largest Jaccard index of the class with a cluster.

    References
    ----------
    Hennig 2007, Comput. Stat. Data Anal. 52, 258: above 0.75 a cluster is stable, below 0.6 it should not be
    trusted.
    """
    indices: list[Floats] = []
    for labels in member_labels:
        counts = contingency_matrix(labels, class_labels).astype(np.float64)
        shared, cluster_sizes, class_sizes = counts[1:, 1:], counts[1:].sum(axis=1), counts[:, 1:].sum(axis=0)
        union = cluster_sizes[:, None] + class_sizes - shared
        indices.append((shared / np.maximum(union, 1.0)).max(axis=0, initial=0.0))
    return np.mean(indices, axis=0)


def drop_unstable_classes(
    consensus: Consensus, member_labels: Sequence[Labels], min_jaccard: float
) -> Consensus:
    """Return a consensus without the classes that members do not find again; their points get no class.

    Parameters
    ----------
    consensus : Consensus
        Classes of the points.
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Clusters by each member; -1 is noise.
    min_jaccard : float
        Smallest `compute_class_jaccard` of a class that is kept.

    Returns
    -------
    Consensus
        The same one if all classes are kept, or if none would be: the caller reports that case.
    """
    is_stable = compute_class_jaccard(member_labels, consensus.labels) >= min_jaccard
    if is_stable.all() or not is_stable.any():
        return consensus
    kept = np.isin(consensus.labels, np.flatnonzero(is_stable))
    classes = relabel_by_size(np.where(kept, consensus.labels, -1).astype(np.int32))
    return _drop_empty_classes(Consensus.from_members(member_labels, classes), member_labels)


def describe_unstable_classes(
    found: Consensus, kept: Consensus, member_labels: Sequence[Labels], min_jaccard: float
) -> list[str]:
    """Return a sentence about the result of `drop_unstable_classes`; none if all classes are stable.

    Parameters
    ----------
    found, kept : Consensus
        Classes before and after.
    member_labels : sequence of ndarray of int32, shape (n_points,)
        Clusters by each member; -1 is noise.
    min_jaccard : float
        Smallest `compute_class_jaccard` of a class that is kept.
    """
    index = compute_class_jaccard(member_labels, found.labels)
    if not len(index) or index.min() >= min_jaccard:
        return []
    limit = f"mean Jaccard index of {min_jaccard:g} (--clustering.min-class-jaccard)"
    if index.max() < min_jaccard:
        return [f"no class reaches a {limit}: all {len(index)} are kept, and none is reproducible"]
    fraction = float(np.mean(kept.labels < 0) - np.mean(found.labels < 0))
    return [
        f"{int(np.sum(index < min_jaccard))} of {len(index)} classes do not reach a {limit} and are no "
        f"classes: {fraction:.0%} of the spectra that the sweep is fitted to have none for this reason"
    ]


def _cut_dendrogram(tree: Floats, n_classes: int, min_size: int) -> Labels:
    """Cut a tree where `n_classes` branches have `min_size` points; merge the others with these.

    Average linkage splits off single points first, so cutting at `n_classes` branches would make those
    classes.
    """
    n = len(tree) + 1
    classes = np.zeros(n, np.int32)
    for n_branches in range(1, n + 1):
        branch = fcluster(tree, n_branches, "maxclust") - 1
        sizes = np.bincount(branch)
        large = np.flatnonzero(sizes >= min_size)
        if len(large) > n_classes:
            break
        classes = _merge_small_branches(tree, branch, large) if len(large) else classes
        if len(large) == n_classes or n_branches > MAX_BRANCHES_PER_CLASS * n_classes:
            break
    return classes


def _merge_small_branches(
    tree: Floats, branch: NDArray[np.int32], large_branches: NDArray[np.int64]
) -> Labels:
    """Return the large branches numbered from 0; other points get the one that they are first joined with."""
    n = len(tree) + 1
    rank = np.full(branch.max() + 1, -1, np.int32)
    rank[large_branches] = np.arange(len(large_branches))
    classes = rank[branch]
    members: list[NDArray[np.int64]] = [np.array([i]) for i in range(n)]
    for left, right in tree[:, :2].astype(np.int64):
        pair = members[left], members[right]
        assigned = [classes[points][classes[points] >= 0] for points in pair]
        for this, other in ((0, 1), (1, 0)):
            if not len(assigned[this]) and len(assigned[other]):
                classes[pair[this]] = np.bincount(assigned[other]).argmax()
        members.append(np.concatenate(pair))
    return classes


def relabel_by_size(labels: Labels) -> Labels:
    """Return labels renumbered in order of decreasing size; -1 stays.

    Parameters
    ----------
    labels : ndarray of int32, shape (n_points,)
        Cluster of each point; -1 is noise.

    Examples
    --------
    >>> relabel_by_size(np.array([4, 2, 2, -1], np.int32))
    array([ 1,  0,  0, -1], dtype=int32)
    """
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    rank = {int(name): i for i, name in enumerate(names[np.argsort(-counts, kind="stable")])}
    return np.array([rank.get(int(label), -1) for label in labels], np.int32)
