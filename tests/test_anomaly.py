import numpy as np
import pytest

from distspec.anomaly import PARTS, anomaly_scores, explain


@pytest.fixture
def sample(rng):
    n = 800
    snr = rng.lognormal(1.5, 0.6, n).astype(np.float32)
    # An imperfect model: χ² grows with S/N for everybody.
    chi2 = ((1 + 0.05 * snr**2) * rng.lognormal(0, 0.1, n)).astype(np.float32)
    return rng.normal(size=(n, 6)).astype(np.float32), chi2, snr


def test_badly_reconstructed_for_its_noise_is_odd(sample):
    latents, chi2, snr = sample
    faint = int(np.argmin(snr))
    chi2[faint] *= 4
    scores = anomaly_scores(latents, chi2, snr, 0)
    assert scores["anomaly_recon"].argmax() == faint
    assert chi2[faint] < 0.1 * chi2.max(), "it is not the largest χ² that counts"


def test_alone_in_latent_space_is_odd(sample):
    latents, chi2, snr = sample
    latents[17] = 9.0
    scores = anomaly_scores(latents, chi2, snr, 0)
    assert scores["anomaly_density"].argmax() == 17
    assert scores["anomaly_neighbours"].argmax() == 17
    assert scores["log_prob"].argmin() == 17


def test_ranks_follow_the_score(sample):
    scores = anomaly_scores(*sample, 0)
    order = np.argsort(scores["anomaly_rank"])
    assert sorted(scores["anomaly_rank"]) == list(range(1, 801))
    assert np.all(np.diff(scores["anomaly_score"][order]) <= 0)
    assert np.allclose(scores["anomaly_score"], np.mean([scores[part] for part in PARTS], axis=0))


def test_a_part_is_the_share_at_least_as_odd(sample):
    parts = anomaly_scores(*sample, 0)["anomaly_recon"]
    assert parts.max() == pytest.approx(np.log10(800))
    assert np.mean(parts >= 2) == pytest.approx(0.01, abs=2e-3)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_small_samples_have_scores(n, rng):
    scores = anomaly_scores(
        rng.normal(size=(n, 4)).astype(np.float32), np.ones(n, np.float32), np.ones(n, np.float32), 0
    )
    assert all(np.isfinite(values).all() and len(values) == n for values in scores.values())


def test_the_reason_names_what_stands_out():
    parts = {"anomaly_recon": 0.2, "anomaly_density": 2.5, "anomaly_neighbours": 1.9}
    wave = np.array([1500.0, 5008.0, 6565.0])
    residual = np.array([3.0, 99.0, -40.0], np.float32)
    words = explain(parts, 20.0, residual, np.array([True, False, True]), wave)
    assert "sample is thin (top 0.32 %)" in words
    assert "nearest neighbours" in words
    assert "reconstruction" not in words
    assert "-40.0 σ at 6565 Å" in words, "a masked pixel is no reason"


def test_an_ordinary_spectrum_still_has_a_reason():
    parts = {"anomaly_recon": 0.2, "anomaly_density": 0.1, "anomaly_neighbours": 0.1}
    assert "reconstruction" in explain(parts, 20.0, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1))


def test_an_uncertain_scale_is_said_first():
    parts = {"anomaly_recon": 0.2, "anomaly_density": 2.5, "anomaly_neighbours": 1.9}
    words = explain(parts, 1.4, np.zeros(1, np.float32), np.zeros(1, bool), np.ones(1))
    assert words.startswith("scale uncertain (norm at 1.4 σ); latents where")
