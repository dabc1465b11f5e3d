"""A root in a bucket: store, checkpoints, model and Ray Train's own marks, all through one endpoint."""

from __future__ import annotations

import pytest

from distspec.io.files import list_files
from tests.helpers.seaweed import s3, seaweed
from tests.training.build_store import same, small_store
from tests.training.conftest import drive, finished
from tests.training.driver import N_SPECTRA

__all__ = ["s3", "seaweed"]


@pytest.mark.slow
def test_training_in_a_bucket(s3, expected, local_ray):
    root = s3.url("root")
    small_store(root, N_SPECTRA)
    ended = drive(root, 1, "cached")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert same(finished(root), expected(1))
    # Ray Train found its place there, too.
    assert any(name.endswith(".validate_storage_marker") for name in list_files(f"{root}/models"))
