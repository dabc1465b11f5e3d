"""Which model serves, and who may change that."""

import pytest

from distspec.io.lease import hold
from distspec.models.registry import champion, crown


def test_the_last_that_was_chosen_serves(tmp_path):
    root = str(tmp_path)
    assert champion(root) is None
    with hold(root, "train") as lease:
        crown(root, lease, "m-1", "no model served")
        crown(root, lease, "m-2", "better", held="rolled back by ann")
    found = champion(root)
    assert (found.model_id, found.before, found.why, found.held) == (
        "m-2",
        "m-1",
        "better",
        "rolled back by ann",
    )
    assert found.token == 1


def test_who_lost_the_root_changes_nothing(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold(root, "train") as first:
        crown(root, first, "m-1", "")
    with hold(root, "train") as second:
        crown(root, second, "m-2", "")
    monkeypatch.setattr(type(first), "check", lambda self: None)  # it was asleep, and does not know
    with pytest.raises(RuntimeError, match="later run"):
        crown(root, first, "m-3", "")
    assert champion(root).model_id == "m-2"


def test_a_lost_lease_crowns_nobody(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold(root, "train") as lease:
        monkeypatch.setattr(lease, "_lost", True)
        with pytest.raises(RuntimeError, match="was lost"):
            crown(root, lease, "m-1", "")
        monkeypatch.setattr(lease, "_lost", False)
    assert champion(root) is None


def test_of_two_at_once_one_succeeds(tmp_path, monkeypatch):
    root = str(tmp_path)
    with hold(root, "train") as lease:
        crown(root, lease, "m-1", "")
        monkeypatch.setattr("distspec.models.registry.swap", lambda url, content, version: None)
        with pytest.raises(RuntimeError, match="replaced by another run"):
            crown(root, lease, "m-2", "")
    assert champion(root).model_id == "m-1"
