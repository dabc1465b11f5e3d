"""A challenger is trained where there is reason to, and only one that is sound and no worse ever serves.

Trainings are made up, but for one; what they leave is judged on Ray.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from distspec.io.files import read_bytes, read_json, write_bytes
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, model_url, store_url
from distspec.models.model import load_model
from distspec.models.registry import promote, read_promoted
from distspec.models.serialization import load_history, save_model
from distspec.operations.policy import RetrainConfig
from distspec.stages import promote as serving
from distspec.stages.promote import ModelSpec, find_model_id, retrain_if_needed
from distspec.stages.result import StageResult
from distspec.stages.train import train
from distspec.store.store import open_store
from distspec.training.config import TrainingConfig
from distspec.training.record import compute_model_id
from tests.conftest import append, batch_of, identity_of
from tests.helpers import models
from tests.training.build_store import L, small_store

WANTED = ModelSpec(models.SMALL, TrainingConfig(), 0, ("latents",), 2)


@pytest.fixture
def root(tmp_path, local_ray) -> str:
    small_store(tmp_path, 100)
    return str(tmp_path)


class Trainer:
    """Stands in for the training: saves a model of the name that it would have, spoilt as it is told."""

    def __init__(self):
        self.made, self.spoil = [], lambda root, name: None

    def __call__(self, root, vae, training, seed, parent=""):
        store = open_store(store_url(root))
        name = compute_model_id(store.dataset_checksum(), vae, training, seed, parent)
        if name not in self.made:
            self.made.append(name)
            models.save(store, root, name, seed, parent_model_id=parent)
            self.spoil(root, name)
        return StageResult({"model": name, "n_epochs": 3})


@pytest.fixture
def trainer(monkeypatch) -> Trainer:
    trainer = Trainer()
    monkeypatch.setattr(serving, "train", trainer)
    return trainer


def grow(root, n, prefix):
    batch = batch_of(n, L, np.random.default_rng(n), prefix=prefix)
    append(open_store(store_url(root)), batch, identity_of(n, prefix))


def served(root, wanted=WANTED, **config):
    said = []
    with hold_lease(root, "train") as lease:
        outcome = retrain_if_needed(
            root, wanted, RetrainConfig(**config), lease, lambda kind, **facts: said.append((kind, facts))
        )
    return outcome, said


def worse(root, name):
    url = model_url(root, name)
    model = load_model(url)
    with torch.no_grad():
        for key, weight in model.vae.named_parameters():
            if key.startswith("decoder"):
                weight.mul_(2.0)
    save_model(url, model.vae.state_dict(), load_history(url), model.record)


def tampered(root, name):
    url = join_url(model_url(root, name), "weights.safetensors")
    content = bytearray(read_bytes(url))
    content[-1] ^= 1
    write_bytes(url, bytes(content))


def test_the_first_serves_and_stays_while_nothing_changes(root, trainer):
    outcome, said = served(root)
    assert outcome.did_work
    assert outcome.counts["model"] == read_promoted(root).model_id == trainer.made[0]
    assert [kind for kind, _ in said] == ["decision", "verdict"]
    again, said = served(root)
    assert (again.did_work, again.counts["why"]) == (False, "nothing has changed")
    assert len(trainer.made) == 1
    assert find_model_id(root, WANTED) == trainer.made[0]


def test_it_stays_until_the_archive_has_grown_enough(root, trainer):
    served(root)
    grow(root, 9, "few")
    outcome, _ = served(root)
    assert not outcome.did_work
    assert "9.0 % of 100, below 10 %" in outcome.counts["why"]
    grow(root, 1, "one")
    outcome, said = served(root)
    assert said[0][1]["why"].startswith("10 spectra added")
    assert outcome.counts["model"] == read_promoted(root).model_id == trainer.made[1]
    assert read_promoted(root).previous_model_id == trainer.made[0]
    assert "10 spectra added" in read_promoted(root).reason
    verdict = read_json(join_url(model_url(root, trainer.made[1]), "verdict.json"))
    assert [each["model_id"] for each in verdict["models"]] == trainer.made
    assert verdict["models"][0]["n"] == verdict["models"][1]["n"] > 5, "on the same held-out spectra"


@pytest.mark.parametrize(("spoil", "words"), [(worse, "worse: χ²"), (tampered, "vouches for")])
def test_what_is_worse_or_damaged_never_serves_and_is_not_tried_twice(root, trainer, spoil, words):
    served(root)
    grow(root, 30, "more")
    trainer.spoil = spoil
    outcome, said = served(root)
    assert read_promoted(root).model_id == outcome.counts["model"] == trainer.made[0]
    assert words in said[-1][1]["why"]
    assert not said[-1][1]["promote"]
    again, said = served(root)
    assert not again.did_work
    assert "was refused" in again.counts["why"]
    assert (len(trainer.made), [kind for kind, _ in said]) == (2, ["decision"])
    grow(root, 5, "yet")
    trainer.spoil = lambda root, name: None
    assert served(root)[0].counts["model"] == read_promoted(root).model_id == trainer.made[2]


def test_a_training_that_is_not_finite_leaves_the_champion(root, trainer):
    served(root)
    grow(root, 30, "more")

    def explode(root, name):
        raise FloatingPointError("the gradient of step 7 is not finite")

    trainer.spoil = explode
    outcome, said = served(root)
    assert outcome.counts["model"] == read_promoted(root).model_id == trainer.made[0]
    assert "step 7" in said[-1][1]["why"]
    with pytest.raises(FloatingPointError, match="step 7"):  # somebody waits for these settings
        served(root, replace(WANTED, seed=1))
    assert read_promoted(root).model_id == trainer.made[0]


def test_other_settings_are_what_somebody_wants(root, trainer):
    served(root)
    other = replace(WANTED, training=TrainingConfig(batch_size=32))
    assert find_model_id(root, other) != read_promoted(root).model_id
    trainer.spoil = worse
    _, said = served(root, other)
    assert said[0][1]["why"] == "other settings: training.batch_size"
    assert read_promoted(root).model_id == find_model_id(root, other) == trainer.made[1]


def test_a_model_that_is_held_stays(root, trainer):
    served(root)
    grow(root, 50, "more")
    with hold_lease(root, "rollback") as lease:
        promote(root, lease, trainer.made[0], "rolled back", pin_reason="rolled back by ann")
    assert served(root)[0].counts["why"] == "held: rolled back by ann"
    assert served(root, force=True)[0].counts["model"] == read_promoted(root).model_id == trainer.made[1]
    assert read_promoted(root).pin_reason == ""


def test_new_spectra_that_lie_elsewhere_are_a_reason(root, trainer):
    served(root)
    batch = batch_of(40, L, np.random.default_rng(5), prefix="odd")
    batch.flux[:] = 30.0 * batch.flux[:, ::-1]
    append(open_store(store_url(root)), batch, identity_of(40, "odd"))
    assert not served(root, change_threshold=0.0, drift_threshold=0.0)[0].did_work
    _, said = served(root, change_threshold=0.0)
    assert "drift in" in said[0][1]["why"]
    assert len(trainer.made) == 2


def test_killed_before_it_is_crowned_it_is_crowned_by_the_next(root, trainer, monkeypatch):
    served(root)
    grow(root, 30, "more")
    with monkeypatch.context() as patch:
        patch.setattr(serving, "promote", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            served(root)
    assert read_promoted(root).model_id == trainer.made[0]
    served(root)
    assert read_promoted(root).model_id == trainer.made[1]
    assert len(trainer.made) == 2


def test_a_training_starts_from_the_weights_that_serve(root, monkeypatch):
    """A real one, that learns next to nothing: what it ends with is what it began with."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    models.save(open_store(store_url(root)), root, "m-served")
    with hold_lease(root, "test") as lease:
        promote(root, lease, "m-served", "")
    still = TrainingConfig(learning_rate=1e-12, max_epochs=1, patience=1)
    url = train(root, models.SMALL, still, 0, "m-served").counts["model"]
    made, parent = (load_model(model_url(root, str(each))) for each in (url, "m-served"))
    assert made.record.parent_model_id == "m-served"
    for (name, weight), (_, before) in zip(
        made.vae.named_parameters(), parent.vae.named_parameters(), strict=True
    ):
        assert torch.allclose(weight, before, atol=1e-6), name
