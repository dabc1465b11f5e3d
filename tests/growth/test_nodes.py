"""The loss of a node does not change the result of an ingest."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store import store as store_module
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.growth import nodes
from tests.growth.conftest import REPOSITORY, Undisturbed, list_quarantine
from tests.helpers.content import content_checksum


@pytest.mark.slow
def test_loss_of_a_node_does_not_change_the_store(undisturbed: Undisturbed, tmp_path, monkeypatch):
    """The driver runs on three nodes of its own, the undisturbed ingest on this session's Ray."""
    root, plain = str(tmp_path / "root"), str(tmp_path / "plain")
    command = [sys.executable, "-m", "tests.growth.nodes", root, str(undisturbed.folder)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "nodes 3" in ended.stdout, "three at the start"
    assert "nodes 2" in ended.stdout, "one was lost"
    monkeypatch.setattr(store_module, "CHUNK_BYTES", nodes.chunk_bytes())
    ingest(plain, nodes.wide_source(undisturbed.folder))
    expected = open_store(store_url(plain))
    store, problems = verify_store(root)
    assert problems == []
    assert content_checksum(store) == content_checksum(expected)
    assert list_quarantine(store) == list_quarantine(expected)
