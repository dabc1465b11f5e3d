"""Annotations made in the explorer: saved at once, with undo."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from distspec.core.errors import LabelError
from distspec.explorer.payloads import AnnotationPayload
from distspec.io.files import read_json, url_exists, write_json
from distspec.io.paths import join_url
from distspec.labels.annotations import (
    INTEREST_LABELS,
    Annotation,
    add_annotations,
    annotations_url,
    compact_annotations,
    current_annotations,
    normalize_label,
    read_annotations,
)

LABEL_NAMES_FILE = "names.json"
"""File with the labels of the number keys, in the folder of the annotations."""
MAX_LABEL_NAMES = 9
"""Largest number of labels that number keys give."""


@dataclass(frozen=True)
class LatestAnnotation:
    """Latest label or mark of one annotator for a spectrum.

    Attributes
    ----------
    human_label : str
        Label or mark.
    timestamp : datetime
        Time of the annotation.
    note : str
        Comment of the annotator.
    """

    human_label: str
    timestamp: datetime
    note: str = ""


AnnotationKey = tuple[str, str]
"""Identifier of a spectrum and name of an annotator."""


@dataclass(frozen=True)
class UndoStep:
    """An action of the annotator and what it replaced.

    Attributes
    ----------
    is_mark : bool
        Whether the action gave a mark rather than a label.
    previous : mapping of str to LatestAnnotation or None
        Previous label or mark of the same annotator, by spectrum.
    """

    is_mark: bool
    previous: Mapping[str, LatestAnnotation | None]


@dataclass
class AnnotationSession:
    """Session of one annotator.

    Attributes
    ----------
    root : str
        Root URL.
    annotator : str
        Name in which annotations are saved.
    labels, marks : dict
        Latest labels and marks of all annotators, by spectrum and annotator.
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
        """Save a label or mark for some spectra.

        Parameters
        ----------
        object_ids : sequence of str
            Identifiers of the spectra.
        label : str
            Label, or one of `INTEREST_LABELS` for a mark.
        note : str
            Comment.

        Raises
        ------
        LabelError
            If the label is invalid (see `distspec.labels.annotations.normalize_label`), or the label or the
            list of spectra is empty.
        """
        label = normalize_label(label, self._labels_in_use())
        if not label or not object_ids:
            raise LabelError("a label needs a name and at least one spectrum")
        is_mark = label in INTEREST_LABELS
        with self._lock:
            latest = self.marks if is_mark else self.labels
            previous = {object_id: latest.get((object_id, self.annotator)) for object_id in object_ids}
            self._append([Annotation(object_id, label, self.annotator, note) for object_id in object_ids])
            self._undo_stack.append(UndoStep(is_mark, previous))

    def undo(self) -> list[str]:
        """Undo the last action; return the identifiers of its spectra, empty if there is no action left.

        Returns
        -------
        list of str
            Identifiers of the spectra of the undone action.
        """
        with self._lock:
            if not self._undo_stack:
                return []
            step = self._undo_stack.pop()
            removed = [object_id for object_id, annotation in step.previous.items() if annotation is None]
            restored = {
                object_id: annotation
                for object_id, annotation in step.previous.items()
                if annotation is not None
            }
            # An empty label withdraws both label and mark, so the other one has to be saved again.
            other = self.labels if step.is_mark else self.marks
            restored |= {
                object_id: other[object_id, self.annotator]
                for object_id in removed
                if (object_id, self.annotator) in other
            }
            self._append([Annotation(object_id, "", self.annotator) for object_id in removed])
            self._append(
                [
                    Annotation(object_id, annotation.human_label, self.annotator, annotation.note)
                    for object_id, annotation in restored.items()
                ]
            )
            return list(step.previous)

    def _append(self, annotations: Sequence[Annotation]) -> None:
        """Save annotations and apply them to `labels` and `marks`."""
        if not annotations:
            return
        # The time must exceed that of all earlier annotations, even if the clock has not advanced.
        earlier = (*self.labels.values(), *self.marks.values())
        last = max((annotation.timestamp for annotation in earlier), default=datetime.min.replace(tzinfo=UTC))
        when = max(datetime.now(UTC), last + timedelta(microseconds=1))
        checked = {annotation.human_label for annotation in annotations}  # by `record`, or restored by `undo`
        add_annotations(self.root, annotations, when, existing=checked)
        self._modified = True
        for annotation in annotations:
            key, label = (annotation.object_id, annotation.who), annotation.human_label
            if label:
                latest = self.marks if label in INTEREST_LABELS else self.labels
                latest[key] = LatestAnnotation(label, when, annotation.note)
            else:
                self.labels.pop(key, None)
                self.marks.pop(key, None)

    def list_annotations(self, object_id: str) -> list[AnnotationPayload]:
        """Return the latest labels and marks of all annotators for a spectrum.

        Parameters
        ----------
        object_id : str
            Identifier of the spectrum.

        Returns
        -------
        list of AnnotationPayload
            Labels and marks that are not superseded.
        """
        return [
            AnnotationPayload(
                annotator,
                annotation.human_label,
                f"{annotation.timestamp:%Y-%m-%d %H:%M} UTC",
                annotation.note,
            )
            for latest in (self.labels, self.marks)
            for (name, annotator), annotation in latest.items()
            if name == object_id
        ]

    def current_labels(self, as_marks: bool) -> dict[str, str]:
        """Return one label (or mark) per spectrum: the annotator's own, otherwise the latest of anyone.

        Parameters
        ----------
        as_marks : bool
            Whether to return the marks "interesting" and "ordinary" instead of labels.

        Returns
        -------
        dict of str to str
            Label or mark by object identifier.
        """
        return {
            object_id: annotation.human_label
            for object_id, annotation in self.current_annotations(as_marks).items()
        }

    def current_annotations(self, as_marks: bool) -> dict[str, Annotation]:
        """Return the annotations of `current_labels`.

        Parameters
        ----------
        as_marks : bool
            Whether to return the marks "interesting" and "ordinary" instead of labels.

        Returns
        -------
        dict of str to Annotation
            Label or mark, its annotator, note and time, by object identifier.
        """
        latest = self.marks if as_marks else self.labels
        order = sorted(latest.items(), key=lambda item: (item[0][1] == self.annotator, item[1].timestamp))
        return {
            object_id: Annotation(
                object_id, annotation.human_label, annotator, annotation.note, annotation.timestamp
            )
            for (object_id, annotator), annotation in order
        }

    def _labels_in_use(self) -> set[str]:
        return {annotation.human_label for annotation in self.labels.values()}

    def read_label_names(self) -> list[str] | None:
        """Return the labels of the number keys; None if none have been set.

        Returns
        -------
        list of str or None
            Labels in the order of the keys.
        """
        url = join_url(annotations_url(self.root), LABEL_NAMES_FILE)
        return [str(name) for name in read_json(url)["names"]] if url_exists(url) else None

    def write_label_names(self, names: Sequence[str]) -> list[str]:
        """Set the labels of the number keys.

        Parameters
        ----------
        names : sequence of str
            Labels; empty and repeated ones are dropped.

        Returns
        -------
        list of str
            The labels that were saved.

        Raises
        ------
        LabelError
            If there are more than `MAX_LABEL_NAMES`, or one of them is a mark or invalid.
        """
        spellings, kept = self._labels_in_use(), list[str]()
        for name in names:
            normalized = normalize_label(name, (*spellings, *kept)) if name.strip() else ""
            if normalized and normalized not in kept:
                kept.append(normalized)
        if len(kept) > MAX_LABEL_NAMES or set(kept) & set(INTEREST_LABELS):
            raise LabelError(f"at most {MAX_LABEL_NAMES} names, none of them {' or '.join(INTEREST_LABELS)}")
        write_json(join_url(annotations_url(self.root), LABEL_NAMES_FILE), {"names": kept})
        return kept

    def close(self) -> None:
        """Compact the annotation files if this session has saved any."""
        if self._modified:
            compact_annotations(self.root)


def open_annotation_session(root: str, annotator: str) -> AnnotationSession:
    """Open a session on the annotations of a root.

    Parameters
    ----------
    root : str
        Root URL.
    annotator : str
        Name in which annotations are saved.

    Returns
    -------
    AnnotationSession
    """
    annotations = read_annotations(root)
    labels, marks = (
        _index_annotations(current_annotations(annotations, as_marks).to_pylist())
        for as_marks in (False, True)
    )
    return AnnotationSession(root, annotator, labels, marks)


def _index_annotations(rows: Sequence[Mapping[str, Any]]) -> dict[AnnotationKey, LatestAnnotation]:
    return {
        (row["object_id"], row["who"]): LatestAnnotation(row["human_label"], row["when"], row["note"] or "")
        for row in rows
    }
