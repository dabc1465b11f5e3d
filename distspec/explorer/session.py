"""What somebody says of spectra while exploring: kept at once, taken back one step at a time."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from distspec.io.files import exists, get_json, put_json
from distspec.io.paths import join
from distspec.labels.annotations import MARKS, Said, add, compact, history, labels_url, standing

NAMES = "names.json"
"""Beside the labels: the names that keys give."""
MAX_NAMES = 9


class Word(NamedTuple):
    """The last word of a person on a spectrum."""

    human_label: str
    when: datetime
    note: str = ""


Key = tuple[str, str]
"""An object and who spoke of it."""


@dataclass(frozen=True)
class Step:
    """What one act said of some objects, and what the same person had said before."""

    marks: bool
    before: Mapping[str, Word | None]


@dataclass
class Notebook:
    """One person's notebook, opened on what all have said.

    Attributes
    ----------
    root : str
    who : str
        Who is exploring.
    labels, marks : dict
        Last words on classes, and on whether a spectrum is of interest.
    """

    root: str
    who: str
    labels: dict[Key, Word] = field(default_factory=dict[Key, Word])
    marks: dict[Key, Word] = field(default_factory=dict[Key, Word])
    _steps: list[Step] = field(default_factory=list[Step])
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _spoke: bool = False

    def say(self, objects: Sequence[str], label: str, note: str = "") -> None:
        """Label or mark some objects, in one file.

        Raises
        ------
        ValueError
            When the label is empty or no object is named.
        """
        label = label.strip()
        if not label or not objects:
            raise ValueError("a label needs a name and at least one spectrum")
        marks = label in MARKS
        with self._lock:
            words = self.marks if marks else self.labels
            before = {name: words.get((name, self.who)) for name in objects}
            self._add([Said(name, label, self.who, note) for name in objects])
            self._steps.append(Step(marks, before))

    def undo(self) -> list[str]:
        """Take the last act back; return the objects it was about, none where there is no act left."""
        with self._lock:
            if not self._steps:
                return []
            step = self._steps.pop()
            silent = [name for name, word in step.before.items() if word is None]
            again = {name: word for name, word in step.before.items() if word is not None}
            # An empty label takes back both, label and mark: the other is said again.
            other = self.labels if step.marks else self.marks
            again |= {name: other[name, self.who] for name in silent if (name, self.who) in other}
            self._add([Said(name, "", self.who) for name in silent])
            self._add([Said(name, word.human_label, self.who, word.note) for name, word in again.items()])
            return list(step.before)

    def _add(self, said: Sequence[Said]) -> None:
        if not said:
            return
        # Later than whatever was said before, also where the clock has not moved on.
        words = (*self.labels.values(), *self.marks.values())
        last = max((word.when for word in words), default=datetime.min.replace(tzinfo=UTC))
        when = max(datetime.now(UTC), last + timedelta(microseconds=1))
        add(self.root, said, when)
        self._spoke = True
        for name, label, who, note, _ in said:
            if label:
                (self.marks if label in MARKS else self.labels)[name, who] = Word(label, when, note)
            else:
                self.labels.pop((name, who), None)
                self.marks.pop((name, who), None)

    def of(self, object_id: str) -> list[dict[str, str]]:
        """Return all last words on an object: who, human_label, when, note."""
        return [
            {
                "who": who,
                "human_label": word.human_label,
                "when": f"{word.when:%Y-%m-%d %H:%M} UTC",
                "note": word.note,
            }
            for words in (self.labels, self.marks)
            for (name, who), word in words.items()
            if name == object_id
        ]

    def standing(self, marks: bool) -> dict[str, str]:
        """Return one label (or mark) an object: mine, else the last of anybody's."""
        words = self.marks if marks else self.labels
        order = sorted(words.items(), key=lambda item: (item[0][1] == self.who, item[1].when))
        return {name: word.human_label for (name, _), word in order}

    def names(self) -> list[str] | None:
        """Return the names that keys give, None where nobody has listed any."""
        url = join(labels_url(self.root), NAMES)
        return [str(name) for name in get_json(url)["names"]] if exists(url) else None

    def rename(self, names: Sequence[str]) -> list[str]:
        """Keep another list of names; return it without blanks and repeats.

        Raises
        ------
        ValueError
            When there are more than keys, or one of them is a mark.
        """
        kept = list(dict.fromkeys(name.strip() for name in names if name.strip()))
        if len(kept) > MAX_NAMES or set(kept) & set(MARKS):
            raise ValueError(f"at most {MAX_NAMES} names, none of them {' or '.join(MARKS)}")
        put_json(join(labels_url(self.root), NAMES), {"names": kept})
        return kept

    def close(self) -> None:
        """Compact what was said, if anything was."""
        if self._spoke:
            compact(self.root)


def open_notebook(root: str, who: str) -> Notebook:
    """Open what has been said of a root's spectra, to say more as `who`."""
    said = history(root)
    labels, marks = (_words(standing(said, marks).to_pylist()) for marks in (False, True))
    return Notebook(root, who, labels, marks)


def _words(rows: Sequence[Mapping[str, Any]]) -> dict[Key, Word]:
    return {
        (row["object_id"], row["who"]): Word(row["human_label"], row["when"], row["note"] or "")
        for row in rows
    }
