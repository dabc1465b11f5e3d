"""New spectra told by a published run, without training: where they lie, of which class, how odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.anomaly.residuals import compute_residual_statistics
from distspec.anomaly.score import PARTIAL_SCORES, explain_anomaly
from distspec.archives.base import Archive, SpectrumEntry
from distspec.archives.external import iter_external_entries, read_redshifts
from distspec.archives.registry import get_archive
from distspec.catalog.editions import find_record, open_record_tables
from distspec.core import schema
from distspec.core.errors import InvalidSpectrumError, QuarantineRecord
from distspec.core.records import lists_to_tuples
from distspec.core.spectrum import Floats32, Spectrum, SpectrumBatch
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.ingest.read import read_archive_spectra
from distspec.ingest.source import read_source
from distspec.io.files import read_arrays, read_json, url_exists
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.io.remote.config import AccessConfig
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS as ARTEFACTS
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.measurements.galaxy_types import suggest_galaxy_types
from distspec.models.embed import embed_spectra
from distspec.models.latents import SCALAR_COLUMNS, VECTOR_COLUMNS
from distspec.models.model import Model, load_model
from distspec.models.neighbors import NeighborIndex
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.store.store import StoreConfig, open_store


def predict(
    root: str,
    files: str | Sequence[str],
    *,
    z: float | Sequence[float] = (),
    redshift_table: str = "",
    n_neighbors: int = 5,
) -> Prediction:
    """Tell the spectra in files by the current run of a root, without training.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    files : str or sequence of str
        Paths or URLs, in the format of the archive that the root was last ingested from.
    z : float or sequence of float
        Redshifts, one for all or one a file; empty where the files say.
    redshift_table : str
        Or a table of them, with columns file and z.
    n_neighbors : int
        Neighbours that are named.

    Returns
    -------
    Placed
        Its ``table`` has a row a spectrum that could be used, its ``rejected`` why others could not.

    Raises
    ------
    ValueError
        When redshifts are neither one nor as many as files.
    FileNotFoundError
        When nothing was ingested or published there.
    """
    names = [files] if isinstance(files, str) else list(files)
    source = read_source(root)
    known = np.atleast_1d(np.asarray(z, np.float64))
    if len(known) not in (0, 1, len(names)):
        raise ValueError(f"{len(known)} redshifts for {len(names)} files: give one for all, or one a file")
    if redshift_table:
        known = np.array(read_redshifts(names, redshift_table, source.access))
    told = np.broadcast_to(known if len(known) else np.nan, len(names)).tolist()
    return predict_files(Predictor.open(root), source.archive, source.access, names, told, n_neighbors)


BATCH_SIZE = 1024
"""Spectra that are read and told at a time."""


@dataclass(frozen=True)
class Prediction:
    """What a run says of spectra that are not of it.

    Attributes
    ----------
    table : Table
        A row a spectrum that could be used: the columns of `distspec.core.schema.build_prediction_schema`.
    rejected : list of Rejected
        Those that could not, with the quarantine's reasons.
    """

    table: pa.Table
    rejected: list[QuarantineRecord]


@dataclass(frozen=True)
class Predictor:
    """A published run, ready to tell other spectra: `open` gives it.

    Attributes
    ----------
    run_record : mapping
        What run.json says.
    store_config : Frozen
        Grid and scale of the run's store.
    models : sequence of Model
        Those whose latents were clustered, the run's own first.
    run_model : Yardstick
    catalog_spectra : Spectra
        Those of the run.
    """

    run_record: Mapping[str, Any]
    store_config: StoreConfig
    models: Sequence[Model]
    run_model: RunModel
    catalog_spectra: NeighborIndex

    @classmethod
    def open(cls, root: str) -> Predictor:
        """Read the current run of a root.

        Raises
        ------
        FileNotFoundError
            Before anything was published, or where its run was made before runs kept what this needs.
        """
        published = find_record(root)
        url = run_url(root, str(published.run_id))
        if not url_exists(join_url(url, RUN_MODEL_FILE)):
            raise FileNotFoundError(
                f"{url} has no {RUN_MODEL_FILE}: it was made before runs kept one; remove that folder and run "
                "`python -m jobs.pipeline` with its settings again"
            )
        run = read_json(join_url(url, "run.json"))
        names = [str(run["model_id"]), *run["config"]["clustering"]["extra_models"]]
        models = [load_model(model_url(root, name)) for name in names]
        yardstick = RunModel.from_arrays(read_arrays(join_url(url, RUN_MODEL_FILE)))
        return cls(
            run,
            open_store(store_url(root)).config,
            models,
            yardstick,
            NeighborIndex.read(open_record_tables(root, published)["objects"]),
        )

    def predict(self, spectra: Sequence[Spectrum], n_neighbors: int = 5) -> Prediction:
        """Tell spectra by the run: each as if it were one more of its archive.

        Parameters
        ----------
        spectra : sequence of Spectrum
            As files hold them.
        n_neighbors : int
            Neighbours that are named.
        """
        norm = NormConfig(**lists_to_tuples(self.store_config.preprocessing["norm"]))
        batch, failures = preprocess(spectra, self.store_config.grid, norm, self.store_config.default_slope)
        rejected = [QuarantineRecord(spectra[i].object_id, "", "", e.reason, e.detail) for i, e in failures]
        fitted, n_latents = self.run_model.labeler, self.models[0].n_latents
        columns = schema.build_prediction_schema(
            n_latents, get_archive(self.store_config.archive_name).measurements.columns, fitted.consensus.n_classes
        )
        said = (
            self._predict_columns(batch, n_neighbors)
            if len(batch)
            else {column.name: [] for column in columns}
        )
        origin = {"run_id": str(self.run_record["run_id"]), "model_id": str(self.run_record["model_id"])}
        return Prediction(schema.build_table(said, columns, origin), rejected)

    def _predict_columns(self, batch: SpectrumBatch, n_neighbors: int) -> dict[str, Any]:
        """Return the columns of `distspec.core.schema.build_prediction_schema`."""
        archive, config = get_archive(self.store_config.archive_name), self.run_record["config"]["clustering"]
        measurements = archive.measurements
        said: dict[str, Floats32] = {}
        ivar, samples = batch.ivar, []
        for model, frame in zip(self.models, self.run_model.scalers, strict=True):
            answers, masked = embed_spectra(model, archive, batch.flux, batch.ivar, batch.z)
            if not said:
                said, ivar = answers, masked
            features = np.zeros((len(batch), 0), np.float32)
            if "features" in config["spaces"]:
                of = answers["z_mean"], answers["z_log_var"]
                answers |= measure_reconstructions(measurements, model.decode, model.grid, *of, n_draws=0)
                features = compute_features(measurements, answers).astype(np.float32)
            beside = measurements.scale_by_error(config["measures"], answers)
            samples.append(frame.transform(answers["z_mean"], beside, features))
        found = self.run_model.labeler.assign(samples)
        recon = said["amplitude"][:, None] * self.models[0].decode(said["z_mean"], batch.z)
        latents = (said["z_mean"] / self.run_model.posterior_widths).astype(np.float32)
        raw = compute_residual_statistics(
            *(batch.flux, ivar, recon, said["artefact_scatter"], self.run_model.model_error, batch.z),
            self.store_config.grid,
            archive.disperser,
        )
        raw |= self.run_model.anomaly_scorer.compute_scores(latents)
        odd = self.run_model.reference_distribution.score(
            raw, batch.snr, found["label"], said["artefact_score"]
        )
        of_run = np.sort(self.catalog_spectra.table["anomaly_score"].to_numpy())
        above = len(of_run) - np.searchsorted(of_run, odd["anomaly_score"].astype(np.float32), "right")
        distance, index = self.catalog_spectra.query(latents, n_neighbors)
        names = self.catalog_spectra.table["object_id"]
        kinds = suggest_galaxy_types(archive.galaxy_types, said, len(batch))
        prob, label = found["prob"], found["label"]
        residual = (batch.flux - recon) * np.sqrt(batch.ivar)
        measures = {column.name: said[column.name] for column in measurements.columns}
        return {
            **{name: getattr(batch, name) for name in ("object_id", "z", "norm", "norm_err", "norm_snr")},
            **{name: getattr(batch, name) for name in ("norm_window", "slope", "snr", "n_valid")},
            **{name: said[name] for name in (*SCALAR_COLUMNS, *ARTEFACTS)},
            **measures,
            **{f"{name}_{i:02d}": each for name in VECTOR_COLUMNS for i, each in enumerate(said[name].T)},
            **dict(zip((column.name for column in schema.GALAXY_TYPE_COLUMNS), kinds, strict=True)),
            "umap_0": found["points"][:, 0],
            "umap_1": found["points"][:, 1],
            "cluster_label": label,
            **self._class_names(label.tolist()),
            "cluster_prob": np.where(label >= 0, prob[np.arange(len(label)), np.maximum(label, 0)], 0.0),
            "cluster_entropy": found["entropy"],
            "cluster_stability": found["stability"],
            **{f"cluster_prob_{k:02d}": each for k, each in enumerate(prob.T)},
            **odd,
            "anomaly_rank": above + 1,
            "reason": [
                explain_anomaly(
                    {name: float(odd[name][i]) for name in PARTIAL_SCORES},
                    float(batch.norm_snr[i]),
                    residual[i],
                    batch.ivar[i] > 0,
                    self.store_config.grid.wave_rest,
                )
                for i in range(len(batch))
            ],
            "neighbors": [names.take(pa.array(row)).to_pylist() for row in index],
            "distances": distance.tolist(),
        }

    def _class_names(self, labels: Sequence[int]) -> dict[str, list[str | None]]:
        """Return the lasting names of clusters, and what they are called."""
        columns = ("class_id", "class_name")
        known = self.catalog_spectra.table.select(["cluster_label", *columns]).group_by(
            ["cluster_label", *columns]
        )
        rows = {row["cluster_label"]: row for row in known.aggregate([]).to_pylist()}
        return {name: [rows[label][name] if label in rows else None for label in labels] for name in columns}


def predict_files(
    predictor: Predictor,
    archive: Archive,
    access: AccessConfig,
    files: Sequence[str],
    z: Sequence[float],
    n_neighbors: int = 5,
) -> Prediction:
    """Tell the spectra in files by a run.

    Parameters
    ----------
    predictor : Placer
    archive : Archive
        In whose format they are.
    access : AccessConfig
    files : sequence of str
        Paths or URLs.
    z : sequence of float
        Redshifts, one a file; NaN where the file knows.
    n_neighbors : int
        Neighbours that are named.
    """
    tables: list[pa.Table] = []
    rejected: list[QuarantineRecord] = []
    for reader, entries in iter_external_entries(archive, files, z, access):
        for first in range(0, len(entries), BATCH_SIZE):
            part = entries[first : first + BATCH_SIZE]
            uri = {entry.object_id: entry.uri for entry in part}
            good, bad = _read_spectra(reader, access, part)
            placed = predictor.predict(good, n_neighbors)
            tables.append(placed.table)
            rejected += bad
            rejected += [replace(each, uri=uri[each.object_id]) for each in placed.rejected]
    return Prediction(
        pa.concat_tables([*tables, *([] if tables else [predictor.predict([], n_neighbors).table])]), rejected
    )


def _read_spectra(
    archive: Archive, access: AccessConfig, entries: Sequence[SpectrumEntry]
) -> tuple[list[Spectrum], list[QuarantineRecord]]:
    good: list[Spectrum] = []
    bad: list[QuarantineRecord] = []
    for entry, outcome in zip(
        entries, read_archive_spectra(archive, access, entries, require_position=False), strict=True
    ):
        if isinstance(outcome, InvalidSpectrumError):
            bad.append(QuarantineRecord(entry.object_id, "", entry.uri, outcome.reason, outcome.detail))
        else:  # what a file says of its redshift yields to what the user says
            good.append(replace(outcome, z=entry.z) if np.isfinite(entry.z) else outcome)
    return good, bad
