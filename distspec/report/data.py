"""The data that the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.catalog.run_record import RunRecord
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32
from distspec.io.stage_log import StageRecord
from distspec.report.truth import TruthScores

N_EXAMPLES_PER_CLASS = 3
"""Number of example spectra that are drawn for each class."""


@dataclass(frozen=True)
class ExampleSpectra:
    """Example spectra and their reconstructions on the rest-frame grid.

    Attributes
    ----------
    object_ids : list of str
        Identifiers of the spectra.
    z : ndarray of shape (n_spectra,)
        Redshifts.
    flux : ndarray of shape (n_spectra, n_pixels)
        Normalized flux density.
    ivar : ndarray of shape (n_spectra, n_pixels)
        Inverse variance of `flux`; 0 for masked pixels.
    recon : ndarray of shape (n_spectra, n_pixels)
        Reconstructed flux density, normalized like `flux`.
    captions : list of str
        Text below the identifier in each title.
    """

    object_ids: list[str]
    z: Floats
    flux: Floats32
    ivar: Floats32
    recon: Floats32
    captions: list[str]


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows.

    Attributes
    ----------
    run : RunRecord
        Record of the run.
    stages : sequence of StageRecord
        Duration and counts of each stage.
    best_epoch : int
        Epoch whose weights the model has.
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    objects, classes, class_medians, changes, anomalies, bad_pixels, quarantine : Table
        Published tables of the run.
    sweep, null_tests, confusion, latent_pairs : Table
        Published tables about the clustering and the latents.
    history : Table
        Learning curves of the model.
    quartile_examples : ExampleSpectra
        One example for each quartile of the reconstruction error, lowest first.
    class_examples : ExampleSpectra
        Typical members of each class.
    class_example_labels : ndarray of shape (n_examples,)
        Classes of `class_examples`.
    measurement_columns : sequence of Column
        Measurements of the spectra: values and, named ``<name>_err``, their errors.
    anomaly_examples : ExampleSpectra
        The most anomalous spectra, highest score first.
    truth_scores : TruthScores or None
        Scores against known truth; None if no truth is known.
    lines : mapping of str to float
        Rest wavelengths of the spectral features that are named in the figures [Angstrom].
    norm_wave : float
        Rest wavelength at which the spectra are normalized [Angstrom].
    example_query : str
        SQL query that reads the catalog.
    discovery_curve : DiscoveryCurve or None
        Number of interesting spectra found with each mark; None if no spectrum is marked.
    """

    run: RunRecord
    stages: Sequence[StageRecord]
    best_epoch: int
    wave_rest: Floats
    objects: pa.Table
    classes: pa.Table
    class_medians: pa.Table
    changes: pa.Table
    anomalies: pa.Table
    bad_pixels: pa.Table
    quarantine: pa.Table
    sweep: pa.Table
    null_tests: pa.Table
    confusion: pa.Table
    latent_pairs: pa.Table
    history: pa.Table
    quartile_examples: ExampleSpectra
    class_examples: ExampleSpectra
    class_example_labels: NDArray[np.int64]
    measurement_columns: Sequence[Column]
    anomaly_examples: ExampleSpectra
    truth_scores: TruthScores | None
    lines: Mapping[str, float]
    norm_wave: float
    example_query: str
    discovery_curve: DiscoveryCurve | None = None
