from dataclasses import replace

import numpy as np
import pytest

from distspec.clustering.config import AlgorithmSpec, ClusteringConfig, FeatureSpace
from distspec.clustering.feature_space import ClusteringInputs
from distspec.clustering.plan import DatasetSpec, Trial, build_algorithm_grid, plan_jobs
from distspec.clustering.selection import estimate_rerun_agreement, select_setting
from distspec.clustering.sweep_scores import SweepSetting, score_sweep
from distspec.clustering.trials import TrialResult, TrialScores, limit_rows, run_trials

CONSENSUS = ClusteringConfig(
    selection_rule="consensus", spaces=("features", "map"), n_seeds=4, n_null_draws=5
)
FEATURES, MAP = FeatureSpace("features"), FeatureSpace("map", 15, 2, 0)


def result(space, setting, member, labels, silhouette, data=None, stability=float("nan")):
    labels = np.asarray(labels, np.int16)
    scores = replace(TrialScores(*[float("nan")] * 5), silhouette=silhouette, stability=stability)
    trial = Trial(data or DatasetSpec(), space, setting, member, member)
    sizes, noise = np.bincount(labels[labels >= 0]), float(np.sum(labels < 0) / max(len(labels), 1))
    return TrialResult(trial, labels, sizes if len(labels) else np.array([60, 60]), noise, scores, 0.1)


def sweep(rng, space, setting, k, noise_fraction, silhouette, null=0.1, null_stability=0.3):
    truth = np.repeat(np.arange(k), 60)
    found = []
    for member in range(4):
        labels = np.where(rng.random(60 * k) < noise_fraction, rng.integers(0, k, 60 * k), truth)
        found.append(result(space, setting, member, labels, silhouette))
    for kind in ("gaussian", "permuted"):
        for draw in range(5):
            score = null + 0.01 * rng.normal()
            found.append(
                result(
                    space,
                    setting,
                    0,
                    [],
                    score,
                    DatasetSpec(kind, draw),
                    null_stability + 0.01 * rng.normal(),
                )
            )
    return found


def select(results, config=CONSENSUS):
    sweep_scores = score_sweep(results, config)
    own = [trial_result for trial_result in results if not trial_result.trial.dataset.is_null]
    return select_setting(own, sweep_scores, config), sweep_scores


def test_rule_silhouette_takes_the_highest_silhouette(rng):
    config = ClusteringConfig()
    results = [
        result(MAP, AlgorithmSpec("gmm", k, "full"), 0, [0, 0, 1, 1], s)
        for k, s in ((5, 0.3), (6, 0.5), (7, 0.5))
    ]
    selection, _ = select(results, config)
    assert (selection.trial_index, selection.setting.algorithm_spec.k, selection.n_classes) == (1, 6, 2)
    assert select([], config)[0] is None
    assert select([result(MAP, AlgorithmSpec("gmm", 5, "full"), 0, [0, 0], float("nan"))], config)[0] is None


def test_rule_consensus_takes_the_finest_reproducible_significant_setting(rng):
    """A coarser one is more stable; of two finer ones one is not reproducible, one does not beat the null."""
    coarse, fine = AlgorithmSpec("gmm", 2, "tied"), AlgorithmSpec("gmm", 3, "tied")
    unstable, chance = AlgorithmSpec("gmm", 4, "tied"), AlgorithmSpec("gmm", 5, "tied")
    results = [
        *sweep(rng, FEATURES, coarse, 2, 0.0, 0.45),
        *sweep(rng, FEATURES, fine, 3, 0.02, 0.30),
        *sweep(rng, FEATURES, unstable, 4, 0.5, 0.60),
        *sweep(rng, FEATURES, chance, 5, 0.02, 0.3, null=0.3, null_stability=0.95),
    ]
    selection, sweep_scores = select(results)
    assert sweep_scores.beats_null(SweepSetting("features", chance)) is False
    assert selection.setting == SweepSetting("features", fine)
    assert sweep_scores.beats_null(selection.setting)
    assert selection.n_classes == 3
    assert selection.reason.startswith("finest of 2 reproducible clusterings in features")
    assert "between members of one model" in selection.reason
    assert selection.rerun_agreement is None


@pytest.mark.parametrize("noise", [0.6, 0.02])
def test_with_one_model_the_most_stable_space_is_taken(rng, noise):
    """Also if the setting of another space is reproducible."""
    setting = AlgorithmSpec("gmm", 3, "tied")
    results = [
        *sweep(rng, FEATURES, setting, 3, noise, 0.3), *sweep(rng, MAP, setting, 3, 0.0, 0.4),
    ]  # fmt: skip
    assert select(results)[0].setting.space.startswith("map")


def results_of_models(space, spec, labels_by_model):
    return [
        result(space, spec, i, labels_by_model[i % len(labels_by_model)], 0.5, DatasetSpec(number=i % 4))
        for i in range(8)
    ]


def test_the_space_is_taken_whose_classes_reruns_find_again():
    """In the map the halves of the models select different settings; features, less stable, are taken."""
    n = 240
    thirds, quarters = np.repeat(np.arange(3), n // 3), np.tile(np.arange(4), n // 4)
    shared = [np.roll(thirds, shift) for shift in (0, 2, 0, 2)]
    k2, k3, k4 = (AlgorithmSpec("gmm", k, "tied") for k in (2, 3, 4))
    results = [
        *results_of_models(FEATURES, k3, shared),
        *results_of_models(MAP, k2, [np.repeat([0, 1], n // 2)] * 4),
    ]
    selection, sweep_scores = select(results)
    assert selection.setting == SweepSetting(MAP.title, k2)
    assert selection.rerun_agreement == 1.0
    # The half without the fourth model finds quarters reproducible, and selects them as the finest.
    results += results_of_models(MAP, k4, [quarters, quarters, quarters, thirds])
    selection, sweep_scores = select(results)
    in_map = estimate_rerun_agreement(results, sweep_scores, CONSENSUS, MAP.title)
    assert in_map < 0.1
    assert selection.setting == SweepSetting("features", k3)
    assert selection.rerun_agreement > 0.9
    assert f"of 2 spaces the one whose classes reruns find again best ({selection.rerun_agreement:.2f})" in (
        selection.reason
    )


def test_a_clustering_that_depends_on_the_model_is_not_selected(rng):
    """Members of a model agree perfectly; those of two models do not."""
    own, shared = AlgorithmSpec("gmm", 3, "tied"), AlgorithmSpec("gmm", 2, "tied")
    by_model, halves = [np.repeat(np.arange(3), 40), np.tile(np.arange(3), 40)], np.repeat([0, 1], 60)
    results = [
        result(space, spec, i, labels, 0.5, DatasetSpec(number=i % 2))
        for space, spec, by_member in ((FEATURES, own, by_model * 2), (MAP, shared, [halves] * 4))
        for i, labels in enumerate(by_member)
    ]  # fmt: skip
    selection, sweep_scores = select(results)
    assert sweep_scores.mean_stability(SweepSetting("features", own)) < 0.1
    assert selection.setting == SweepSetting(MAP.title, shared)
    assert "1.00 between members of 2 models" in selection.reason


def test_null_test_compares_the_members_of_the_first_model(rng):
    """The other model, which sees no classes, does not lower the scores that null data are compared with."""
    setting, truth = AlgorithmSpec("gmm", 3, "tied"), np.repeat(np.arange(3), 60)
    nulls = [item for item in sweep(rng, FEATURES, setting, 3, 0.0, 0.3) if item.trial.dataset.is_null]
    results = [
        result(FEATURES, setting, i, rng.permutation(truth) if i % 2 else truth, 0.0 if i % 2 else 0.9,
               DatasetSpec(number=i % 2))
        for i in range(4)
    ]  # fmt: skip
    _, sweep_scores = select([*results, *nulls])
    key = SweepSetting("features", setting)
    assert sweep_scores.mean_stability(key) < 0.1
    assert sweep_scores.silhouette_test.z_score[key] > 20
    assert sweep_scores.stability_test.p_value[key] < 1e-3


def test_reason_names_a_low_stability_and_a_failed_null_test(rng):
    selection, sweep_scores = select(
        sweep(rng, FEATURES, AlgorithmSpec("gmm", 3, "tied"), 3, 0.6, 0.1, null=0.3)
    )
    assert "no clustering reaches a stability" in selection.reason
    assert sweep_scores.beats_null(selection.setting) is False
    assert "it does not beat the null test" in selection.reason


def test_mostly_noise_is_not_selected(rng):
    labels = np.full(100, -1)
    labels[:10], labels[10:20] = 0, 1
    results = [result(FEATURES, AlgorithmSpec("hdbscan", fraction=0.05), i, labels, 0.9) for i in range(3)]
    assert select(results)[0] is None


@pytest.mark.parametrize("config", [CONSENSUS, ClusteringConfig()])
def test_reason_does_not_mention_a_null_test_that_was_not_made(rng, config):
    results = [
        trial_result
        for trial_result in sweep(rng, FEATURES, AlgorithmSpec("gmm", 3), 3, 0.0, 0.5)
        if not trial_result.trial.dataset.is_null
    ]
    selection, sweep_scores = select(results, config)
    assert sweep_scores.beats_null(selection.setting) is None
    assert "null" not in selection.reason


def test_baseline_is_selected_only_without_alternatives(rng):
    baseline, other = AlgorithmSpec("kmeans", 3), AlgorithmSpec("gmm", 3, "tied")
    alone = sweep(rng, FEATURES, baseline, 3, 0.0, 0.9)
    assert select(alone)[0].setting.algorithm_spec == baseline
    assert select([*alone, *sweep(rng, FEATURES, other, 3, 0.02, 0.4)])[0].setting.algorithm_spec == other


def test_splitting_off_a_few_points_is_not_selected():
    unbalanced, balanced = AlgorithmSpec("hdbscan", fraction=0.02), AlgorithmSpec("gmm", 2, "tied")
    labels = np.repeat([0, 1], [190, 10])
    results = [
        *(result(FEATURES, unbalanced, i, labels, 0.8) for i in range(4)),
        *(result(FEATURES, balanced, i, np.roll(np.repeat([0, 1], 100), i), 0.4) for i in range(4)),
    ]
    assert select(results)[0].setting.algorithm_spec == balanced
    assert select(results[:4])[0] is None


def has_significant_classes(points, seed):
    config = ClusteringConfig(
        selection_rule="consensus", spaces=("latents",), algorithms=("gmm", "kmeans"), k_min=3, k_max=3,
        covariance_types=("tied",), n_seeds=3, resample_fraction=0.8, n_null_draws=8,
    )  # fmt: skip
    sample = ClusteringInputs(points.astype(np.float32), np.zeros((len(points), 0), np.float32))
    most, _ = limit_rows(config, len(points), 1e9)
    results = []
    for job in plan_jobs(config, build_algorithm_grid(config, len(points))[0], seed):
        of = sample.draw_null_data(job.dataset, seed).latents.astype(np.float64)
        results += run_trials(of, of, job.trials, config, most)
    selection, sweep_scores = select(results, config)
    return sweep_scores.beats_null(selection.setting)


def draw_noise(seed):
    rng = np.random.default_rng([seed, 1])
    return rng.normal(size=(500, 6)) if seed % 2 else rng.standard_t(4.0, (500, 6))


WIDTHS = 0.7 ** np.arange(6)


def test_sweep_finds_classes_in_structured_data_and_not_in_noise():
    """The shortest form of `tests.benchmarks.null_control`."""
    assert not any(has_significant_classes(draw_noise(seed) * WIDTHS, seed) for seed in range(2))
    members = np.repeat(np.arange(3), [250, 150, 100])
    assert has_significant_classes((draw_noise(4) + 5.0 * np.eye(6)[members]) * WIDTHS, 0)


@pytest.mark.slow
def test_sweep_rarely_finds_classes_in_noise():
    """A longer form; the bound of the rate is measured by `tests.benchmarks.null_control`."""
    assert sum(has_significant_classes(draw_noise(seed) * WIDTHS, seed) for seed in range(5)) <= 1
