from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from distspec.io.files import names
from distspec.labels.annotations import Said, add, compact, history, labels_url, standing

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_last_word_stands_and_an_empty_label_takes_back(tmp_path: Path) -> None:
    root = str(tmp_path)
    for day, label in enumerate(("LRD", "interesting", "EELG", "")):
        add(root, [Said("a", label, "ann")], START + timedelta(days=day))
    add(root, [Said("a", "LAE", "bob", "broad?")], START)
    assert standing(history(root)).select(["who", "human_label", "note"]).to_pylist() == [
        {"who": "bob", "human_label": "LAE", "note": "broad?"}
    ]
    assert len(standing(history(root), marks=True)) == 0


def test_nothing_said_is_an_empty_table(tmp_path: Path) -> None:
    assert len(standing(history(str(tmp_path)))) == 0


def test_a_label_without_a_spectrum_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="object_id"):
        add(str(tmp_path), [Said("", "LRD")])
    assert names(labels_url(str(tmp_path))) == []


def test_compaction_keeps_every_word_in_one_file(tmp_path: Path) -> None:
    root = str(tmp_path)
    for i in range(5):
        add(root, [Said(f"o{i}", "LRD", "ann"), Said(f"p{i}", "LAE", "ann")], START + timedelta(hours=i))
    before = history(root)
    assert compact(root) == 10
    add(root, [Said("late", "LRD")], START + timedelta(days=1))
    assert len(history(root)) == 11
    assert compact(root) == 11
    assert [n for n in names(labels_url(root)) if n.endswith(".parquet")] == ["labels.parquet"]
    assert history(root).slice(0, 10).sort_by("object_id") == before.sort_by("object_id")


def test_people_write_while_others_compact(tmp_path: Path) -> None:
    root = str(tmp_path)

    def say(i: int) -> None:
        add(root, [Said(f"o{i}", "LRD", "ann")])
        if i % 3 == 0:
            compact(root)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(60)))
    assert sorted(history(root)["object_id"].to_pylist()) == sorted(f"o{i}" for i in range(60))
