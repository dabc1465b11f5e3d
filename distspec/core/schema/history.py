"""Units and descriptions of the learning curves of a model."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

HISTORY_COLUMNS: Mapping[str, tuple[str, str]] = {
    "epoch": ("", "Number of the epoch, starting at 0."),
    "lr": ("", "Learning rate at the end of the epoch."),
    "seconds": ("s", "Duration of the epoch."),
}
"""Unit and description of the columns that are not terms of the loss."""
_SPLITS = {"train": "training", "val": "validation"}


def add_history_metadata(history: pa.Table) -> pa.Table:
    """Add units and descriptions to the learning curves of a model.

    Parameters
    ----------
    history : Table
        One row per epoch; terms of the loss are named ``train_<term>`` and ``val_<term>``.

    Returns
    -------
    Table
        The same table with ``unit`` and ``description`` in the metadata of its fields.

    Examples
    --------
    >>> table = add_history_metadata(pa.table({"epoch": [0], "val_recon": [3.5], "seconds": [1.0]}))
    >>> [field.metadata[b"description"].decode() for field in table.schema][1:]
    ['Loss term recon, mean per spectrum of the validation set.', 'Duration of the epoch.']
    """
    fields: list[pa.Field] = []
    for field in history.schema:
        prefix, _, term = field.name.partition("_")
        is_loss = bool(term) and prefix in _SPLITS
        loss = f"Loss term {term}, mean per spectrum of the {_SPLITS.get(prefix)} set."
        unit, description = HISTORY_COLUMNS.get(field.name, ("", loss if is_loss else field.name))
        fields.append(field.with_metadata({"unit": unit, "description": description}))
    return history.cast(pa.schema(fields))
