"""What somebody says of spectra while exploring: kept at once, taken back one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.labels.annotations import (
    INTEREST_LABELS,
    Annotation,
    add_annotations,
    annotations_url,
    compact_annotations,
    current_annotations,
    read_annotations,
)

LABEL_NAMES_FILE = "names.json"
"""Beside the labels: the names that keys give."""
MAX_LABEL_NAMES = 9


class LatestAnnotation(NamedTuple):
    """The last word of a person on a spectrum."""

    human_label: str
    timestamp: datetime
    note: str = ""


AnnotationKey = tuple[str, str]
"""An object and who spoke of it."""


@dataclass(frozen=True)
class UndoStep:
    """What one act said of some objects, and what the same person had said before."""

    is_mark: bool
    previous: Mapping[str, LatestAnnotation | None]


@dataclass
class AnnotationSession:
    """One person's notebook, opened on what all have said.

    Attributes
    ----------
    root : str
    annotator : str
        Who is exploring.
    labels, marks : dict
        Last words on classes, and on whether a spectrum is of interest.
    """

    root: str
    annotator: str
    labels: dict[AnnotationKey, LatestAnnotation] = field(
        default_factory=dict[AnnotationKey, LatestAnnotation]
    )
    marks: dict[AnnotationKey, LatestAnnotation] = field(
        default_factory=dict[AnnotationKey, LatestAnnotation]
    )
    _undo_stack: list[UndoStep] = field(default_factory=list[UndoStep])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _modified: bool = False

    def record(self, object_ids: Sequence[str], label: str, note: str = "") -> None:
        """Label or mark some objects, in one file.

        Raises
        ------
        ValueError
            When the label is empty or no object is named.
        """
        label = label.strip()
        if not label or not object_ids:
            raise ValueError("a label needs a name and at least one spectrum")
        marks = label in INTEREST_LABELS
        with self._lock:
            words = self.marks if marks else self.labels
            before = {name: words.get((name, self.annotator)) for name in object_ids}
            self._append([Annotation(name, label, self.annotator, note) for name in object_ids])
            self._undo_stack.append(UndoStep(marks, before))

    def undo(self) -> list[str]:
        """Take the last act back; return the objects it was about, none where there is no act left."""
        with self._lock:
            if not self._undo_stack:
                return []
            step = self._undo_stack.pop()
            silent = [name for name, word in step.previous.items() if word is None]
            again = {name: word for name, word in step.previous.items() if word is not None}
            # An empty label takes back both, label and mark: the other is said again.
            other = self.labels if step.is_mark else self.marks
            again |= {name: other[name, self.annotator] for name in silent if (name, self.annotator) in other}
            self._append([Annotation(name, "", self.annotator) for name in silent])
            self._append(
                [
                    Annotation(name, word.human_label, self.annotator, word.note)
                    for name, word in again.items()
                ]
            )
            return list(step.previous)

    def _append(self, annotations: Sequence[Annotation]) -> None:
        if not annotations:
            return
        # Later than whatever was said before, also where the clock has not moved on.
        words = (*self.labels.values(), *self.marks.values())
        last = max((word.timestamp for word in words), default=datetime.min.replace(tzinfo=UTC))
        when = max(datetime.now(UTC), last + timedelta(microseconds=1))
        add_annotations(self.root, annotations, when)
        self._modified = True
        for name, label, who, note, _ in annotations:
            if label:
                (self.marks if label in INTEREST_LABELS else self.labels)[name, who] = LatestAnnotation(
                    label, when, note
                )
            else:
                self.labels.pop((name, who), None)
                self.marks.pop((name, who), None)

    def list_annotations(self, object_id: str) -> list[dict[str, str]]:
        """Return all last words on an object: who, human_label, when, note."""
        return [
            {
                "who": who,
                "human_label": word.human_label,
                "when": f"{word.timestamp:%Y-%m-%d %H:%M} UTC",
                "note": word.note,
            }
            for words in (self.labels, self.marks)
            for (name, who), word in words.items()
            if name == object_id
        ]

    def current_labels(self, as_marks: bool) -> dict[str, str]:
        """Return one label (or mark) an object: mine, else the last of anybody's."""
        words = self.marks if as_marks else self.labels
        order = sorted(words.items(), key=lambda item: (item[0][1] == self.annotator, item[1].timestamp))
        return {name: word.human_label for (name, _), word in order}

    def read_label_names(self) -> list[str] | None:
        """Return the names that keys give, None where nobody has listed any."""
        url = join_url(annotations_url(self.root), LABEL_NAMES_FILE)
        return [str(name) for name in read_json(url)["names"]] if url_exists(url) else None

    def write_label_names(self, names: Sequence[str]) -> list[str]:
        """Keep another list of names; return it without blanks and repeats.

        Raises
        ------
        ValueError
            When there are more than keys, or one of them is a mark.
        """
        kept = list(dict.fromkeys(name.strip() for name in names if name.strip()))
        if len(kept) > MAX_LABEL_NAMES or set(kept) & set(INTEREST_LABELS):
            raise ValueError(f"at most {MAX_LABEL_NAMES} names, none of them {' or '.join(INTEREST_LABELS)}")
        write_json(join_url(annotations_url(self.root), LABEL_NAMES_FILE), {"names": kept})
        return kept

    def close(self) -> None:
        """Compact what was said, if anything was."""
        if self._modified:
            compact_annotations(self.root)


def open_annotation_session(root: str, annotator: str) -> AnnotationSession:
    """Open what has been said of a root's spectra, to say more as `annotator`."""
    said = read_annotations(root)
    labels, marks = (
        _index_annotations(current_annotations(said, marks).to_pylist()) for marks in (False, True)
    )
    return AnnotationSession(root, annotator, labels, marks)


def _index_annotations(rows: Sequence[Mapping[str, Any]]) -> dict[AnnotationKey, LatestAnnotation]:
    return {
        (row["object_id"], row["who"]): LatestAnnotation(row["human_label"], row["when"], row["note"] or "")
        for row in rows
    }
