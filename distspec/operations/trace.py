"""Provenance of a spectrum: edition, run, models, snapshot of the store, and the archive's file.

Each record contains the SHA-256 checksums of its files and the checksums of the records before it::

    catalog/<run>/<edition>.json   its tables, and run.json
    runs/<run>/run.json            its tables, the record of each model, and the data set
    models/<model>/model.json      its weights and learning curves, and the data set

`distspec.operations.integrity` checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from distspec.catalog.editions import EditionRecord, find_record, open_parquet_dataset
from distspec.catalog.run_record import read_run_record
from distspec.core.arrow import pc
from distspec.core.errors import CatalogError
from distspec.io.paths import catalog_url, join_url, model_url, run_url, store_url
from distspec.models.record import read_model_record
from distspec.models.registry import read_promoted
from distspec.store.store import Store, open_repository, open_store


class ProvenanceEntity:
    """Base of the dataclasses that a `Provenance` holds.

    Attributes
    ----------
    entity_type : str
        What it is: "row", "edition", "run", "model", "snapshot" or "file".
    name : str
        Its name; the first field of each dataclass.
    """

    entity_type: ClassVar[str]

    @property
    def name(self) -> str:
        """Name of the entity."""
        return str(getattr(self, _field_names(self)[0]))

    def attributes(self) -> dict[str, Any]:
        """Return all fields but the name."""
        return {name: getattr(self, name) for name in _field_names(self)[1:]}

    def to_json(self) -> dict[str, Any]:
        """Return the entity as JSON values: entity_type, name, attributes."""
        return {"entity_type": self.entity_type, "name": self.name, "attributes": self.attributes()}


@dataclass(frozen=True)
class RowProvenance(ProvenanceEntity):
    """Row of the table ``objects``; its fields are columns of that table."""

    entity_type = "row"
    object_id: str
    source_id: str
    store_row: int
    class_id: str | None
    cluster_label: int
    anomaly_rank: int
    split: str


@dataclass(frozen=True)
class EditionProvenance(ProvenanceEntity):
    """Edition of the catalog; see `distspec.catalog.editions.EditionRecord`."""

    entity_type = "edition"
    edition: str
    published: str
    inputs: Mapping[str, Any]
    checksum: str
    objects: str
    """File of the table ``objects``."""
    objects_sha256: str


@dataclass(frozen=True)
class RunProvenance(ProvenanceEntity):
    """Run, as its record describes it."""

    entity_type = "run"
    run_id: str
    created: str
    recipe: str
    seed: int
    checksum: str
    dataset_checksum: str
    versions: Mapping[str, str]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class ModelProvenance(ProvenanceEntity):
    """Model, as its record describes it."""

    entity_type = "model"
    model_id: str
    created: str
    weights_sha256: str
    checksum: str
    parent_model_id: str
    snapshot_id: str
    data_digest: str
    seed: int
    metrics: Mapping[str, Any]
    versions: Mapping[str, str]
    vae: Mapping[str, Any]
    training: Mapping[str, Any]
    promotion_reason: str
    """Why it is the promoted model; empty if it is not."""


@dataclass(frozen=True)
class SnapshotProvenance(ProvenanceEntity):
    """Snapshot of the store."""

    entity_type = "snapshot"
    snapshot_id: str
    written: str
    message: str
    n_rows: int
    n_current: int
    grid: Mapping[str, Any]
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True)
class FileProvenance(ProvenanceEntity):
    """File of the archive, and the spectrum read from it."""

    entity_type = "file"
    uri: str
    version: str
    ra: float
    dec: float
    z: float
    norm: float
    checksum: str
    """Checksum of the row's pixels, hexadecimal."""
    ingest_commit: int
    """Number of the commit that added the row."""


@dataclass(frozen=True)
class Provenance:
    """Everything that a row of the catalog was made from.

    Attributes
    ----------
    row, edition, run, snapshot, file
        See the classes of the same names.
    models : tuple of ModelProvenance
        Models whose latents were clustered; the run's own model first.
    """

    row: RowProvenance
    edition: EditionProvenance
    run: RunProvenance
    models: tuple[ModelProvenance, ...]
    snapshot: SnapshotProvenance
    file: FileProvenance

    def entities(self) -> list[ProvenanceEntity]:
        """Return the entities in order, from the row to the file.

        Returns
        -------
        list of ProvenanceEntity
            Entities from the row to the file.
        """
        return [self.row, self.edition, self.run, *self.models, self.snapshot, self.file]


def trace_spectrum(root: str, object_id: str, run_id: str = "") -> Provenance:
    """Return the provenance of a spectrum's row in a catalog.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    object_id : str
        The archive's unique key of the spectrum.
    run_id : str
        A published run, or ``<run_id>/<edition>``; empty: the current edition.

    Returns
    -------
    Provenance

    Raises
    ------
    NotFoundError
        If nothing is published, or a record is missing.
    CatalogError
        If that run is not published, or does not contain the spectrum.
    """
    edition = find_record(root, run_id)
    row = _read_row(root, edition, object_id)
    run = read_run_record(run_url(root, edition.run_id))
    store = open_store(store_url(root), edition.snapshot_id)
    return Provenance(
        row=row,
        edition=EditionProvenance(
            edition=edition.name,
            published=edition.published,
            inputs=edition.inputs,
            checksum=edition.checksum,
            objects=edition.files["objects"],
            objects_sha256=edition.sha256["objects"],
        ),
        run=RunProvenance(**_select_fields(RunProvenance, run.to_json())),
        models=tuple(_read_model(root, name) for name in run.models),
        snapshot=_read_snapshot(store),
        file=_read_file(store, row.store_row),
    )


def _read_row(root: str, edition: EditionRecord, object_id: str) -> RowProvenance:
    objects = open_parquet_dataset(join_url(catalog_url(root), edition.files["objects"]))
    columns = [field.name for field in fields(RowProvenance)]
    rows = objects.to_table(columns, filter=pc.field("object_id") == object_id).to_pylist()
    if not rows:
        raise CatalogError(
            f"{edition.name} holds no spectrum {object_id}: look for it with "
            "`distspec query \"SELECT object_id FROM objects WHERE object_id LIKE '%…%'\"` "
            "or in `distspec quarantine`"
        )
    return RowProvenance(**rows[0])


def _read_model(root: str, model_id: str) -> ModelProvenance:
    record = read_model_record(model_url(root, model_id))
    promoted = read_promoted(root)
    reason = promoted.reason if promoted is not None and promoted.model_id == model_id else ""
    return ModelProvenance(
        **_select_fields(ModelProvenance, {**record.to_json(), "promotion_reason": reason})
    )


def _read_snapshot(store: Store) -> SnapshotProvenance:
    info = next(iter(open_repository(store.url).ancestry(snapshot_id=store.snapshot_id)))
    return SnapshotProvenance(
        snapshot_id=store.snapshot_id,
        written=info.written_at.isoformat(timespec="seconds"),
        message=info.message,
        n_rows=store.n_rows,
        n_current=len(store.current_rows()),
        grid=asdict(store.config.grid),
        preprocessing=dict(store.config.preprocessing),
    )


def _read_file(store: Store, row: int) -> FileProvenance:
    values: dict[str, Any] = {
        field.name: np.asarray(store.open_array(field.name)[row : row + 1]).tolist()[0]
        for field in fields(FileProvenance)
    }
    values["checksum"] = f"{values['checksum']:016x}"
    return FileProvenance(**values)


def _select_fields(entity_class: type[Any], record: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: record[field.name] for field in fields(entity_class)}


def _field_names(entity: Any) -> list[str]:
    return [field.name for field in fields(entity)]
