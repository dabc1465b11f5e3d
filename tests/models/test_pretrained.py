"""The models that the package contains: they load, fit their recipe, and describe spectra without a root."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distspec.inference.predict import ModelPredictor
from distspec.ingest.store_config import make_store_config
from distspec.models.model import load_model
from distspec.models.pretrained import (
    MIN_TRAINING_SPECTRA,
    PRETRAINED_MODELS,
    describe_too_few,
    find_pretrained_model,
)
from distspec.models.record import read_model_record
from distspec.models.serialization import import_model
from distspec.pipeline.recipes import RECIPES, parse
from distspec.store.config import describe_scale
from tests.conftest import power_law

NAME = "prism-simulated"


@pytest.fixture(scope="module")
def model():
    return load_model(NAME)


def test_the_model_fits_stores_of_recipe_dja(model):
    source = RECIPES["dja"]("unused").ingest_source()
    store_config = make_store_config([power_law()], np.array([5.0]), source)
    assert describe_scale(model.record.store_config) == describe_scale(store_config)
    assert model.record.vae == RECIPES["dja"]("unused").vae


def test_too_few_spectra_are_said_to_be_with_a_model_to_use_instead(model):
    few = f"99 spectra are too few to train a model on (fewer than {MIN_TRAINING_SPECTRA})"
    config = model.record.store_config
    message = describe_too_few(99, config)
    assert message.startswith(few)
    assert f"`--model {NAME}`" in message
    assert f"distspec predict --model {NAME}" in message
    assert describe_too_few(MIN_TRAINING_SPECTRA, config) == ""
    other = replace(config, grid=replace(config.grid, n_pixels=99))
    message = describe_too_few(99, other)
    assert message.startswith(f"{few}, and the package contains no model of their grid: add spectra")


def test_its_card_states_what_its_record_holds(model):
    card = (Path(find_pretrained_model(NAME)) / "README.md").read_text()
    metrics = model.record.metrics
    assert f"{metrics.n_train:,} spectra" in card
    assert f"validated on {metrics.n_validation:,}" in card
    assert f"{metrics.n_epochs} epochs" in card
    assert "simulated galaxies only" in card


def test_runs_name_it_instead_of_a_folder(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for flag in ("--model", "--pretrained-model"):
        assert parse(["dja", "--root", "x", flag, NAME]).pretrained_model == NAME
    assert parse(["dja", "--root", "x", "--model", "y"]).pretrained_model == str(tmp_path / "y")
    assert find_pretrained_model("s3://bucket/m") == "s3://bucket/m"
    assert import_model(str(tmp_path), find_pretrained_model(NAME)) == model.model_id
    assert read_model_record(str(tmp_path / "models" / model.model_id)) == model.record


def test_spectra_that_it_generates_are_reconstructed_within_their_noise(model, rng):
    flux = model.sample(50, 5.0, rng)
    ivar = np.full_like(flux, 25.0)
    columns = model.embed(flux + rng.normal(0.0, 0.2, flux.shape), ivar, 5.0)
    assert 0.7 < np.median(columns["recon_chi2_red"]) < 1.5


@pytest.mark.parametrize("name", PRETRAINED_MODELS)
def test_it_describes_spectra_without_a_run(name, rng):
    predictor = ModelPredictor(load_model(name))
    spectra = [power_law("blue", slope=-2.2, snr=30.0, rng=rng), power_law("local", z=-2.0)]
    prediction = predictor.predict(spectra)
    [row] = prediction.table.to_pylist()
    assert row["object_id"] == "blue"
    assert row["galaxy_type_reason"]
    assert not {"cluster_label", "anomaly_score", "neighbors"} & set(prediction.table.column_names)
    assert [record.object_id for record in prediction.rejected] == ["local"]
    assert predictor.predict([]).table.schema == prediction.table.schema
