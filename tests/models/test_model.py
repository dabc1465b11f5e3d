"""The interface of a model for NumPy arrays: shapes, reproducibility, and messages for wrong input."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import distspec
from distspec.core.errors import ConfigError, ModelError
from distspec.core.spectrum import WavelengthGrid
from distspec.io.paths import join_url
from distspec.models.model import FORWARD_BATCH_SIZE, Model
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.config import StoreConfig
from distspec.store.store import create_store
from tests.conftest import power_law
from tests.helpers import models

GRID = WavelengthGrid("log", 1100.0, 8400.0, 32)


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    root = str(tmp_path_factory.mktemp("root"))
    return models.save(create_store(join_url(root, "store"), StoreConfig(GRID, 1500.0, -2.0)), root)


@pytest.fixture(scope="module")
def model(url) -> Model:
    return distspec.load_model(url)


def make_spectra(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    flux = (1.0 + 0.3 * rng.normal(size=(n, 32))).astype(np.float32)
    ivar = np.where(rng.random((n, 32)) < 0.2, 0.0, 10.0).astype(np.float32)
    return flux, ivar, rng.uniform(0.0, 9.0, n)


def test_importing_distspec_is_light():
    code = "import sys, distspec; assert not {'torch', 'numpy', 'zarr'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no_such"):
        _ = distspec.no_such


def test_shapes_and_units(model):
    flux, ivar, z = make_spectra(5)
    mean, log_var = model.encode(flux, ivar, z)
    assert mean.shape == log_var.shape == (5, model.n_latents)
    assert model.decode(mean, z).shape == model.reconstruct(flux, ivar, z).shape == (5, 32)
    assert np.array_equal(model.wave_rest, GRID.wave_rest)
    assert model.record.seed == 0


def test_encode_embed_and_reconstruct_agree(model):
    flux, ivar, z = make_spectra(7)
    found = model.embed(flux, ivar, z)
    mean, log_var = model.encode(flux, ivar, z)
    assert np.array_equal(mean, found["z_mean"])
    assert np.array_equal(log_var, found["z_log_var"])
    recon = found["amplitude"][:, None] * model.decode(mean, z)
    assert np.array_equal(model.reconstruct(flux, ivar, z), recon)
    chi2 = (ivar * (flux - recon) ** 2).sum(axis=1) / np.count_nonzero(ivar, axis=1)
    assert np.allclose(found["recon_chi2_red"], chi2, rtol=1e-4)


@example(cuts={1}, first=0)  # torch multiplies a single row with another kernel
@settings(max_examples=5)
@given(
    cuts=st.sets(st.integers(1, 2 * FORWARD_BATCH_SIZE + 99), max_size=3),
    first=st.integers(0, 3 * FORWARD_BATCH_SIZE),
)
def test_division_into_calls_changes_no_bit(model, cuts, first):
    flux, ivar, z = make_spectra(2 * FORWARD_BATCH_SIZE + 100)
    whole = model.embed(flux, ivar, z, first)
    edges = [0, *sorted(cuts), len(z)]
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        for name, values in model.embed(flux[part], ivar[part], z[part], first + start).items():
            assert np.array_equal(values, whole[name][part]), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(model, url):
    found = distspec.load_model(url, "cuda").embed(*make_spectra(50))
    for name, values in model.embed(*make_spectra(50)).items():
        assert np.allclose(found[name], values, rtol=1e-3, atol=1e-4), name


def test_masked_pixels_may_be_nan(model):
    flux, ivar, z = make_spectra(4)
    holes = np.where(ivar == 0, np.nan, flux)
    assert np.array_equal(model.encode(holes, ivar, z)[0], model.encode(flux, ivar, z)[0])


def test_samples_are_determined_by_the_generator(model):
    one, two, other = (model.sample(6, 5.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert one.shape == (6, 32)
    assert not np.array_equal(one, other)


def test_empty_input_gives_empty_output(model):
    assert model.encode(np.zeros((0, 32)), np.zeros((0, 32)), [])[0].shape == (0, model.n_latents)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, i, z: (f[0], i[0], z[0]), r"flux has shape \(32,\).*Model\.preprocess"),
        (lambda f, i, z: (f[:, :9], i[:, :9], z), r"takes \(n_spectra, 32\)"),
        (lambda f, i, z: (f, i[:2], z), r"ivar \(2, 32\)"),
        (lambda f, i, z: (f, i, z[:2]), "3 of them"),
        (lambda f, i, z: (f, i, -z - 1.0), "above -1"),
        (lambda f, i, z: (f, -i, z), "set ivar to 0"),
        (lambda f, i, z: (f * np.nan, i, z), "spectrum 0, pixel"),
    ],
)
def test_invalid_input_is_refused_with_the_remedy(model, change, message):
    with pytest.raises(ConfigError, match=message):
        model.encode(*change(*make_spectra(3)))


def test_latents_of_another_dimension_are_refused(model):
    with pytest.raises(ConfigError, match=r"latents have shape \(2, 5\).*\(n_spectra, 3\)"):
        model.decode(np.zeros((2, 5)), 4.0)


def test_preprocess_and_encode_without_a_store(model):
    raw = [power_law("a", z=5.0), power_law("dark", amplitude=-1e-19), power_law("b", z=6.0, slope=-1.0)]
    batch, rejected = model.preprocess(raw)
    expected, _ = preprocess(raw, GRID, NormConfig(), -2.0)
    assert np.array_equal(batch.flux, expected.flux)
    assert batch.object_id == ["a", "b"]
    assert [index for index, _ in rejected] == [1]
    assert np.isfinite(model.encode(batch.flux, batch.ivar, batch.z)[0]).all()


def test_the_guides_example_encodes_a_new_spectrum(url):
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "models.md").read_text()
    code = guide.split("```python")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(code.replace('distspec.open("out/demo").model', f'distspec.load_model("{url}")'), names)
    assert names["z_mean"].shape == (1, 3)
    assert names["recon"].shape == names["redshifted"].shape == (1, 32)
    assert names["simulated"].shape == (10, 32)
    assert names["rejected"] == []


def test_model_is_loaded_from_a_relative_path(url, monkeypatch):
    folder = Path(url)
    monkeypatch.chdir(folder.parents[1])
    assert distspec.load_model(f"models/{folder.name}").model_id == "m-1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": replace(GRID, n_pixels=64)}, "takes 32 log pixels.*holds 64 log pixels"),
        ({"reference_wave": 4200.0}, "scaled to 1 at 1500.0 Å.*at 4200.0 Å"),
        ({"preprocessing": {"norm": {"min_snr": 2.0}}}, "min_snr 2.0"),
    ],
)
def test_store_on_another_grid_or_scale_is_refused(model, tmp_path, change, message):
    config = StoreConfig(GRID, 1500.0, -1.7)  # the default slope is a property of the sample and may differ
    model.check_compatible(create_store(str(tmp_path / "same"), config))
    with pytest.raises(ModelError, match=message):
        model.check_compatible(create_store(str(tmp_path / "other"), replace(config, **change)))
