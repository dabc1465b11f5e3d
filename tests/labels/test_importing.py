"""Import of labels from files, and what is reported for invalid ones."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distspec.catalog.output_formats import save_table
from distspec.core.errors import LabelError, NotFoundError
from distspec.labels.annotations import Annotation, add_annotations
from distspec.labels.importing import read_labels, select_new

KNOWN = pa.array(["a", "b", "007"])


def write_csv(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return str(path)


def test_rows_of_a_csv_file(tmp_path):
    text = "object_id,human_label,note,when\na,LRD,,2026-01-31\n007,,withdrawn,\n"
    text += "b, LAE ,,2026-01-31T12:00:00+02:00\n"
    path = write_csv(tmp_path, text)
    labels, retracting = read_labels(path, KNOWN, "ann"), read_labels(path, KNOWN, "ann", retract=True)
    assert retracting.annotations == [
        Annotation("a", "LRD", "ann", "", datetime(2026, 1, 31, tzinfo=UTC)),
        Annotation("007", "", "ann", "withdrawn", None),
        Annotation("b", "LAE", "ann", "", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ]
    assert (retracting.n_retracted, retracting.n_blank) == (1, 0)
    assert labels.annotations == [retracting.annotations[0], retracting.annotations[2]]
    assert (labels.n_retracted, labels.n_blank) == (0, 1), "without retract, a blank label does nothing"
    assert labels.unknown_ids == []


def test_rows_of_a_parquet_file_name_their_annotator(tmp_path):
    path, when = str(tmp_path / "l.parquet"), datetime(2026, 1, 2, tzinfo=UTC)
    rows = {"object_id": ["a", "b"], "human_label": ["x", None], "who": ["bob", None], "when": [when, None]}
    pq.write_table(pa.table(rows), path)
    assert read_labels(path, KNOWN, "ann", retract=True).annotations == [
        Annotation("a", "x", "bob", "", when),
        Annotation("b", "", "ann"),
    ]


def test_a_mark_can_have_its_own_annotator(tmp_path):
    text = "object_id,human_label,who,note,mark,mark_who,mark_note\n"
    text += "a,LRD,ann,red,ordinary,bob,dull\nb, ,,,interesting,,\n"
    assert read_labels(write_csv(tmp_path, text), KNOWN, "me", retract=True).annotations == [
        Annotation("a", "LRD", "ann", "red"),
        Annotation("a", "ordinary", "bob", "dull"),
        Annotation("b", "interesting", "me"),
    ]


def test_annotations_that_change_nothing_are_left_out(tmp_path):
    first, second = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    known = [
        Annotation("a", "LRD", "ann", "", first),
        Annotation("a", "LAE", "ann", "bright", second),
        Annotation("b", "LRD", "bob", "", first),
        Annotation("b", "interesting", "ann", "", first),
    ]
    rows = add_annotations(str(tmp_path), known)
    assert select_new(known, rows) == []
    unchanged = [
        Annotation("a", "LAE", "ann"),
        Annotation("b", "interesting", "ann"),
        Annotation("a", "", "bob"),
    ]
    assert select_new(unchanged, rows) == []
    new = [
        Annotation("a", "LRD", "ann"),
        Annotation("a", "LAE", "ann", "faint"),
        Annotation("b", "LRD", "ann"),
        Annotation("b", "", "ann"),
        Annotation("a", "LRD", "ann", "", second),
    ]
    assert select_new(new, rows) == new


@pytest.mark.parametrize("ending", ["csv", "parquet", "fits", "vot", "ecsv"])
def test_labels_that_distspec_writes_are_read_back(tmp_path, ending):
    labels = ["Hα > 100 Å", "=SUM(A1)", "a 'b'", '"quoted"']
    names = ["a", "b", "007", "c"]
    path = str(tmp_path / f"l.{ending}")
    save_table(pa.table({"object_id": names, "human_label": labels}), path)
    read = read_labels(path, pa.array(names), "ann").annotations
    assert [(annotation.object_id, annotation.human_label) for annotation in read] == list(
        zip(names, labels, strict=True)
    )


def test_unknown_spectra_are_reported_with_their_line(tmp_path):
    text = "object_id,human_label\na,x\nzz,x\nb,x\nyy,y\n"
    labels = read_labels(write_csv(tmp_path, text), KNOWN, "ann")
    assert labels.unknown_ids == [(3, "zz"), (5, "yy")]
    assert [annotation.object_id for annotation in labels.annotations] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("object_id,label\na,x\n", r"no column human_label; its columns are object_id, label"),
        ("object_id,human_label\na,x\n,y\n", r"line 3: no object_id"),
        ("object_id,human_label,when\na,x,yesterday\n", r"line 2: when 'yesterday' is not a time"),
        (f"object_id,human_label\na,{'x' * 101}\n", r"line 2: human_label 'x+'… has 101 characters"),
        ("object_id,human_label\na,x\x07\n", r"line 2: human_label 'x\\x07' has characters"),
        ("object_id,human_label\na,x,y\n", r"line 2 has 3 cells instead of 2: a,x,y"),
        ("", r"unreadable as a CSV, .* Parquet table \(it is empty\)"),
        ("object_id,human_label,human_label\na,x,y\n", r"2 columns human_label"),
        ("object_id,human_label\n" + ",x\n" * 9, r"line 6: no object_id; and 4 more"),
    ],
)
def test_an_invalid_file_is_reported_with_line_and_value(tmp_path, text, message):
    with pytest.raises(LabelError, match=message):
        read_labels(write_csv(tmp_path, text), KNOWN, "ann")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.csv"):
        read_labels(str(tmp_path / "none.csv"), KNOWN, "ann")
