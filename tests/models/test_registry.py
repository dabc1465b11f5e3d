"""Which model is promoted, and who may change that."""

import pytest

from distspec.core.errors import LeaseLostError
from distspec.io.lease import hold_lease
from distspec.models.registry import promote, read_promoted


def test_the_latest_promotion_counts(tmp_path):
    root = str(tmp_path)
    assert read_promoted(root) is None
    with hold_lease(root, "train") as lease:
        promote(root, lease, "m-1", "no model was promoted")
        promote(root, lease, "m-2", "better", pin_reason="rolled back by ann")
    promoted = read_promoted(root)
    assert (promoted.model_id, promoted.previous_model_id) == ("m-2", "m-1")
    assert (promoted.reason, promoted.pin_reason) == ("better", "rolled back by ann")
    assert promoted.lease_token == 1


def test_job_that_lost_the_root_changes_nothing(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as first:
        promote(root, first, "m-1", "")
    with hold_lease(root, "train") as second:
        promote(root, second, "m-2", "")
    monkeypatch.setattr(type(first), "check_held", lambda self: None)  # as if it had not noticed
    with pytest.raises(LeaseLostError, match="later job"):
        promote(root, first, "m-3", "")
    assert read_promoted(root).model_id == "m-2"


def test_no_promotion_under_a_lost_lease(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease:
        monkeypatch.setattr(lease, "_lost", True)
        with pytest.raises(LeaseLostError, match="was lost"):
            promote(root, lease, "m-1", "")
        monkeypatch.setattr(lease, "_lost", False)
    assert read_promoted(root) is None


def test_one_of_two_concurrent_promotions_succeeds(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease:
        promote(root, lease, "m-1", "")
        monkeypatch.setattr("distspec.models.registry.compare_and_swap", lambda url, content, version: None)
        with pytest.raises(LeaseLostError, match="replaced by another job"):
            promote(root, lease, "m-2", "")
    assert read_promoted(root).model_id == "m-1"
