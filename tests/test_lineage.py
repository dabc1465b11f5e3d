from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from distspec.clustering import ClusteringConfig
from distspec.lineage import has_model, load_history, load_model, model_id, run_id, save_model, versions
from distspec.training import TrainingConfig
from distspec.vae import SPECTRUM, SpectrumVAE, VAEConfig, observe

SMALL = VAEConfig(hidden=(8, 4), dropout=(0.1, 0.1), n_latents=2)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    vae = SpectrumVAE({SPECTRUM: 12}, SMALL)
    vae(observe(torch.randn(6, 12), torch.ones(6, 12)))  # move the batch-norm statistics
    url = str(tmp_path / "m")
    save_model(url, vae, vae.state_dict(), pa.table({"epoch": [0.0]}), {"metrics": {"val_recon": 1.5}})
    return url, vae


def test_a_model_comes_back_as_it_was(saved):
    url, vae = saved
    loaded, record = load_model(url)
    vae.eval()
    inputs = observe(torch.randn(3, 12), torch.ones(3, 12))
    assert torch.equal(loaded(inputs).recon[SPECTRUM], vae(inputs).recon[SPECTRUM])
    assert not loaded.training
    assert loaded.config == SMALL
    assert record["metrics"]["val_recon"] == 1.5
    assert load_history(url).num_rows == 1


def test_altered_weights_are_refused(saved):
    url, _ = saved
    weights = Path(url) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="vouches for"):
        load_model(url)


def test_a_folder_without_its_record_is_no_model(saved):
    url, _ = saved
    (Path(url) / "model.json").unlink()
    assert not has_model(url)


def test_ids_name_what_was_set():
    training = TrainingConfig()
    name = model_id("digest", SMALL, training, 0)
    assert name == model_id("digest", SMALL, training, 0)
    assert name == model_id("digest", SMALL, replace(training, threads=4, gpu=True), 0), (
        "not a different model"
    )
    others = {
        model_id("other", SMALL, training, 0),
        model_id("digest", replace(SMALL, l2=0.0), training, 0),
        model_id("digest", SMALL, replace(training, patience=9), 0),
        model_id("digest", SMALL, training, 1),
    }
    assert len(others | {name}) == 5
    run = run_id(name, ClusteringConfig(), 0)
    assert run == run_id(name, ClusteringConfig(actors=7), 0)
    assert run != run_id(name, ClusteringConfig(seeds=7), 0)


def test_versions_are_recorded():
    assert {"distspec", "torch", "icechunk"} <= versions().keys()
