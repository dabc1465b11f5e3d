"""A row's way back to its file, and every alteration of what it came from found."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from distspec.catalog import editions
from distspec.cli.main import main
from distspec.core.errors import LeaseHeldError
from distspec.core.records import add_checksum
from distspec.io.files import read_json, write_json
from distspec.io.lease import hold_lease
from distspec.io.paths import join_url, store_url
from distspec.operations.trace import find_integrity_problems, trace_spectrum
from distspec.store.snapshots import model_tag, tag_snapshot
from distspec.store.store import open_store

VOUCHED = ("catalog/*/*/*.parquet", "runs/*/*.parquet", "models/*/weights.safetensors", "models/*/*.parquet")
RECORDS = ("catalog/*/*.json", "runs/*/run.json", "models/*/model.json")


@pytest.fixture
def root(run, tables) -> Path:
    """A run, published twice: the second edition keeps the first's files but one."""
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


def test_what_was_not_touched_is_whole(root):
    assert find_integrity_problems(str(root)) == []


def test_every_altered_file_is_named(root):
    for path in files(root, VOUCHED):
        content = path.read_bytes()
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        found = find_integrity_problems(str(root))
        assert any(f"{path.relative_to(root)} is not what it vouches" in each for each in found), (
            path,
            found,
        )
        path.unlink()
        found = find_integrity_problems(str(root))
        assert any(f"{path.relative_to(root)} is gone" in each for each in found), (path, found)
        path.write_bytes(content)
    assert find_integrity_problems(str(root)) == []


def test_every_altered_record_is_named(root):
    for path in files(root, RECORDS):
        record = json.loads(path.read_bytes())
        for name in record:
            path.write_text(
                json.dumps({**record, name: "another"} if name != "checksum" else {**record, name: "0"})
            )
            found = find_integrity_problems(str(root))
            assert f"{path.relative_to(root)} was altered: it is not what was sealed" in found, (path, name)
        path.write_text(json.dumps(record)[:-9])
        assert any(
            f"{path.relative_to(root)} is no JSON" in each for each in find_integrity_problems(str(root))
        )
        path.write_text(json.dumps(record))
    assert find_integrity_problems(str(root)) == []


@pytest.mark.parametrize("pattern", RECORDS[1:])
def test_a_record_altered_and_sealed_again_is_not_the_one_that_was_vouched_for(root, pattern):
    (path,) = files(root, (pattern,))
    record = json.loads(path.read_bytes())
    del record["checksum"]
    path.write_text(json.dumps(add_checksum({**record, "seed": 7})))
    found = find_integrity_problems(str(root))
    assert found
    assert all(f"it was made of another {path.relative_to(root)} than" in each for each in found)


def test_a_record_that_is_gone_is_missed(root):
    for pattern in RECORDS[1:]:
        (path,) = files(root, (pattern,))
        content = path.read_bytes()
        path.unlink()
        missed = f"what it is made of, {path.relative_to(root)}, is gone"
        assert any(missed in each for each in find_integrity_problems(str(root))), path
        path.write_bytes(content)


def test_what_is_current_must_be_an_edition(root):
    url = join_url(str(root), "catalog", "current.json")
    write_json(url, add_checksum({**read_json(url), "number": 9}))
    assert find_integrity_problems(str(root)) == [
        f"catalog/current.json is the record of no edition: {editions.EditionRecord.from_json(read_json(url)).name}"
    ]
    Path(url).unlink()
    last = editions.read_edition_records(str(root))[-1].name
    assert find_integrity_problems(str(root)) == [f"catalog/current.json is gone: {last} was published last"]


def test_altered_or_lost_latents_in_the_store_are_found(root, tmp_path):
    """Latents are chunks of the store, found by holding them against the catalogue."""
    folder = root / "store" / "chunks"
    told = 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.unlink()
        told += any("latents" in each or "z_mean" in each for each in find_integrity_problems(str(root)))
        path.write_bytes(content)
    assert told, "a chunk of latents was among them"


def test_a_snapshot_of_other_data_is_found(root):
    path = root / "runs" / "r-1" / "run.json"
    record = json.loads(path.read_bytes())
    del record["checksum"]
    path.write_text(json.dumps(add_checksum({**record, "data_digest": "0" * 64})))
    assert any(
        "its data are not what stands in snapshot" in each for each in find_integrity_problems(str(root))
    )
    path.write_text(json.dumps(add_checksum({**record, "snapshot_id": "0" * 20})))
    assert any(f"its snapshot {'0' * 20} is gone" in each for each in find_integrity_problems(str(root)))


def test_the_chain_goes_from_the_row_to_the_file(root):
    url, name = str(root), "o0007"
    found = {link.entity_type: link for link in trace_spectrum(url, name)}
    assert list(found) == ["row", "edition", "run", "model", "snapshot", "file"]
    now = editions.read_current_record(url)
    assert found["edition"].name == now.name
    assert found["edition"].attributes["checksum"] == now.checksum
    assert found["run"].attributes["checksum"] == now.run_checksum
    assert found["model"].attributes["weights_sha256"]
    assert found["snapshot"].name == now.snapshot_id
    assert found["file"].name == "uri"
    row = found["row"].attributes["store_row"]
    checksum = np.asarray(open_store(store_url(url)).open_array("checksum")[row : row + 1])[0]
    assert found["file"].attributes["checksum"] == f"{checksum:016x}"
    first = editions.read_edition_records(url)[0]
    assert (
        trace_spectrum(url, name, first.name)[1].attributes["published"]
        == first.published
    )


def test_a_spectrum_that_is_not_there_says_where_to_look(root):
    with pytest.raises(ValueError, match="holds no spectrum nobody: look for it"):
        trace_spectrum(str(root), "nobody")


def test_the_verbs(root, monkeypatch, capsys):
    def command(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["distspec", *words, "--root", str(root)])
        main()
        return capsys.readouterr().out

    assert "every edition, run and model is what was sealed" in command("verify")
    assert "file  uri" in command("lineage", "o0007")
    lines = [json.loads(line) for line in command("lineage", "o0007", "--format", "json").splitlines()]
    assert [line["what"] for line in lines][-1] == "file"
    shutil.rmtree(root / "runs")
    with pytest.raises(SystemExit, match="problems"):
        command("verify")


def test_a_holder_that_was_overtaken_publishes_nothing(root, tables):
    url = str(root)
    with hold_lease(url, "first") as lease:
        pass
    with hold_lease(url, "second") as later:
        editions.publish(url, tables, "r-1", "s", {"n": 12}, lease=later)
    before = editions.read_current_record(url)
    with pytest.raises(LeaseHeldError, match="written by a later job"):
        editions.publish(url, tables, "r-1", "s", {"n": 13}, lease=lease)
    assert editions.read_current_record(url) == before
