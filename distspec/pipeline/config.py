"""Configuration of a project: the settings of the command line and of `distspec.run` in one dataclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import tyro

from distspec.archives.base import Archive
from distspec.archives.dja import DJA
from distspec.archives.simulated.survey import SimulationConfig
from distspec.catalog.config import CatalogConfig
from distspec.clustering.config import ClusteringConfig
from distspec.core.errors import ConfigError
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import join_url
from distspec.io.remote.config import AccessConfig
from distspec.io.storage import StorageConfig, resolve_root
from distspec.models.config import VAEConfig
from distspec.models.pretrained import PRETRAINED_MODELS
from distspec.operations.policy import RetrainConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.report.config import ReportConfig
from distspec.stages.config import RayConfig
from distspec.training.config import TrainingConfig

SIGNATURE_PARAMETERS = frozenset(
    {"x-amz-signature", "x-goog-signature", "awsaccesskeyid", "signature", "sig"}
)
"""Query parameters of a signed URL: whoever holds such a URL has access."""
STAGE_NAMES = ("simulate", "ingest", "train", "redshifts", "embed", "cluster", "catalog", "report")
"""The stages of the pipeline, in order."""


@dataclass(frozen=True)
class Config:
    """All settings of a project; `distspec.pipeline.recipes` holds ready-made ones."""

    root: Annotated[str, tyro.conf.arg(aliases=["-r"])]
    """Folder or bucket URL that holds everything this project produces; default: $DISTSPEC_ROOT."""
    recipe: tyro.conf.Suppress[str]
    """Name of the recipe that these settings come from."""
    archive: Archive
    """Archive that the spectra are read from."""
    pretrained_model: Annotated[str, tyro.conf.arg(aliases=["--model"])] = ""
    """Trained model to use instead of training one: a folder or bucket URL, or ``prism-simulated``, which the
    package contains; empty: train."""
    seed: int = 0
    """Seed of the weights, the noise, the shuffles, the map and the sweep."""
    simulation: Annotated[SimulationConfig | None, tyro.conf.arg(name="simulation")] = None
    """Simulate an archive below the root first, and read the spectra from it."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Settings of the training of the VAE."""
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)
    """Settings of the sweep over clusterings and of the selection among them."""
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    """Settings of the published catalog."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """Settings of the report."""
    grid: GridConfig = field(default_factory=GridConfig)
    """The rest-frame wavelength grid of a new store; a store keeps its grid."""
    norm: NormConfig = field(default_factory=NormConfig)
    """How spectra are normalized to 1 at a reference wavelength; a store keeps it."""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    """How an archive is ingested."""
    vae: VAEConfig = field(default_factory=VAEConfig)
    """Architecture and objective of the VAE."""
    redshifts: RedshiftStageConfig = field(default_factory=RedshiftStageConfig)
    """Which redshifts are measured with the model, and how; see also ``archive.redshifts``."""
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    """Criteria for training a new model and for promoting it."""
    access: AccessConfig = field(default_factory=AccessConfig)
    """Settings of the access to an archive's files, and the limits on their size."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Settings of S3-compatible object stores; credentials come from the environment."""
    ray: RayConfig = field(default_factory=RayConfig)
    """Settings of the connection to Ray."""

    def __post_init__(self) -> None:
        if not self.root:
            raise ConfigError("root is empty: set --root to a folder or a bucket URL")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} is negative: give 0 or a positive integer")
        _refuse_secrets(asdict(self))

    @property
    def simulation_url(self) -> str:
        """Folder of the simulated archive."""
        return join_url(self.root, "archive")

    def ingest_source(self) -> ArchiveSource:
        """Return the settings that the ingest stage uses.

        Returns
        -------
        ArchiveSource
            The archive, and the settings of its access, grid, normalization and ingest.
        """
        return ArchiveSource(self.archive, self.access, self.grid, self.norm, self.ingest)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as nested dictionaries, the form in which run records keep them.

        Returns
        -------
        dict of str to object
            Values by setting name.
        """
        return asdict(self)

    def resolve_urls(self) -> Config:
        """Return this configuration with absolute URLs, and with the simulated archive as the one to read.

        Returns
        -------
        Config
            A copy with absolute URLs.
        """
        model = self.pretrained_model
        if model and model not in PRETRAINED_MODELS:
            model = resolve_root(model)
        archive = self.archive.resolve_paths()
        config = replace(self, root=resolve_root(self.root), pretrained_model=model, archive=archive)
        if self.simulation is None or not isinstance(self.archive, DJA):
            return config
        url = config.simulation_url
        tables = {"catalog": join_url(url, "catalog.csv"), "truth_table": join_url(url, "truth.parquet")}
        return replace(config, archive=replace(self.archive, url=url, **tables))


def _refuse_secrets(settings: Mapping[str, Any], prefix: str = "") -> None:
    """Raise `ConfigError` if a setting holds a password or a signature: records keep settings as text."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _refuse_secrets(value, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            for item in value:
                _refuse_secrets({name: item}, prefix)
        elif isinstance(value, str) and "://" in value:
            url = urlsplit(value)
            signed = {key.lower() for key, _ in parse_qsl(url.query)} & SIGNATURE_PARAMETERS
            if signed or ":" in url.netloc.rpartition("@")[0]:
                raise ConfigError(
                    f"--{prefix}{name} holds a password or a signature, which would be written into records: "
                    "give a plain URL, and the credentials in the environment"
                )
