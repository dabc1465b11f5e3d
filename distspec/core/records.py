"""Provenance records of models and runs: identifiers, versions, JSON conversion and checksums.

A record holds a SHA-256 checksum over its own content, the checksums of its files, and the checksum of the
record before it. The record of a catalog therefore fixes everything that the catalog was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from types import UnionType
from typing import Any, ClassVar, Self, Union, cast, get_args, get_origin, get_type_hints

from distspec.core.errors import StoreError

CHECKSUM_KEY = "checksum"
"""Key under which a record holds its own checksum."""
VERSIONED_PACKAGES = ("distspec", "numpy", "torch", "ray", "zarr", "icechunk", "scikit-learn", "umap-learn")
"""Packages whose versions are recorded with every model and run."""


class JsonRecord:
    """Base of the frozen dataclasses that are kept as JSON records.

    Fields may be JSON values, enumerations, tuples, mappings with text keys, other records, and unions of one
    of these with None, or of text with a tuple.

    Attributes
    ----------
    record_name : str
        What the record is called in error messages.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Window(JsonRecord):
    ...     record_name = "window"
    ...     limits: tuple[float, float]
    ...     unit: str = "Angstrom"
    >>> Window((1.0, 2.0)).to_json()
    {'limits': [1.0, 2.0], 'unit': 'Angstrom'}
    >>> Window.from_json({"limits": [1.0, 2.0], "a_later_key": 0})
    Window(limits=(1.0, 2.0), unit='Angstrom')
    """

    record_name: ClassVar[str] = "record"

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return encode_value(asdict(cast(Any, self)))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Build the record from JSON values.

        Parameters
        ----------
        record : mapping
            Keys are the names of the fields; other keys are ignored.

        Raises
        ------
        StoreError
            If a field without a default value is missing: another version of distspec wrote the record.
        """
        return cast(Self, _decode_record(cls, record, cls.record_name))


def _decode_record(record_type: Any, record: Mapping[str, Any], record_name: str) -> Any:
    hints = _get_hints(record_type)
    known = [field for field in fields(record_type) if field.init]
    missing = [
        field.name
        for field in known
        if field.name not in record and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise StoreError(
            f"{record_name}: no {', '.join(missing)}: another version of distspec wrote this root; "
            "use a new --root"
        )
    return record_type(
        **{
            field.name: decode_value(hints[field.name], record[field.name])
            for field in known
            if field.name in record
        }
    )


def decode_value(hint: Any, value: Any) -> Any:
    """Convert a JSON value to the type of a dataclass field.

    Parameters
    ----------
    hint : type
        Resolved type hint of the field.
    value : object
        Value from JSON.

    Returns
    -------
    object
        Lists become tuples where the hint says so; objects become records; other values are unchanged.
    """
    if value is None or hint is Any:
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        variable = len(arguments) == 2 and arguments[1] is Ellipsis
        hints = (arguments[0],) * len(value) if variable else arguments
        return tuple(decode_value(item_hint, item) for item_hint, item in zip(hints, value, strict=True))
    if origin in (list, set, frozenset):
        return origin(decode_value(arguments[0], item) for item in value)
    if (
        isinstance(value, Mapping)
        and len(arguments) == 2
        and isinstance(origin, type)
        and issubclass(origin, Mapping)
    ):
        return {key: decode_value(arguments[1], item) for key, item in cast(Mapping[str, Any], value).items()}
    if is_dataclass(hint) and isinstance(value, Mapping):
        name = getattr(hint, "record_name", cast(type, hint).__name__)
        return _decode_record(hint, cast(Mapping[str, Any], value), name)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    alternatives = [alternative for alternative in arguments if alternative is not type(None)]
    if origin is not None and len(alternatives) == 1 and type(None) in arguments:
        return decode_value(alternatives[0], value)
    if origin in (Union, UnionType) and isinstance(value, list):
        sequence = next((one for one in alternatives if get_origin(one) in (tuple, list)), Any)
        return decode_value(sequence, value)
    return value


def encode_value(value: Any) -> Any:
    """Return a value as JSON has it: tuples as lists, enumerations as their values.

    Parameters
    ----------
    value : object
        Value of a record's field.

    Returns
    -------
    object
        Value that `json.dumps` accepts.
    """
    if isinstance(value, Mapping):
        return {str(key): encode_value(item) for key, item in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [encode_value(item) for item in cast(list[Any], value)]
    return value.value if isinstance(value, Enum) else value


@cache
def _get_hints(record_type: Any) -> dict[str, Any]:
    return get_type_hints(record_type)


def lists_to_tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its lists, which were tuples before they became JSON, as tuples.

    Parameters
    ----------
    record : mapping of str to JSON value
        Values whose lists, at any depth, were tuples.

    Examples
    --------
    >>> lists_to_tuples({"windows": [[1.0, 2.0]], "slope": -2.0})
    {'windows': ((1.0, 2.0),), 'slope': -2.0}
    """

    def convert(value: Any) -> Any:
        return tuple(convert(item) for item in cast(list[Any], value)) if isinstance(value, list) else value

    return {name: convert(value) for name, value in record.items()}


def compute_fingerprint(*parts: object) -> str:
    """Return the first 12 hexadecimal digits of a SHA-256 over JSON values, whatever the order of their keys.

    Parameters
    ----------
    *parts : JSON value
        Values to identify; their order counts. Other objects are represented by their text (`str`).

    Examples
    --------
    >>> compute_fingerprint({"a": 1, "b": 2}) == compute_fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def utc_now_iso() -> str:
    """Return the current time (UTC, ISO 8601, to the second)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def collect_versions() -> dict[str, str]:
    """Return the versions of the source code, of Python and of `VERSIONED_PACKAGES`."""
    return {
        "code": hash_source_code(),
        "python": python_version(),
        **{name: version(name) for name in VERSIONED_PACKAGES},
    }


@cache
def hash_source_code() -> str:
    """Return the fingerprint of the source files of distspec, however it was installed."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    return compute_fingerprint([(file.relative_to(package).as_posix(), file.read_text()) for file in files])


def add_checksum(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its checksum under `CHECKSUM_KEY`.

    Parameters
    ----------
    record : mapping of str to Any
        Content of a record.

    Returns
    -------
    dict of str to object
        The content with its checksum.
    """
    return {**record, CHECKSUM_KEY: _compute_checksum(record)}


def has_valid_checksum(record: Mapping[str, Any]) -> bool:
    """Return whether a record still has the content that its checksum was computed from.

    Parameters
    ----------
    record : mapping of str to Any
        Content of a record.

    Returns
    -------
    bool

    Examples
    --------
    >>> record = add_checksum({"model_id": "m-1", "seed": 0})
    >>> has_valid_checksum(record), has_valid_checksum({**record, "seed": 1})
    (True, False)
    """
    content = {name: value for name, value in record.items() if name != CHECKSUM_KEY}
    return record.get(CHECKSUM_KEY) == _compute_checksum(content)


def _compute_checksum(record: Mapping[str, Any]) -> str:
    as_read = json.loads(json.dumps(record))  # a record that is read back has lists and text keys
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
