"""From spectra to latents, measurements, features, classes and anomaly scores.

Each step is one function, here or in `distspec.inference.latents`, whether the spectra are those of the
store, held out for the evaluation of a model, or new. The cluster stage and the evaluation call the steps;
`describe_spectra` runs all of them for new spectra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distspec.archives.base import Archive
from distspec.clustering.config import ClusteringConfig
from distspec.clustering.feature_space import ClusteringInputs, LatentScaler, compute_posterior_widths
from distspec.clustering.labeler import Assignment
from distspec.core.spectrum import Floats, Floats32, SpectrumBatch
from distspec.inference.latents import (
    SpectrumLatents,
    compute_latents,
    compute_raw_anomaly_scores,
    reconstruct_spectra,
)
from distspec.inference.run_model import RunModel
from distspec.measurements.definitions import MeasurementSet
from distspec.measurements.features import compute_features, measure_reconstructions
from distspec.models.model import Model


@dataclass(frozen=True)
class SpectrumFeatures:
    """Clustering features of spectra, and the measurements of reconstructions that they are computed from.

    Attributes
    ----------
    measurements : mapping of str to ndarray of shape (n_spectra,)
        The columns `distspec.measurements.features.list_reconstruction_columns`; empty if the feature space
        is not used.
    features : ndarray of shape (n_spectra, n_features)
        Result of `distspec.measurements.features.compute_features`; ``n_features`` is 0 if it is not used.
    """

    measurements: Mapping[str, Floats32]
    features: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[SpectrumFeatures]) -> SpectrumFeatures:
        """Join the features of consecutive blocks of spectra.

        Parameters
        ----------
        parts : sequence of SpectrumFeatures
            Features of consecutive blocks.

        Returns
        -------
        SpectrumFeatures
        """
        names = parts[0].measurements
        return cls(
            {name: np.concatenate([part.measurements[name] for part in parts]) for name in names},
            np.concatenate([part.features for part in parts]),
        )


@dataclass(frozen=True)
class SpectrumDescription:
    """All outputs of a run's models for spectra.

    Attributes
    ----------
    latents : SpectrumLatents
        Latents and measurements by the first model.
    recon : ndarray of shape (n_spectra, n_pixels)
        Its reconstructions.
    assignment : Assignment
        Classes.
    anomaly_scores : mapping of str to ndarray of shape (n_spectra,)
        Result of `distspec.anomaly.score.ReferenceDistribution.score`.
    """

    latents: SpectrumLatents
    recon: Floats32
    assignment: Assignment
    anomaly_scores: Mapping[str, Floats]


def compute_spectrum_features(
    model: Model,
    measurements: MeasurementSet,
    latents: SpectrumLatents,
    spaces: Sequence[str],
    n_draws: int = 0,
) -> SpectrumFeatures:
    """Measure the reconstructions of spectra and compute clustering features.

    Parameters
    ----------
    model : Model
        The model of the latents.
    measurements : MeasurementSet
        The archive's measurements.
    latents : SpectrumLatents
        Latents of the spectra.
    spaces : sequence of str
        Names of the spaces that are clustered; nothing is measured if "features" is not among them.
    n_draws : int
        Number of posterior draws for the errors of the measurements; without draws the errors are NaN.

    Returns
    -------
    SpectrumFeatures
    """
    if "features" not in spaces:
        return SpectrumFeatures({}, np.zeros((len(latents), 0)))
    measured = measure_reconstructions(
        measurements, model.decode, model.grid, latents.z_mean, latents.z_log_var, n_draws
    )
    return SpectrumFeatures(measured, compute_features(measurements, {**latents.columns, **measured}))


def fit_latent_scaler(
    latents: SpectrumLatents, measurements: MeasurementSet, config: ClusteringConfig
) -> LatentScaler:
    """Determine the scale of the latents that a run is clustered in.

    By the rule "consensus", latents are divided by their posterior widths; the published method uses them as
    they are.

    Parameters
    ----------
    latents : SpectrumLatents
        Latents of all spectra of the run.
    measurements : MeasurementSet
        The archive's measurements.
    config : ClusteringConfig
        Settings of the sweep.

    Returns
    -------
    LatentScaler
    """
    if config.selection_rule == "consensus":
        widths = compute_posterior_widths(latents.z_log_var)
    else:
        widths = np.ones(latents.z_mean.shape[1])
    scaled = measurements.scale_by_error(config.measurements, latents.columns)
    return LatentScaler.from_latents(latents.z_mean, widths, scaled)


def build_clustering_inputs(
    latents: SpectrumLatents,
    features: SpectrumFeatures,
    scaler: LatentScaler,
    measurements: MeasurementSet,
    config: ClusteringConfig,
) -> ClusteringInputs:
    """Scale latents, measurements and features to the points that are clustered.

    Parameters
    ----------
    latents : SpectrumLatents
        Latents of the spectra by one model.
    features : SpectrumFeatures
        Their features by the same model.
    scaler : LatentScaler
        Scale of the run for this model.
    measurements : MeasurementSet
        The archive's measurements.
    config : ClusteringConfig
        Settings of the run.

    Returns
    -------
    ClusteringInputs
    """
    scaled = measurements.scale_by_error(config.measurements, latents.columns)
    return scaler.transform(latents.z_mean, scaled, features.features.astype(np.float32))


def describe_spectra(
    batch: SpectrumBatch,
    models: Sequence[Model],
    run_model: RunModel,
    archive: type[Archive],
    config: ClusteringConfig,
) -> SpectrumDescription:
    """Describe spectra as a run would if they were part of it.

    Parameters
    ----------
    batch : SpectrumBatch
        Preprocessed spectra, on the grid and scale of the run's store.
    models : sequence of Model
        Models whose latents the run clustered, its own first.
    run_model : RunModel
        Labeler, scales and reference distribution of the run.
    archive : type of Archive
        The archive of the run's store.
    config : ClusteringConfig
        Settings of the run.

    Returns
    -------
    SpectrumDescription
    """
    measurements = archive.measurements
    described: list[tuple[SpectrumLatents, Floats32]] = []
    inputs: list[ClusteringInputs] = []
    for model, scaler in zip(models, run_model.scalers, strict=True):
        latents, masked_ivar = compute_latents(model, archive, batch.flux, batch.ivar, batch.z)
        features = compute_spectrum_features(model, measurements, latents, config.spaces)
        inputs.append(build_clustering_inputs(latents, features, scaler, measurements, config))
        described.append((latents, masked_ivar))
    assignment = run_model.labeler.assign(inputs)
    latents, masked_ivar = described[0]
    spectra = reconstruct_spectra(models[0], latents, batch.flux, masked_ivar, batch.z)
    scaled_latents = (latents.z_mean / run_model.posterior_widths).astype(np.float32)
    raw_scores = compute_raw_anomaly_scores(
        spectra,
        scaled_latents,
        run_model.model_error,
        run_model.latent_density,
        models[0].grid,
        archive.disperser,
    )
    scores = run_model.reference_distribution.score(
        raw_scores, batch.snr, assignment.labels, latents.bad_pixel_score
    )
    return SpectrumDescription(latents, spectra.recon, assignment, scores)
