from dataclasses import fields

import numpy as np
import pytest

from distspec.anomaly.score import ReferenceDistribution
from distspec.clustering.algorithms import fit_clustering
from distspec.clustering.config import AlgorithmSpec, FeatureSpace
from distspec.clustering.consensus import find_consensus
from distspec.clustering.feature_space import ClusteringInputs, LatentScaler
from distspec.clustering.labeler import EnsembleLabeler, EnsembleMember
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.inference.run_model import RunModel
from distspec.io.files import read_arrays, write_arrays


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(1)
    truth = rng.permutation(np.repeat(np.arange(3), [60, 50, 40]))
    latents = rng.normal(size=(150, 4)) + 7.0 * np.eye(4)[truth]
    return ClusteringInputs(latents.astype(np.float32), (latents[:, :3] + 1.0).astype(np.float32))


@pytest.fixture(scope="module")
def usual():
    rng = np.random.default_rng(2)
    names = ("recon", "line", "density", "neighbors", "forest")
    raw = {name: rng.random(150).astype(np.float32) for name in names}
    snr, label = rng.random(150).astype(np.float32) * 9, rng.integers(-1, 3, 150).astype(np.int32)
    return ReferenceDistribution.from_raw_scores(raw, snr, label), (raw, snr, label, np.ones(150, np.float32))


def clustered(sample):
    """A repeat of every kind of predictor, in every kind of space."""
    near = build_neighbor_graph(sample.latents, 10)
    drawn = FeatureSpace("map", 10, 2, 0)
    ways = [
        (FeatureSpace("latents"), AlgorithmSpec("gmm", 3, "tied")),
        (FeatureSpace("features"), AlgorithmSpec("kmeans", 3)),
        (FeatureSpace("latents"), AlgorithmSpec("hdbscan", fraction=0.1)),
        (drawn, AlgorithmSpec("gmm", 3, "full")),
    ]
    places = {(0, drawn): UmapEmbedding.from_graph(near, UmapParams(0))}
    repeats, labels = [], []
    for space, setting in ways:
        x = places[0, drawn].coordinates if space.umap_dims else sample.get_points(space).astype(np.float64)
        made = fit_clustering(x, setting, np.random.default_rng(0))
        repeats.append(EnsembleMember(0, space, made.membership_model))
        labels.append(made.labels)
    consensus = find_consensus(labels, 3, np.random.default_rng(0))
    return EnsembleLabeler(repeats, places, consensus, None, UmapEmbedding.from_graph(near, UmapParams(1)))


@pytest.mark.parametrize(
    "make", [clustered, lambda s: EnsembleLabeler.single_class(s, clustered(s).display_umap)]
)
def test_what_is_kept_says_the_same_bit_for_bit(sample, usual, tmp_path, make):
    fitted, latents = make(sample), sample.latents
    frames = [LatentScaler(np.ones(4), np.full(1, 2.0)), LatentScaler(np.full(4, 3.0), np.zeros(0))]
    kept = RunModel(fitted, frames, np.full(4, 0.5), latents, 7, np.ones(9, np.float32), usual[0])
    write_arrays(str(tmp_path / "y.npz"), kept.to_arrays())
    again = RunModel.from_arrays(read_arrays(str(tmp_path / "y.npz")))
    others = ClusteringInputs(latents[::2] + 0.1, sample.features[::2])
    one, two = fitted.assign([others]), again.labeler.assign([others])
    assert one.umap_coordinates is not None
    assert all(np.array_equal(getattr(one, each.name), getattr(two, each.name)) for each in fields(one))
    assert [f.latent_widths.tolist() for f in again.scalers] == [f.latent_widths.tolist() for f in frames]
    assert again.seed == 7
    first, second = (
        kept.reference_distribution.score(*usual[1]),
        again.reference_distribution.score(*usual[1]),
    )
    assert all(np.array_equal(first[name], second[name]) for name in first)
    mine, theirs = (
        kept.anomaly_scorer.compute_scores(others.latents),
        again.anomaly_scorer.compute_scores(others.latents),
    )
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "evil.npz", record=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(str(tmp_path / "evil.npz"))
