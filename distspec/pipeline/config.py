"""Recipes: whole configurations, each field of which is a documented flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import tyro

from distspec.archives.catalogs import make_absolute_url
from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.simulated.survey import SyntheticConfig
from distspec.archives.spex import SpeX
from distspec.catalog.editions import CatalogConfig
from distspec.clustering.config import ClusteringConfig
from distspec.ingest.source import ArchiveSource, IngestConfig
from distspec.io.paths import join_url
from distspec.io.remote.config import AccessConfig
from distspec.io.storage import StorageConfig
from distspec.models.config import VAEConfig
from distspec.operations.policy import RetrainConfig
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.stages.config import RayConfig
from distspec.training.config import TrainingConfig


@dataclass(frozen=True)
class Config:
    """A recipe with its settings."""

    root: str
    """Folder (or bucket URL) that holds everything this project produces."""
    recipe: tyro.conf.Suppress[str]
    archive: DJA | SpeX | SDSS | DESI | JADES
    """Where the spectra come from."""
    synthetic: Annotated[SyntheticConfig | None, tyro.conf.arg(name="synthetic")] = None
    """Write a synthetic archive below the root first, and read that."""
    access: AccessConfig = field(default_factory=AccessConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    seed: int = 0
    """Of weights, noise, shuffles, map and sweep."""
    pretrained_model: str = ""
    """Folder (or bucket URL) of a trained model to use as it is; empty: train one."""
    grid: GridConfig = field(default_factory=GridConfig)
    norm: NormConfig = field(default_factory=NormConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)
    catalog: CatalogConfig = field(default_factory=CatalogConfig)
    ray: RayConfig = field(default_factory=RayConfig)

    def __post_init__(self) -> None:
        if not self.root:
            raise ValueError("--root is empty: name a folder or a bucket URL")
        if self.seed < 0:
            raise ValueError(f"--seed {self.seed} must not be negative")
        _refuse_secrets(asdict(self))

    def ingest_source(self) -> ArchiveSource:
        """Return what ingest needs."""
        return ArchiveSource(self.archive, self.access, self.grid, self.norm, self.ingest)

    def to_dict(self) -> dict[str, Any]:
        """Return everything that was set, to be kept with a run."""
        return asdict(self)

    def resolve_urls(self) -> Config:
        """Return this configuration with a root that means the same in every process.

        A synthetic archive becomes the archive to read.
        """
        root = make_absolute_url(self.root).removeprefix("file://")
        model = (
            make_absolute_url(self.pretrained_model).removeprefix("file://") if self.pretrained_model else ""
        )
        config = replace(self, root=root, pretrained_model=model)
        if self.synthetic is None or not isinstance(self.archive, DJA):
            return config
        url = config.synthetic_url()
        tables = {"catalog": join_url(url, "catalog.csv"), "truth_table": join_url(url, "truth.parquet")}
        return replace(config, archive=replace(self.archive, url=url, **tables))

    def synthetic_url(self) -> str:
        """Return where a synthetic archive is written."""
        return join_url(self.root, "archive")


SIGNATURE_PARAMETERS = frozenset(
    {"x-amz-signature", "x-goog-signature", "awsaccesskeyid", "signature", "sig"}
)
"""Parameters of a URL that let in whoever holds it."""


def _refuse_secrets(settings: Mapping[str, Any], prefix: str = "") -> None:
    """Raise where a setting holds a password: settings are written into records that others read."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _refuse_secrets(value, f"{prefix}{name}.")
        elif isinstance(value, str) and "://" in value:
            url = urlsplit(value)
            signed = {key.lower() for key, _ in parse_qsl(url.query)} & SIGNATURE_PARAMETERS
            if signed or ":" in url.netloc.rpartition("@")[0]:
                raise ValueError(
                    f"--{prefix}{name} holds a password or a signature, and settings are written into "
                    "records: give a plain URL, and credentials by the environment"
                )
