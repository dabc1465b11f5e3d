"""Rollback to a model that was promoted before, with its last catalog; pinning and unpinning a model."""

from __future__ import annotations

import pyarrow as pa

from distspec.catalog.editions import (
    EditionRecord,
    open_record_tables,
    publish,
    read_current_record,
    read_edition_records,
)
from distspec.catalog.run_record import has_run, read_run_record
from distspec.core.errors import NotFoundError
from distspec.io.lease import Lease
from distspec.io.paths import model_url, run_url, store_url
from distspec.models.model import load_model
from distspec.models.registry import promote, read_promoted
from distspec.store.store import open_store


def roll_back(root: str, model_id: str, user: str, lease: Lease) -> EditionRecord | None:
    """Promote a model and pin it, and publish its last catalog again.

    The model stays promoted until `unpin_model`, even if scheduled runs would train another. Ids that
    classes were given since are not used for other classes.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    model_id : str
        Id of the model.
    user : str
        Who asks for the rollback, for the record.
    lease : Lease
        Lease of the root.

    Returns
    -------
    EditionRecord or None
        Record of the current edition; None if no catalog was ever made with this model.

    Raises
    ------
    NotFoundError
        If there is no such model.
    ModelError
        If the model's files are damaged, or it was trained on another grid.
    """
    load_model(model_url(root, model_id)).check_compatible(open_store(store_url(root)))
    reason = f"rolled back by {user}"
    promote(root, lease, model_id, reason, pin_reason=reason)
    editions = [record for record in read_edition_records(root) if _run_model_id(root, record) == model_id]
    current = read_current_record(root)
    if not editions or current is None:
        return None
    last = editions[-1]
    return last if last.edition == current.edition else _publish_again(root, last, current, lease)


def _publish_again(root: str, record: EditionRecord, current: EditionRecord, lease: Lease) -> EditionRecord:
    """Publish an earlier edition anew, with the class ids of both editions."""
    tables = [open_record_tables(root, edition)["class_ids"].to_table() for edition in (current, record)]
    names = tables[0].column_names
    class_ids = pa.concat_tables(tables).group_by(names, use_threads=False).aggregate([])
    class_ids = class_ids.cast(tables[0].schema).replace_schema_metadata(tables[1].schema.metadata)
    return publish(
        root,
        {"class_ids": class_ids},
        record.run_id,
        record.snapshot_id,
        {**record.inputs, "republished": record.edition},
        [name for name in record.files if name != "class_ids"],
        base_record=record,
        lease=lease,
    )


def unpin_model(root: str, user: str, lease: Lease) -> str:
    """Allow scheduled runs to replace the promoted model again.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    user : str
        Who asks for it, for the record.
    lease : Lease
        Lease of the root.

    Returns
    -------
    str
        Id of the promoted model.

    Raises
    ------
    NotFoundError
        If no model is promoted.
    """
    promoted = read_promoted(root)
    if promoted is None:
        raise NotFoundError(
            f"no model is promoted under {root}: run `distspec run RECIPE --root {root}` first"
        )
    return promote(root, lease, promoted.model_id, f"unpinned by {user}").model_id


def _run_model_id(root: str, record: EditionRecord) -> str:
    url = run_url(root, record.run_id)
    return read_run_record(url).model_id if has_run(url) else ""
