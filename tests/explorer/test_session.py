"""Saying, taking back, and what stands after."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distspec.explorer.session import open_notebook
from distspec.labels.annotations import MARKS, Said, add, history, standing

LABELS = ("LRD", "LAE")


def stands(root):
    said = history(root)
    return [
        {
            row["object_id"]: row["human_label"]
            for row in standing(said, marks).to_pylist()
            if row["who"] == "ann"
        }
        for marks in (False, True)
    ]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.one_of(
            st.just("undo"),
            st.tuples(st.sets(st.sampled_from("abc"), min_size=1), st.sampled_from([*LABELS, *MARKS])),
        ),
        max_size=12,
    )
)
def test_what_is_taken_back_was_never_said(tmp_path_factory, acts):
    root = str(tmp_path_factory.mktemp("root"))
    notebook = open_notebook(root, "ann")
    past = [({}, {})]
    for act in acts:
        if act == "undo":
            notebook.undo()
            past = past[:-1] or past
        else:
            objects, label = act
            notebook.say(sorted(objects), label)
            now = tuple(dict(words) for words in past[-1])
            now[label in MARKS].update(dict.fromkeys(objects, label))
            past.append(now)
        assert stands(root) == list(past[-1])
        assert [notebook.standing(False), notebook.standing(True)] == list(past[-1])
    again = open_notebook(root, "ann")
    assert [again.standing(False), again.standing(True)] == list(past[-1])


def test_mine_before_others_and_all_are_kept(tmp_path):
    root = str(tmp_path)
    add(root, [Said("a", "LAE", "bob"), Said("b", "LAE", "bob")])
    notebook = open_notebook(root, "ann")
    notebook.say(["a"], "LRD", "V-shaped")
    assert notebook.standing(False) == {"a": "LRD", "b": "LAE"}
    assert {(said["who"], said["human_label"], said["note"]) for said in notebook.of("a")} == {
        ("ann", "LRD", "V-shaped"),
        ("bob", "LAE", ""),
    }
    assert notebook.undo() == ["a"]
    assert notebook.undo() == [], "what others said is theirs"
    assert notebook.standing(False) == {"a": "LAE", "b": "LAE"}


def test_looking_only_leaves_no_trace(tmp_path):
    open_notebook(str(tmp_path), "ann").close()
    assert list(tmp_path.iterdir()) == []


def test_nothing_said_is_refused(tmp_path):
    notebook = open_notebook(str(tmp_path), "ann")
    for objects, label in (([], "LRD"), (["a"], " ")):
        with pytest.raises(ValueError, match="at least one spectrum"):
            notebook.say(objects, label)
