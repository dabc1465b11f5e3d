"""Methods of a project that query published tables, spectra and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from distspec.catalog import queries as query_module
from distspec.catalog.editions import (
    EditionRecord,
    find_record,
    open_tables,
    read_current_record,
    read_edition_records,
)
from distspec.catalog.output_formats import OutputFormat
from distspec.catalog.run_record import read_run_record
from distspec.core.arrow import pc
from distspec.core.errors import CatalogError, NotFoundError
from distspec.io.paths import model_url, run_url, store_url
from distspec.io.storage import full_disk_errors
from distspec.project.spectrum import CatalogSpectrum
from distspec.project.tables import CatalogTable, QueryResult
from distspec.store.store import Store, open_store

if TYPE_CHECKING:
    from distspec.inference.prediction import Prediction
    from distspec.models.model import Model
    from distspec.redshifts import RedshiftConfig

from distspec.project.base import ProjectBase, with_storage

LATENT_PREFIXES = ("z_mean_", "z_log_var_")
"""Prefixes of the columns of latents."""


class QueryMethods(ProjectBase):
    """Methods of a project that query published tables, spectra and models."""

    @property
    @with_storage
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

    @with_storage
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
        return QueryResult(query_module.query(self.root, sql, run_id))

    @with_storage
    def save_query(self, sql: str, output_format: OutputFormat, file: IO[bytes], run_id: str = "") -> None:
        """Write the answer to SQL to a file; CSV, JSON and Parquet without holding it in memory.

        Parameters
        ----------
        sql : str
            Query in DuckDB's SQL, as for `query`.
        output_format : {"csv", "json", "parquet", "fits", "votable", "ecsv"}
            Format of the file.
        file : file object
            File to which the result is written.
        run_id : str
            Run whose tables are queried; empty: that of the current edition.
        """
        query_module.save_query(self.root, sql, output_format, file, run_id)

    @with_storage
    def columns(self, run_id: str = "") -> dict[str, QueryResult]:
        """Return the columns of each table of a catalog, with types, units and descriptions.

        Parameters
        ----------
        run_id : str
            Run whose tables are described; empty: that of the current edition.

        Returns
        -------
        dict[str, QueryResult]
        """
        return {name: table.describe() for name, table in self._tables(run_id).items()}

    @with_storage
    def runs(self) -> list[EditionRecord]:
        """Return the records of all published editions, oldest first."""
        return read_edition_records(self.root)

    @with_storage
    def current(self) -> EditionRecord | None:
        """Return the record of the current edition; None if nothing is published."""
        return read_current_record(self.root)

    @with_storage
    def export(
        self,
        to: str,
        format: Literal["zarr", "hats"] = "zarr",
        snapshot: str = "",
        run_id: str = "",
        with_spectra: bool = False,
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
        with_spectra : bool
            For HATS: whether to add the spectra as a nested column of wave, flux and ivar.

        Returns
        -------
        int
            Number of rows written.
        """
        if format == "hats":
            from distspec.catalog.hats import export_hats

            return export_hats(self.root, to, run_id, with_spectra)
        from distspec.store.export import export_zarr

        with full_disk_errors(to):
            return export_zarr(self.store(snapshot), to)

    @with_storage
    def store(self, snapshot: str = "") -> Store:
        """Open the store of spectra.

        Parameters
        ----------
        snapshot : str
            Id or tag of a snapshot; empty: the newest.
        """
        return open_store(store_url(self.root), snapshot)

    @property
    @with_storage
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

    @with_storage
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
                f"no spectrum {object_id!r} in {record.name}: `distspec quarantine` may list the reason"
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

    @with_storage
    def similar(self, object_id: str | Sequence[str], n: int = 10) -> QueryResult:
        """Return the spectra of the current edition that are most similar to one, or to each of several.

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

    @with_storage
    def predict(
        self,
        files: str | Sequence[str],
        z: float | Sequence[float] = (),
        redshift_table: str = "",
        n_neighbors: int = 5,
        model: str = "",
        redshift_config: RedshiftConfig | None = None,
    ) -> Prediction:
        """Predict class, galaxy type, anomaly score and neighbors of new spectra with the current run.

        Parameters
        ----------
        files : str or sequence of str
            Paths or URLs of files in the format of the root's archive.
        z : float or sequence of float
            Redshift of all files, or of each; empty: as the files give them, or else measured.
        redshift_table : str
            Table with columns file and z, instead of ``z``.
        n_neighbors : int
            Number of neighbors to list.
        model : str
            Name or URL of a model that describes the spectra instead of the run; there are no classes then.
        redshift_config : RedshiftConfig, optional
            Settings of the measurement of redshifts that are not given, with the run's model or that one.
        """
        from distspec.inference.files import predict

        return predict(
            self.root,
            files,
            z=z,
            redshift_table=redshift_table,
            n_neighbors=n_neighbors,
            model=model,
            redshift_config=redshift_config,
        )
