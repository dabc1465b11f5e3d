"""Retraining and promotion. Trainings are faked, except in one test; the models are evaluated on Ray."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from distspec.core.errors import TrainingDivergedError
from distspec.io.files import read_bytes, read_json, write_bytes
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, model_url, store_url
from distspec.models.model import load_model
from distspec.models.registry import promote, read_promoted
from distspec.models.serialization import load_history, save_model
from distspec.operations.policy import RetrainConfig
from distspec.stages import promote as promote_module
from distspec.stages.promote import (
    PROMOTION_FILE,
    ModelSpec,
    PromotionRecord,
    find_model_id,
    retrain_if_needed,
)
from distspec.stages.result import StageResult
from distspec.store.store import open_store
from distspec.training.config import TrainingConfig
from distspec.training.record import compute_model_id
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models
from tests.training.build_store import L, make_store

SPEC = ModelSpec(models.SMALL, TrainingConfig(), 0, ("latents",), 2)


@pytest.fixture
def root(tmp_path, local_ray) -> str:
    make_store(tmp_path, 100)
    return str(tmp_path)


class FakeTraining:
    """Saves an untrained model under the name of the trained one; `spoil` may change its files."""

    def __init__(self):
        self.model_ids, self.spoil = [], lambda root, model_id: None

    def __call__(self, root, vae, training, seed, parent_model_id=""):
        store = open_store(store_url(root))
        model_id = compute_model_id(store.dataset_checksum(), vae, training, seed, parent_model_id)
        if model_id not in self.model_ids:
            self.model_ids.append(model_id)
            changes = {"training": asdict(training), "parent_model_id": parent_model_id}
            models.save(store, root, model_id, seed, **changes)
            self.spoil(root, model_id)
        return StageResult({"model": model_id, "n_epochs": 3})


@pytest.fixture
def training(monkeypatch) -> FakeTraining:
    training = FakeTraining()
    monkeypatch.setattr(promote_module, "train", training)
    return training


def grow(root, n, prefix):
    batch = batch_of(n, L, np.random.default_rng(n), prefix=prefix)
    append(open_store(store_url(root)), batch, identity_of(n, prefix))


def run_stage(root, spec=SPEC, **config):
    """Run the stage under a lease; return its result and its events."""
    events = []
    with hold_lease(root, "train") as lease:
        result = retrain_if_needed(
            root,
            spec,
            RetrainConfig(**config),
            lease,
            lambda event_type, **payload: events.append((event_type, payload)),
        )
    return result, events


def degrade(root, model_id):
    """Double the decoder's weights."""
    url = model_url(root, model_id)
    model = load_model(url)
    with torch.no_grad():
        for name, weight in model.vae.named_parameters():
            if name.startswith("decoder"):
                weight.mul_(2.0)
    save_model(url, model.vae.state_dict(), load_history(url), model.record)


def damage(root, model_id):
    """Flip a bit of the weights' file."""
    url = join_url(model_url(root, model_id), "weights.safetensors")
    content = bytearray(read_bytes(url))
    content[-1] ^= 1
    write_bytes(url, bytes(content))


def test_first_model_is_promoted_and_stays_while_nothing_changes(root, training):
    result, events = run_stage(root)
    assert result.did_work
    assert result.summary["model"] == read_promoted(root).model_id == training.model_ids[0]
    assert [event_type for event_type, _ in events] == ["decision", "promotion"]
    again, events = run_stage(root)
    assert (again.did_work, again.summary["reason"]) == (False, "nothing has changed")
    assert len(training.model_ids) == 1
    assert find_model_id(root, SPEC) == training.model_ids[0]


def test_model_is_replaced_when_the_store_has_grown_enough(root, training):
    run_stage(root)
    grow(root, 9, "few")
    result, _ = run_stage(root)
    assert not result.did_work
    assert "9.0 % of 100, below 10 %" in result.summary["reason"]
    grow(root, 1, "one")
    result, events = run_stage(root)
    assert events[0][1]["reason"].startswith("10 spectra added")
    assert result.summary["model"] == read_promoted(root).model_id == training.model_ids[1]
    assert read_promoted(root).previous_model_id == training.model_ids[0]
    assert "10 spectra added" in read_promoted(root).reason
    record = PromotionRecord.from_json(
        read_json(join_url(model_url(root, training.model_ids[1]), PROMOTION_FILE))
    )
    assert record.promote
    assert [evaluation["model_id"] for evaluation in record.evaluations] == training.model_ids
    n_spectra = {evaluation["n_spectra"] for evaluation in record.evaluations}
    assert len(n_spectra) == 1, "both are evaluated on the same held-out spectra"
    assert n_spectra.pop() > 5


@pytest.mark.parametrize(
    ("spoil", "message"), [(degrade, "worse: χ²"), (damage, "does not match its checksum")]
)
def test_worse_or_damaged_model_is_refused_and_not_tried_again(root, training, spoil, message):
    run_stage(root)
    grow(root, 30, "more")
    training.spoil = spoil
    result, events = run_stage(root)
    assert read_promoted(root).model_id == result.summary["model"] == training.model_ids[0]
    assert message in events[-1][1]["reason"]
    assert not events[-1][1]["promote"]
    again, events = run_stage(root)
    assert not again.did_work
    assert "was refused" in again.summary["reason"]
    assert (len(training.model_ids), [event_type for event_type, _ in events]) == (2, ["decision"])
    grow(root, 5, "yet")
    training.spoil = lambda root, model_id: None
    assert run_stage(root)[0].summary["model"] == read_promoted(root).model_id == training.model_ids[2]


def test_diverged_training_leaves_the_promoted_model(root, training):
    run_stage(root)
    grow(root, 30, "more")

    def diverge(root, model_id):
        raise TrainingDivergedError("the gradient of step 7 is not finite")

    training.spoil = diverge
    result, events = run_stage(root)
    assert result.summary["model"] == read_promoted(root).model_id == training.model_ids[0]
    assert "step 7" in events[-1][1]["reason"]
    with pytest.raises(TrainingDivergedError, match="step 7"):  # the user asked for these settings
        run_stage(root, replace(SPEC, seed=1))
    assert read_promoted(root).model_id == training.model_ids[0]


def test_changed_settings_are_promoted_even_if_worse(root, training):
    run_stage(root)
    other = replace(SPEC, training=TrainingConfig(batch_size=32))
    assert find_model_id(root, other) != read_promoted(root).model_id
    training.spoil = degrade
    _, events = run_stage(root, other)
    assert events[0][1]["reason"] == "changed settings: training.batch_size"
    assert read_promoted(root).model_id == find_model_id(root, other) == training.model_ids[1]


def test_pinned_model_stays(root, training, caplog):
    run_stage(root)
    grow(root, 50, "more")
    with hold_lease(root, "rollback") as lease:
        promote(root, lease, training.model_ids[0], "rolled back", pin_reason="rolled back by ann")
    assert run_stage(root)[0].summary["reason"] == "pinned: rolled back by ann"
    result, _ = run_stage(root, force=True)
    assert result.summary["model"] == read_promoted(root).model_id == training.model_ids[1]
    assert read_promoted(root).pin_reason == ""
    result, _ = run_stage(root, force=True)
    assert not result.did_work
    assert "seed are those of the promoted model" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(result.summary["reason"])


def test_drift_of_new_spectra_starts_a_training(root, training):
    run_stage(root)
    batch = batch_of(40, L, np.random.default_rng(5), prefix="anomalous")
    batch.flux[:] = 30.0 * batch.flux[:, ::-1]
    append(open_store(store_url(root)), batch, identity_of(40, "anomalous"))
    assert not run_stage(root, change_threshold=0.0, drift_threshold=0.0)[0].did_work
    _, events = run_stage(root, change_threshold=0.0)
    assert "drift in" in events[0][1]["reason"]
    assert len(training.model_ids) == 2


def test_job_killed_before_the_promotion_is_completed_by_the_next(root, training, monkeypatch):
    run_stage(root)
    grow(root, 30, "more")
    with monkeypatch.context() as patch:
        patch.setattr(promote_module, "promote", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_stage(root)
    assert read_promoted(root).model_id == training.model_ids[0]
    run_stage(root)
    assert read_promoted(root).model_id == training.model_ids[1]
    assert len(training.model_ids) == 2
