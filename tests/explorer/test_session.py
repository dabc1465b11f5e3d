"""Saying, taking back, and what stands after."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.explorer.session import open_annotation_session
from distspec.labels.annotations import (
    INTEREST_LABELS,
    Annotation,
    add_annotations,
    current_annotations,
    read_annotations,
)

LABELS = ("LRD", "LAE")


def stands(root):
    said = read_annotations(root)
    return [
        {
            row["object_id"]: row["human_label"]
            for row in current_annotations(said, marks).to_pylist()
            if row["who"] == "ann"
        }
        for marks in (False, True)
    ]


@settings(deadline=None, max_examples=30)
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
def test_what_is_taken_back_was_never_said(tmp_path_factory, acts):
    root = str(tmp_path_factory.mktemp("root"))
    notebook = open_annotation_session(root, "ann")
    past = [({}, {})]
    for act in acts:
        if act == "undo":
            notebook.undo()
            past = past[:-1] or past
        else:
            objects, label = act
            notebook.record(sorted(objects), label)
            now = tuple(dict(words) for words in past[-1])
            now[label in INTEREST_LABELS].update(dict.fromkeys(objects, label))
            past.append(now)
        assert stands(root) == list(past[-1])
        assert [notebook.current_labels(False), notebook.current_labels(True)] == list(past[-1])
    again = open_annotation_session(root, "ann")
    assert [again.current_labels(False), again.current_labels(True)] == list(past[-1])


def test_mine_before_others_and_all_are_kept(tmp_path):
    root = str(tmp_path)
    add_annotations(root, [Annotation("a", "LAE", "bob"), Annotation("b", "LAE", "bob")])
    notebook = open_annotation_session(root, "ann")
    notebook.record(["a"], "LRD", "V-shaped")
    assert notebook.current_labels(False) == {"a": "LRD", "b": "LAE"}
    assert {(said["who"], said["human_label"], said["note"]) for said in notebook.list_annotations("a")} == {
        ("ann", "LRD", "V-shaped"),
        ("bob", "LAE", ""),
    }
    assert notebook.undo() == ["a"]
    assert notebook.undo() == [], "what others said is theirs"
    assert notebook.current_labels(False) == {"a": "LAE", "b": "LAE"}


def test_looking_only_leaves_no_trace(tmp_path):
    open_annotation_session(str(tmp_path), "ann").close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_said_is_refused(tmp_path):
    notebook = open_annotation_session(str(tmp_path), "ann")
    for objects, label in (([], "LRD"), (["a"], " ")):
        with pytest.raises(ValueError, match="at least one spectrum"):
            notebook.record(objects, label)
