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


def compute_metadata_checksums(columns: Mapping[str, Any]) -> NDArray[np.uint64]:
    """Compute a checksum of each ledger row that does not depend on the machine.

    The checksum is an 8-byte BLAKE2b digest, read as a little-endian integer. The digest covers the numeric
    values in the order and types of `METADATA_COLUMNS`, little-endian, and then the text values in UTF-8,
    separated by NUL characters.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n_rows,)
        All columns of `METADATA_COLUMNS`.

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
    texts = zip(
        *(columns[name].tolist() for name, dtype in METADATA_COLUMNS.items() if dtype == "str"), strict=True
    )
    digests = [
        blake2b(raw[i * size : (i + 1) * size] + "\0".join(text).encode(), digest_size=8).digest()
        for i, text in enumerate(texts)
    ]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
