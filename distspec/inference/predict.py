"""Predictions for new spectra by a published run, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from distspec.anomaly.score import PARTIAL_SCORES, explain_anomaly
from distspec.archives.base import Archive
from distspec.archives.registry import get_archive
from distspec.catalog.editions import find_record, open_record_tables
from distspec.catalog.run_record import RunRecord, read_run_record
from distspec.clustering.config import ClusteringConfig
from distspec.core import schema
from distspec.core.errors import InvalidSpectrumError, NotFoundError
from distspec.core.records import decode_value
from distspec.core.spectrum import Spectrum, SpectrumBatch
from distspec.inference.describe import SpectrumDescription, describe_spectra
from distspec.inference.latents import compute_latents
from distspec.inference.prediction import Prediction
from distspec.inference.redshifts import (
    build_failure_records,
    build_redshift_columns,
    open_redshift_estimator,
)
from distspec.inference.run_model import RUN_MODEL_FILE, RunModel
from distspec.io.files import read_arrays, url_exists
from distspec.io.paths import join_url, model_url, run_url, store_url
from distspec.measurements.bad_pixels import BAD_PIXEL_COLUMNS
from distspec.measurements.galaxy_types import suggest_galaxy_types
from distspec.models.latents import SCALAR_COLUMNS, VECTOR_COLUMNS
from distspec.models.model import Model, load_model
from distspec.models.neighbors import NeighborIndex, Posteriors
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.rest_frame import preprocess
from distspec.redshifts import RedshiftConfig, RedshiftEstimator, RedshiftPosterior
from distspec.store.config import StoreConfig
from distspec.store.store import open_store

BATCH_COLUMNS = ("object_id", "z", "norm", "norm_err", "norm_snr", "norm_window", "slope", "snr", "n_valid")
"""Columns of predictions that preprocessing determines."""


@dataclass(frozen=True)
class Predictor:
    """A published run that can be applied to new spectra; `open` returns it.

    Attributes
    ----------
    run_record : RunRecord
        Record of the run.
    store_config : StoreConfig
        Grid, normalization and archive of the run's store.
    models : sequence of Model
        Models whose latents were clustered, the run's own first.
    run_model : RunModel
        Labeler, scales and reference distribution of the run.
    catalog_spectra : NeighborIndex
        Spectra of the run, among which neighbors are searched.
    """

    run_record: RunRecord
    store_config: StoreConfig
    models: Sequence[Model]
    run_model: RunModel
    catalog_spectra: NeighborIndex

    @classmethod
    def open(cls, root: str) -> Predictor:
        """Open the published run of a project.

        Parameters
        ----------
        root : str
            Folder or bucket URL of the project.

        Returns
        -------
        Predictor

        Raises
        ------
        NotFoundError
            If nothing is published, or the published run has no run model.
        """
        edition = find_record(root)
        url = run_url(root, edition.run_id)
        if not url_exists(join_url(url, RUN_MODEL_FILE)):
            raise NotFoundError(
                f"{url} has no {RUN_MODEL_FILE}: remove that folder and run `distspec run` again"
            )
        record = read_run_record(url)
        return cls(
            record,
            open_store(store_url(root)).config,
            [load_model(model_url(root, model_id)) for model_id in record.model_ids],
            RunModel.from_arrays(read_arrays(join_url(url, RUN_MODEL_FILE))),
            NeighborIndex.read(open_record_tables(root, edition)["objects"]),
        )

    @property
    def archive(self) -> type[Archive]:
        """The archive of the run's store, which defines measurements and galaxy types."""
        return get_archive(self.store_config.archive_name)

    @cached_property
    def clustering_config(self) -> ClusteringConfig:
        """Settings with which the run was clustered."""
        return decode_value(ClusteringConfig, self.run_record.config["clustering"])

    def open_redshift_estimator(self, config: RedshiftConfig | None = None) -> RedshiftEstimator:
        """Return the redshift estimator of the run's model.

        Parameters
        ----------
        config : RedshiftConfig, optional
            Settings of the estimator.

        Returns
        -------
        RedshiftEstimator

        Raises
        ------
        ConfigError
            If all spectra of the run are at one redshift, as stars are.
        """
        z = self.catalog_spectra.table["z"].to_numpy()
        return open_redshift_estimator(self.models[0], float(np.log1p(z).std()), config)

    def predict(
        self,
        spectra: Sequence[Spectrum],
        n_neighbors: int = 5,
        posteriors: Sequence[RedshiftPosterior | None] = (),
    ) -> Prediction:
        """Predict for spectra, each as if it were one more of the archive.

        Parameters
        ----------
        spectra : sequence of Spectrum
            Observed spectra.
        n_neighbors : int
            Number of most similar spectra of the run to list for each.
        posteriors : sequence of RedshiftPosterior or None
            What was measured of the redshift of each spectrum, None where it was given; empty: all were.

        Returns
        -------
        Prediction
        """
        norm = decode_value(NormConfig, self.store_config.preprocessing["norm"])
        batch, failures = preprocess(spectra, self.store_config.grid, norm, self.store_config.default_slope)
        rejected = build_failure_records(spectra, posteriors, failures)
        columns = schema.build_prediction_schema(
            self.models[0].n_latents,
            self.archive.measurements.columns,
            self.run_model.labeler.consensus.n_classes,
        )
        values: dict[str, Any] = {column.name: [] for column in columns}
        if len(batch):
            values = self._build_columns(batch, n_neighbors)
        values |= _build_redshift_columns(posteriors, len(spectra), failures)
        provenance = {"run_id": self.run_record.run_id, "model_id": self.run_record.model_id}
        return Prediction(schema.build_table(values, columns, provenance), rejected)

    def _build_columns(self, batch: SpectrumBatch, n_neighbors: int) -> dict[str, Any]:
        """Return the columns of the prediction table."""
        description = describe_spectra(
            batch, self.models, self.run_model, self.archive, self.clustering_config
        )
        return {
            **build_description_columns(batch, description.latents.columns, self.archive),
            **self._build_class_columns(description),
            **self._build_anomaly_columns(batch, description),
            **self._build_neighbor_columns(description, n_neighbors),
        }

    def _build_class_columns(self, description: SpectrumDescription) -> dict[str, Any]:
        """Return the columns of the classes and of the map."""
        assignment = description.assignment
        coordinates = assignment.umap_coordinates
        assert coordinates is not None, "the labeler of a run has a displayed map"
        return {
            "umap_0": coordinates[:, 0],
            "umap_1": coordinates[:, 1],
            "cluster_label": assignment.labels,
            **self._get_class_names(assignment.labels.tolist()),
            "cluster_prob": assignment.own_prob,
            "cluster_entropy": assignment.entropy,
            "cluster_stability": assignment.stability,
            **{f"cluster_prob_{k:02d}": values for k, values in enumerate(assignment.prob.T)},
        }

    def _get_class_names(self, labels: Sequence[int]) -> dict[str, list[str | None]]:
        """Return the published identifiers and names of clusters."""
        columns = ("class_id", "class_name")
        table = self.catalog_spectra.table.select(["cluster_label", *columns])
        classes = table.group_by(["cluster_label", *columns]).aggregate([]).to_pylist()
        by_label = {row["cluster_label"]: row for row in classes}
        return {
            name: [by_label[label][name] if label in by_label else None for label in labels]
            for name in columns
        }

    def _build_anomaly_columns(
        self, batch: SpectrumBatch, description: SpectrumDescription
    ) -> dict[str, Any]:
        """Return anomaly scores, ranks among the run's spectra, and reasons."""
        scores = description.anomaly_scores
        run_scores = np.sort(self.catalog_spectra.table["anomaly_score"].to_numpy())
        score = scores["anomaly_score"].astype(np.float32)
        n_above = len(run_scores) - np.searchsorted(run_scores, score, "right")
        residual = (batch.flux - description.recon) * np.sqrt(batch.ivar)
        reasons = [
            explain_anomaly(
                {name: float(scores[name][i]) for name in PARTIAL_SCORES},
                float(batch.norm_snr[i]),
                residual[i],
                batch.ivar[i] > 0,
                self.store_config.grid.wave_rest,
            )
            for i in range(len(batch))
        ]
        return {**scores, "anomaly_rank": n_above + 1, "reason": reasons}

    def _build_neighbor_columns(self, description: SpectrumDescription, n_neighbors: int) -> dict[str, Any]:
        """Return the most similar spectra of the run and their Bayes factors."""
        latents = description.latents
        posteriors = Posteriors.from_log_variance(latents.z_mean, latents.z_log_var)
        log_bayes_factors, rows = self.catalog_spectra.query(posteriors, n_neighbors)
        names = self.catalog_spectra.table["object_id"]
        return {
            "neighbors": [names.take(pa.array(row)).to_pylist() for row in rows],
            "ln_bayes_factors": log_bayes_factors.tolist(),
        }


@dataclass(frozen=True)
class ModelPredictor:
    """A model that describes new spectra without a run: galaxy types and measurements, but no classes.

    Attributes
    ----------
    model : Model
        The model.
    """

    model: Model

    @classmethod
    def open(cls, name_or_url: str) -> ModelPredictor:
        """Load a model.

        Parameters
        ----------
        name_or_url : str
            Name of a model in the package, or the folder or bucket URL of a model.

        Returns
        -------
        ModelPredictor
        """
        return cls(load_model(name_or_url))

    @property
    def archive(self) -> type[Archive]:
        """The archive of the model's spectra, which defines measurements and galaxy types."""
        return get_archive(self.model.record.store_config.archive_name)

    def open_redshift_estimator(self, config: RedshiftConfig | None = None) -> RedshiftEstimator:
        """Return the redshift estimator of the model.

        Parameters
        ----------
        config : RedshiftConfig, optional
            Settings of the estimator.

        Returns
        -------
        RedshiftEstimator

        Raises
        ------
        ConfigError
            If the model was trained without redshifts, or at one redshift.
        """
        vae = self.model.vae
        spread = float(vae.log1pz_moments[1]) if vae.config.condition_on_z else np.nan
        return open_redshift_estimator(self.model, spread, config)

    def predict(
        self,
        spectra: Sequence[Spectrum],
        n_neighbors: int = 0,
        posteriors: Sequence[RedshiftPosterior | None] = (),
    ) -> Prediction:
        """Describe spectra.

        Parameters
        ----------
        spectra : sequence of Spectrum
            Observed spectra.
        n_neighbors : int
            Is ignored: a model knows no other spectra.
        posteriors : sequence of RedshiftPosterior or None
            What was measured of the redshift of each spectrum, None where it was given; empty: all were.

        Returns
        -------
        Prediction
            Its table has no columns of classes, anomaly scores and neighbors.
        """
        batch, failures = self.model.preprocess(spectra)
        rejected = build_failure_records(spectra, posteriors, failures)
        all_columns = schema.build_prediction_schema(
            self.model.n_latents, self.archive.measurements.columns, 0
        )
        latents, _ = compute_latents(self.model, self.archive, batch.flux, batch.ivar, batch.z)
        values = build_description_columns(batch, latents.columns, self.archive)
        values |= _build_redshift_columns(posteriors, len(spectra), failures)
        columns = [column for column in all_columns if column.name in values]
        return Prediction(schema.build_table(values, columns, {"model_id": self.model.model_id}), rejected)


def build_description_columns(
    batch: SpectrumBatch, latents: Mapping[str, Any], archive: type[Archive]
) -> dict[str, Any]:
    """Return the columns of predictions that need no run.

    Parameters
    ----------
    batch : SpectrumBatch
        Preprocessed spectra.
    latents : mapping of str to ndarray
        Columns of `distspec.inference.latents.SpectrumLatents`.
    archive : type of Archive
        The archive, which defines measurements and galaxy types.

    Returns
    -------
    dict of str to array_like
        Columns by name.
    """
    measured = [column.name for column in archive.measurements.columns if column.name in latents]
    types = suggest_galaxy_types(archive.galaxy_types, latents, len(batch))
    return {
        **{name: getattr(batch, name) for name in BATCH_COLUMNS},
        **{name: latents[name] for name in (*SCALAR_COLUMNS, *BAD_PIXEL_COLUMNS, *measured)},
        **{f"{name}_{i:02d}": values for name in VECTOR_COLUMNS for i, values in enumerate(latents[name].T)},
        **dict(zip((column.name for column in schema.GALAXY_TYPE_COLUMNS), types, strict=True)),
    }


def _build_redshift_columns(
    posteriors: Sequence[RedshiftPosterior | None],
    n_spectra: int,
    failures: Sequence[tuple[int, InvalidSpectrumError]],
) -> dict[str, Any]:
    """Return the columns of the redshifts of the spectra that could be preprocessed."""
    failed = {i for i, _ in failures}
    of_each = posteriors or [None] * n_spectra
    return build_redshift_columns([of_each[i] for i in range(n_spectra) if i not in failed])
