"""What is kept of every row, of what could not be used, and of what the archive withdrew."""

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
    "batch": "int32",
}
"""Columns of the ledger, a value a row; units as in `SpectrumBatch` and degrees; batch: which commit."""
QUARANTINE_COLUMNS: Mapping[str, str] = {
    "object_id": "str",
    "version": "str",
    "uri": "str",
    "reason": "str",
    "detail": "str",
    "batch": "int32",
}
"""Columns of the quarantine's log; an empty reason settles what was said of the object before."""
WITHDRAWAL_COLUMNS: Mapping[str, str] = {"row": "int64", "withdrawn": "bool", "batch": "int32"}
"""Columns of the log of marks; of several on a row the last one counts."""


def compute_metadata_checksums(columns: Mapping[str, Any]) -> NDArray[np.uint64]:
    """Return a checksum a row of the ledger, that any machine gives for the same values.

    BLAKE2b of 8 bytes, read little-endian, over the row's numbers, little-endian in `METADATA_COLUMNS`'s order and
    types, then its texts in UTF-8 with a NUL between them.

    Parameters
    ----------
    columns : mapping
        (n,) each, all of `METADATA_COLUMNS`.

    Returns
    -------
    (n,) uint64
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
