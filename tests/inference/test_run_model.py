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
def reference():
    rng = np.random.default_rng(2)
    names = ("recon", "line", "log_prob")
    raw = {name: rng.random(150).astype(np.float32) for name in names}
    snr, label = rng.random(150).astype(np.float32) * 9, rng.integers(-1, 3, 150).astype(np.int32)
    return ReferenceDistribution.from_raw_scores(raw, snr, label), (raw, snr, label, np.ones(150, np.float32))


def build_labeler(sample):
    """Return a labeler with a member of every membership class and in every kind of space."""
    graph = build_neighbor_graph(sample.latents, 10)
    map_space = FeatureSpace("map", 10, 2, 0)
    settings = [
        (FeatureSpace("latents"), AlgorithmSpec("gmm", 3, "tied")),
        (FeatureSpace("features"), AlgorithmSpec("kmeans", 3)),
        (FeatureSpace("latents"), AlgorithmSpec("hdbscan", fraction=0.1)),
        (map_space, AlgorithmSpec("gmm", 3, "full")),
    ]
    umaps = {(0, map_space): UmapEmbedding.from_graph(graph, UmapParams(0))}
    members, labels = [], []
    for space, setting in settings:
        x = (
            umaps[0, map_space].coordinates
            if space.umap_dims
            else sample.get_points(space).astype(np.float64)
        )
        clustering = fit_clustering(x, setting, np.random.default_rng(0))
        members.append(EnsembleMember(0, space, clustering.membership_model))
        labels.append(clustering.labels)
    consensus = find_consensus(labels, 3, np.random.default_rng(0))
    return EnsembleLabeler(members, umaps, consensus, None, UmapEmbedding.from_graph(graph, UmapParams(1)))


@pytest.mark.parametrize(
    "build", [build_labeler, lambda s: EnsembleLabeler.single_class(s, build_labeler(s).display_umap)]
)
def test_saved_run_model_gives_equal_bits(sample, reference, tmp_path, build):
    labeler, latents = build(sample), sample.latents
    scalers = [LatentScaler(np.ones(4), np.full(1, 2.0)), LatentScaler(np.full(4, 3.0), np.zeros(0))]
    run_model = RunModel(labeler, scalers, np.full(4, 0.5), latents, 7, np.ones(9, np.float32), reference[0])
    write_arrays(str(tmp_path / "y.npz"), run_model.to_arrays())
    restored = RunModel.from_arrays(read_arrays(str(tmp_path / "y.npz")))
    others = ClusteringInputs(latents[::2] + 0.1, sample.features[::2])
    expected, assignment = labeler.assign([others]), restored.labeler.assign([others])
    assert expected.umap_coordinates is not None
    assert all(
        np.array_equal(getattr(expected, item.name), getattr(assignment, item.name))
        for item in fields(expected)
    )
    assert [f.latent_widths.tolist() for f in restored.scalers] == [f.latent_widths.tolist() for f in scalers]
    assert restored.seed == 7
    expected_scores, scores = (
        run_model.reference_distribution.score(*reference[1]),
        restored.reference_distribution.score(*reference[1]),
    )
    assert all(np.array_equal(expected_scores[name], scores[name]) for name in expected_scores)
    expected_density, density = (
        run_model.latent_density.log_prob(others.latents),
        restored.latent_density.log_prob(others.latents),
    )
    assert np.array_equal(expected_density, density)


def test_run_model_with_anomaly_scores_in_latent_space_can_be_read(sample, reference):
    labeler = build_labeler(sample)
    scalers = [LatentScaler(np.ones(4), np.full(1, 2.0))]
    run_model = RunModel(
        labeler, scalers, np.ones(4), sample.latents, 7, np.ones(9, np.float32), reference[0]
    )
    earlier = {f"{kind}/anomaly_density": np.ones((3, 2)) for kind in ("snr_bins", "sorted_scores")}
    restored = RunModel.from_arrays(run_model.to_arrays() | earlier).reference_distribution
    expected, scores = reference[0].score(*reference[1]), restored.score(*reference[1])
    assert expected.keys() == scores.keys()
    assert all(np.array_equal(expected[name], scores[name]) for name in expected)


def test_pickled_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", record=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(str(tmp_path / "evil.npz"))
