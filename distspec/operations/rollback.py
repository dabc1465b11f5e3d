"""Back to a model that served before: at once, with the last catalogue that was made of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from distspec.catalog.editions import current, editions, publish, tables_of
from distspec.io.files import exists, get_json
from distspec.io.lease import Lease
from distspec.io.paths import join, model_url, run_url, store_url
from distspec.models.model import load_model
from distspec.models.registry import champion, crown
from distspec.store.store import open_store


def roll_back(root: str, model: str, who: str, lease: Lease) -> dict[str, Any] | None:
    """Let a model serve, and hold it there; publish the last catalogue of it again.

    It stays until `let_go`, whatever the schedule would train. Names of classes that were given since are not
    given again.

    Parameters
    ----------
    root : str
    model : str
        Its name.
    who : str
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
    load_model(model_url(root, model)).check_fits(open_store(store_url(root)))
    crown(root, lease, model, f"rolled back by {who}", held=f"rolled back by {who}")
    found = [record for record in editions(root) if _model_of(root, record) == model]
    now_current = current(root)
    if not found or now_current is None:
        return None
    record = found[-1]
    if record["edition"] == now_current["edition"]:
        return record
    given = [tables_of(root, each)["class_ids"].to_table() for each in (now_current, record)]
    ids = pa.concat_tables(given).group_by(given[0].column_names, use_threads=False).aggregate([])
    ids = ids.cast(given[0].schema).replace_schema_metadata(given[1].schema.metadata)
    made_with = record["made_with"] | {"again": record["edition"]}
    keep = [name for name in record["files"] if name != "class_ids"]
    tables, of = {"class_ids": ids}, (record["run_id"], record["snapshot_id"])
    return publish(root, tables, *of, made_with, keep, base=record, lease=lease)


def let_go(root: str, who: str, lease: Lease) -> str:
    """Let the model that serves be followed by another again; return its name.

    Raises
    ------
    FileNotFoundError
        When none serves.
    """
    now = champion(root)
    if now is None:
        raise FileNotFoundError(f"no model serves under {root}: run `python -m jobs.pipeline` first")
    return crown(root, lease, now.model_id, f"let go by {who}").model_id


def _model_of(root: str, record: dict[str, Any]) -> str:
    url = join(run_url(root, record["run_id"]), "run.json")
    return str(get_json(url)["model_id"]) if exists(url) else ""
