"""Look at a published catalogue again and again: ``python -m tests.soak.reader ROOT``, until told to end.

Whatever happens to whoever publishes, no look may fail, and none may see tables of two editions.
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
"""Between looks [s]."""
OVER: list[int] = []


def look(root: str) -> str:
    """Look once; return the edition, empty before there is one."""
    record = read_current_record(root)
    if record is None:
        return ""
    tables = open_record_tables(root, record)
    with duckdb.connect() as db:
        for name, table in tables.items():
            db.register(name, table)
        rows, spectra, lost = db.execute(
            "SELECT (SELECT count(*) FROM objects), (SELECT sum(n_spectra) FROM classes), "
            "(SELECT count(*) FROM objects ANTI JOIN classes USING (cluster_label))"
        ).fetchone() or (0, 0, 0)
    said: dict[str, Any] = {name: table.schema.metadata or {} for name, table in tables.items()}
    made_of = {(each.get(b"run_id"), each.get(b"snapshot_id")) for each in said.values()}
    expected = {(record.run_id.encode(), record.snapshot_id.encode())}
    if (rows, spectra, lost) != (record.rows["objects"], rows, 0) or made_of != expected:
        raise AssertionError(
            f"{record.edition}: {rows} rows, {spectra} in classes, {lost} in none, {made_of}"
        )
    return record.edition


def main(root: str) -> None:
    """Look until told to end, and print what came of it."""
    signal.signal(signal.SIGTERM, lambda *_: OVER.append(1))
    looks, failed, seen = 0, list[str](), dict[str, int]()
    while not OVER:
        try:
            edition = look(root)
            looks += 1
            if edition:
                seen[edition] = seen.get(edition, 0) + 1
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}"[:300])
        time.sleep(PAUSE)
    print(json.dumps({"looks": looks, "editions": len(seen), "failed": failed}))


if __name__ == "__main__":
    main(*sys.argv[1:])
