from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distspec.labels.annotations import Annotation
from distspec.labels.importing import read_labels

KNOWN = pa.array(["a", "b", "007"])


def csv(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return str(path)


def test_rows_of_a_csv_file(tmp_path):
    text = "object_id,human_label,note,when\na,LRD,,2026-01-31\n007,,taken back,\n"
    text += "b, LAE ,,2026-01-31T12:00:00+02:00\n"
    found = read_labels(csv(tmp_path, text), KNOWN, "ann")
    assert found.annotations == [
        Annotation("a", "LRD", "ann", "", datetime(2026, 1, 31, tzinfo=UTC)),
        Annotation("007", "", "ann", "taken back", None),
        Annotation("b", "LAE", "ann", "", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ]
    assert found.unknown_ids == []


def test_rows_of_a_parquet_file_say_who(tmp_path):
    path, when = str(tmp_path / "l.parquet"), datetime(2026, 1, 2, tzinfo=UTC)
    rows = {"object_id": ["a", "b"], "human_label": ["x", None], "who": ["bob", None], "when": [when, None]}
    pq.write_table(pa.table(rows), path)
    assert read_labels(path, KNOWN, "ann").annotations == [
        Annotation("a", "x", "bob", "", when),
        Annotation("b", "", "ann"),
    ]


def test_spectra_that_are_not_there_are_named_with_their_line(tmp_path):
    found = read_labels(csv(tmp_path, "object_id,human_label\na,x\nzz,x\nb,x\nyy,y\n"), KNOWN, "ann")
    assert found.unknown_ids == [(3, "zz"), (5, "yy")]
    assert [each.object_id for each in found.annotations] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("object_id,label\na,x\n", r"no column human_label, but object_id, label"),
        ("object_id,human_label\na,x\n,y\n", r"line 3: no object_id"),
        ("object_id,human_label,when\na,x,yesterday\n", r"line 2: when 'yesterday' is no time"),
        (f"object_id,human_label\na,{'x' * 101}\n", r"line 2: human_label 'x+'… has 101 characters"),
        ("object_id,human_label\na,x\x07\n", r"line 2: human_label 'x\\x07' has characters"),
        ("object_id,human_label\na,x,y\n", r"is no CSV or Parquet"),
        ("", r"is no CSV or Parquet"),
        ("object_id,human_label,human_label\na,x,y\n", r"2 columns human_label"),
        ("object_id,human_label\n" + ",x\n" * 9, r"line 6: no object_id; and 4 more"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        read_labels(csv(tmp_path, text), KNOWN, "ann")


def test_no_file_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_labels(str(tmp_path / "none.csv"), KNOWN, "ann")
