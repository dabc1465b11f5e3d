import pickle

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier

from distspec.clustering.umap import UmapParams, build_neighbor_graph, compute_umap, project_points


@pytest.fixture(scope="module")
def sample():
    x, truth = make_blobs(500, 8, centers=6, cluster_std=2.0, random_state=0)
    return x.astype(np.float64), truth


@pytest.fixture(scope="module")
def graph(sample):
    return build_neighbor_graph(sample[0][:400], 15, (2, 3))


@pytest.mark.slow
def test_graph_equals_that_of_umap(sample, graph):
    from umap.umap_ import fuzzy_simplicial_set

    reference = pairwise_distances(sample[0][:400].astype(np.float32))
    theirs = fuzzy_simplicial_set(reference, 15, np.random.RandomState(0), "precomputed")[0]
    assert abs(graph.graph - theirs).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_embeddings_and_projections_are_as_good_as_those_of_umap(sample, graph, seed):
    from umap import UMAP

    x, truth = sample
    reference = UMAP(n_neighbors=15, min_dist=0.1, random_state=seed, n_jobs=1)
    theirs = reference.fit_transform(x[:400]).astype(np.float64)
    ours = compute_umap(graph, UmapParams(seed))
    assert trustworthiness(x[:400], ours) > trustworthiness(x[:400], theirs) - 0.01
    classifier = KNeighborsClassifier(5).fit(theirs, truth[:400])
    projected = project_points(graph, theirs, x[400:])
    assert (
        classifier.score(projected, truth[400:])
        >= classifier.score(reference.transform(x[400:]), truth[400:]) - 0.01
    )


def test_equal_parameters_give_equal_bits(sample, graph):
    again = pickle.loads(pickle.dumps(build_neighbor_graph(sample[0][:400], 15, (2, 3))))
    one = compute_umap(graph, UmapParams(5))
    assert np.array_equal(one, compute_umap(again, UmapParams(5)))
    for other in (UmapParams(6), UmapParams(5, min_dist=0.5)):
        assert not np.array_equal(one, compute_umap(graph, other))
    assert compute_umap(graph, UmapParams(5, n_components=3)).shape == (400, 3)
    with pytest.raises(ValueError, match=r"maps in \[2, 3\] dimensions, not in 4"):
        compute_umap(graph, UmapParams(5, n_components=4))


def test_new_points_are_projected_to_their_class(sample, graph):
    x, truth = sample
    embedding = compute_umap(graph, UmapParams(0))
    assert trustworthiness(x[:400], embedding) > 0.85
    projected = project_points(graph, embedding, x[400:])
    assert KNeighborsClassifier(5).fit(embedding, truth[:400]).score(projected, truth[400:]) > 0.97
    assert np.array_equal(projected[:7], project_points(graph, embedding, x[400:407])), (
        "a block gives the same as the reference"
    )
    assert np.median(np.linalg.norm(project_points(graph, embedding, x[:400]) - embedding, axis=1)) < 1.0


@pytest.mark.parametrize("n", [1, 4, 5, 12, 20, 21, 40])
def test_small_samples_are_adapted(n, rng):
    x = rng.normal(size=(n, 4))
    graph = build_neighbor_graph(x, 15)
    embedding = compute_umap(graph, UmapParams(0))
    assert embedding.shape == (n, 2)
    assert np.isfinite(embedding).all()
    assert bool(graph.adaptations) == (n <= 15)
    assert np.isfinite(project_points(graph, embedding, x[:1] + 0.1)).all()
    assert compute_umap(build_neighbor_graph(x[:3, :1], 15), UmapParams(0)).shape == (min(n, 3), 2)


@pytest.mark.parametrize("x", [np.zeros((50, 3)), np.repeat(np.eye(3), 30, axis=0), np.eye(60)[:, :40]])
def test_duplicates_and_constant_columns_have_a_finite_embedding(x):
    graph = build_neighbor_graph(x, 10)
    embedding = compute_umap(graph, UmapParams(0))
    assert np.isfinite(embedding).all()
    assert np.isfinite(project_points(graph, embedding, x[:3])).all()


def test_compiled_functions_of_umap_are_kept(graph):
    """Otherwise every process would compile them again, which takes ten seconds."""
    from umap import layouts, umap_

    compute_umap(graph, UmapParams(0))
    layout = layouts._nb_optimize_layout_euclidean_single_epoch
    for function in (umap_.smooth_knn_dist, umap_.compute_membership_strengths, layout):
        assert function.signatures
        assert function.stats.cache_path
