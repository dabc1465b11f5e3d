from dataclasses import replace

import numpy as np
import pytest

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.plan import DatasetSpec, Trial, build_algorithm_grid, plan_jobs
from distspec.clustering.selection import SweepSetting, score_sweep, select_setting
from distspec.clustering.trials import TrialResult, TrialScores, limit_rows, run_trials

CONSENSUS = ClusteringConfig(
    selection_rule="consensus", spaces=("features", "map"), n_seeds=4, n_null_draws=5
)
FEATURES, MAP = FeatureSpace("features"), FeatureSpace("map", 15, 2, 0)


def result(space, setting, repeat, labels, silhouette, data=None, stability=float("nan")):
    labels = np.asarray(labels, np.int16)
    scores = replace(TrialScores(*[float("nan")] * 5), silhouette=silhouette, stability=stability)
    trial = Trial(data or DatasetSpec(), space, setting, repeat, repeat)
    sizes, noise = np.bincount(labels[labels >= 0]), float(np.sum(labels < 0) / max(len(labels), 1))
    return TrialResult(trial, labels, sizes if len(labels) else np.array([60, 60]), noise, scores, 0.1)


def sweep(rng, space, setting, k, wobble, silhouette, null=0.1):
    truth = np.repeat(np.arange(k), 60)
    found = []
    for repeat in range(4):
        labels = np.where(rng.random(60 * k) < wobble, rng.integers(0, k, 60 * k), truth)
        found.append(result(space, setting, repeat, labels, silhouette))
    for kind in ("gaussian", "permuted"):
        for draw in range(5):
            score = null + 0.01 * rng.normal()
            found.append(
                result(space, setting, 0, [], score, DatasetSpec(kind, draw), 0.3 + 0.01 * rng.normal())
            )
    return found


def chosen(results, config=CONSENSUS):
    judgement = score_sweep(results, config)
    own = [each for each in results if not each.trial.dataset.is_null]
    return select_setting(own, judgement, config), judgement


def test_the_published_rule_takes_the_best_silhouette(rng):
    config = ClusteringConfig()
    results = [
        result(MAP, AlgorithmSpec("gmm", k, "full"), 0, [0, 0, 1, 1], s)
        for k, s in ((5, 0.3), (6, 0.5), (7, 0.5))
    ]
    choice, _ = chosen(results, config)
    assert (choice.trial_index, choice.setting.algorithm_spec.k, choice.n_classes) == (1, 6, 2)
    assert chosen([], config)[0] is None
    assert chosen([result(MAP, AlgorithmSpec("gmm", 5, "full"), 0, [0, 0], float("nan"))], config)[0] is None


def test_what_repeats_best_and_beats_its_null_is_chosen_in_the_first_space(rng):
    steady, loose = AlgorithmSpec("gmm", 3, "tied"), AlgorithmSpec("gmm", 4, "tied")
    small = AlgorithmSpec("gmm", 2, "tied")
    results = [
        *sweep(rng, FEATURES, small, 2, 0.02, 0.45, null=0.4),
        *sweep(rng, FEATURES, steady, 3, 0.02, 0.30, null=0.1),
        *sweep(rng, FEATURES, loose, 4, 0.5, 0.60, null=0.1),
        *sweep(rng, MAP, steady, 3, 0.0, 0.90, null=0.1),
    ]
    choice, judgement = chosen(results)
    assert choice.setting == SweepSetting("features", steady)
    assert judgement.beats_null(choice.setting)
    assert choice.n_classes == 3
    assert "most stable of" in choice.reason


def test_where_the_first_space_holds_nothing_the_next_does(rng):
    setting = AlgorithmSpec("gmm", 3, "tied")
    results = [
        *sweep(rng, FEATURES, setting, 3, 0.6, 0.3), *sweep(rng, MAP, setting, 3, 0.0, 0.4),
    ]  # fmt: skip
    assert chosen(results)[0].setting.space.startswith("map")


def test_what_does_not_repeat_or_beat_its_null_is_called_that(rng):
    choice, judgement = chosen(sweep(rng, FEATURES, AlgorithmSpec("gmm", 3, "tied"), 3, 0.6, 0.1, null=0.3))
    assert "no clustering reaches a stability" in choice.reason
    assert judgement.beats_null(choice.setting) is False
    assert "none beats the null test" in choice.reason


def test_a_clustering_of_a_few_is_none(rng):
    labels = np.full(100, -1)
    labels[:10], labels[10:20] = 0, 1
    results = [result(FEATURES, AlgorithmSpec("hdbscan", fraction=0.05), i, labels, 0.9) for i in range(3)]
    assert chosen(results)[0] is None


@pytest.mark.parametrize("config", [CONSENSUS, ClusteringConfig()])
def test_without_draws_nothing_is_said_of_nulls(rng, config):
    results = [
        each
        for each in sweep(rng, FEATURES, AlgorithmSpec("gmm", 3), 3, 0.0, 0.5)
        if not each.trial.dataset.is_null
    ]
    choice, judgement = chosen(results, config)
    assert judgement.beats_null(choice.setting) is None
    assert "null" not in choice.reason


def test_the_baseline_is_chosen_only_where_it_is_alone(rng):
    baseline, other = AlgorithmSpec("kmeans", 3), AlgorithmSpec("gmm", 3, "tied")
    alone = sweep(rng, FEATURES, baseline, 3, 0.0, 0.9)
    assert chosen(alone)[0].setting.algorithm_spec == baseline
    assert chosen([*alone, *sweep(rng, FEATURES, other, 3, 0.02, 0.4)])[0].setting.algorithm_spec == other


def test_a_few_against_the_rest_do_not_divide_the_sample():
    few, even = AlgorithmSpec("hdbscan", fraction=0.02), AlgorithmSpec("gmm", 2, "tied")
    labels = np.repeat([0, 1], [190, 10])
    results = [
        *(result(FEATURES, few, i, labels, 0.8) for i in range(4)),
        *(result(FEATURES, even, i, np.roll(np.repeat([0, 1], 100), i), 0.4) for i in range(4)),
    ]
    assert chosen(results)[0].setting.algorithm_spec == even
    assert chosen(results[:4])[0] is None


def beats_its_null(points, seed):
    config = ClusteringConfig(
        selection_rule="consensus", spaces=("latents",), algorithms=("gmm", "kmeans"), k_min=3, k_max=3,
        covariance_types=("tied",), n_seeds=3, resample_fraction=0.8, n_null_draws=12,
    )  # fmt: skip
    sample = ClusteringInputs(points.astype(np.float32), np.zeros((len(points), 0), np.float32))
    most, _ = limit_rows(config, len(points), 1e9)
    results = []
    for job in plan_jobs(config, build_algorithm_grid(config, len(points))[0], seed):
        of = sample.draw_null_data(job.dataset, seed).latents.astype(np.float64)
        results += run_trials(of, of, job.trials, config, most)
    choice, judgement = chosen(results, config)
    return judgement.beats_null(choice.setting)


def test_a_whole_sweep_rarely_finds_classes_in_noise_and_finds_those_that_are_there():
    """The short form of `tests.benchmarks.null_control`."""
    widths = 0.7 ** np.arange(6)
    alarms = 0
    for seed in range(5):
        rng = np.random.default_rng([seed, 1])
        noise = rng.normal(size=(500, 6)) if seed % 2 else rng.standard_t(4.0, (500, 6))
        alarms += beats_its_null(noise * widths, seed)
    assert alarms <= 1
    members = np.repeat(np.arange(3), [250, 150, 100])
    assert beats_its_null((noise + 5.0 * np.eye(6)[members]) * widths, 0)
