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
    """The archive's unique key of the spectrum."""
    source_id: str
    """Identifier of the source; repeated observations of a source share it."""
    store_row: int
    """Row of the spectrum in the store; it never changes."""
    class_id: str | None
    """Identifier of the class, which persists from run to run; None for noise."""
    cluster_label: int
    """Class in this run, numbered by size from 0 for the largest; -1 for noise."""
    anomaly_rank: int
    """Rank by anomaly score within the run; 1 is the most anomalous."""
    split: str
    """Set of the spectrum in training: train or validation; none if the model has not seen it."""


@dataclass(frozen=True)
class EditionProvenance(ProvenanceEntity):
    """Edition of the catalog; see `distspec.catalog.editions.EditionRecord`."""

    entity_type = "edition"
    edition: str
    """Name of the edition, ``<run_id>/<fingerprint of its inputs>``."""
    published: str
    """Time of publication (UTC, ISO 8601)."""
    inputs: Mapping[str, Any]
    """Settings and checksums that the tables depend on, as JSON values."""
    checksum: str
    """SHA-256 of the edition's record without this field."""
    objects: str
    """File of the table ``objects``."""
    objects_sha256: str
    """SHA-256 of that file."""


@dataclass(frozen=True)
class RunProvenance(ProvenanceEntity):
    """Run, as its record describes it."""

    entity_type = "run"
    run_id: str
    """Identifier, a fingerprint of model, data, settings and seed."""
    created: str
    """Time at which the run was completed (UTC, ISO 8601)."""
    recipe: str
    """Name of the recipe."""
    seed: int
    """Seed of the run."""
    checksum: str
    """SHA-256 of the run's record without this field."""
    dataset_checksum: str
    """Checksum of the current rows of the store."""
    versions: Mapping[str, str]
    """Versions of the code and of the packages that the run's numbers depend on."""
    config: Mapping[str, Any]
    """All settings, as JSON values."""


@dataclass(frozen=True)
class ModelProvenance(ProvenanceEntity):
    """Model, as its record describes it."""

    entity_type = "model"
    model_id: str
    """Name of the model."""
    created: str
    """Time at which the training started (UTC, ISO 8601)."""
    weights_sha256: str
    """SHA-256 of the file of weights."""
    checksum: str
    """SHA-256 of the other fields of the model's record."""
    parent_model_id: str
    """Model whose weights the training started from; empty if it started from new weights."""
    snapshot_id: str
    """Snapshot of the store that the model was trained on."""
    dataset_checksum: str
    """Checksum of the spectra in that snapshot."""
    seed: int
    """Seed of the training."""
    metrics: Mapping[str, Any]
    """Result of the training, as the fields of `distspec.models.record.TrainingMetrics`."""
    versions: Mapping[str, str]
    """Versions of the software by package."""
    vae: Mapping[str, Any]
    """Architecture and objective, as the fields of `distspec.models.config.VAEConfig`."""
    training: Mapping[str, Any]
    """Settings of the training, as the fields of `distspec.training.config.TrainingConfig`."""
    promotion_reason: str
    """Why it is the promoted model; empty if it is not."""


@dataclass(frozen=True)
class SnapshotProvenance(ProvenanceEntity):
    """Snapshot of the store."""

    entity_type = "snapshot"
    snapshot_id: str
    """Identifier of the snapshot."""
    written: str
    """Time at which it was committed (ISO 8601, with the offset from UTC)."""
    message: str
    """Message of the commit."""
    n_rows: int
    """Number of rows in the store."""
    n_current: int
    """Number of these rows that are neither superseded by a newer version nor withdrawn."""
    grid: Mapping[str, Any]
    """Wavelength grid, as the fields of `distspec.core.spectrum.WavelengthGrid`."""
    preprocessing: Mapping[str, Any]
    """Preprocessing settings that the user requested, by section ("grid", "norm") and name."""


@dataclass(frozen=True)
class FileProvenance(ProvenanceEntity):
    """File of the archive, and the spectrum read from it."""

    entity_type = "file"
    uri: str
    """URL of the file; a fragment selects one of its spectra."""
    version: str
    """Version of the spectrum and of its redshift in the archive."""
    ra: float
    """Right ascension of the spectrum [deg, ICRS]."""
    dec: float
    """Declination [deg, ICRS]."""
    z: float
    """Redshift by which the spectrum was shifted to the rest frame."""
    norm: float
    """Rest-frame flux density that it was divided by [erg s-1 cm-2 Angstrom-1]; NaN without a known unit."""
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
        models=tuple(_read_model(root, name) for name in run.model_ids),
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
