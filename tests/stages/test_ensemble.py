"""Models that are trained like another one; trainings on Ray: tests/pipeline/test_runner.py."""

import shutil
from types import SimpleNamespace

import pytest

from distspec.core.errors import NotFoundError, TrainingDivergedError
from distspec.io.paths import model_url
from distspec.models.record import read_model_record
from distspec.stages import ensemble
from distspec.stages.ensemble import list_ensemble, train_alongside, train_ensemble
from distspec.training.record import compute_model_id, get_training_config


@pytest.fixture
def trainings(run, monkeypatch):
    """Replace trainings by copies of model m-1; the seeds that were tried, and those that diverge."""
    root, tried, diverging = run[0], [], []

    def train_seeds(root, record, seeds):
        for seed in seeds:
            tried.append(seed)
            if seed not in diverging:
                shutil.copytree(model_url(root, "m-1"), ensemble._candidate_url(root, record, seed))
            yield "step 3: not finite" if seed in diverging else ""

    monkeypatch.setattr(ensemble, "_train_seeds", train_seeds)
    return root, tried, diverging


def ids(root, seeds):
    record = read_model_record(model_url(root, "m-1"))
    training = get_training_config(record)
    return [compute_model_id(record.dataset_checksum, record.vae, training, seed) for seed in seeds]


def test_missing_models_are_trained_with_the_next_seeds(trainings):
    root, tried, _ = trainings
    assert list_ensemble(root, "m-1", 1) == ["m-1"]
    assert train_ensemble(root, "m-1", 1) == 0
    assert train_ensemble(root, "m-1", 2) == 1
    assert list_ensemble(root, "m-1", 2) == ["m-1", *ids(root, [1])]
    assert train_ensemble(root, "m-1", 4) == 2
    assert train_ensemble(root, "m-1", 4) == 0
    assert tried == [1, 2, 3]
    assert list_ensemble(root, "m-1", 4) == ["m-1", *ids(root, [1, 2, 3])]


def test_a_seed_that_diverges_is_left_out(trainings, caplog):
    root, tried, diverging = trainings
    diverging += [2]
    assert train_ensemble(root, "m-1", 4) == 3
    assert tried == [1, 2, 3, 4]
    assert list_ensemble(root, "m-1", 4) == ["m-1", *ids(root, [1, 3, 4])]
    assert train_ensemble(root, "m-1", 4) == 0
    assert "seed 2 is left out: step 3: not finite" in caplog.text


def test_too_many_diverging_seeds_are_an_error(trainings):
    root, _, diverging = trainings
    diverging += [1, 2]
    with pytest.raises(TrainingDivergedError, match="1 of 2 models like m-1 cannot be trained: step 3"):
        train_ensemble(root, "m-1", 2)


def test_missing_models_are_named_with_the_remedy(run):
    with pytest.raises(NotFoundError, match=r"1 of 3 models like m-1 are trained .*run train"):
        list_ensemble(run[0], "m-1", 3)
    assert list_ensemble(run[0], "m-none", 3) == ["m-none"], "its stage reports it"


@pytest.fixture
def tasks(run, monkeypatch):
    """Replace Ray's tasks; what was started, waited for and cancelled, in order."""
    done = []
    monkeypatch.setattr(
        ensemble, "_train_seed", SimpleNamespace(remote=lambda root, record, seed: done.append(seed) or seed)
    )
    for name in ("wait", "cancel"):
        monkeypatch.setattr(ensemble.ray, name, lambda tasks, *, name=name, **_: done.append((name, tasks)))
    return done


@pytest.mark.parametrize(
    ("n_concurrent", "n_models", "seeds"), [(4, 1, []), (1, 4, []), (3, 4, [1, 2]), (8, 3, [1, 2])]
)
def test_other_models_are_trained_while_the_first_is(run, tasks, monkeypatch, n_concurrent, n_models, seeds):
    monkeypatch.setattr(ensemble, "count_concurrent_trainings", lambda store, config: n_concurrent)
    record = read_model_record(model_url(run[0], "m-1"))
    with train_alongside(run[0], record, n_models):
        tasks.append("first")
    assert tasks == [*seeds, "first", *([("wait", seeds)] if seeds else [])]


def test_other_trainings_are_cancelled_if_the_first_fails(run, tasks, monkeypatch):
    monkeypatch.setattr(ensemble, "count_concurrent_trainings", lambda store, config: 3)
    record = read_model_record(model_url(run[0], "m-1"))
    with pytest.raises(TrainingDivergedError), train_alongside(run[0], record, 3):
        raise TrainingDivergedError("step 3: not finite")
    assert tasks == [1, 2, ("cancel", 1), ("cancel", 2)]
