import numpy as np
import pytest

from distspec.anomaly.score import (
    LATENT_SCORES,
    PARTIAL_SCORES,
    ReferenceDistribution,
    compute_anomaly_scores,
    explain_anomaly,
    fit_latent_scorer,
)


@pytest.fixture
def sample(rng):
    """Latents, and of an imperfect model χ² that grows with S/N for everybody."""
    n = 800
    snr = rng.lognormal(1.5, 0.6, n).astype(np.float32)
    recon = ((1 + 0.05 * snr**2) * rng.lognormal(0, 0.1, n)).astype(np.float32)
    line = rng.lognormal(1.2, 0.1, n).astype(np.float32)
    return rng.normal(size=(n, 6)).astype(np.float32), {"recon": recon, "line": line}, snr


def scores(sample, label=None, artefact_score=None, seed=0):
    latents, left, snr = sample
    label = np.zeros(len(snr), np.int32) if label is None else label
    bad = np.zeros(len(snr), np.float32) if artefact_score is None else artefact_score
    return compute_anomaly_scores(
        {**left, **fit_latent_scorer(latents, seed).compute_scores(latents)}, snr, label, bad
    )


def test_badly_reconstructed_for_its_noise_is_odd(sample):
    _, left, snr = sample
    faint = int(np.argmin(snr))
    left["recon"][faint] *= 4
    assert scores(sample)["anomaly_recon"].argmax() == faint
    assert left["recon"][faint] < 0.1 * left["recon"].max(), "it is not the largest χ² that counts"


def test_a_class_that_is_badly_reconstructed_is_not_odd_for_that(sample):
    _, left, _ = sample
    label = (np.arange(800) < 200).astype(np.int32)
    left["recon"][:200] *= 2
    with_class, without = scores(sample, label)["anomaly_recon"], scores(sample)["anomaly_recon"]
    assert with_class[:200].mean() < without[:200].mean() - 0.2


def test_a_line_that_the_model_lacks_is_odd(sample):
    sample[1]["line"][5] = 40.0
    found = scores(sample)
    assert found["anomaly_line"].argmax() == 5
    assert found["anomaly_rank"][5] <= 3


def test_alone_in_latent_space_is_odd(sample):
    sample[0][17] = 9.0
    found = scores(sample)
    for part in LATENT_SCORES:
        assert found[part].argmax() == 17, part
    assert found["log_prob"].argmin() == 17


def test_spans_say_what_the_whole_says(sample):
    latents = sample[0]
    scorer = fit_latent_scorer(latents[::2], 0)
    whole = scorer.compute_scores(latents)
    for name, values in whole.items():
        cut = np.concatenate(
            [scorer.compute_scores(latents[:300])[name], scorer.compute_scores(latents[300:])[name]]
        )
        assert np.allclose(values, cut, rtol=1e-5), name


def test_one_of_the_reference_is_not_its_own_neighbour(sample):
    latents = sample[0]
    inside = fit_latent_scorer(latents, 0).compute_scores(latents)["neighbours"]
    assert inside.min() > 0.1
    moved = fit_latent_scorer(latents, 0).compute_scores(latents + np.float32(1e-3))["neighbours"]
    assert np.median(inside / moved) == pytest.approx(1.0, abs=0.1)


def test_the_seed_decides(sample):
    one, same, other = (scores(sample, seed=seed)["anomaly_score"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_spoilt_spectra_must_be_odder_and_none_is_left_out(sample):
    bad = np.zeros(800, np.float32)
    bad[::4] = np.float32(4.0)
    found, plain = scores(sample, artefact_score=bad), scores(sample)
    assert np.allclose(plain["anomaly_score"][::4] - found["anomaly_score"][::4], 1.0)
    assert sorted(found["anomaly_rank"]) == list(range(1, 801))
    sample[1]["recon"][0] *= 1e3
    sample[0][0] = 9.0
    assert scores(sample, artefact_score=bad)["anomaly_rank"][0] < 40


def test_ranks_follow_the_score(sample):
    found = scores(sample)
    order = np.argsort(found["anomaly_rank"])
    assert sorted(found["anomaly_rank"]) == list(range(1, 801))
    assert np.all(np.diff(found["anomaly_score"][order]) <= 0)


def test_a_part_is_the_share_at_least_as_odd(sample):
    found = scores(sample)
    for part in PARTIAL_SCORES:
        assert found[part].max() == pytest.approx(np.log10(800)), part
        assert np.mean(found[part] >= 2) == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_small_samples_have_scores(n, rng):
    latents, ones = rng.normal(size=(n, 4)).astype(np.float32), np.ones(n, np.float32)
    found = scores((latents, {"recon": ones, "line": ones}, ones))
    assert all(np.isfinite(values).all() and len(values) == n for values in found.values())


def test_the_reason_names_what_stands_out():
    parts = dict.fromkeys(PARTIAL_SCORES, 0.2) | {"anomaly_density": 2.5, "anomaly_neighbours": 1.9}
    wave = np.array([1500.0, 5008.0, 6565.0])
    residual = np.array([3.0, 99.0, -40.0], np.float32)
    words = explain_anomaly(parts, 20.0, residual, np.array([True, False, True]), wave)
    assert "sample is thin (top 0.32 %)" in words
    assert "nearest neighbours" in words
    assert "reconstruction" not in words
    assert "-40.0 σ at 6565 Å" in words, "a masked pixel is no reason"


def test_an_ordinary_spectrum_still_has_a_reason():
    parts = dict.fromkeys(PARTIAL_SCORES, 0.1) | {"anomaly_recon": 0.2}
    assert "reconstruction" in explain_anomaly(
        parts, 20.0, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1)
    )


def test_an_uncertain_scale_is_said_first():
    parts = dict.fromkeys(PARTIAL_SCORES, 0.2) | {"anomaly_density": 2.5}
    words = explain_anomaly(parts, 1.4, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1))
    assert words.startswith("scale uncertain (norm at 1.4 σ); latents where")


def test_a_spectrum_of_the_run_scored_again_gets_its_own_score(rng):
    n = 400
    names = ("recon", "line", "density", "neighbours", "forest")
    raw = {name: rng.random(n).astype(np.float32) for name in names}
    raw["line"][:40] = 0.0  # ties
    snr, label = (9 * rng.random(n)).astype(np.float32), rng.integers(-1, 3, n).astype(np.int32)
    artefacts = (3 * rng.random(n)).astype(np.float32)
    whole = compute_anomaly_scores(raw, snr, label, artefacts)
    some = slice(3, n, 7)
    few = {name: values[some] for name, values in raw.items()}
    again = ReferenceDistribution.from_raw_scores(raw, snr, label).score(
        few, snr[some], label[some], artefacts[some]
    )
    assert all(np.array_equal(again[name], whole[name][some]) for name in again)


def test_one_odder_than_all_scores_above_them(rng):
    n = 300
    raw = {
        name: rng.random(n).astype(np.float32)
        for name in ("recon", "line", "density", "neighbours", "forest")
    }
    snr, label = np.full(n, 5.0, np.float32), np.zeros(n, np.int32)
    usual = ReferenceDistribution.from_raw_scores(raw, snr, label)
    odd = {name: np.full(1, 9.0, np.float32) for name in raw}
    found = usual.score(odd, snr[:1], np.array([5], np.int32), np.ones(1, np.float32))
    assert found["anomaly_line"][0] == pytest.approx(np.log10(2 * n)), "half of one in n"
    assert (
        found["anomaly_score"][0]
        > compute_anomaly_scores(raw, snr, label, np.ones(n, np.float32))["anomaly_score"].max()
    )
