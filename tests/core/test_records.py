from dataclasses import replace

from distspec.catalog.runs import compute_run_id
from distspec.clustering.config import ClusteringConfig
from distspec.core.records import collect_versions
from distspec.training.config import TrainingConfig
from distspec.training.record import compute_model_id
from tests.helpers.models import SMALL


def test_ids_name_what_was_set():
    training = TrainingConfig()
    name = compute_model_id("digest", SMALL, training, 0)
    assert name == compute_model_id("digest", SMALL, training, 0)
    assert name == compute_model_id("digest", SMALL, replace(training, threads=4, use_gpu=True), 0), (
        "not a different model"
    )
    others = {
        compute_model_id("other", SMALL, training, 0),
        compute_model_id("digest", replace(SMALL, l2=0.0), training, 0),
        compute_model_id("digest", SMALL, replace(training, patience=9), 0),
        compute_model_id("digest", SMALL, training, 1),
    }
    assert len(others | {name}) == 5
    run = compute_run_id(name, "digest", ClusteringConfig(), 0)
    assert run == compute_run_id(name, "digest", ClusteringConfig(n_actors=7), 0)
    assert run != compute_run_id(name, "digest", ClusteringConfig(n_seeds=7), 0)
    assert run != compute_run_id(name, "grown", ClusteringConfig(), 0)
    assert run != compute_run_id(name, "digest", ClusteringConfig(measurements=("lya_ew",)), 0)


def test_versions_are_recorded():
    assert {"distspec", "torch", "icechunk"} <= collect_versions().keys()
