"""A project: the store, models, runs and catalogs below one root, and what can be done with them."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from distspec.catalog import queries as query_module
from distspec.catalog.editions import (
    EditionRecord,
    find_record,
    open_tables,
    read_current_record,
    read_edition_records,
)
from distspec.catalog.run_record import read_run_record
from distspec.core.arrow import pc
from distspec.core.errors import CatalogError, ConfigError, LabelError, NotFoundError
from distspec.io.job_log import JobEvent, JobLog, read_events, track_job
from distspec.io.lease import hold_lease
from distspec.io.paths import model_url, run_url, store_url
from distspec.io.storage import StorageConfig, split_url, use_storage
from distspec.labels.annotations import (
    Annotation,
    add_annotations,
    compact_annotations,
    current_annotations,
    read_annotations,
)
from distspec.labels.consensus import consensus_labels
from distspec.labels.importing import MAX_LISTED_ROWS, ImportedLabels, read_labels
from distspec.project.html import format_project
from distspec.project.spectrum import CatalogSpectrum
from distspec.project.tables import CatalogTable, QueryResult, add_column_metadata
from distspec.store.snapshots import RETENTION, collect_garbage, list_snapshots, tag_snapshot
from distspec.store.store import Store, open_store

if TYPE_CHECKING:
    from distspec.inference.predict import Prediction
    from distspec.models.model import Model
    from distspec.operations.integrity import Verification
    from distspec.operations.status import JobSummary, ProjectStatus
    from distspec.operations.trace import Provenance
    from distspec.pipeline.reproduce import Reproduction
    from distspec.stages.config import RayConfig
    from distspec.stages.result import StageResult
    from distspec.store.snapshots import GarbageSummary

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
LATENT_PREFIXES = ("z_mean_", "z_log_var_")


def _with_storage(
    method: Callable[Concatenate[Project, Parameters], Result],
) -> Callable[Concatenate[Project, Parameters], Result]:
    """Make a method of `Project` use the project's storage settings."""

    @wraps(method)
    def wrapper(project: Project, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with use_storage(project.storage):
            return method(project, *args, **kwargs)

    return wrapper


@dataclass(frozen=True)
class LabelCounts:
    """Labels that people gave.

    Attributes
    ----------
    counts : QueryResult
        For each label, the numbers of spectra and of people.
    tied : QueryResult
        Spectra whose most frequent labels were given equally often; they are not learned from.
    """

    counts: QueryResult
    tied: QueryResult


class Project:
    """Everything below one root; `distspec.open` returns it.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    storage : StorageConfig, optional
        Settings of the object store.
    """

    def __init__(self, root: str | Path, storage: StorageConfig | None = None) -> None:
        scheme, bucket, key = split_url(str(root))
        self.root = str(Path(key).resolve()) if scheme == "file" else f"{scheme}://{bucket}/{key}".rstrip("/")
        self.storage = storage or StorageConfig()

    def __repr__(self) -> str:
        return f"<Project {self.root}>"

    @_with_storage
    def _repr_html_(self) -> str:
        tables = {} if read_current_record(self.root) is None else self.tables
        return format_project(self.root, self.status(), tables)

    # ---- query

    @property
    @_with_storage
    def tables(self) -> Mapping[str, CatalogTable]:
        """Tables of the current edition by name.

        Raises
        ------
        NotFoundError
            If nothing is published.
        """
        return self._tables("")

    def _tables(self, run_id: str) -> dict[str, CatalogTable]:
        return {name: CatalogTable(name, dataset) for name, dataset in open_tables(self.root, run_id).items()}

    @_with_storage
    def query(self, sql: str, run_id: str = "") -> QueryResult:
        """Answer SQL over the tables of a catalog.

        Parameters
        ----------
        sql : str
            A query in DuckDB's dialect; see `distspec.catalog.queries.query`.
        run_id : str
            Published run whose tables are queried; empty: the current edition.

        Raises
        ------
        NotFoundError
            If nothing is published.
        CatalogError
            If the query is wrong, or that run is not published.
        """
        table = query_module.query(self.root, sql, run_id)
        datasets = [each.dataset for each in self._tables(run_id).values()]
        return QueryResult(add_column_metadata(table, datasets))

    @_with_storage
    def save_query(
        self, sql: str, output_format: query_module.OutputFormat, file: IO[bytes], run_id: str = ""
    ) -> None:
        """Write the answer to SQL to a file without holding it in memory; see `query`."""
        query_module.save_query(self.root, sql, output_format, file, run_id)

    @_with_storage
    def columns(self, run_id: str = "") -> dict[str, QueryResult]:
        """Return the columns of each table of a catalog, with types, units and descriptions."""
        return {name: table.describe() for name, table in self._tables(run_id).items()}

    @_with_storage
    def runs(self) -> list[EditionRecord]:
        """Return the records of all published editions, oldest first."""
        return read_edition_records(self.root)

    @_with_storage
    def current(self) -> EditionRecord | None:
        """Return the record of the current edition; None if nothing is published."""
        return read_current_record(self.root)

    @_with_storage
    def export(
        self, to: str, format: Literal["zarr", "hats"] = "zarr", snapshot: str = "", run_id: str = ""
    ) -> int:
        """Copy the store as plain Zarr, or the table ``objects`` as a HATS catalog.

        Parameters
        ----------
        to : str
            A new folder or bucket URL.
        format : {"zarr", "hats"}
            Format of the copy.
        snapshot : str
            For Zarr: id or tag of a snapshot; empty: the newest.
        run_id : str
            For HATS: a published run; empty: the current edition.

        Returns
        -------
        int
            Number of rows written.
        """
        if format == "hats":
            from distspec.catalog.hats import export_hats

            return export_hats(self.root, to, run_id)
        from distspec.store.export import export_zarr

        return export_zarr(self.store(snapshot), to)

    @_with_storage
    def store(self, snapshot: str = "") -> Store:
        """Open the store of spectra.

        Parameters
        ----------
        snapshot : str
            Id or tag of a snapshot; empty: the newest.
        """
        return open_store(store_url(self.root), snapshot)

    # ---- spectra and models

    @property
    @_with_storage
    def model(self) -> Model:
        """The model of the current edition; before the first one, the promoted model.

        Raises
        ------
        NotFoundError
            If no model was trained.
        """
        from distspec.models.model import load_model
        from distspec.models.registry import read_promoted

        if (record := read_current_record(self.root)) is not None:
            return load_model(model_url(self.root, self._run_model_id(record)))
        if (promoted := read_promoted(self.root)) is not None:
            return load_model(model_url(self.root, promoted.model_id))
        raise NotFoundError(f"no model under {self.root}: run `distspec run RECIPE --root {self.root}` first")

    def _run_model_id(self, record: EditionRecord) -> str:
        return read_run_record(run_url(self.root, record.run_id)).model_id

    @_with_storage
    def spectrum(self, object_id: str) -> CatalogSpectrum:
        """Return a spectrum of the current edition with its reconstruction and its measurements.

        Parameters
        ----------
        object_id : str
            The archive's unique key of the spectrum.

        Raises
        ------
        NotFoundError
            If nothing is published.
        CatalogError
            If the current edition does not contain the spectrum.
        """
        from distspec.archives.registry import get_archive

        record = find_record(self.root)
        objects = open_tables(self.root)["objects"]
        rows = objects.to_table(filter=pc.field("object_id") == object_id).to_pylist()
        if not rows:
            raise CatalogError(
                f"no spectrum {object_id!r} in {record.name}: `distspec quarantine` may tell why"
            )
        row, store = rows[0], open_store(store_url(self.root), record.snapshot_id)
        flux, ivar = store.read_spectra(slice(row["store_row"], row["store_row"] + 1))
        names = [name for name in row if name.startswith(LATENT_PREFIXES[0])]
        latents = np.array([[row[name] for name in names]], np.float32)
        measured = [column.name for column in get_archive(store.config.archive_name).measurements.columns]
        return CatalogSpectrum(
            object_id=object_id,
            z=row["z"],
            wave=store.config.grid.wave_rest,
            flux=flux[0],
            ivar=ivar[0],
            reconstruction=np.float32(row["amplitude"]) * self.model.decode(latents, row["z"])[0],
            reference_wave=store.config.reference_wave,
            norm=float("nan") if row["norm"] is None else row["norm"],
            measurements={name: row[name] for name in measured if name in row},
            row={name: value for name, value in row.items() if not name.startswith(LATENT_PREFIXES)},
        )

    @_with_storage
    def similar(self, object_id: str | Sequence[str], n: int = 10) -> QueryResult:
        """Return the spectra of the current edition that are nearest to one, or to each of several.

        Parameters
        ----------
        object_id : str or sequence of str
            Spectra of the current edition.
        n : int
            Number of neighbors of each.

        Returns
        -------
        QueryResult
            See `distspec.inference.similarity.find_similar`.
        """
        from distspec.inference.similarity import find_similar

        return QueryResult(find_similar(self.root, object_id, n))

    @_with_storage
    def predict(
        self,
        files: str | Sequence[str],
        z: float | Sequence[float] = (),
        redshift_table: str = "",
        n_neighbors: int = 5,
    ) -> Prediction:
        """Predict class, galaxy type, anomaly score and neighbors of new spectra with the current run.

        Parameters
        ----------
        files : str or sequence of str
            Paths or URLs of files in the format of the root's archive.
        z : float or sequence of float
            Redshift of all files, or of each; empty: as the files give them.
        redshift_table : str
            Table with columns file and z, instead of ``z``.
        n_neighbors : int
            Number of neighbors to list.
        """
        from distspec.inference.predict import predict

        return predict(self.root, files, z=z, redshift_table=redshift_table, n_neighbors=n_neighbors)

    @_with_storage
    def rerank(self, seed: int = 0) -> QueryResult:
        """Rank the spectra of the current edition by anomaly score, updated with the marks that people gave.

        Parameters
        ----------
        seed : int
            Seed of the isolation forest that learns from the marks.
        """
        from distspec.inference.rerank import rerank_anomalies

        return QueryResult(rerank_anomalies(self.root, seed))

    # ---- labels

    @_with_storage
    def label(self, object_id: str | Sequence[str], label: str, user: str = "", note: str = "") -> int:
        """Label spectra.

        Parameters
        ----------
        object_id : str or sequence of str
            Spectra of the store.
        label : str
            Label of the class, or "interesting" or "ordinary"; empty: remove the user's label.
        user : str
            Who gives the label; empty: the name of the operating system's user.
        note : str
            Remark that is stored with the label.

        Returns
        -------
        int
            Number of labels added.

        Raises
        ------
        LabelError
            If the store does not contain one of the spectra.
        """
        ids = [object_id] if isinstance(object_id, str) else list(object_id)
        known = set(self._known_ids().to_pylist())
        if unknown := [name for name in ids if name not in known]:
            raise LabelError(f"{self.root} holds no spectrum {', '.join(unknown[:MAX_LISTED_ROWS])}")
        who = user or getpass.getuser()
        add_annotations(self.root, [Annotation(name, label, who, note) for name in ids])
        return len(ids)

    @_with_storage
    def import_labels(self, file: str, user: str = "", skip_unknown: bool = False) -> ImportedLabels:
        """Add the labels of a CSV or Parquet file.

        Parameters
        ----------
        file : str
            Path or URL of a table with columns object_id and human_label and, optionally, who, when and note.
        user : str
            Who gave the labels, where the file does not tell; empty: the name of the operating system's user.
        skip_unknown : bool
            Whether to skip spectra that the store does not contain.

        Raises
        ------
        LabelError
            If the table is wrong, or names spectra that the store does not contain; nothing is added then.
        """
        found = read_labels(file, self._known_ids(), user or getpass.getuser())
        lines = [f"line {line}: {name!r}" for line, name in found.unknown_ids]
        if lines and not skip_unknown:
            more = f" and {len(lines) - MAX_LISTED_ROWS} more" if len(lines) > MAX_LISTED_ROWS else ""
            raise LabelError(
                f"{file} names spectra that {self.root} does not hold: "
                f"{', '.join(lines[:MAX_LISTED_ROWS])}{more}; "
                "nothing was added: correct them, or skip them with --skip-unknown"
            )
        add_annotations(self.root, found.annotations)
        return found

    def _known_ids(self) -> pa.ChunkedArray:
        return open_store(store_url(self.root)).ledger(["object_id"])["object_id"]

    @_with_storage
    def labels(self, marks: bool = False) -> LabelCounts:
        """Count the labels that people gave.

        Parameters
        ----------
        marks : bool
            Whether to count the marks "interesting" and "ordinary" instead.
        """
        found = consensus_labels(current_annotations(read_annotations(self.root), marks))
        totals = [("object_id", "count"), ("n_annotators", "sum")]
        counts = found.drop_null().group_by("human_label").aggregate(totals)
        counts = counts.rename_columns(["human_label", "n_spectra", "n_people"]).sort_by("human_label")
        tied = found.filter(pc.is_null(found["human_label"]))
        labels = [" or ".join(names) for names in tied["tied"].to_pylist()]
        return LabelCounts(
            QueryResult(counts), QueryResult(pa.table({"object_id": tied["object_id"], "labels": labels}))
        )

    @_with_storage
    def label_history(self) -> QueryResult:
        """Return every label and mark that was ever given, oldest first."""
        return QueryResult(read_annotations(self.root))

    @_with_storage
    def compact_labels(self) -> int:
        """Merge the files of labels into one, and return the number of rows."""
        return compact_annotations(self.root)

    @_with_storage
    def classify(self, alpha: float = 0.1) -> dict[str, QueryResult]:
        """Learn the labels, and publish predictions for all spectra.

        Parameters
        ----------
        alpha : float
            Conformal miscoverage level: prediction sets miss the true label with at most this probability.

        Returns
        -------
        dict of str to QueryResult
            The tables ``label_scores`` and, if at least two labels can be learned, ``predictions``.
        """
        from distspec.catalog.reclassify import publish_label_predictions

        with hold_lease(self.root, "classify") as lease:
            tables = publish_label_predictions(self.root, alpha, lease)
        return {name: QueryResult(table) for name, table in tables.items()}

    # ---- inspect

    @_with_storage
    def verify(self, snapshot: str = "") -> Verification:
        """Check the store and everything published: checksums of rows, files and records.

        Parameters
        ----------
        snapshot : str
            Id or tag of the snapshot of the store to check; empty: the newest.
        """
        from distspec.operations.integrity import verify_root

        return verify_root(self.root, snapshot)

    @_with_storage
    def provenance(self, object_id: str, run_id: str = "") -> Provenance:
        """Return what a spectrum's row was made from; see `distspec.operations.trace.trace_spectrum`."""
        from distspec.operations.trace import trace_spectrum

        return trace_spectrum(self.root, object_id, run_id)

    @_with_storage
    def quarantine(self, reason: str = "") -> QueryResult:
        """Return the spectra that could not be used.

        Parameters
        ----------
        reason : str
            Code of `distspec.core.errors.QuarantineReason`; empty: all.
        """
        table = open_store(store_url(self.root)).read_quarantine()
        return QueryResult(table.filter(pc.field("reason") == reason) if reason else table)

    @_with_storage
    def snapshots(self) -> QueryResult:
        """Return the snapshots of the store, newest first."""
        return QueryResult(list_snapshots(self.root))

    @_with_storage
    def tag(self, name: str, snapshot_id: str = "") -> None:
        """Give a snapshot of the store a name, which protects it from garbage collection.

        Parameters
        ----------
        name : str
            Name of the tag, for example that of a data release.
        snapshot_id : str
            Id of the snapshot; empty: the newest.
        """
        tag_snapshot(self.root, name, open_store(store_url(self.root), snapshot_id).snapshot_id)

    @_with_storage
    def explore(self, port: int = 0, open_browser: bool = True, user: str = "") -> None:
        """Serve the explorer of the current edition on this machine until it is interrupted.

        Parameters
        ----------
        port : int
            Port on 127.0.0.1; 0: any free one.
        open_browser : bool
            Whether to open the page in a browser.
        user : str
            Who gives the labels; empty: the name of the operating system's user.
        """
        from distspec.archives.registry import get_archive
        from distspec.explorer.data import open_explorer_data
        from distspec.explorer.server import serve
        from distspec.explorer.session import open_annotation_session

        data = open_explorer_data(self.root)
        lines = get_archive(data.store.config.archive_name).spectral_features
        session = open_annotation_session(self.root, user or getpass.getuser())
        serve(data, session, lines, port, open_browser)

    # ---- operate

    @_with_storage
    def status(self) -> ProjectStatus:
        """Return who works on the root, which model is promoted, and what is published."""
        from distspec.operations.status import read_status

        return read_status(self.root)

    @_with_storage
    def history(self, n: int = 0) -> list[JobSummary]:
        """Return what jobs did, oldest first.

        Parameters
        ----------
        n : int
            Number of jobs to return, the last ones; 0: all.
        """
        from distspec.operations.status import read_history

        return read_history(self.root, n)

    @_with_storage
    def events(self, job: int) -> list[JobEvent]:
        """Return the events of a job by its number."""
        return read_events(self.root, job)

    @_with_storage
    def rollback(self, model_id: str, user: str = "") -> EditionRecord | None:
        """Promote and pin an earlier model, and publish its last catalog again.

        Parameters
        ----------
        model_id : str
            Id of the model.
        user : str
            Who asks for it, for the record; empty: the name of the operating system's user.

        Returns
        -------
        EditionRecord or None
            Record of the current edition; None if no catalog was ever made with this model.
        """
        from distspec.operations.rollback import roll_back

        who = user or getpass.getuser()
        with (
            hold_lease(self.root, "rollback") as lease,
            track_job(JobLog(self.root, lease, "rollback")) as log,
        ):
            record = roll_back(self.root, model_id, who, lease)
            log.did_work = True
            log.log_event("rollback", model_id=model_id, pinned=True, user=who)
        return record

    @_with_storage
    def unpin(self, user: str = "") -> str:
        """Allow scheduled runs to replace the promoted model again, and return its id.

        Parameters
        ----------
        user : str
            Who asks for it, for the record; empty: the name of the operating system's user.
        """
        from distspec.operations.rollback import unpin_model

        who = user or getpass.getuser()
        with (
            hold_lease(self.root, "rollback") as lease,
            track_job(JobLog(self.root, lease, "rollback")) as log,
        ):
            model_id = unpin_model(self.root, who, lease)
            log.log_event("rollback", model_id=model_id, pinned=False, user=who)
        return model_id

    @_with_storage
    def gc(self, keep_days: float = RETENTION.total_seconds() / 86_400) -> GarbageSummary:
        """Delete old snapshots without a tag, and the data that only they need.

        Parameters
        ----------
        keep_days : float
            Age that a snapshot without a tag reaches [d].
        """
        if keep_days < 0:
            raise ConfigError(f"keep_days {keep_days} is negative: give 0 or more days")
        with hold_lease(self.root, "gc"):
            return collect_garbage(self.root, timedelta(days=keep_days))

    @_with_storage
    def retry(self, ray: RayConfig | None = None) -> StageResult:
        """Ingest as the last run did, and read spectra again whose failure may have been transient.

        Parameters
        ----------
        ray : RayConfig, optional
            Ray cluster to use.
        """
        from distspec.ingest.source import read_source
        from distspec.stages.config import RayConfig
        from distspec.stages.ingest import ingest
        from distspec.stages.session import ray_session

        source = read_source(self.root)
        with hold_lease(self.root, "retry") as lease, ray_session(ray or RayConfig()):
            return ingest(self.root, source, lease, retry_transient=True)

    @_with_storage
    def reproduce(self, model_or_run_id: str, target_root: str, ray: RayConfig | None = None) -> Reproduction:
        """Make a model or a run again from its record in another root, and compare the results.

        Parameters
        ----------
        model_or_run_id : str
            Id of a model (m-…) or of a run (r-…).
        target_root : str
            Folder or bucket URL of a root that does not exist yet.
        ray : RayConfig, optional
            Ray cluster to use.
        """
        from distspec.pipeline.reproduce import reproduce
        from distspec.stages.config import RayConfig
        from distspec.stages.session import ray_session

        with ray_session(ray or RayConfig()):
            return reproduce(self.root, model_or_run_id, target_root)


def open_project(root: str | Path, storage: StorageConfig | None = None) -> Project:
    """Open a project; nothing is read yet.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    storage : StorageConfig, optional
        Settings of the object store.

    Examples
    --------
    >>> import distspec
    >>> distspec.open("/data/dja")
    <Project /data/dja>
    """
    return Project(root, storage)


def run_recipe(recipe: str, root: str | Path, stages: Sequence[str] = (), **settings: Any) -> Project:
    """Run the pipeline, or some of its stages, with the settings of a recipe.

    Parameters
    ----------
    recipe : str
        Name of the recipe, for example "demo" or "dja".
    root : str
        Folder or bucket URL that holds everything the project produces.
    stages : sequence of str
        Stages to run; by default all of them. Each does only what is missing.
    **settings
        Settings that replace those of the recipe: a mapping for a group (``clustering={"n_seeds": 5}``), or
        dotted names (``**{"clustering.n_seeds": 5}``).

    Returns
    -------
    Project
        The project.

    Raises
    ------
    ConfigError
        If the recipe, a stage or a setting does not exist, or a value is not allowed.
    LeaseHeldError
        If another job works on the root.
    """
    from distspec.pipeline.recipes import make_config
    from distspec.pipeline.runner import STAGES, run_stages

    if unknown := sorted(set(stages) - set(STAGES)):
        raise ConfigError(f"there is no stage {', '.join(unknown)}: choose of {', '.join(STAGES)}")
    config = make_config(recipe, str(root), settings)
    run_stages(config, list(stages) or list(STAGES))
    return Project(config.root, config.storage)
