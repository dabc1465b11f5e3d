"""Compare the output of two versions of distspec for the same input: store, weights, labels and tables.

    python -m tests.helpers.equivalence record ROOT before.json
    python -m tests.helpers.equivalence compare before.json after.json

``record`` writes a SHA-256 of every array of the store, of every tensor of every model and of every column of
the published tables. It reads the files themselves and imports nothing of distspec, so that it works for any
version. ``compare`` lists what differs and exits with status 1 if anything does. Names that a release has
changed are in `RENAMED`; values that name a run, times, and explanations in words are left out.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import pyarrow.parquet as pq
import zarr
from safetensors.numpy import load_file

VOLATILE = frozenset({"seconds", "run_id", "model_id", "created", "published", "time"})
"""Columns that differ between two runs of the same code."""
WITH_PATHS = frozenset({"uri", "quarantine/uri", "ledger_checksum", "quarantine.uri"})
"""Arrays and columns that contain the path of the archive, which may lie below the root."""
REWORDED = frozenset(
    {"quarantine/detail", "quarantine.detail", "anomalies.reason", "bad_pixels.reason", "changes.reason"}
    | {f"{table}.galaxy_type_reason" for table in ("objects", "classes")}
)
"""Explanations in words, whose wording has changed."""
REMOVED = frozenset({"sweep.dbcv", "null_tests.dbcv"})
"""Columns that are no longer published."""
RENAMED: Mapping[str, Mapping[str, str]] = {
    "tables": {"nulls": "null_tests", "latents": "latent_pairs", "artefacts": "bad_pixels"},
    "columns": {
        "kind": "galaxy_type",
        "kind_confidence": "galaxy_type_confidence",
        "kind_why": "galaxy_type_reason",
        "why": "reason",
        "seen": "detail",
        "null": "null_model",
        "n_torn": "n_ambiguous",
        "scale": "fraction",
        "repeat": "member",
        "chosen": "selected",
        "noise_share": "noise_fraction",
        "null_percentile": "null_quantile",
    },
    "store": {
        "batch": "ingest_commit",
        "quarantine/seen": "quarantine/detail",
        "quarantine/batch": "quarantine/ingest_commit",
        "marks/row": "withdrawals/row",
        "marks/withdrawn": "withdrawals/withdrawn",
        "marks/batch": "withdrawals/ingest_commit",
    },
}
"""Old to new names of tables, of their columns and of the store's arrays: see CHANGELOG.md."""


def _digest(values: Any) -> str:
    array = np.asarray(values)
    content = json.dumps(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return hashlib.sha256(f"{array.shape}{array.dtype.kind}".encode() + content).hexdigest()[:16]


def _arrays(group: zarr.Group, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, member in group.members():
        if isinstance(member, zarr.Array):
            yield prefix + name, member[:]
        else:
            # Latents lie in a group that is named after their model.
            yield from _arrays(member, prefix + ("*/" if prefix == "latents/" else f"{name}/"))


def record(root: Path) -> dict[str, dict[str, Any]]:
    """Return digests of the content of a root by kind and name."""
    repository = icechunk.Repository.open(icechunk.local_filesystem_storage(str(root / "store")))
    group = zarr.open_group(repository.readonly_session("main").store, mode="r")
    store = {name: _digest(values) for name, values in _arrays(group) if name not in WITH_PATHS}
    weights = sorted(
        [list(tensor.shape), _digest(tensor)]
        for path in (root / "models").glob("*/weights.safetensors")
        for tensor in load_file(path).values()
    )
    current = json.loads((root / "catalog" / "current.json").read_text())
    tables: dict[str, Any] = {}
    for name, path in current["files"].items():
        table = pq.read_table(root / "catalog" / path)
        for column in table.column_names:
            if column not in VOLATILE and f"{name}.{column}" not in WITH_PATHS:
                tables[f"{name}.{column}"] = _digest(np.array(table[column].to_pylist(), dtype=object))
    return {"store": store, "weights": {"tensors": weights}, "tables": tables}


def _with_new_names(name: str, kind: str) -> str:
    if kind == "store":
        return RENAMED["store"].get(name, name)
    if kind == "tables":
        table, column = name.split(".")
        return f"{RENAMED['tables'].get(table, table)}.{RENAMED['columns'].get(column, column)}"
    return name


def compare(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each array, set of weights or column that differs."""
    problems: list[str] = []
    for kind, old in before.items():
        new, expected = after[kind], {_with_new_names(name, kind): value for name, value in old.items()}
        ignored = REWORDED | REMOVED
        expected = {name: value for name, value in expected.items() if name not in ignored}
        new = {name: value for name, value in new.items() if name not in ignored}
        problems += [f"{kind}: {name} is missing" for name in expected.keys() - new.keys()]
        problems += [f"{kind}: {name} is new" for name in new.keys() - expected.keys()]
        problems += [
            f"{kind}: {name} differs" for name in expected.keys() & new.keys() if expected[name] != new[name]
        ]
    return sorted(problems)


def main() -> None:
    """Run the command line of this module's docstring."""
    if sys.argv[1] == "record":
        Path(sys.argv[3]).write_text(json.dumps(record(Path(sys.argv[2])), indent=1))
        return
    before, after = (json.loads(Path(path).read_text()) for path in sys.argv[2:4])
    problems = compare(before, after)
    print(
        "\n".join(problems) or f"equal: {sum(len(part) for part in before.values())} arrays, columns and sets"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
