"""Back to a model that served before: at once, with the last catalogue that was made of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from distspec.catalog.editions import open_record_tables, publish, read_current_record, read_edition_records
from distspec.io.files import read_json, url_exists
from distspec.io.lease import Lease
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.models.model import load_model
from distspec.models.registry import promote, read_promoted
from distspec.store.store import open_store


def roll_back(root: str, model_id: str, user: str, lease: Lease) -> dict[str, Any] | None:
    """Let a model serve, and hold it there; publish the last catalogue of it again.

    It stays until `unpin_model`, whatever the schedule would train. Names of classes that were given since are not
    given again.

    Parameters
    ----------
    root : str
    model_id : str
        Its name.
    user : str
        Who wants it, for the record.
    lease : Lease

    Returns
    -------
    dict or None
        The record of what is current now; None where no catalogue was ever made of it: the next run does.

    Raises
    ------
    FileNotFoundError
        When there is no such model here.
    ValueError
        When its files are damaged, or it is of another grid.
    """
    load_model(model_url(root, model_id)).check_compatible(open_store(store_url(root)))
    promote(root, lease, model_id, f"rolled back by {user}", hold_reason=f"rolled back by {user}")
    found = [record for record in read_edition_records(root) if _read_run_model_id(root, record) == model_id]
    now_current = read_current_record(root)
    if not found or now_current is None:
        return None
    record = found[-1]
    if record["edition"] == now_current["edition"]:
        return record
    given = [open_record_tables(root, each)["class_ids"].to_table() for each in (now_current, record)]
    ids = pa.concat_tables(given).group_by(given[0].column_names, use_threads=False).aggregate([])
    ids = ids.cast(given[0].schema).replace_schema_metadata(given[1].schema.metadata)
    made_with = record["made_with"] | {"again": record["edition"]}
    keep = [name for name in record["files"] if name != "class_ids"]
    tables, of = {"class_ids": ids}, (record["run_id"], record["snapshot_id"])
    return publish(root, tables, *of, made_with, keep, base_record=record, lease=lease)


def unpin_model(root: str, user: str, lease: Lease) -> str:
    """Let the model that serves be followed by another again; return its name.

    Raises
    ------
    FileNotFoundError
        When none serves.
    """
    now = read_promoted(root)
    if now is None:
        raise FileNotFoundError(f"no model serves under {root}: run `python -m jobs.pipeline` first")
    return promote(root, lease, now.model_id, f"let go by {user}").model_id


def _read_run_model_id(root: str, record: dict[str, Any]) -> str:
    url = join_url(run_url(root, record["run_id"]), "run.json")
    return str(read_json(url)["model_id"]) if url_exists(url) else ""
