import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform
from sklearn.metrics import davies_bouldin_score

from distspec.clustering.silhouette import davies_bouldin, dbcv


def test_davies_bouldin_is_scikit_learns(rng):
    x = rng.normal(size=(600, 3)) + rng.integers(0, 3, (600, 1))
    labels = rng.integers(0, 6, (5, 600)).astype(np.int32)
    labels[1] = (x[:, 0] > 1.0).astype(np.int32) * 3  # a gap in the names
    assert davies_bouldin(x, labels) == pytest.approx([davies_bouldin_score(x, each) for each in labels])


def test_davies_bouldin_leaves_noise_out(rng):
    x, labels = rng.normal(size=(300, 2)), rng.integers(-1, 4, 300).astype(np.int32)
    kept = labels >= 0
    assert davies_bouldin(x, labels[None])[0] == pytest.approx(davies_bouldin_score(x[kept], labels[kept]))
    assert np.isnan(davies_bouldin(x, np.full((2, 300), [[-1], [3]], np.int32))).all()


@pytest.mark.parametrize("d", [2, 5])
def test_dbcv_is_the_papers(d, rng):
    x = rng.normal(size=(240, d)) + 4.0 * np.repeat(rng.normal(size=(4, d)), 60, axis=0)
    for labels in (np.repeat(np.arange(4), 60), rng.integers(-1, 3, 240), np.repeat([0, 2, -1, 2], 60)):
        found = dbcv(x, labels.astype(np.int32))
        assert found == pytest.approx(plain_dbcv(x, labels), abs=1e-9)
        shuffled = rng.permutation(240)
        assert dbcv(x[shuffled], labels[shuffled].astype(np.int32)) == pytest.approx(found, abs=1e-9)


def plain_dbcv(x, labels):
    """Moulavi et al. 2014, definitions 1 to 8, word for word; of equal edges those of the nearest points."""
    distances = squareform(pdist(x))
    core, inside, sparseness = np.zeros(len(x)), {}, {}
    for name in np.unique(labels[labels >= 0]):
        members = np.flatnonzero(labels == name)
        within = distances[np.ix_(members, members)]
        power = np.where(within > 0, within, np.inf) ** -x.shape[1]
        core[members] = (power.sum(axis=1) / (len(members) - 1)) ** (-1 / x.shape[1])
        reach = np.maximum(within, np.maximum.outer(core[members], core[members]))
        rank = np.lexsort((within.ravel(), reach.ravel())).argsort().reshape(reach.shape) + 1.0
        tree = np.where(minimum_spanning_tree(np.triu(rank, 1)).toarray() > 0, reach, 0.0)
        degree = (tree > 0).sum(axis=0) + (tree > 0).sum(axis=1)
        inside[name] = members[degree > 1]
        sparseness[name] = tree[np.ix_(degree > 1, degree > 1)].max()
    total = 0.0
    for name in inside:
        others = np.concatenate([inside[other] for other in inside if other != name])
        reach = np.maximum(
            distances[np.ix_(inside[name], others)], np.maximum.outer(core[inside[name]], core[others])
        )
        gap = reach.min()
        total += (labels == name).sum() * (gap - sparseness[name]) / max(gap, sparseness[name]) / len(labels)
    return total


def test_dbcv_prefers_what_density_divides(rng):
    angle = np.repeat([0.0, np.pi], 400) + rng.uniform(0, np.pi, 800)
    moons = np.stack([np.cos(angle) + np.repeat([0.0, 1.0], 400), np.sin(angle)], axis=1)
    moons += rng.normal(0.0, 0.05, (800, 2))
    truth, halves = np.repeat([0, 1], 400).astype(np.int32), (moons[:, 0] > 0.5).astype(np.int32)
    assert dbcv(moons, truth) > 0.3 > 0.0 > dbcv(moons, halves)
    assert dbcv(moons, truth, sample_size=300) > dbcv(moons, halves, sample_size=300)
    noisy = np.where(rng.random(800) < 0.5, -1, truth).astype(np.int32)
    assert dbcv(moons, noisy) < 0.6, "noise counts"


def test_dbcv_of_degenerate_labels():
    x = np.arange(12.0).reshape(6, 2)
    assert np.isnan(dbcv(x, np.zeros(6, np.int32)))
    assert np.isnan(dbcv(x, np.arange(6, dtype=np.int32))), "classes of one are noise"
    assert dbcv(np.zeros((6, 2)), np.repeat([0, 1], 3).astype(np.int32)) == 0.0
    assert np.isfinite(
        dbcv(np.repeat(x, 2, axis=0) * 1e-200, np.repeat([0, 0, 1, 1, 2, 2], 2).astype(np.int32))
    )
    assert np.isfinite(
        dbcv(np.ones((40, 60)) * np.arange(40)[:, None], np.repeat([0, 1], 20).astype(np.int32))
    )
