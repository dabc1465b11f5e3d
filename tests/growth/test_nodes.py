"""A machine that goes in the middle of a run takes nothing with it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distspec.io.paths import store_url
from distspec.stages.ingest import ingest
from distspec.store import store as stores
from distspec.store.store import open_store
from distspec.store.verify import verify_store
from tests.growth import nodes
from tests.growth.conftest import REPOSITORY, Undisturbed, quarantine_of


@pytest.mark.slow
def test_a_lost_node_is_no_lost_row(undisturbed: Undisturbed, tmp_path, monkeypatch):
    """On three nodes of a process of its own; the undisturbed run on this session's Ray."""
    root, plain = str(tmp_path / "root"), str(tmp_path / "plain")
    command = [sys.executable, "-m", "tests.growth.nodes", root, str(undisturbed.folder)]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "nodes 3" in ended.stdout, "it had three"
    assert "nodes 2" in ended.stdout, "and lost one"
    monkeypatch.setattr(stores, "CHUNK_BYTES", nodes.small_chunks())
    ingest(plain, nodes.source(undisturbed.folder))
    expected = open_store(store_url(plain))
    store, problems = verify_store(root)
    assert problems == []
    assert content_checksum(store) == content_checksum(expected)
    assert quarantine_of(store) == quarantine_of(expected)
