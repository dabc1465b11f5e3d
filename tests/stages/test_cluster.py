"""The cluster stage on Ray: the sweep survives killed actors, and all spectra are assigned."""

import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import ray
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.algorithms import fit_clustering, labels_from_prob
from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.consensus import find_consensus
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.labeler import EnsembleLabeler, EnsembleMember
from distspec.clustering.plan import build_algorithm_grid, plan_jobs
from distspec.clustering.trials import limit_rows
from distspec.clustering.umap import UmapEmbedding, UmapParams, build_neighbor_graph
from distspec.core.errors import ConfigError
from distspec.stages.assign import assign_classes
from distspec.stages.cluster import cluster_spectra
from distspec.stages.pool import take_retries
from distspec.stages.sweep_runner import SweepRunner
from tests.helpers.aborts import abort_once

CONFIG = ClusteringConfig(
    selection_rule="consensus",
    spaces=("features", "latents"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=3,
    k_max=4,
    n_seeds=3,
    resample_fraction=0.8,
    n_null_draws=1,
)


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(3), [120, 90, 60]))


@pytest.fixture(scope="module")
def sample(truth):
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(270, 4)) + 7.0 * np.eye(4)[truth]
    return ClusteringInputs(latents.astype(np.float32), (latents[:, :3] + 1.0).astype(np.float32))


def make_jobs(sample):
    return plan_jobs(CONFIG, build_algorithm_grid(CONFIG, len(sample))[0], 0)


def start_runner(sample, folder, n_actors=1):
    config = replace(CONFIG, n_actors=n_actors)
    return SweepRunner([sample], config, limit_rows(config, len(sample), 1e9)[0], 0, str(folder))


def summarize(results):
    return [(item.trial, item.labels.tolist(), repr(item.scores)) for item in results]


@pytest.fixture(scope="module")
def finished_folder(tmp_path_factory):
    """Folder in which `expected_results` keeps the results of its jobs."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def expected_results(sample, local_ray, finished_folder):
    with start_runner(sample, finished_folder) as sweep:
        return summarize(sweep.run_jobs(make_jobs(sample)))


def test_missing_gpus_are_refused(sample, local_ray, tmp_path):
    if ray.cluster_resources().get("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"clustering\.use_gpu is set, but the cluster has no GPU"):
        SweepRunner([sample], replace(CONFIG, use_gpu=True), {}, 0, str(tmp_path))


@pytest.mark.gpu
def test_sweep_on_a_gpu_finds_the_classes(sample, truth, local_ray, tmp_path):
    if not ray.cluster_resources().get("GPU"):
        pytest.skip("no CUDA device")
    config = replace(CONFIG, use_gpu=True)
    with SweepRunner([sample], config, limit_rows(config, len(sample), 1e9)[0], 0, str(tmp_path)) as sweep:
        found = [item for item in sweep.run_jobs(make_jobs(sample)) if not item.trial.dataset.is_null]
    right = [item for item in found if item.trial.algorithm_spec.algorithm == "gmm" and item.n_clusters == 3]
    assert all(adjusted_rand_score(truth, item.labels) > 0.9 for item in right)
    assert right


@pytest.mark.slow  # an actor aborts below, and `test_pool` kills actors
def test_killed_actors_do_not_change_the_results(sample, expected_results, tmp_path):
    kills = []

    def kill(pids):
        while len(list(tmp_path.iterdir())) < 5:
            time.sleep(0.01)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            kills.append(pid)

    with start_runner(sample, tmp_path, n_actors=2) as sweep:
        while len(sweep.pool.wait_ready()) < 2:
            time.sleep(0.1)
        pids = ray.get([actor.get_pid.remote() for actor in sweep.pool.wait_ready()])
        thread = threading.Thread(target=kill, args=(pids,))
        thread.start()
        results = sweep.run_jobs(make_jobs(sample))
        thread.join()
    assert len(kills) == 2
    assert summarize(results) == expected_results


@dataclass(frozen=True)
class AbortingInputs(ClusteringInputs):
    """Points that abort the process of the first job that uses them."""

    marker: str = ""

    def draw_null_data(self, dataset, seed):
        abort_once(self.marker)
        return super().draw_null_data(dataset, seed)


def test_rerun_runs_only_missing_jobs(sample, expected_results, finished_folder, tmp_path, caplog):
    """The first of them aborts the process of the actor: it is repeated and counted."""
    marker = str(tmp_path / "marker")
    aborting = AbortingInputs(sample.latents, sample.features, marker)
    take_retries()
    jobs, folder = make_jobs(sample), shutil.copytree(finished_folder, tmp_path / "work")
    modified = {path: path.stat().st_mtime_ns for path in sorted(folder.iterdir())}
    assert len(modified) == len(jobs)
    missing = list(modified)[2:5]
    for path in missing:
        path.unlink()
    with start_runner(aborting, folder) as sweep:
        assert summarize(sweep.run_jobs(jobs)) == expected_results
    assert {path for path, at in modified.items() if path.stat().st_mtime_ns != at} == set(missing)
    assert Path(marker).exists()
    assert take_retries() == 1
    assert "SweepActor.run_job Job(number=" in caplog.text


def test_all_spectra_are_assigned_like_the_sample(sample, truth, local_ray, tmp_path):
    small = ClusteringInputs(sample.latents[::3], sample.features[::3])
    jobs = make_jobs(small)
    jobs = [
        job._replace(trials=(trial,))
        for job in jobs
        for trial in job.trials
        if not job.dataset.is_null
        and str(trial.algorithm_spec) == "kmeans k = 3"
        and job.space.name == "features"
    ]
    with start_runner(small, tmp_path) as sweep:
        results, memberships = sweep.run_jobs(jobs), sweep.refit_jobs(jobs)
    labels = [item.labels.astype(np.int32) for item in results]
    consensus = find_consensus(labels, 3, np.random.default_rng(0))
    members = [EnsembleMember(0, job.space, item) for job, item in zip(jobs, memberships, strict=True)]
    assignment = assign_classes(EnsembleLabeler(members, {}, consensus, None), [sample])
    assert adjusted_rand_score(truth, assignment.labels) == 1.0
    assert np.array_equal(assignment.labels[::3], consensus.labels)
    assert assignment.prob.shape == (270, 3)
    assert assignment.stability.min() > 0.9


def test_sweep_on_a_sample_assigns_all_spectra(sample, truth, local_ray, tmp_path):
    config = replace(
        CONFIG, spaces=("latents",), algorithms=("gmm", "kmeans"), covariance_types=("tied",), k_max=3,
        n_null_draws=0, sample_size=120, n_actors=1,
    )  # fmt: skip
    result = cluster_spectra([sample], config, 0, str(tmp_path))
    assert adjusted_rand_score(truth, result.assignment.labels) > 0.95
    assert result.assignment.umap_coordinates.shape == (270, 2)
    assert np.isfinite(result.assignment.umap_coordinates).all()
    assert result.sweep.adaptations == (
        "the sweep is fitted to 120 of 270 spectra; all are assigned to classes",
    )
    assert 1 / 1.5 < result.sweep.expected_cost.actor_mb / result.actual_cost.actor_mb < 1.5
    assert result.actual_cost.seconds > 0


def test_displayed_map_shares_its_neighbors_with_other_maps(sample):
    graph = build_neighbor_graph(sample.latents[:150], 10)
    maps = [UmapEmbedding.from_graph(graph, UmapParams(seed)) for seed in (0, 1)]
    spaces = [FeatureSpace("map", 10, 2, seed) for seed in (0, 1)]
    fitted = [
        fit_clustering(m.coordinates, AlgorithmSpec("gmm", 3, "tied"), np.random.default_rng(0)) for m in maps
    ]
    consensus = find_consensus([item.labels for item in fitted], 3, np.random.default_rng(0))
    ensemble = [
        EnsembleMember(0, space, item.membership_model) for space, item in zip(spaces, fitted, strict=True)
    ]
    umaps = {(0, space): item for space, item in zip(spaces, maps, strict=True)}
    others = sample.take(slice(150, None))
    assignment = EnsembleLabeler(ensemble, umaps, consensus, None, maps[1]).assign([others])
    member_labels = [
        labels_from_prob(item.membership_model.predict_proba(m.transform(others.latents)))
        for item, m in zip(fitted, maps, strict=True)
    ]
    assert np.array_equal(assignment.prob, consensus.predict_proba(member_labels).astype(np.float32))
    assert np.array_equal(assignment.umap_coordinates, maps[1].transform(others.latents).astype(np.float32))
