import os
import signal
import threading
import time
from dataclasses import replace

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
from distspec.stages.assign import assign_classes
from distspec.stages.cluster import cluster_spectra
from distspec.stages.sweep import SweepRunner

CONFIG = ClusteringConfig(
    selection_rule="consensus",
    spaces=("features", "latents"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=3,
    k_max=4,
    n_seeds=3,
    resample_fraction=0.8,
    n_null_draws=1,
    n_actors=2,
)


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(3), [120, 90, 60]))


@pytest.fixture(scope="module")
def sample(truth):
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(270, 4)) + 7.0 * np.eye(4)[truth]
    return ClusteringInputs(latents.astype(np.float32), (latents[:, :3] + 1.0).astype(np.float32))


def jobs_of(sample):
    return plan_jobs(CONFIG, build_algorithm_grid(CONFIG, len(sample))[0], 0)


def started(sample, folder):
    return SweepRunner([sample], CONFIG, limit_rows(CONFIG, len(sample), 1e9)[0], 0, str(folder))


def of(results):
    return [(each.trial, each.labels.tolist(), repr(each.scores)) for each in results]


@pytest.fixture(scope="module")
def undisturbed(sample, local_ray, tmp_path_factory):
    with started(sample, tmp_path_factory.mktemp("work")) as sweep:
        return of(sweep.run_jobs(jobs_of(sample)))


def test_gpus_that_are_not_there_are_refused(sample, local_ray, tmp_path):
    if ray.cluster_resources().get("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"clustering\.use_gpu: .*the cluster has no GPU"):
        SweepRunner([sample], replace(CONFIG, use_gpu=True), {}, 0, str(tmp_path))


@pytest.mark.gpu
def test_on_a_gpu_a_sweep_finds_the_same_classes(sample, truth, local_ray, tmp_path):
    if not ray.cluster_resources().get("GPU"):
        pytest.skip("no CUDA device")
    config = replace(CONFIG, use_gpu=True)
    with SweepRunner([sample], config, limit_rows(config, len(sample), 1e9)[0], 0, str(tmp_path)) as sweep:
        found = [each for each in sweep.run_jobs(jobs_of(sample)) if not each.trial.dataset.is_null]
    right = [each for each in found if each.trial.algorithm_spec.algorithm == "gmm" and each.n_clusters == 3]
    assert all(adjusted_rand_score(truth, each.labels) > 0.9 for each in right)
    assert right


def test_actors_killed_mid_sweep_change_nothing(sample, undisturbed, tmp_path):
    kills = []

    def kill(pids):
        while len(list(tmp_path.iterdir())) < 5:
            time.sleep(0.01)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            kills.append(pid)

    with started(sample, tmp_path) as sweep:
        while len(sweep.pool.wait_ready()) < 2:
            time.sleep(0.1)
        pids = ray.get([actor.get_pid.remote() for actor in sweep.pool.wait_ready()])
        thread = threading.Thread(target=kill, args=(pids,))
        thread.start()
        results = sweep.run_jobs(jobs_of(sample))
        thread.join()
    assert len(kills) == 2
    assert of(results) == undisturbed


def test_a_rerun_makes_only_what_is_missing(sample, undisturbed, tmp_path):
    jobs = jobs_of(sample)
    with started(sample, tmp_path) as sweep:
        sweep.run_jobs(jobs)
    kept = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())}
    assert len(kept) == len(jobs)
    missing = list(kept)[2:5]
    for path in missing:
        path.unlink()
    with started(sample, tmp_path) as sweep:
        assert of(sweep.run_jobs(jobs)) == undisturbed
    assert {path for path, at in kept.items() if path.stat().st_mtime_ns != at} == set(missing)


def test_everyone_is_labelled_as_the_sample_says(sample, truth, local_ray, tmp_path):
    few = ClusteringInputs(sample.latents[::3], sample.features[::3])
    jobs = jobs_of(few)
    wanted = [
        job._replace(trials=(trial,))
        for job in jobs
        for trial in job.trials
        if not job.dataset.is_null
        and str(trial.algorithm_spec) == "kmeans k = 3"
        and job.space.name == "features"
    ]
    with started(few, tmp_path) as sweep:
        results, predictors = sweep.run_jobs(wanted), sweep.refit_jobs(wanted)
    repeats = [each.labels.astype(np.int32) for each in results]
    consensus = find_consensus(repeats, 3, np.random.default_rng(0))
    made = [EnsembleMember(0, job.space, each) for job, each in zip(wanted, predictors, strict=True)]
    said = assign_classes(EnsembleLabeler(made, {}, consensus, None), [sample])
    assert adjusted_rand_score(truth, said.labels) == 1.0
    assert np.array_equal(said.labels[::3], consensus.labels)
    assert said.prob.shape == (270, 3)
    assert said.stability.min() > 0.9


def test_latents_alone_are_labelled_from_a_sample_of_them(sample, truth, local_ray, tmp_path):
    config = replace(
        CONFIG, spaces=("latents",), algorithms=("gmm", "kmeans"), covariance_types=("tied",), k_max=3,
        n_null_draws=0, sample_size=120,
    )  # fmt: skip
    found = cluster_spectra([sample], config, 0, str(tmp_path))
    assert adjusted_rand_score(truth, found.assignment.labels) > 0.95
    assert found.assignment.umap_coordinates.shape == (270, 2)
    assert np.isfinite(found.assignment.umap_coordinates).all()
    assert found.sweep.adaptations == ("the sweep is fitted to 120 of 270 spectra; all are assigned to classes",)
    assert 1 / 1.5 < found.sweep.expected_cost.actor_mb / found.actual_cost.actor_mb < 1.5
    assert found.actual_cost.seconds > 0


def test_the_shown_map_is_seen_by_the_same_neighbours_as_any(sample):
    near = build_neighbor_graph(sample.latents[:150], 10)
    maps = [UmapEmbedding.from_graph(near, UmapParams(seed)) for seed in (0, 1)]
    spaces = [FeatureSpace("map", 10, 2, seed) for seed in (0, 1)]
    made = [
        fit_clustering(m.coordinates, AlgorithmSpec("gmm", 3, "tied"), np.random.default_rng(0)) for m in maps
    ]
    consensus = find_consensus([each.labels for each in made], 3, np.random.default_rng(0))
    repeats = [
        EnsembleMember(0, space, each.membership_model) for space, each in zip(spaces, made, strict=True)
    ]
    places = {(0, space): each for space, each in zip(spaces, maps, strict=True)}
    rest = sample.take(slice(150, None))
    said = EnsembleLabeler(repeats, places, consensus, None, maps[1]).assign([rest])
    alone = [
        labels_from_prob(each.membership_model.predict_proba(m.transform(rest.latents)))
        for each, m in zip(made, maps, strict=True)
    ]
    assert np.array_equal(said.prob, consensus.predict_proba(alone).astype(np.float32))
    assert np.array_equal(said.umap_coordinates, maps[1].transform(rest.latents).astype(np.float32))
