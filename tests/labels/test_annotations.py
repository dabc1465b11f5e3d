"""Annotations: the latest counts, empty labels withdraw, and compaction loses nothing."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from distspec.core.errors import LabelError, StorageError
from distspec.io.files import list_files
from distspec.labels import annotations as module
from distspec.labels.annotations import (
    Annotation,
    add_annotations,
    annotations_url,
    compact_annotations,
    current_annotations,
    read_annotations,
)
from distspec.labels.consensus import read_marks

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_latest_label_counts_and_an_empty_one_withdraws_it(tmp_path: Path) -> None:
    root = str(tmp_path)
    for day, label in enumerate(("LRD", "interesting", "EELG", "")):
        add_annotations(root, [Annotation("a", label, "ann")], START + timedelta(days=day))
    add_annotations(root, [Annotation("a", "LAE", "bob", "broad?")], START)
    assert current_annotations(read_annotations(root)).select(["who", "human_label", "note"]).to_pylist() == [
        {"who": "bob", "human_label": "LAE", "note": "broad?"}
    ]
    assert len(current_annotations(read_annotations(root), interest=True)) == 0


def test_a_root_without_annotations_has_an_empty_table(tmp_path: Path) -> None:
    assert len(current_annotations(read_annotations(str(tmp_path)))) == 0


def test_a_label_without_a_spectrum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="object_id"):
        add_annotations(str(tmp_path), [Annotation("", "LRD")])
    assert list_files(annotations_url(str(tmp_path))) == []


def test_the_majority_decides_on_marks(tmp_path: Path) -> None:
    root = str(tmp_path)
    by_person = {
        "ann": [("a", "interesting"), ("b", "ordinary"), ("c", "LRD")],
        "bob": [("a", "ordinary"), ("b", "ordinary")],
        "cat": [("b", "interesting")],
    }
    for who, labels in by_person.items():
        add_annotations(root, [Annotation(name, label, who) for name, label in labels])
    assert read_marks(root) == {"a": True, "b": False}


def test_compaction_keeps_every_annotation_in_one_file(tmp_path: Path) -> None:
    root = str(tmp_path)
    for i in range(5):
        pair = [Annotation(f"o{i}", "LRD", "ann"), Annotation(f"p{i}", "LAE", "ann")]
        add_annotations(root, pair, START + timedelta(hours=i))
    before = read_annotations(root)
    assert compact_annotations(root) == 10
    add_annotations(root, [Annotation("late", "LRD")], START + timedelta(days=1))
    assert len(read_annotations(root)) == 11
    assert compact_annotations(root) == 11
    assert [n for n in list_files(annotations_url(root)) if n.endswith(".parquet")] == ["labels.parquet"]
    assert read_annotations(root).slice(0, 10).sort_by("object_id") == before.sort_by("object_id")


def test_annotations_added_during_compaction_are_kept(tmp_path: Path) -> None:
    root = str(tmp_path)

    def add(i: int) -> None:
        add_annotations(root, [Annotation(f"o{i}", "LRD", "ann")])
        if i % 3 == 0:
            compact_annotations(root)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(60)))
    assert sorted(read_annotations(root)["object_id"].to_pylist()) == sorted(f"o{i}" for i in range(60))


def test_files_that_vanish_again_and_again_end_in_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "list_files", lambda url: ["vanished.parquet"])
    with pytest.raises(StorageError, match="changed during 10 attempts"):
        read_annotations(str(tmp_path))


@pytest.mark.parametrize(
    "label", [" ", "\t", "x" * 101, "a\nb", "a\rb", "a\0", "a\x1b", "\ud800", "a\u2028b", "a\u202eb"]
)
def test_invalid_labels_are_refused_and_nothing_is_written(tmp_path, label):
    with pytest.raises(LabelError, match="human_label"):
        add_annotations(str(tmp_path), [Annotation("a", "LRD", "ann"), Annotation("b", label, "ann")])
    assert len(read_annotations(str(tmp_path))) == 0


def test_another_spelling_of_a_label_is_refused(tmp_path):
    root = str(tmp_path)
    add_annotations(root, [Annotation("a", " Ånd ", "ann"), Annotation("b", "LRD", "bob")])
    assert {row["human_label"] for row in read_annotations(root).to_pylist()} == {"Ånd", "LRD"}
    for label, other in (("lrd", "LRD"), ("ＬＲＤ", "LRD"), ("Interesting", "interesting"), ("ÅND", "Ånd")):
        with pytest.raises(LabelError, match=f"another spelling of '{other}': use '{other}'"):
            add_annotations(root, [Annotation("a", label, "ann")])
    add_annotations(root, [Annotation("c", "A\u030and", "ann")])
    assert {row["human_label"] for row in read_annotations(root).to_pylist()} == {"Ånd", "LRD"}
    with pytest.raises(LabelError, match="another spelling"):
        add_annotations(root, [Annotation("a", "new", "ann"), Annotation("b", "New", "ann")])
    with pytest.raises(LabelError, match="not valid Unicode"):
        add_annotations(root, [Annotation("a", "new", "ann", "\ud800")])
