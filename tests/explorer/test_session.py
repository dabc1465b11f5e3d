"""Annotation, undo, and the resulting labels."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.core.errors import LabelError
from distspec.explorer.session import open_annotation_session
from distspec.labels.annotations import (
    INTEREST_LABELS,
    Annotation,
    add_annotations,
    current_annotations,
    read_annotations,
)

LABELS = ("LRD", "LAE")


def saved_labels(root):
    annotations = read_annotations(root)
    return [
        {
            row["object_id"]: row["human_label"]
            for row in current_annotations(annotations, marks).to_pylist()
            if row["who"] == "ann"
        }
        for marks in (False, True)
    ]


@settings(max_examples=30)
@given(
    st.lists(
        st.one_of(
            st.just("undo"),
            st.tuples(
                st.sets(st.sampled_from("abc"), min_size=1),
                st.sampled_from([*LABELS, *INTEREST_LABELS]),
            ),
        ),
        max_size=12,
    )
)
def test_undo_restores_the_previous_state(tmp_path_factory, actions):
    root = str(tmp_path_factory.mktemp("root"))
    session = open_annotation_session(root, "ann")
    past = [({}, {})]
    for action in actions:
        if action == "undo":
            session.undo()
            past = past[:-1] or past
        else:
            objects, label = action
            session.record(sorted(objects), label)
            current = tuple(dict(labels) for labels in past[-1])
            current[label in INTEREST_LABELS].update(dict.fromkeys(objects, label))
            past.append(current)
        assert saved_labels(root) == list(past[-1])
        assert [session.current_labels(False), session.current_labels(True)] == list(past[-1])
    again = open_annotation_session(root, "ann")
    assert [again.current_labels(False), again.current_labels(True)] == list(past[-1])


def test_own_labels_take_precedence_and_all_are_kept(tmp_path):
    root = str(tmp_path)
    add_annotations(root, [Annotation("a", "LAE", "bob"), Annotation("b", "LAE", "bob")])
    session = open_annotation_session(root, "ann")
    session.record(["a"], "LRD", "V-shaped")
    assert session.current_labels(False) == {"a": "LRD", "b": "LAE"}
    assert {(item.annotator, item.label, item.note) for item in session.list_annotations("a")} == {
        ("ann", "LRD", "V-shaped"),
        ("bob", "LAE", ""),
    }
    assert session.undo() == ["a"]
    assert session.undo() == [], "annotations of others are not undone"
    assert session.current_labels(False) == {"a": "LAE", "b": "LAE"}


def test_a_session_without_annotations_writes_nothing(tmp_path):
    open_annotation_session(str(tmp_path), "ann").close()
    assert list(tmp_path.iterdir()) == []


def test_empty_annotations_are_refused(tmp_path):
    session = open_annotation_session(str(tmp_path), "ann")
    for objects, label in (([], "LRD"), (["a"], ""), (["a"], " ")):
        with pytest.raises(LabelError, match=r"at least one spectrum|is blank"):
            session.record(objects, label)


@pytest.mark.parametrize("label", ["", " ", "x" * 101, "a\nb", "a\0", "\ud800", "lrd", "INTERESTING"])
def test_the_explorer_refuses_the_labels_that_the_command_refuses(tmp_path, label):
    root = str(tmp_path)
    session = open_annotation_session(root, "ann")
    session.record(["a"], "LRD")
    with pytest.raises(LabelError):
        session.record(["b"], label)
    if label.strip():
        with pytest.raises(LabelError):
            session.write_label_names([label])
        with pytest.raises(LabelError):
            add_annotations(root, [Annotation("b", label, "ann")])
    assert saved_labels(root)[0] == {"a": "LRD"}
    session.record(["b"], " LRD ")
    assert saved_labels(root)[0] == {"a": "LRD", "b": "LRD"}
