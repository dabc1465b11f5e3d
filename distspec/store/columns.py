"""Columns of the store's ledger and of its two logs, and the checksum of a ledger row."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

METADATA_COLUMNS: Mapping[str, str] = {
    "object_id": "str",
    "source_id": "str",
    "version": "str",
    "uri": "str",
    "root": "str",
    "srcid": "str",
    "grating": "str",
    "filter": "str",
    "grade": "int8",
    "ra": "float64",
    "dec": "float64",
    "z": "float64",
    "norm": "float64",
    "norm_err": "float64",
    "norm_snr": "float32",
    "slope": "float64",
    "norm_window": "int8",
    "snr": "float32",
    "n_valid": "int32",
    "checksum": "uint64",
    "ingest_commit": "int32",
}
"""Data type of each ledger column; one value for each row.

Units are those of `distspec.core.spectrum.SpectrumBatch`, positions are in degrees (ICRS); ``checksum`` is of
the row's flux and ivar, and ``ingest_commit`` is the number of the ingest commit that appended the row.
"""
OBSERVATION_GROUP = "observation"
"""Group of the columns that say which observation and reduction a row comes from: texts, "" if unknown.

Their names depend on the archive. A store has those with which rows were appended to it; a store that was
made before distspec read them has none.
"""
REDSHIFT_SOURCE = "z_source"
"""Column of `OBSERVATION_GROUP` that is "model" where the redshift is the model's, "" where the archive's."""
QUARANTINE_COLUMNS: Mapping[str, str] = {
    "object_id": "str",
    "version": "str",
    "uri": "str",
    "reason": "str",
    "detail": "str",
    "ingest_commit": "int32",
}
"""Data type of each column of the quarantine log; an entry with an empty reason releases the object."""
WITHDRAWAL_COLUMNS: Mapping[str, str] = {"row": "int64", "withdrawn": "bool", "ingest_commit": "int32"}
"""Data type of each column of the withdrawal log; the last entry for a row is the one that counts."""

NO_OBSERVATION: Mapping[str, Any] = {}
"""For rows of which nothing is known about the observation."""


def compute_metadata_checksums(
    columns: Mapping[str, Any], observation: Mapping[str, Any] = NO_OBSERVATION
) -> NDArray[np.uint64]:
    """Compute a checksum of each ledger row that does not depend on the machine.

    The checksum is an 8-byte BLAKE2b digest, read as a little-endian integer. The digest covers the numeric
    values in the order and types of `METADATA_COLUMNS`, little-endian, and then the text values in UTF-8,
    separated by NUL characters. Names and values of the observation follow in the order of the names, without
    those that are unknown, so that a row has the same checksum in a store without these columns.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n_rows,)
        All columns of `METADATA_COLUMNS`.
    observation : mapping of str to ndarray of shape (n_rows,), optional
        Columns of `OBSERVATION_GROUP`, by name without the group.

    Returns
    -------
    ndarray of shape (n_rows,)
        Checksums, uint64.
    """
    numbers = [
        (name, np.dtype(dtype).newbyteorder("<"))
        for name, dtype in METADATA_COLUMNS.items()
        if dtype != "str"
    ]
    packed = np.empty(len(columns["object_id"]), numbers)
    for name, _ in numbers:
        packed[name] = columns[name]
    raw, size = packed.tobytes(), packed.itemsize
    known = [(name, observation[name].tolist()) for name in sorted(observation)]
    texts = [columns[name].tolist() for name, dtype in METADATA_COLUMNS.items() if dtype == "str"]

    def digest(i: int) -> bytes:
        text = [values[i] for values in texts]
        text += [f"{name}={values[i]}" for name, values in known if values[i]]
        return blake2b(raw[i * size : (i + 1) * size] + "\0".join(text).encode(), digest_size=8).digest()

    return np.frombuffer(b"".join(map(digest, range(len(packed)))), "<u8").astype(np.uint64)
