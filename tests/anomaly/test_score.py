"""Anomaly scores: what raises them, what does not, and how spectra outside the run are scored."""

import numpy as np
import pytest

from distspec.anomaly.latent_density import fit_latent_density
from distspec.anomaly.score import (
    PARTIAL_SCORES,
    REDSHIFT_PENALTY,
    ReferenceDistribution,
    compute_anomaly_scores,
    explain_anomaly,
    lower_doubtful_redshifts,
)

RAW_SCORES = ("recon", "line", "log_prob")


@pytest.fixture
def sample(rng):
    """Latents, residual statistics of an imperfect model whose chi-squared grows with S/N, and the S/N."""
    n = 800
    snr = rng.lognormal(1.5, 0.6, n).astype(np.float32)
    recon = ((1 + 0.05 * snr**2) * rng.lognormal(0, 0.1, n)).astype(np.float32)
    line = rng.lognormal(1.2, 0.1, n).astype(np.float32)
    return rng.normal(size=(n, 6)).astype(np.float32), {"recon": recon, "line": line}, snr


def score(sample, labels=None, bad_pixel_score=None, seed=0):
    latents, residuals, snr = sample
    labels = np.zeros(len(snr), np.int32) if labels is None else labels
    bad = np.zeros(len(snr), np.float32) if bad_pixel_score is None else bad_pixel_score
    raw = {**residuals, "log_prob": fit_latent_density(latents, seed).log_prob(latents)}
    return compute_anomaly_scores(raw, snr, labels, bad)


def test_a_poor_reconstruction_for_its_noise_is_anomalous(sample):
    _, residuals, snr = sample
    faintest = int(np.argmin(snr))
    residuals["recon"][faintest] *= 4
    assert score(sample)["anomaly_recon"].argmax() == faintest
    assert residuals["recon"][faintest] < 0.1 * residuals["recon"].max(), "its chi-squared is not the largest"


def test_a_class_that_is_poorly_reconstructed_is_not_anomalous(sample):
    _, residuals, _ = sample
    labels = (np.arange(800) < 200).astype(np.int32)
    residuals["recon"][:200] *= 2
    with_class, without = score(sample, labels)["anomaly_recon"], score(sample)["anomaly_recon"]
    assert with_class[:200].mean() < without[:200].mean() - 0.2


def test_a_line_that_the_model_lacks_is_anomalous(sample):
    sample[1]["line"][5] = 40.0
    scores = score(sample)
    assert scores["anomaly_line"].argmax() == 5
    assert scores["anomaly_rank"][5] <= 3


def test_an_isolated_point_in_latent_space_has_the_lowest_density_and_is_no_anomaly_by_itself(sample):
    ordinary = score(sample)
    sample[0][17] = 9.0
    scores = score(sample)
    assert scores["log_prob"].argmin() == 17
    assert np.array_equal(scores["anomaly_score"], ordinary["anomaly_score"])


def test_densities_in_blocks_equal_densities_of_the_whole(sample):
    latents = sample[0]
    density = fit_latent_density(latents[::2], 0)
    blocks = np.concatenate([density.log_prob(latents[:300]), density.log_prob(latents[300:])])
    assert np.allclose(density.log_prob(latents), blocks, rtol=1e-5)


def test_the_seed_determines_the_density(sample):
    first, same, other = (score(sample, seed=seed)["log_prob"] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_bad_pixels_lower_the_score_and_no_spectrum_is_left_out(sample):
    bad = np.zeros(800, np.float32)
    bad[::4] = np.float32(4.0)
    scores, unaffected = score(sample, bad_pixel_score=bad), score(sample)
    assert np.allclose(unaffected["anomaly_score"][::4] - scores["anomaly_score"][::4], 1.0)
    assert sorted(scores["anomaly_rank"]) == list(range(1, 801))
    sample[1]["recon"][0] *= 1e3
    assert score(sample, bad_pixel_score=bad)["anomaly_rank"][0] < 40


def test_ranks_follow_the_score(sample):
    scores = score(sample)
    order = np.argsort(scores["anomaly_rank"])
    assert sorted(scores["anomaly_rank"]) == list(range(1, 801))
    assert np.all(np.diff(scores["anomaly_score"][order]) <= 0)


def test_equal_scores_are_ranked_by_both_partial_scores(sample):
    """Residuals of lines have an upper limit, which several spectra may reach."""
    _, residuals, _ = sample
    residuals["line"][[3, 400, 700]] = 50.0
    residuals["recon"][[3, 400, 700]] *= [0.1, 1.0, 0.5]
    scores = score(sample)
    tied = scores["anomaly_score"][[3, 400, 700]]
    assert np.all(tied == tied[0])
    assert list(np.argsort(scores["anomaly_rank"][[3, 400, 700]])) == list(
        np.argsort(-scores["anomaly_recon"][[3, 400, 700]])
    )


def test_a_partial_score_is_the_fraction_that_is_at_least_as_anomalous(sample):
    scores = score(sample)
    for name in PARTIAL_SCORES:
        assert scores[name].max() == pytest.approx(np.log10(800)), name
        assert np.mean(scores[name] >= 2) == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_small_samples_have_finite_scores(n, rng):
    latents, ones = rng.normal(size=(n, 4)).astype(np.float32), np.ones(n, np.float32)
    scores = score((latents, {"recon": ones, "line": ones}, ones))
    assert all(np.isfinite(values).all() and len(values) == n for values in scores.values())


def test_the_explanation_names_the_high_scores():
    scores = {"anomaly_recon": 0.2, "anomaly_line": 2.5}
    wave = np.array([1500.0, 5008.0, 6565.0])
    residual = np.array([3.0, 99.0, -40.0], np.float32)
    reason = explain_anomaly(scores, 20.0, residual, np.array([True, False, True]), wave)
    assert "residual as wide as a line (top 0.32 %)" in reason
    assert "reconstruction" not in reason
    assert "residual −40.0 σ at 6565 Å" in reason, "the masked pixel does not count"


def test_an_ordinary_spectrum_has_an_explanation_too():
    scores = dict.fromkeys(PARTIAL_SCORES, 0.1) | {"anomaly_recon": 0.2}
    reason = explain_anomaly(scores, 20.0, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1))
    assert "reconstruction" in reason


def test_an_uncertain_normalization_comes_first():
    scores = {"anomaly_recon": 2.5, "anomaly_line": 0.2}
    reason = explain_anomaly(scores, 1.4, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1))
    assert reason.startswith("uncertain normalization (S/N 1.4); poor reconstruction")


def test_a_spectrum_of_the_run_that_is_scored_again_gets_its_own_score(rng):
    n = 400
    raw = {name: rng.random(n).astype(np.float32) for name in RAW_SCORES}
    raw["line"][:40] = 0.0  # ties
    snr, labels = (9 * rng.random(n)).astype(np.float32), rng.integers(-1, 3, n).astype(np.int32)
    bad = (3 * rng.random(n)).astype(np.float32)
    whole = compute_anomaly_scores(raw, snr, labels, bad)
    rows = slice(3, n, 7)
    part = {name: values[rows] for name, values in raw.items()}
    reference = ReferenceDistribution.from_raw_scores(raw, snr, labels)
    again = reference.score(part, snr[rows], labels[rows], bad[rows])
    assert all(np.array_equal(again[name], whole[name][rows]) for name in again)


def test_a_spectrum_more_anomalous_than_all_of_the_run_scores_above_them(rng):
    n = 300
    raw = {name: rng.random(n).astype(np.float32) for name in RAW_SCORES}
    snr, labels, ones = np.full(n, 5.0, np.float32), np.zeros(n, np.int32), np.ones(n, np.float32)
    reference = ReferenceDistribution.from_raw_scores(raw, snr, labels)
    extreme = {name: np.full(1, 9.0, np.float32) for name in raw}
    scores = reference.score(extreme, snr[:1], np.array([5], np.int32), ones[:1])
    assert scores["anomaly_line"][0] == pytest.approx(np.log10(2 * n)), "half of one in n"
    highest = compute_anomaly_scores(raw, snr, labels, ones)["anomaly_score"].max()
    assert scores["anomaly_score"][0] > highest


def test_a_doubtful_redshift_lowers_the_score_and_has_a_score_of_its_own(sample):
    sample[1]["line"][5] = 40.0
    scores = score(sample)
    p_outlier = np.linspace(0.0, 0.4, 800)
    p_outlier[[5, 6]] = 0.99, np.nan
    lowered = lower_doubtful_redshifts(scores, p_outlier)
    others = np.arange(800) != 5
    assert np.array_equal(lowered["anomaly_score"][others], scores["anomaly_score"][others])
    assert lowered["anomaly_score"][5] == pytest.approx(scores["anomaly_score"][5] - REDSHIFT_PENALTY)
    assert lowered["anomaly_rank"][5] > scores["anomaly_rank"][5]
    assert sorted(lowered["anomaly_rank"]) == list(range(1, 801))
    assert np.nanargmax(lowered["anomaly_redshift"]) == 5
    assert np.flatnonzero(np.isnan(lowered["anomaly_redshift"])).tolist() == [6]


def test_nothing_changes_where_no_redshift_was_measured(sample):
    scores = score(sample)
    lowered = lower_doubtful_redshifts(scores, np.full(800, np.nan))
    for name in ("anomaly_score", "anomaly_rank"):
        assert np.array_equal(lowered[name], scores[name])
