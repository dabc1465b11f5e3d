"""Which model serves, and who may change that."""

import pytest

from distspec.io.lease import hold_lease
from distspec.models.registry import promote, read_promoted


def test_the_last_that_was_chosen_serves(tmp_path):
    root = str(tmp_path)
    assert read_promoted(root) is None
    with hold_lease(root, "train") as lease:
        promote(root, lease, "m-1", "no model served")
        promote(root, lease, "m-2", "better", hold_reason="rolled back by ann")
    found = read_promoted(root)
    assert (found.model_id, found.previous_model_id, found.reason, found.hold_reason) == (
        "m-2",
        "m-1",
        "better",
        "rolled back by ann",
    )
    assert found.lease_token == 1


def test_who_lost_the_root_changes_nothing(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as first:
        promote(root, first, "m-1", "")
    with hold_lease(root, "train") as second:
        promote(root, second, "m-2", "")
    monkeypatch.setattr(type(first), "check_held", lambda self: None)  # it was asleep, and does not know
    with pytest.raises(RuntimeError, match="later run"):
        promote(root, first, "m-3", "")
    assert read_promoted(root).model_id == "m-2"


def test_a_lost_lease_crowns_nobody(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease:
        monkeypatch.setattr(lease, "_lost", True)
        with pytest.raises(RuntimeError, match="was lost"):
            promote(root, lease, "m-1", "")
        monkeypatch.setattr(lease, "_lost", False)
    assert read_promoted(root) is None


def test_of_two_at_once_one_succeeds(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold_lease(root, "train") as lease:
        promote(root, lease, "m-1", "")
        monkeypatch.setattr("distspec.models.registry.compare_and_swap", lambda url, content, version: None)
        with pytest.raises(RuntimeError, match="replaced by another run"):
            promote(root, lease, "m-2", "")
    assert read_promoted(root).model_id == "m-1"
