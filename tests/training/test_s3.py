"""A root in a bucket: store, checkpoints, model and Ray Train's own files."""

from __future__ import annotations

import pytest

from distspec.io.files import list_files
from tests.helpers.seaweed import s3, seaweed
from tests.training.build_store import make_store, state_dicts_equal
from tests.training.conftest import load_only_model, run_driver
from tests.training.driver import N_SPECTRA

__all__ = ["s3", "seaweed"]


@pytest.mark.slow
def test_training_with_a_root_in_a_bucket(s3, expected_weights, local_ray):
    root = s3.url("root")
    make_store(root, N_SPECTRA)
    process = run_driver(root, 1, "cached")
    assert process.returncode == 0, process.stderr[-3000:]
    assert state_dicts_equal(load_only_model(root), expected_weights(1))
    # Ray Train writes its own files there.
    assert any(name.endswith(".validate_storage_marker") for name in list_files(f"{root}/models"))
