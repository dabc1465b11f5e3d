"""Recipes: whole configurations, each field of which is a documented flag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import tyro

from distspec.access import AccessConfig
from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.spex import SpeX
from distspec.archives.synthetic import SyntheticConfig
from distspec.archives.tables import absolute
from distspec.catalog import CatalogConfig
from distspec.ingestion import IngestConfig, Source
from distspec.lyman import PRISM_RESOLUTION
from distspec.places import exists, get_json, join, put_json
from distspec.preprocessing import GridConfig, NormConfig
from distspec.retraining import RetrainConfig
from distspec.stages.session import RayConfig
from distspec.storage import StorageConfig
from distspec.sweep import ClusteringConfig
from distspec.training import TrainingConfig
from distspec.vae import VAEConfig
from distspec.weights import tuples


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
    model: str = ""
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

    def source(self) -> Source:
        """Return what ingest needs."""
        return Source(self.archive, self.access, self.grid, self.norm, self.ingest)

    def resolved(self) -> dict[str, Any]:
        """Return everything that was set, to be kept with a run."""
        return asdict(self)

    def located(self) -> Config:
        """Return this configuration with a root that means the same in every process.

        A synthetic archive becomes the archive to read.
        """
        root = absolute(self.root).removeprefix("file://")
        model = absolute(self.model).removeprefix("file://") if self.model else ""
        config = replace(self, root=root, model=model)
        if self.synthetic is None or not isinstance(self.archive, DJA):
            return config
        url = config.synthetic_url()
        tables = {"catalog": join(url, "catalog.csv"), "truth_table": join(url, "truth.parquet")}
        return replace(config, archive=replace(self.archive, url=url, **tables))

    def synthetic_url(self) -> str:
        """Return where a synthetic archive is written."""
        return join(self.root, "archive")


SIGNATURES = frozenset({"x-amz-signature", "x-goog-signature", "awsaccesskeyid", "signature", "sig"})
"""Parameters of a URL that let in whoever holds it."""


def _refuse_secrets(settings: Mapping[str, Any], place: str = "") -> None:
    """Raise where a setting holds a password: settings are written into records that others read."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _refuse_secrets(value, f"{place}{name}.")
        elif isinstance(value, str) and "://" in value:
            url = urlsplit(value)
            signed = {key.lower() for key, _ in parse_qsl(url.query)} & SIGNATURES
            if signed or ":" in url.netloc.rpartition("@")[0]:
                raise ValueError(
                    f"--{place}{name} holds a password or a signature, and settings are written into "
                    "records: give a plain URL, and credentials by the environment"
                )


SPECTRAL_VAE = VAEConfig(
    # What pays on spectra of any archive: README's table of ablations.
    dropout=(0.2, 0.2, 0.2, 0.1),
    decoder_dropout=False,
    l2=0.0,
    likelihood="gaussian",
    standardise=True,
    linear=True,
    impute=True,
    profile_amplitude=True,
    halves=True,
    agreement=20.0,
    calibrate=True,
)
PRISM_VAE = replace(
    SPECTRAL_VAE,
    condition_on_z=True,
    hide_below=1230.0,
    resolution=PRISM_RESOLUTION,
    blur=True,
    shift_z=True,
)
"""For galaxies at many redshifts seen by JWST/NIRSpec's prism."""
FAST = TrainingConfig(learning_rate=2e-3, decay_steps=25, max_epochs=30, patience=15)
"""For some thousands of spectra; with many more, let decay_steps grow as they do."""


CONSENSUS = ClusteringConfig(
    rule="consensus",
    spaces=("features", "latents", "map"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=5,
    k_max=12,
    covariances=("full", "tied", "diag"),
    seeds=10,
    starts=5,
    resample=0.8,
    maps=3,
)
"""Classes that repeat, in physical measures, latents or on maps."""


def demo(root: str) -> Config:
    """Return the demonstration: a synthetic archive, minutes on a laptop."""
    return Config(
        root,
        "demo",
        DJA(),
        synthetic=SyntheticConfig(),
        vae=PRISM_VAE,
        training=replace(FAST, max_epochs=45),
        clustering=replace(CONSENSUS, measures=("lya_ew",), seeds=5, maps=2),
    )


def paper(root: str) -> Config:
    """Return the published method to the letter."""
    grid = GridConfig("uniform", 7000.0, 55000.0, n_pixels=0, step=3.0, frame="observed")
    return Config(root, "paper", DJA(), grid=grid)


def dja(root: str) -> Config:
    """Return what we would run on the DAWN JWST Archive: one log grid, a faster schedule."""
    clustering = replace(CONSENSUS, measures=("lya_ew",), null_draws=19)
    return Config(root, "dja", DJA(), vae=PRISM_VAE, training=FAST, clustering=clustering)


def spex(root: str) -> Config:
    """Return the settings for stars of the SpeX Prism Library: z = 0, normalised at 1.28 µm."""
    windows = ((12600.0, 13000.0), (15800.0, 16200.0), (21000.0, 21500.0))
    return Config(
        root,
        "spex",
        SpeX(),
        grid=GridConfig(start=6600.0, stop=25400.0, n_pixels=512),
        norm=NormConfig(reference=12800.0, windows=windows, slope=0.0),
        # Stars of one sequence: its neighbours are found better without PCA's whitened axes.
        vae=replace(SPECTRAL_VAE, linear=False),
        training=replace(FAST, max_epochs=120, patience=40),
        clustering=replace(CONSENSUS, k_min=2, null_draws=19),
    )


OPTICAL_GRID = GridConfig(start=1300.0, stop=9100.0, n_pixels=2048)
OPTICAL_NORM = NormConfig(
    # 4200 Å lies between Hδ and Hγ, redward of the 4000 Å break, and is in band up to z = 1.4; the windows
    # after it serve galaxies, those in the ultraviolet quasars.
    reference=4200.0,
    windows=(
        (4150.0, 4250.0),
        (5050.0, 5150.0),
        (3550.0, 3690.0),
        (5600.0, 5750.0),
        (3000.0, 3100.0),
        (2200.0, 2300.0),
        (1970.0, 2030.0),
        (1680.0, 1760.0),
        (1430.0, 1470.0),
    ),
    slope=-1.0,
)


def sdss(root: str) -> Config:
    """Return the settings for spectra of the Sloan Digital Sky Survey: normalised at 4200 Å."""
    training = TrainingConfig(learning_rate=1e-3)
    return Config(root, "sdss", SDSS(), grid=OPTICAL_GRID, norm=OPTICAL_NORM, training=training)


def desi(root: str) -> Config:
    """Return the settings for coadds of the Dark Energy Spectroscopic Instrument: as sdss."""
    training = TrainingConfig(learning_rate=1e-3)
    return Config(root, "desi", DESI(), grid=OPTICAL_GRID, norm=OPTICAL_NORM, training=training)


def jades(root: str) -> Config:
    """Return the settings for PRISM spectra of a JADES release: grid and windows as dja, z > 3."""
    return Config(root, "jades", JADES(z_min=3.0), vae=PRISM_VAE, training=FAST)


def soak(root: str) -> Config:
    """Return settings that take the whole pipeline through everything in seconds, to see what it survives."""
    return Config(
        root,
        "soak",
        DJA(),
        grid=GridConfig(n_pixels=64),
        ingest=IngestConfig(task_mb=1.0, commit_rows=64),
        vae=VAEConfig(hidden=(32, 16), dropout=(0.1, 0.1), n_latents=4),
        training=TrainingConfig(learning_rate=2e-3, max_epochs=4, workers=2, checkpoint_steps=4),
        retrain=RetrainConfig(grown=0.3),
        clustering=ClusteringConfig(
            spaces=("latents",), k_min=3, k_max=4, covariances=("tied",), seeds=2, actors=1
        ),
    )


RECIPES = {
    "demo": demo,
    "paper": paper,
    "dja": dja,
    "spex": spex,
    "sdss": sdss,
    "desi": desi,
    "jades": jades,
    "soak": soak,
}


ARCHIVES: Mapping[str, Any] = {archive.kind: archive for archive in (DJA, SpeX, SDSS, DESI, JADES)}


def remember(root: str, source: Source) -> None:
    """Keep under a root what it is ingested from, for `recall`."""
    record = {"kind": source.archive.kind, **asdict(source)}
    url = join(root, "archive.json")
    record = json.loads(json.dumps(record))
    if not exists(url) or get_json(url) != record:
        put_json(url, record)


def recall(root: str) -> Source:
    """Return what a root was last ingested from.

    Raises
    ------
    FileNotFoundError
        When nothing was ingested there.
    """
    url = join(root, "archive.json")
    if not exists(url):
        raise FileNotFoundError(f"nothing was ingested into {root}: run `python -m jobs.ingest` first")
    record = get_json(url)
    archive = ARCHIVES[record["kind"]](**tuples(record["archive"]))
    access, grid = AccessConfig(**tuples(record["access"])), GridConfig(**record["grid"])
    norm, ingest = NormConfig(**tuples(record["norm"])), IngestConfig(**record["config"])
    return Source(archive, access, grid, norm, ingest)


def parse(args: list[str] | None = None, prog: str | None = None) -> Config:
    """Read ``RECIPE --root URL [flags]`` from a command line."""
    recipes = {
        name: ((make.__doc__ or "").removeprefix("Return ").split("\n")[0], make(tyro.MISSING))
        for name, make in RECIPES.items()
    }
    try:
        return tyro.extras.overridable_config_cli(recipes, args=args, prog=prog).located()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
