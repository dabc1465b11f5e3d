"""Read a published catalog repeatedly, until SIGTERM: ``python -m tests.soak.reader ROOT``.

No read may fail, whatever happens to the jobs that publish, and none may get tables of different editions.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import duckdb

from distspec.catalog.editions import open_record_tables, read_current_record

PAUSE = 0.5
"""Time between reads [s]."""
CONSISTENCY_QUERY = (
    "SELECT (SELECT count(*) FROM objects), (SELECT sum(n_spectra) FROM classes), "
    "(SELECT count(*) FROM objects ANTI JOIN classes USING (cluster_label))"
)


def read_edition(root: str) -> str:
    """Check the current edition for consistency, and return its name; empty before there is one."""
    record = read_current_record(root)
    if record is None:
        return ""
    tables = open_record_tables(root, record)
    with duckdb.connect() as db:
        for name, table in tables.items():
            db.register(name, table)
        n_objects, n_in_classes, n_without_class = db.execute(CONSISTENCY_QUERY).fetchone() or (0, 0, 0)
    metadata: dict[str, Any] = {name: table.schema.metadata or {} for name, table in tables.items()}
    origins = {(values.get(b"run_id"), values.get(b"snapshot_id")) for values in metadata.values()}
    expected = {(record.run_id.encode(), record.snapshot_id.encode())}
    counts = (n_objects, n_in_classes, n_without_class)
    if counts != (record.rows["objects"], n_objects, 0) or origins != expected:
        raise AssertionError(
            f"{record.edition}: {n_objects} objects, {n_in_classes} in classes, {n_without_class} without a "
            f"class, {origins}"
        )
    return record.edition


def main(root: str) -> None:
    """Read until SIGTERM, and print the counts of reads, editions and failures as JSON."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    n_reads, failures, editions = 0, list[str](), set[str]()
    while not stopped:
        try:
            edition = read_edition(root)
            n_reads += 1
            if edition:
                editions.add(edition)
        except Exception as error:
            failures.append(f"{type(error).__name__}: {error}"[:300])
        time.sleep(PAUSE)
    print(json.dumps({"n_reads": n_reads, "n_editions": len(editions), "failures": failures}))


if __name__ == "__main__":
    main(*sys.argv[1:])
