"""When a new model is trained, and whether it is promoted."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distspec.core.errors import ConfigError
from distspec.operations.policy import (
    ChangesSinceTraining,
    Drift,
    Evaluation,
    RetrainConfig,
    decide_promotion,
    decide_retraining,
    measure_drift,
)

CONFIG = RetrainConfig(max_age_days=30.0)
SAME = ChangesSinceTraining([], 1000, 0, 0, 1.0)


def change(**facts):
    return ChangesSinceTraining(
        **(
            {"changed_settings": [], "n_trained": 1000, "n_added": 0, "n_withdrawn": 0, "age_days": 1.0}
            | facts
        )
    )


@pytest.mark.parametrize(
    ("facts", "train", "words"),
    [
        ({}, False, "nothing has changed"),
        ({"n_added": 99}, False, r"99 spectra added, 0 withdrawn: 9\.9 % of 1,000, below 10 %"),
        ({"n_added": 60, "n_withdrawn": 40}, True, r"10\.0 % of 1,000"),
        ({"age_days": 30.0}, True, r"30\.0 days old"),
        ({"changed_settings": ["vae.l2", "seed"]}, True, r"changed settings: vae\.l2, seed"),
        ({"n_added": 500, "pin_reason": "rolled back by ann"}, False, "pinned: rolled back by ann"),
        ({"changed_settings": ["seed"], "pin_reason": "rolled back by ann"}, True, "changed settings"),
    ],
)
def test_the_reason_of_a_decision(facts, train, words):
    decision = decide_retraining(change(**facts), None, CONFIG)
    assert decision.train is train
    assert re.search(words, decision.reason), decision.reason
    assert decision.user_requested is ("changed_settings" in facts)


def test_only_large_and_significant_drift_is_a_reason():
    for distance, p_value, train in ((0.5, 1e-6, True), (0.2, 1e-9, False), (0.5, 0.02, False)):
        decision = decide_retraining(
            change(n_added=50), Drift("z_mean_03", distance, p_value, 50, 300), CONFIG
        )
        assert decision.train is train
        assert ("z_mean_03" in decision.reason) is train


def test_force_always_trains():
    forced = RetrainConfig(force=True)
    assert decide_retraining(change(pin_reason="rolled back"), None, forced).train
    assert decide_retraining(SAME, None, forced).reason.startswith("forced")


def test_thresholds_of_zero_are_off():
    off = RetrainConfig(change_threshold=0.0, max_age_days=0.0, drift_threshold=0.0)
    assert not decide_retraining(change(n_added=10_000, age_days=9999.0), None, off).train


@given(st.integers(0, 50), st.floats(1.5, 6.0))
def test_drift_names_the_column_that_moved(seed, shift):
    rng = np.random.default_rng(seed)
    old = {name: rng.normal(size=400).astype(np.float32) for name in ("a", "b", "c")}
    new = {name: rng.normal(size=200).astype(np.float32) for name in ("a", "b", "c")}
    assert measure_drift(new, old).distance < 0.3
    moved = measure_drift(new | {"b": new["b"] + np.float32(shift)}, old)
    assert (moved.column, moved.n_new, moved.n_reference) == ("b", 200, 400)
    assert moved.distance > 0.3
    assert moved.p_value < 1e-3


def test_drift_needs_enough_spectra():
    small, large = {"a": np.zeros(29, np.float32)}, {"a": np.ones(400, np.float32)}
    assert measure_drift(small, large) is None
    assert measure_drift(large, small) is None


def evaluation(name, factor=1.0, finite=True, stability=0.9, n=300, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    chi2 = np.random.default_rng(1).lognormal(0.2, 0.5, n) * factor * rng.lognormal(0.0, noise, n)
    return Evaluation(name, chi2, finite, stability)


OLD = evaluation("m-old")


def test_as_good_or_better_is_promoted():
    for factor in (0.8, 1.0, 1.01):
        verdict = decide_promotion(OLD, evaluation("m-new", factor, seed=2), RetrainConfig())
        assert verdict.promote, verdict.reason
        assert "300 held-out spectra" in verdict.reason


def test_worse_unstable_or_not_finite_is_rejected():
    worse = decide_promotion(OLD, evaluation("m-new", 1.1, seed=2), RetrainConfig())
    assert (worse.promote, "worse" in worse.reason) == (False, True)
    shaky = decide_promotion(OLD, evaluation("m-new", 0.9, stability=0.7), RetrainConfig())
    assert (shaky.promote, shaky.reason) == (False, "less stable: stability of clusterings 0.70, before 0.90")
    for broken in (evaluation("m-new", np.nan), evaluation("m-new", finite=False)):
        for asked in (False, True):
            for before in (OLD, None):
                assert not decide_promotion(before, broken, RetrainConfig(), asked).promote


def test_requested_settings_only_have_to_be_finite():
    assert decide_promotion(OLD, evaluation("m-new", 3.0), RetrainConfig(), user_requested=True).promote


def test_a_broken_promoted_model_is_replaced():
    assert decide_promotion(evaluation("m-old", np.nan), evaluation("m-new", 3.0), RetrainConfig()).promote


def test_an_unknown_stability_is_ignored():
    blind = evaluation("m-new", stability=float("nan"))
    assert decide_promotion(OLD, blind, RetrainConfig()).promote
    assert decide_promotion(
        evaluation("m-old", stability=float("nan")), evaluation("m-new"), RetrainConfig()
    ).promote


def test_impossible_settings_are_refused():
    for name in (
        "change_threshold",
        "drift_threshold",
        "max_age_days",
        "max_chi2_increase",
        "max_stability_drop",
    ):
        for value in (-0.1, float("nan")):
            with pytest.raises(ConfigError, match=rf"retrain\.{name}"):
                RetrainConfig(**{name: value})
