"""NEEDS A DOCSTRING."""

from __future__ import annotations

from dataclasses import replace

import tyro

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.simulated.survey import SyntheticConfig
from distspec.archives.spex import SpeX
from distspec.clustering.config import ClusteringConfig
from distspec.core.instruments import NIRSPEC_PRISM_RESOLUTION
from distspec.ingest.source import IngestConfig
from distspec.models.config import VAEConfig
from distspec.operations.policy import RetrainConfig
from distspec.pipeline.config import Config
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.training.config import TrainingConfig

SPECTRAL_VAE = VAEConfig(
    # What pays on spectra of any archive: README's table of ablations.
    dropout=(0.2, 0.2, 0.2, 0.1),
    decoder_dropout=False,
    l2=0.0,
    likelihood="gaussian",
    standardize=True,
    ppca_init=True,
    impute_with_ppca=True,
    profile_amplitude=True,
    data_thinning=True,
    consistency_weight=20.0,
    calibrate_posteriors=True,
)
PRISM_VAE = replace(
    SPECTRAL_VAE,
    condition_on_z=True,
    encoder_min_wave=1230.0,
    resolving_power=NIRSPEC_PRISM_RESOLUTION,
    convolve_lsf=True,
    redshift_augmentation=True,
)
"""For galaxies at many redshifts seen by JWST/NIRSpec's prism."""
FAST_TRAINING = TrainingConfig(learning_rate=2e-3, lr_decay_steps=25, max_epochs=30, patience=15)
"""For some thousands of spectra; with many more, let decay_steps grow as they do."""
CONSENSUS_CLUSTERING = ClusteringConfig(
    selection_rule="consensus",
    spaces=("features", "latents", "map"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=5,
    k_max=12,
    covariance_types=("full", "tied", "diag"),
    n_seeds=10,
    n_init=5,
    resample_fraction=0.8,
    n_umap_seeds=3,
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
        training=replace(FAST_TRAINING, max_epochs=45),
        clustering=replace(CONSENSUS_CLUSTERING, measurements=("lya_ew",), n_seeds=5, n_umap_seeds=2),
    )


def paper(root: str) -> Config:
    """Return the published method to the letter."""
    grid = GridConfig("uniform", 7000.0, 55000.0, n_pixels=0, step=3.0, frame="observed")
    return Config(root, "paper", DJA(), grid=grid)


def dja(root: str) -> Config:
    """Return what we would run on the DAWN JWST Archive: one log grid, a faster schedule."""
    clustering = replace(CONSENSUS_CLUSTERING, measurements=("lya_ew",), n_null_draws=19)
    return Config(root, "dja", DJA(), vae=PRISM_VAE, training=FAST_TRAINING, clustering=clustering)


def spex(root: str) -> Config:
    """Return the settings for stars of the SpeX Prism Library: z = 0, normalised at 1.28 µm."""
    windows = ((12600.0, 13000.0), (15800.0, 16200.0), (21000.0, 21500.0))
    return Config(
        root,
        "spex",
        SpeX(),
        grid=GridConfig(start=6600.0, stop=25400.0, n_pixels=512),
        norm=NormConfig(reference_wave=12800.0, windows=windows, fallback_slope=0.0),
        # Stars of one sequence: its neighbours are found better without PCA's whitened axes.
        vae=replace(SPECTRAL_VAE, ppca_init=False),
        training=replace(FAST_TRAINING, max_epochs=120, patience=40),
        clustering=replace(CONSENSUS_CLUSTERING, k_min=2, n_null_draws=19),
    )


OPTICAL_GRID = GridConfig(start=1300.0, stop=9100.0, n_pixels=2048)
OPTICAL_NORM = NormConfig(
    # 4200 Å lies between Hδ and Hγ, redward of the 4000 Å break, and is in band up to z = 1.4; the windows
    # after it serve galaxies, those in the ultraviolet quasars.
    reference_wave=4200.0,
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
    fallback_slope=-1.0,
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
    return Config(root, "jades", JADES(z_min=3.0), vae=PRISM_VAE, training=FAST_TRAINING)


def soak(root: str) -> Config:
    """Return settings that take the whole pipeline through everything in seconds, to see what it survives."""
    return Config(
        root,
        "soak",
        DJA(),
        grid=GridConfig(n_pixels=64),
        ingest=IngestConfig(task_mb=1.0, commit_rows=64),
        vae=VAEConfig(hidden_sizes=(32, 16), dropout=(0.1, 0.1), n_latents=4),
        training=TrainingConfig(learning_rate=2e-3, max_epochs=4, workers=2, checkpoint_interval_steps=4),
        retrain=RetrainConfig(change_threshold=0.3),
        clustering=ClusteringConfig(
            spaces=("latents",), k_min=3, k_max=4, covariance_types=("tied",), n_seeds=2, n_actors=1
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


def parse(args: list[str] | None = None, prog: str | None = None) -> Config:
    """Read ``RECIPE --root URL [flags]`` from a command line."""
    recipes = {
        name: ((make.__doc__ or "").removeprefix("Return ").split("\n")[0], make(tyro.MISSING))
        for name, make in RECIPES.items()
    }
    try:
        return tyro.extras.overridable_config_cli(recipes, args=args, prog=prog).resolve_urls()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
