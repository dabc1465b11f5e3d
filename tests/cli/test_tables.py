"""Tables on a terminal and for scripts."""

import csv
import io
import json
import os

import pytest

from distspec.catalog import editions
from distspec.cli.base import TableCommand
from distspec.cli.main import VERBS
from distspec.labels.annotations import Annotation, add_annotations

ARGUMENTS = {"similar": ["o0007", "-n", "3"], "plan": ["--spectra", "1000"], "labels": ["--history"]}
PRINTED_ELSEWHERE = {"predict", "classify"}
"""Verbs that are tested with files or labels, in tests/inference and test_labels."""


@pytest.fixture
def root(run, tables):
    url, store, _ = run
    editions.publish(url, tables, "r-1", store.snapshot_id, {})
    add_annotations(url, [Annotation(f"o000{i}", "left", "ann") for i in range(3)])
    return url


def verbs_with_tables():
    return [name for name, verb in VERBS.items() if issubclass(verb.load(), TableCommand)] + ["plan"]


def test_verbs_print_tables_for_scripts(root, distspec):
    """All verbs in one test, because the root is copied for each test."""
    for name in set(verbs_with_tables()) - PRINTED_ELSEWHERE:
        command = distspec if name == "plan" else distspec.at(root)
        arguments = [name, *ARGUMENTS.get(name, [])]
        rows = json.loads(command(*arguments, "--format", "json"))
        lines = list(csv.DictReader(io.StringIO(command(*arguments, "-f", "csv"))))
        assert len(rows) == len(lines), name
        assert command(*arguments).strip(), name
    assert len(json.loads(distspec.at(root)("similar", "o0007", "-n", "3", "-f", "json"))) == 3


def test_tables_fit_the_terminal(root, distspec, monkeypatch):
    command = distspec.at(root)
    sql = "SELECT object_id, z, galaxy_type_reason, * FROM objects LIMIT 2"
    whole = command("query", sql).splitlines()
    assert max(map(len, whole)) > 200, "pipes and files have all columns"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((80, 24)))
    lines = command("query", sql).splitlines()
    assert max(map(len, lines)) <= 80
    assert "more columns" in lines[-1]
