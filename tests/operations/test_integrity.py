"""Integrity checks find every altered or missing file and record."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

import pytest

from distspec.catalog import editions
from distspec.core.errors import LeaseHeldError
from distspec.core.records import add_checksum
from distspec.io.files import read_json, write_json
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url
from distspec.operations.integrity import find_integrity_problems, verify_root
from distspec.store.snapshots import model_tag, tag_snapshot

CHECKED_FILES = (
    "catalog/*/*/*.parquet",
    "runs/*/*.parquet",
    "models/*/weights.safetensors",
    "models/*/*.parquet",
)
RECORDS = ("catalog/*/*.json", "runs/*/run.json", "models/*/model.json")


@pytest.fixture
def root(run, tables) -> Path:
    """A run that was published twice; the second edition shares all files but one with the first."""
    url, store, _ = run
    tag_snapshot(url, model_tag("m-1"), read_json(f"{url}/models/m-1/model.json")["snapshot_id"])
    first = editions.publish(url, tables, "r-1", store.snapshot_id, {"n": 10})
    keep = [name for name in first.files if name != "class_ids"]
    again = {"class_ids": tables["class_ids"]}
    with hold_lease(url, "catalog") as lease:
        editions.publish(url, again, "r-1", store.snapshot_id, {"n": 11}, keep, lease=lease)
    return Path(url)


def files(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = [path for pattern in patterns for path in sorted(root.glob(pattern))]
    assert len(found) >= len(patterns)
    return found


def test_an_unaltered_root_has_no_problems(root):
    assert find_integrity_problems(str(root)) == []


def test_every_altered_or_missing_file_is_named(root):
    """Each time half of the files are altered, and the other half is not named."""
    all_files = files(root, CHECKED_FILES)
    for half in (all_files[::2], all_files[1::2]):
        contents = {path: path.read_bytes() for path in half}
        for path, content in contents.items():
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        assert list_named(root, all_files, "was altered: its SHA-256") == half
        for path in half:
            path.unlink()
        assert list_named(root, all_files, "is missing") == half
        for path, content in contents.items():
            path.write_bytes(content)
    assert find_integrity_problems(str(root)) == []


def list_named(root: Path, paths: list[Path], problem: str) -> list[Path]:
    """Return the paths that have a problem, in their order."""
    found = find_integrity_problems(str(root))
    return [path for path in paths if any(f"{path.relative_to(root)} {problem}" in line for line in found)]


def test_every_altered_record_is_named(root):
    """Each time one value of every record is altered, until each value was."""
    records = {path: json.loads(path.read_bytes()) for path in files(root, RECORDS)}
    for names in zip_longest(*records.values()):
        altered = {path: name for path, name in zip(records, names, strict=True) if name}
        for path, name in altered.items():
            path.write_text(json.dumps({**records[path], name: "another" if name != "checksum" else "0"}))
        found = list_named(root, list(records), "was altered: its checksum does not match")
        assert found == list(altered), altered
        for path, record in records.items():
            path.write_text(json.dumps(record))
    for path, record in records.items():
        path.write_text(json.dumps(record)[:-9])
    assert list_named(root, list(records), "is not valid JSON") == list(records)
    for path, record in records.items():
        path.write_text(json.dumps(record))
    assert find_integrity_problems(str(root)) == []


@pytest.mark.parametrize("pattern", RECORDS[1:])
def test_an_altered_record_with_a_new_checksum_is_found(root, pattern):
    (path,) = files(root, (pattern,))
    record = json.loads(path.read_bytes())
    del record["checksum"]
    path.write_text(json.dumps(add_checksum({**record, "seed": 7})))
    found = find_integrity_problems(str(root))
    assert found
    assert all(f"it was made from another {path.relative_to(root)} than" in line for line in found)


def test_a_missing_record_is_found(root):
    for pattern in RECORDS[1:]:
        (path,) = files(root, (pattern,))
        content = path.read_bytes()
        path.unlink()
        missing = f"it was made from {path.relative_to(root)}, which is missing"
        assert any(missing in line for line in find_integrity_problems(str(root))), path
        path.write_bytes(content)


def test_the_current_record_must_be_that_of_an_edition(root):
    url = join_url(str(root), "catalog", "current.json")
    write_json(url, add_checksum({**read_json(url), "number": 9}))
    current = editions.read_current_record(str(root))
    (problem,) = find_integrity_problems(str(root))
    assert problem == f"catalog/current.json is not the record of any edition: {current.name}"
    Path(url).unlink()
    last = editions.read_edition_records(str(root))[-1].name
    assert find_integrity_problems(str(root)) == [
        f"catalog/current.json is missing: {last} was published last"
    ]


def test_missing_latents_in_the_store_are_found(root, tmp_path):
    """The latents of the catalog are compared with those of the store, chunk by chunk."""
    folder = root / "store" / "chunks"
    n_found = 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        n_found += any("latents" in line or "z_mean" in line for line in find_integrity_problems(str(root)))
        path.write_bytes(content)
    assert n_found, "some chunks hold latents"


def test_a_snapshot_of_another_data_set_is_found(root):
    path = root / "runs" / "r-1" / "run.json"
    record = json.loads(path.read_bytes())
    del record["checksum"]
    path.write_text(json.dumps(add_checksum({**record, "dataset_checksum": "0" * 64})))
    assert any(
        "its data set is not the one in snapshot" in line for line in find_integrity_problems(str(root))
    )
    path.write_text(json.dumps(add_checksum({**record, "snapshot_id": "0" * 20})))
    assert any(f"its snapshot {'0' * 20} is missing" in line for line in find_integrity_problems(str(root)))


def test_an_expired_lease_publishes_nothing(root, tables):
    url = str(root)
    with hold_lease(url, "first") as lease:
        pass
    with hold_lease(url, "second") as later:
        editions.publish(url, tables, "r-1", "s", {"n": 12}, lease=later)
    before = editions.read_current_record(url)
    with pytest.raises(LeaseHeldError, match="written by a later job"):
        editions.publish(url, tables, "r-1", "s", {"n": 13}, lease=lease)
    assert editions.read_current_record(url) == before


def test_a_verification_describes_the_store(root):
    found = verify_root(str(root))
    assert found.problems == ()
    assert (found.n_rows, found.n_commits) == (60, 1)
