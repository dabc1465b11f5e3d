"""Measures of the quality of a model, on cases whose result is known."""

import numpy as np
import pytest

from distspec.core.spectrum import WavelengthGrid
from distspec.models.neighbors import Posteriors
from tests.benchmarks import quality


def test_rebinning_to_native_pixels_conserves_flux(rng):
    grid = WavelengthGrid("log", 1000.0, 4000.0, 900)
    wave = np.geomspace(1300.0, 3900.0, 120)[None]

    def integral(x):
        """Return the integral of 1 + 0.3 sin(x / 150)."""
        return x - 45.0 * np.cos(x / 150.0)

    recon = np.diff(integral(grid.edges)) / np.diff(grid.edges)
    native = quality.rebin_to_native(recon[None].astype(np.float32), grid, wave)
    middle = 0.5 * (wave[0, 1:] + wave[0, :-1])
    inner = np.diff(integral(middle)) / np.diff(middle)
    assert native[0, 1:-1] == pytest.approx(inner, rel=1e-4)
    uncovered = quality.rebin_to_native(recon[None], grid, np.geomspace(900.0, 3900.0, 120)[None])
    assert not np.isfinite(uncovered).all()


def test_error_and_chi2_ignore_masked_and_uncovered_pixels():
    native, target = np.array([[1.0, 2.0, np.nan]]), np.array([[0.0, 2.5, 9.0]])
    ivar = np.array([[4.0, 0.0, 1.0]])
    assert quality.arcsinh_mse(native, target, ivar)[0] == pytest.approx(np.arcsinh(1.0) ** 2)
    assert quality.reduced_chi2(native, target, ivar)[0] == pytest.approx(4.0)


def test_nuisance_in_the_latents_is_detected_at_fixed_class(rng):
    classes = np.repeat(["a", "b"], 300)
    nuisance = rng.normal(size=600) + np.where(classes == "a", 3.0, 0.0)
    clean = rng.normal(size=(600, 4)) + (classes == "a")[:, None]
    leaky = clean + 0.7 * nuisance[:, None]
    assert max(quality.nuisance_r2(clean, nuisance, classes)) < 0.05
    assert min(quality.nuisance_r2(leaky, nuisance, classes)) > 0.4
    # Latents that only differ between the classes do not contain the nuisance at fixed class.
    apart = clean + 5.0 * (classes == "a")[:, None]
    assert max(quality.nuisance_r2(apart, nuisance, classes)) < 0.05


def test_nonlinear_nuisance_is_detected_by_neighbors_only(rng):
    nuisance = rng.normal(size=800)
    latents = np.column_stack([nuisance, rng.normal(size=800) * 0.1])
    linear, near = quality.nuisance_r2(latents, nuisance**2, np.full(800, "a"))
    assert near > 0.8
    assert abs(linear) < 0.1


def test_finds_itself(rng):
    mean = rng.normal(size=(200, 5))
    assert quality.finds_itself(mean, mean + 1e-3).all()
    assert quality.finds_itself(mean, rng.permutation(mean)).mean() < 0.05
    first, second = (Posteriors(x, np.full_like(x, 1e-4)) for x in np.float32([mean, mean + 1e-3]))
    assert quality.finds_itself_by_bayes_factor(first, second).all()


def test_posterior_ratio_is_one_for_correct_widths(rng):
    sigma = rng.uniform(0.1, 1.0, size=(4000, 3))
    means = sigma * rng.normal(size=(4000, 3)), sigma * rng.normal(size=(4000, 3))
    assert quality.posterior_ratio(means, (sigma**2, sigma**2)) == pytest.approx(1.0, abs=0.05)
    assert quality.posterior_ratio(means, (sigma**2 / 4, sigma**2 / 4)) == pytest.approx(4.0, abs=0.2)


def test_participation_ratio_counts_dimensions(rng):
    assert quality.participation_ratio(rng.normal(size=(5000, 6))) == pytest.approx(6.0, abs=0.1)
    one = rng.normal(size=(5000, 1)) * np.ones(6) + 1e-3 * rng.normal(size=(5000, 6))
    assert quality.participation_ratio(one) == pytest.approx(1.0, abs=0.01)


def test_linear_probe_finds_a_separate_class(rng):
    classes = np.where(rng.random(400) < 0.3, "lae", "other")
    latents = rng.normal(size=(400, 3)) + 6.0 * (classes == "lae")[:, None]
    found = quality.linear_probe(latents, classes)
    assert min(found.values()) > 0.95
    nothing = quality.linear_probe(rng.normal(size=(400, 3)), classes)
    assert nothing["recall"] < 0.3


def test_repeats_in_one_class_are_counted_against_permuted_classes():
    sources, labels = ["a", "a", "b", "c", "c", "d"], np.array([0, 0, 1, -1, -1, 1])
    scores = quality.score_repeats(labels, sources, np.ones(6, bool))
    assert (scores.n_pairs, scores.in_one_class) == (2, 0.5), "spectra without a class share none"
    assert scores.by_chance == pytest.approx(2 / 15, abs=0.02)
    one_of_each = np.array([True, False, True, True, False, True])
    assert quality.score_repeats(labels, sources, one_of_each).n_pairs == 0
