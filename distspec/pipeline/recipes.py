"""Recipes: ready-made configurations for known archives, and the parser of their settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import tyro

from distspec.archives.desi import DESI
from distspec.archives.dja import DJA
from distspec.archives.jades import JADES
from distspec.archives.sdss import SDSS
from distspec.archives.simulated.survey import SimulationConfig
from distspec.archives.spex import SpeX
from distspec.archives.table import TableArchive
from distspec.clustering.config import ClusteringConfig
from distspec.core.entry_points import LoadedEntryPoints, load_entry_points
from distspec.core.errors import ConfigError
from distspec.core.instruments import NIRSPEC_PRISM, NIRSPEC_PRISM_RESOLUTION
from distspec.ingest.source import IngestConfig
from distspec.io.storage import default_root
from distspec.models.config import VAEConfig
from distspec.operations.policy import RetrainConfig
from distspec.pipeline.config import Config
from distspec.pipeline.exit import parse_arguments
from distspec.pipeline.settings import apply_settings
from distspec.preprocessing.normalization import NormConfig
from distspec.preprocessing.resampling import GridConfig
from distspec.redshifts.stage_config import RedshiftStageConfig
from distspec.training.config import TrainingConfig

NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})
SPECTRAL_VAE = VAEConfig(
    # Chosen by an ablation study on several archives: see the page on validation in the documentation.
    dropout=(0.2, 0.2, 0.2, 0.1),
    decoder_dropout=False,
    l2=0.0,
    likelihood="gaussian",
    standardize=True,
    ppca_init=True,
    impute_with_ppca=True,
    profile_amplitude=True,
    data_thinning=True,
    consistency_weight=5.0,
    calibrate_posteriors=True,
)
PRISM_VAE = replace(
    SPECTRAL_VAE,
    condition_on_z=True,
    resolving_power=NIRSPEC_PRISM_RESOLUTION,
    noise_correlation=NIRSPEC_PRISM.noise_correlation,
    convolve_lsf=True,
    redshift_augmentation=True,
)
"""Model for galaxies over a wide range of redshifts, observed with the prism of JWST/NIRSpec."""
CHECKED_REDSHIFTS = RedshiftStageConfig(check=True)
"""Measure the redshifts of all spectra, to find wrong ones."""
FAST_TRAINING = TrainingConfig(learning_rate=2e-3, lr_decay_steps=25, max_epochs=30, patience=15)
"""Schedule for a few thousand spectra; scale ``lr_decay_steps`` with the number of spectra."""
CONSENSUS_CLUSTERING = ClusteringConfig(
    selection_rule="consensus",
    spaces=("features", "latents", "map"),
    algorithms=("gmm", "kmeans", "hdbscan"),
    k_min=5,
    k_max=12,
    covariance_types=("full", "tied", "diag"),
    n_seeds=10,
    n_models=4,
    n_init=5,
    resample_fraction=0.8,
    n_umap_seeds=3,
)
"""Clustering by consensus over models and seeds, in spaces of physical features, latents and maps."""
QUICK_CLUSTERING = replace(
    CONSENSUS_CLUSTERING,
    spaces=("features", "latents"),
    k_max=8,
    covariance_types=("tied", "diag"),
    n_seeds=4,
    n_models=2,
    n_init=2,
)
"""The same with fewer settings and members, for samples of tens to thousands of spectra. Maps are not
clustered, because each draw of null data would need one of its own."""


def demo(root: str) -> Config:
    """Return the demonstration: a simulated archive, processed within minutes on a laptop.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    return Config(
        root,
        "demo",
        DJA(),
        simulation=SimulationConfig(),
        vae=PRISM_VAE,
        training=replace(FAST_TRAINING, patience=6),
        clustering=replace(QUICK_CLUSTERING, measurements=("lya_ew",)),
        redshifts=CHECKED_REDSHIFTS,
    )


def paper(root: str) -> Config:
    """Return the published method, with its original settings.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    grid = GridConfig("uniform", 7000.0, 55000.0, n_pixels=0, step=3.0, frame="observed")
    return Config(root, "paper", DJA(), grid=grid)


def learnspec(root: str) -> Config:
    """Return the published method as its released code runs, which differs from the text of the paper.

    The differences are listed in the documentation (Method, The published code).

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.

    References
    ----------
    https://github.com/aayush3009/learnspec, ``src/vae.py`` at commit 0090c66.
    """
    config = paper(root)
    return replace(
        config,
        recipe="learnspec",
        vae=VAEConfig(
            hidden_layer="scale",
            dropout=(0.0,) * 4,
            l2=0.0,
            glorot_init=True,
            smooth_spectra=True,
        ),
        training=replace(config.training, clip_each_gradient=True),
        clustering=replace(config.clustering, umap_n_neighbors=(5,), umap_min_dist=0.0),
    )


def dja(root: str) -> Config:
    """Return the recommended settings for the DAWN JWST Archive: a logarithmic grid and a fast schedule.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    clustering = replace(CONSENSUS_CLUSTERING, measurements=("lya_ew",), n_null_draws=10)
    archive = DJA(sys_err=0.02)  # as msaexp adds to its errors
    return Config(
        root,
        "dja",
        archive,
        vae=PRISM_VAE,
        training=FAST_TRAINING,
        clustering=clustering,
        redshifts=CHECKED_REDSHIFTS,
    )


def spex(root: str) -> Config:
    """Return the settings for stars of the SpeX Prism Library: z = 0, normalized at 1.28 µm.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    windows = ((12600.0, 13000.0), (15800.0, 16200.0), (21000.0, 21500.0))
    return Config(
        root,
        "spex",
        SpeX(),
        grid=GridConfig(start=6600.0, stop=25400.0, n_pixels=512),
        norm=NormConfig(reference_wave=12800.0, windows=windows, fallback_slope=0.0),
        # Stars form one sequence: neighbors along it are found better without the whitened axes of PCA.
        vae=replace(SPECTRAL_VAE, ppca_init=False),
        training=replace(FAST_TRAINING, max_epochs=120, patience=40),
        clustering=replace(CONSENSUS_CLUSTERING, k_min=2, n_null_draws=10),
    )


OPTICAL_GRID = GridConfig(start=1300.0, stop=9100.0, n_pixels=2048)
OPTICAL_NORM = NormConfig(
    # 4200 Å lies between Hδ and Hγ, redward of the 4000 Å break, and is observed up to z = 1.4. The optical
    # windows after it are meant for galaxies, the ultraviolet ones for quasars.
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
    """Return the settings for spectra of the Sloan Digital Sky Survey: normalized at 4200 Å.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    training = TrainingConfig(learning_rate=1e-3)
    return Config(root, "sdss", SDSS(), grid=OPTICAL_GRID, norm=OPTICAL_NORM, training=training)


def desi(root: str) -> Config:
    """Return the settings for coadds of the Dark Energy Spectroscopic Instrument: the same as for sdss.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    training = TrainingConfig(learning_rate=1e-3)
    return Config(root, "desi", DESI(), grid=OPTICAL_GRID, norm=OPTICAL_NORM, training=training)


def jades(root: str) -> Config:
    """Return the settings for PRISM spectra of a JADES release: grid and windows of dja, z > 3.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    return Config(
        root,
        "jades",
        JADES(z_min=3.0),
        vae=PRISM_VAE,
        training=FAST_TRAINING,
        redshifts=CHECKED_REDSHIFTS,
    )


def table(root: str) -> Config:
    """Return the settings for any folder of spectra: grid and normalization are proposed from the data.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
    return Config(
        root,
        "table",
        TableArchive(),
        grid=GridConfig(start=0.0, stop=0.0, n_pixels=0),
        norm=NormConfig(reference_wave=0.0, windows=(), fallback_slope=-1.0),
        vae=SPECTRAL_VAE,
        training=replace(FAST_TRAINING, max_epochs=60, patience=20),
        clustering=replace(QUICK_CLUSTERING, k_min=2),
    )


def soak(root: str) -> Config:
    """Return the settings of the endurance tests: every stage runs within seconds.

    Parameters
    ----------
    root : str
        Folder or bucket URL of the project.
    """
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


RECIPES: Mapping[str, Callable[[str], Config]] = {
    "demo": demo,
    "paper": paper,
    "learnspec": learnspec,
    "dja": dja,
    "spex": spex,
    "sdss": sdss,
    "desi": desi,
    "jades": jades,
    "table": table,
    "soak": soak,
}
"""Recipes of distspec itself by name: a function from the root to a configuration."""
ENTRY_POINT_GROUP = "distspec.recipes"
"""Group under which another package declares its recipes: ``name = "module:function"``."""


@lru_cache(maxsize=1)
def _load_external_recipes() -> LoadedEntryPoints:
    return load_entry_points(ENTRY_POINT_GROUP, RECIPES)


def list_recipes() -> Mapping[str, Callable[[str], Config]]:
    """Return all recipes by name, built in or provided by other installed packages.

    Returns
    -------
    mapping of str to callable
        Functions that return the configuration for a root, by recipe name.
    """
    return {**RECIPES, **_load_external_recipes().objects}


def make_config(recipe: str, root: str, settings: Mapping[str, Any] = NO_SETTINGS) -> Config:
    """Return the configuration of a recipe with some settings replaced.

    Parameters
    ----------
    recipe : str
        Name of the recipe.
    root : str
        Folder or bucket URL of the project.
    settings : mapping
        Settings to replace, as `distspec.pipeline.settings.apply_settings` takes them.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        If the recipe or a setting does not exist, or a value is not allowed.
    """
    return apply_settings(find_recipe(recipe)(root), settings).resolve_urls()


def find_recipe(name: str) -> Callable[[str], Config]:
    """Return a recipe by its name.

    Parameters
    ----------
    name : str
        Name of the recipe.

    Returns
    -------
    callable
        Returns the configuration for a root.

    Raises
    ------
    ConfigError
        If there is no such recipe.
    """
    recipes = list_recipes()
    if name in recipes:
        return recipes[name]
    problem = _load_external_recipes().problems.get(name)
    if problem is not None:
        raise ConfigError(f"recipe {name} cannot be used: {problem}")
    raise ConfigError(f"there is no recipe {name}: choose one of {', '.join(recipes)}")


def parse(args: Sequence[str] | None = None, prog: str | None = None) -> Config:
    """Parse ``RECIPE --root URL [settings]``.

    Parameters
    ----------
    args : sequence of str, optional
        Arguments; None: those of the command line.
    prog : str, optional
        Name of the command in usage messages.

    Raises
    ------
    ConfigError
        If there is no such recipe, or a value is not allowed.
    SystemExit
        With status 2 if an argument is unknown or cannot be parsed, with status 0 after ``--help``.
    """
    words = list(sys.argv[1:] if args is None else args)
    makers = list_recipes()
    if words and not words[0].startswith("-"):
        if words[0] not in makers:
            near = get_close_matches(words[0], makers, 3, cutoff=0.7) or makers
            raise ConfigError(
                f"there is no recipe {words[0]!r}: did you mean {', '.join(near)}? "
                "`distspec run --help` lists recipes and stages"
            )
        makers = {words[0]: makers[words[0]]}  # tyro then suggests the flags of this recipe alone
    recipes = {
        name: (
            (make.__doc__ or "").removeprefix("Return ").split("\n")[0],
            make(default_root() or tyro.MISSING),
        )
        for name, make in makers.items()
    }
    return parse_arguments(
        lambda words: tyro.extras.overridable_config_cli(recipes, args=words, prog=prog).resolve_urls(),
        words,
    )
