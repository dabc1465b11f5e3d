import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import ray
from sklearn.metrics import adjusted_rand_score

from distspec.clustering.algorithms import fit, labels_of
from distspec.clustering.config import ClusteringConfig, Setting, Space
from distspec.clustering.consensus import agree
from distspec.clustering.feature_space import Sample
from distspec.clustering.labeler import Fitted, Repeat
from distspec.clustering.plan import plan, settings
from distspec.clustering.trials import limits
from distspec.clustering.umap import Layout, Map, neighbourhood
from distspec.stages.assign import assign
from distspec.stages.label import label
from distspec.stages.sweep import Sweep

CONFIG = ClusteringConfig(
    rule="consensus",
    spaces=("features", "latents"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=3,
    k_max=4,
    seeds=3,
    resample=0.8,
    null_draws=1,
    actors=2,
)


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).permutation(np.repeat(np.arange(3), [120, 90, 60]))


@pytest.fixture(scope="module")
def sample(truth):
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(270, 4)) + 7.0 * np.eye(4)[truth]
    return Sample(latents.astype(np.float32), (latents[:, :3] + 1.0).astype(np.float32))


def jobs_of(sample):
    return plan(CONFIG, settings(CONFIG, len(sample))[0], 0)


def started(sample, folder):
    return Sweep([sample], CONFIG, limits(CONFIG, len(sample), 1e9)[0], 0, str(folder))


def of(results):
    return [(each.trial, each.labels.tolist(), repr(dict(each.scores))) for each in results]


@pytest.fixture(scope="module")
def undisturbed(sample, local_ray, tmp_path_factory):
    with started(sample, tmp_path_factory.mktemp("work")) as sweep:
        return of(sweep.run(jobs_of(sample)))


def test_gpus_that_are_not_there_are_refused(sample, local_ray, tmp_path):
    if ray.cluster_resources().get("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=r"clustering\.gpu: the cluster has no GPU"):
        Sweep([sample], replace(CONFIG, gpu=True), {}, 0, str(tmp_path))


@pytest.mark.gpu
def test_on_a_gpu_a_sweep_finds_the_same_classes(sample, truth, local_ray, tmp_path):
    if not ray.cluster_resources().get("GPU"):
        pytest.skip("no CUDA device")
    config = replace(CONFIG, gpu=True)
    with Sweep([sample], config, limits(config, len(sample), 1e9)[0], 0, str(tmp_path)) as sweep:
        found = [each for each in sweep.run(jobs_of(sample)) if not each.trial.data.is_null]
    right = [each for each in found if each.trial.setting.algorithm == "gmm" and each.n_clusters == 3]
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
        while len(sweep.crew.here()) < 2:
            time.sleep(0.1)
        pids = ray.get([actor.pid.remote() for actor in sweep.crew.here()])
        thread = threading.Thread(target=kill, args=(pids,))
        thread.start()
        results = sweep.run(jobs_of(sample))
        thread.join()
    assert len(kills) == 2
    assert of(results) == undisturbed


def test_a_rerun_makes_only_what_is_missing(sample, undisturbed, tmp_path):
    jobs = jobs_of(sample)
    with started(sample, tmp_path) as sweep:
        sweep.run(jobs)
    kept = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())}
    assert len(kept) == len(jobs)
    missing = list(kept)[2:5]
    for path in missing:
        path.unlink()
    with started(sample, tmp_path) as sweep:
        assert of(sweep.run(jobs)) == undisturbed
    assert {path for path, at in kept.items() if path.stat().st_mtime_ns != at} == set(missing)


def test_everyone_is_labelled_as_the_sample_says(sample, truth, local_ray, tmp_path):
    few = Sample(sample.latents[::3], sample.features[::3])
    jobs = jobs_of(few)
    wanted = [
        job._replace(trials=(trial,))
        for job in jobs
        for trial in job.trials
        if not job.data.is_null and str(trial.setting) == "kmeans k = 3" and job.space.name == "features"
    ]
    with started(few, tmp_path) as sweep:
        results, predictors = sweep.run(wanted), sweep.refit(wanted)
    repeats = [each.labels.astype(np.int32) for each in results]
    consensus = agree(repeats, 3, np.random.default_rng(0))
    made = [Repeat(0, job.space, each) for job, each in zip(wanted, predictors, strict=True)]
    said = assign(Fitted(made, {}, consensus, None), [sample])
    assert adjusted_rand_score(truth, said["label"]) == 1.0
    assert np.array_equal(said["label"][::3], consensus.labels)
    assert said["prob"].shape == (270, 3)
    assert said["stability"].min() > 0.9


def test_latents_alone_are_labelled_from_a_sample_of_them(sample, truth, local_ray, tmp_path):
    config = replace(
        CONFIG, spaces=("latents",), algorithms=("gmm", "kmeans"), covariances=("tied",), k_max=3,
        null_draws=0, sample=120,
    )  # fmt: skip
    found = label([sample], config, 0, str(tmp_path))
    assert adjusted_rand_score(truth, found.said["label"]) > 0.95
    assert found.points.shape == (270, 2)
    assert np.isfinite(found.points).all()
    assert found.adapted == ["the sweep is fitted to 120 of 270 spectra; all are labelled"]
    assert 1 / 1.5 < found.expected.actor_mb / found.took.actor_mb < 1.5
    assert found.took.seconds > 0


def test_the_shown_map_is_seen_by_the_same_neighbours_as_any(sample):
    near = neighbourhood(sample.latents[:150], 10)
    maps = [Map.of(near, Layout(seed)) for seed in (0, 1)]
    spaces = [Space("map", 10, 2, seed) for seed in (0, 1)]
    made = [fit(m.points, Setting("gmm", 3, "tied"), np.random.default_rng(0)) for m in maps]
    consensus = agree([each.labels for each in made], 3, np.random.default_rng(0))
    repeats = [Repeat(0, space, each.predictor) for space, each in zip(spaces, made, strict=True)]
    places = {(0, space): each for space, each in zip(spaces, maps, strict=True)}
    rest = sample.take(slice(150, None))
    said = Fitted(repeats, places, consensus, None, maps[1]).describe([rest])
    alone = [
        labels_of(each.predictor.posterior(m.transform(rest.latents)))
        for each, m in zip(made, maps, strict=True)
    ]
    assert np.array_equal(said["prob"], consensus.probabilities(alone).astype(np.float32))
    assert np.array_equal(said["points"], maps[1].transform(rest.latents).astype(np.float32))
