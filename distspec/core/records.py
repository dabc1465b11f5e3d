"""What a model and a run came from: their names, the code that made them, and records that vouch for both.

A record is sealed: it holds a SHA-256 over everything else that it says. It vouches for files by theirs, and
for the record before it by that one's seal, so a catalogue's record vouches for all that it came from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any


def lists_to_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """Turn JSON's lists back into the tuples that they were.

    Examples
    --------
    >>> tuples({"windows": [[1.0, 2.0]], "slope": -2.0})
    {'windows': ((1.0, 2.0),), 'slope': -2.0}
    """

    def back(value: Any) -> Any:
        return tuple(back(item) for item in value) if isinstance(value, list) else value

    return {name: back(value) for name, value in record.items()}


VERSIONED_PACKAGES = ("distspec", "numpy", "torch", "ray", "zarr", "icechunk", "scikit-learn", "umap-learn")


def compute_fingerprint(*parts: object) -> str:
    """Return 12 hex digits that name what was put in.

    Examples
    --------
    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def utc_now_iso() -> str:
    """Return the time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def collect_versions() -> dict[str, str]:
    """Return the versions of distspec, of its code, and of what its numbers depend on."""
    return {
        "code": hash_source_code(),
        "python": python_version(),
        **{name: version(name) for name in VERSIONED_PACKAGES},
    }


@cache
def hash_source_code() -> str:
    """Return 12 hex digits that name the source that runs, however it was installed."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    return compute_fingerprint([(file.relative_to(package).as_posix(), file.read_text()) for file in files])


def add_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its seal."""
    return {**record, "seal": _compute_checksum(record)}


def has_valid_checksum(record: Mapping[str, Any]) -> bool:
    """Tell whether a record says what it said when it was sealed.

    Examples
    --------
    >>> record = sealed({"model_id": "m-1", "seed": 0})
    >>> is_intact(record), is_intact({**record, "seed": 1})
    (True, False)
    """
    return record.get("seal") == _compute_checksum(
        {name: value for name, value in record.items() if name != "seal"}
    )


def _compute_checksum(record: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(record))  # tuples and numbers as names come back as lists and texts
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
