from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from distspec.io.files import list_files
from distspec.labels.annotations import (
    Annotation,
    add_annotations,
    annotations_url,
    compact_annotations,
    current_annotations,
    read_annotations,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_last_word_stands_and_an_empty_label_takes_back(tmp_path: Path) -> None:
    root = str(tmp_path)
    for day, label in enumerate(("LRD", "interesting", "EELG", "")):
        add_annotations(root, [Annotation("a", label, "ann")], START + timedelta(days=day))
    add_annotations(root, [Annotation("a", "LAE", "bob", "broad?")], START)
    assert current_annotations(read_annotations(root)).select(["who", "human_label", "note"]).to_pylist() == [
        {"who": "bob", "human_label": "LAE", "note": "broad?"}
    ]
    assert len(current_annotations(read_annotations(root), interest=True)) == 0


def test_nothing_said_is_an_empty_table(tmp_path: Path) -> None:
    assert len(current_annotations(read_annotations(str(tmp_path)))) == 0


def test_a_label_without_a_spectrum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="object_id"):
        add_annotations(str(tmp_path), [Annotation("", "LRD")])
    assert list_files(annotations_url(str(tmp_path))) == []


def test_compaction_keeps_every_word_in_one_file(tmp_path: Path) -> None:
    root = str(tmp_path)
    for i in range(5):
        add_annotations(
            root,
            [Annotation(f"o{i}", "LRD", "ann"), Annotation(f"p{i}", "LAE", "ann")],
            START + timedelta(hours=i),
        )
    before = read_annotations(root)
    assert compact_annotations(root) == 10
    add_annotations(root, [Annotation("late", "LRD")], START + timedelta(days=1))
    assert len(read_annotations(root)) == 11
    assert compact_annotations(root) == 11
    assert [n for n in list_files(annotations_url(root)) if n.endswith(".parquet")] == ["labels.parquet"]
    assert read_annotations(root).slice(0, 10).sort_by("object_id") == before.sort_by("object_id")


def test_people_write_while_others_compact(tmp_path: Path) -> None:
    root = str(tmp_path)

    def say(i: int) -> None:
        add_annotations(root, [Annotation(f"o{i}", "LRD", "ann")])
        if i % 3 == 0:
            compact_annotations(root)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(60)))
    assert sorted(read_annotations(root)["object_id"].to_pylist()) == sorted(f"o{i}" for i in range(60))
