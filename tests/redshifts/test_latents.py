from types import SimpleNamespace

import numpy as np
import pytest

from distspec.core.spectrum import WavelengthGrid
from distspec.models.model import load_model
from distspec.redshifts.latents import N_SAMPLES, RedshiftSamples, widen_posteriors
from distspec.store.config import StoreConfig
from distspec.store.store import create_store
from tests.helpers import models

GRID = WavelengthGrid("log", 1100.0, 8400.0, 64)
Z = np.array([4.0, 5.0, 6.0])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    store = create_store(f"{root}/store", StoreConfig(GRID, 1500.0, -2.0, archive_name="dja"))
    return load_model(models.save(store, str(root)))


@pytest.fixture(scope="module")
def spectra():
    rng = np.random.default_rng(3)
    flux = (GRID.wave_rest / 1500.0) ** -1.0 + 0.1 * rng.standard_normal((len(Z), GRID.n_pixels))
    return flux.astype(np.float32), np.full(flux.shape, 100.0, np.float32)


def widen(model, spectra, samples):
    mean, log_var = model.encode(*spectra, Z)
    return log_var, widen_posteriors(model, mean, log_var, *spectra, Z, samples)


def test_a_certain_redshift_widens_little(model, spectra):
    log_var, widened = widen(model, spectra, np.repeat(Z[:, None], N_SAMPLES, axis=1))
    assert (widened >= log_var).all()
    assert widened == pytest.approx(log_var, abs=0.5)


def test_latents_that_follow_the_redshift_have_its_variance(model, spectra):
    def encode(flux, ivar, z):
        return np.stack([z, -2.0 * z, 0.0 * z], axis=1), np.full((len(z), 3), np.log(0.04))

    follower = SimpleNamespace(wave_rest=model.wave_rest, preprocess=model.preprocess, encode=encode)
    offsets = 0.1 * np.linspace(-1.0, 1.0, N_SAMPLES)
    _, widened = widen(follower, spectra, Z[:, None] + offsets)
    expected = 0.04 + np.mean(offsets**2) * np.array([1.0, 4.0, 0.0])
    assert np.exp(widened) == pytest.approx(np.broadcast_to(expected, widened.shape))


def test_redshifts_without_a_normalization_are_left_out(model, spectra):
    log_var, widened = widen(model, spectra, np.full((len(Z), N_SAMPLES), 500.0))
    assert (widened == log_var).all()


def test_samples_of_a_range_of_rows():
    samples = RedshiftSamples(np.array([2, 5, 9]), np.arange(3 * N_SAMPLES, dtype=float).reshape(3, -1))
    assert samples.select(3, 9).rows.tolist() == [5]
    assert not len(samples.select(3, 5).rows)
