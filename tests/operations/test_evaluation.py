"""Models are evaluated on the same held-out spectra."""

import numpy as np
import pytest
import torch

from distspec.models.model import load_model
from distspec.operations.evaluation import (
    MAX_EVALUATION_SPECTRA,
    evaluate,
    measure_stability,
    select_evaluation_rows,
)
from distspec.store.splits import is_validation
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models
from tests.training.build_store import L, make_store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, 200)


def test_only_held_out_sources_are_selected(store):
    rows = select_evaluation_rows(store, 0.15)
    sources = store.ledger(["source_id"])["source_id"].to_pylist()
    assert is_validation([sources[row] for row in rows], 0.15).all()
    assert 10 < len(rows) < 60
    grown = append(store, batch_of(50, L, np.random.default_rng(1), prefix="n"), identity_of(50, "n"))
    assert set(rows) <= set(select_evaluation_rows(grown, 0.15)), "a growing archive keeps the selection"


def test_a_large_selection_is_thinned_evenly(store, monkeypatch):
    monkeypatch.setattr("distspec.operations.evaluation.MAX_EVALUATION_SPECTRA", 7)
    assert len(select_evaluation_rows(store, 0.15)) == 7 < MAX_EVALUATION_SPECTRA
    assert len(select_evaluation_rows(store, 0.0)) == 7, "none is held out: all current rows"


def test_evaluations_repeat_and_find_a_broken_model(store, tmp_path):
    model = load_model(models.save(store, str(tmp_path)))
    rows = select_evaluation_rows(store, 0.15)
    one, again = (evaluate(model, store, rows, ("latents",), 2, 0) for _ in range(2))
    assert one.all_finite
    assert np.array_equal(one.chi2_red, again.chi2_red)
    assert one.stability == again.stability
    with torch.no_grad():
        next(model.vae.parameters()).fill_(torch.nan)
    broken = evaluate(model, store, rows, ("latents",), 2, 0)
    assert not broken.all_finite


def test_stability_of_blobs_and_of_noise(rng):
    blobs = np.concatenate([rng.normal(at, 0.1, (60, 3)) for at in (0.0, 3.0, 9.0)])
    assert measure_stability(blobs, 3, 0) == pytest.approx(1.0)
    assert measure_stability(rng.normal(size=(180, 3)), 7, 0) < 0.8
    assert np.isnan(measure_stability(blobs[:8], 3, 0))
