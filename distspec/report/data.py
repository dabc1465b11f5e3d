"""The data that the report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from distspec.anomaly.feedback import DiscoveryCurve
from distspec.catalog.run_record import RunRecord
from distspec.core.schema import Column
from distspec.core.spectrum import Floats, Floats32
from distspec.io.stage_log import StageRecord
from distspec.report.odd_features import OddFeature
from distspec.report.truth import TruthScores

N_EXAMPLES_PER_CLASS = 3
"""Number of example spectra that are drawn for each class."""
N_THUMBNAIL_COLUMNS = 8
"""Number of thumbnails in a row; a class has two rows."""


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

    def take(self, positions: Sequence[int]) -> ExampleSpectra:
        """Return some of the spectra.

        Parameters
        ----------
        positions : sequence of int
            Positions of the spectra, in the order of the result.
        """
        rows = np.asarray(positions, np.int64)
        return ExampleSpectra(
            [self.object_ids[i] for i in positions],
            self.z[rows],
            self.flux[rows],
            self.ivar[rows],
            self.recon[rows],
            [self.captions[i] for i in positions],
        )


@dataclass(frozen=True)
class ChosenSpace:
    """The space that was clustered, projected on its first two principal components.

    Attributes
    ----------
    name : str
        What the space is, as text.
    points : ndarray of shape (n_spectra, 2)
        Principal components.
    axis_labels : (str, str)
        Share of the variance and largest loadings of each component.
    """

    name: str
    points: Floats
    axis_labels: tuple[str, str]


@dataclass(frozen=True)
class MapColumn:
    """A column of an external table, joined to the spectra, that colors the map.

    Attributes
    ----------
    name : str
        Name of the column.
    values : ndarray of shape (n_spectra,)
        Numbers (NaN if missing), or texts ("" if missing).
    n_matched : int
        Number of spectra that the table has.
    """

    name: str
    values: NDArray[Any]
    n_matched: int


@dataclass(frozen=True)
class DoubtfulRedshift:
    """A spectrum whose redshift p(z) contradicts, at the redshifts of the archive and of the model.

    Attributes
    ----------
    object_id : str
        Identifier of the spectrum.
    z_archive, z_model : float
        Redshifts.
    p_outlier : float
        Probability that the archive's redshift is wrong.
    pdf_z, pdf_probability : ndarray of shape (n_steps,)
        Redshifts and their probabilities.
    flux, ivar, recon : ndarray of shape (2, n_pixels)
        Normalized flux density, its inverse variance and its reconstruction on the rest-frame grid, at either
        redshift; 0 where the spectrum cannot be normalized there.
    """

    object_id: str
    z_archive: float
    z_model: float
    p_outlier: float
    pdf_z: Floats
    pdf_probability: Floats
    flux: Floats32
    ivar: Floats32
    recon: Floats32


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
    too_few : str
        What to do instead if the model was trained on too few spectra; "" if they were enough.
    wave_rest : ndarray of shape (n_pixels,)
        Rest-frame wavelength grid [Angstrom].
    objects, classes, class_medians, changes, anomalies, bad_pixels, quarantine : Table
        Published tables of the run.
    sweep, null_tests, confusion, latent_pairs : Table
        Published tables about the clustering and the latents.
    redshifts : Table
        Published table of measured redshifts; empty if none was measured.
    doubtful_redshifts : sequence of DoubtfulRedshift
        The most doubtful redshifts of the archive.
    observation_groups, leakage : Table
        Published tables about observations; empty for an edition that was published without them.
    history : Table
        Learning curves of the model.
    quartile_examples : ExampleSpectra
        One example for each quartile of the reconstruction error, lowest first.
    class_examples : ExampleSpectra
        Typical members of each class.
    class_example_labels : ndarray of shape (n_examples,)
        Classes of `class_examples`.
    thumbnails : ExampleSpectra
        Random members of each class.
    thumbnail_labels : ndarray of shape (n_thumbnails,)
        Classes of `thumbnails`.
    measurement_columns : sequence of Column
        Measurements of the spectra: values and, named ``<name>_err``, their errors.
    anomaly_examples : ExampleSpectra
        The most anomalous spectra, highest score first.
    odd_features : sequence of OddFeature or None
        Feature that is marked in each of `anomaly_examples`.
    space : ChosenSpace or None
        The space that was clustered; None without spectra.
    edition : int
        Number of the published edition.
    root : str
        Root URL.
    documentation_url : str
        Address of the documentation; "" if unknown.
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
    map_columns : sequence of MapColumn
        Columns of an external table that color the map.
    """

    run: RunRecord
    stages: Sequence[StageRecord]
    best_epoch: int
    too_few: str
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
    redshifts: pa.Table
    doubtful_redshifts: Sequence[DoubtfulRedshift]
    observation_groups: pa.Table
    leakage: pa.Table
    history: pa.Table
    quartile_examples: ExampleSpectra
    class_examples: ExampleSpectra
    class_example_labels: NDArray[np.int64]
    thumbnails: ExampleSpectra
    thumbnail_labels: NDArray[np.int64]
    measurement_columns: Sequence[Column]
    anomaly_examples: ExampleSpectra
    odd_features: Sequence[OddFeature | None]
    space: ChosenSpace | None
    edition: int
    root: str
    documentation_url: str
    truth_scores: TruthScores | None
    lines: Mapping[str, float]
    norm_wave: float
    example_query: str
    discovery_curve: DiscoveryCurve | None = None
    map_columns: Sequence[MapColumn] = ()

    @property
    def class_names(self) -> dict[int, str | None]:
        """Name of each class by its label."""
        labels = self.classes["cluster_label"].to_pylist()
        names = self.classes["class_name"].to_pylist()
        return dict(zip(labels, names, strict=True))

    @property
    def origin(self) -> str:
        """Version, run and edition, which every figure shows."""
        version = self.run.versions.get("distspec", "")
        return f"distspec {version}, run {self.run.run_id}, edition {self.edition}"
