"""The sweep: which spaces, which algorithms, how often, and on which data that have no structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

from distspec.algorithms import ALGORITHMS, Setting

SPACES = ("features", "latents", "map")
DATA, GAUSSIAN, PERMUTED = "data", "gaussian", "permuted"
NULLS = (GAUSSIAN, PERMUTED)
SHARES = {"dbscan": (0.5, 0.8, 0.9, 0.95), "hdbscan": (0.01, 0.02, 0.05), "optics": (0.02, 0.05)}
"""What is tried of algorithms that find the number of clusters by themselves: `Setting.scale`."""
VARIANTS = {"gmm": ("full", "tied", "diag"), "hierarchy": ("ward", "average")}
BATCHED = {"gmm": 128}
"""Trials of one job, where an algorithm makes many at once."""


@dataclass(frozen=True)
class ClusteringConfig:
    """The spaces, the sweep over them, and how its result is chosen."""

    rule: Literal["silhouette", "consensus"] = "silhouette"
    """silhouette: the labels of the trial that has the best one (the published rule); consensus: what repeats
    of a clustering agree on that repeats and beats its null."""
    spaces: tuple[str, ...] = ("map",)
    """Of features (measures of decoded spectra), latents, map (UMAP of the latents); classes are taken
    from the first in which a clustering repeats."""
    algorithms: tuple[str, ...] = ("gmm",)
    """Of gmm, bgmm, kmeans, dbscan, optics, hdbscan, hierarchy."""
    k_min: int = 5
    """Fewest clusters tried."""
    k_max: int = 15
    """Most clusters tried."""
    covariances: tuple[str, ...] = ("full",)
    """Of Gaussians: full, tied, diag."""
    seeds: int = 100
    """Repeats of every setting."""
    starts: int = 1
    """A mixture is begun so often, and the likeliest kept."""
    resample: float = 1.0
    """Share of the spectra, drawn anew for each repeat, that it is fitted to; 1: all of them."""
    n_neighbors: tuple[int, ...] = (15,)
    """UMAP's neighbourhoods."""
    dims: tuple[int, ...] = (2,)
    """UMAP's dimensions; the catalogue's map has two."""
    min_dist: float = 0.1
    """UMAP's least distance between points on the map."""
    maps: int = 1
    """Maps of each kind, from different seeds; repeats take them in turn."""
    measures: tuple[str, ...] = ()
    """What is measured on the spectra themselves and counts beside the model's, such as lya_ew."""
    also: tuple[str, ...] = ()
    """Other models under this root, embedded: their latents are repeats, too."""
    null_draws: int = 0
    """Draws of each kind of structureless data that scores are held against; 0: none."""
    null_seeds: int = 2
    """Repeats of every setting on them."""
    level: float = 0.01
    """False alarm rate, over the whole sweep, at which a clustering counts as beating its null."""
    min_stability: float = 0.8
    """Mean adjusted Rand index of two repeats from which on a clustering counts as one that repeats."""
    core_stability: float = 0.9
    """Spectra whose repeats agree at least so well are a class's core."""
    sample: int = 20_000
    """Above so many spectra the sweep is fitted on a sample of this size; all are assigned."""
    silhouette_sample: int = 5_000
    """Above so many of them silhouettes are taken on a stratified sample of this size."""
    dbcv_sample: int = 0
    """Points on which the density-based validity index is taken; 0: it is not."""
    actors: int = 0
    """Ray actors that share the sweep; 0: one a CPU."""
    gpu: bool = False
    """Fit Gaussian mixtures on the cluster's GPUs, each shared by four actors."""

    def __post_init__(self) -> None:
        if not 2 <= self.k_min <= self.k_max:
            raise ValueError(f"clustering.k_min {self.k_min} and k_max {self.k_max}: need 2 ≤ k_min ≤ k_max")
        for name, given, known in (
            ("spaces", self.spaces, SPACES),
            ("algorithms", self.algorithms, ALGORITHMS),
            ("covariances", self.covariances, VARIANTS["gmm"]),
        ):
            if not given or set(given) - set(known):
                raise ValueError(f"clustering.{name} {', '.join(given)}: choose of {', '.join(known)}")
        if min(self.n_neighbors, default=0) < 2 or min(self.dims, default=0) < 2:
            raise ValueError("clustering.n_neighbors and dims must be at least 2")
        if min(self.seeds, self.starts, self.maps, self.null_seeds) < 1:
            raise ValueError("clustering.seeds, starts, maps and null_seeds must be at least 1")
        if min(self.min_dist, self.null_draws, self.dbcv_sample, self.actors) < 0:
            raise ValueError("clustering.min_dist, null_draws, dbcv_sample and actors must not be negative")
        if min(self.sample, self.silhouette_sample) < 2:
            raise ValueError("clustering.sample and silhouette_sample must be at least 2")
        if not 0 < self.resample <= 1 or not 0 < self.level < 1:
            raise ValueError("clustering.resample must be above 0 and at most 1, level between 0 and 1")
        if self.rule == "consensus" and self.seeds < 2:
            raise ValueError("clustering.seeds must be at least 2 for the rule consensus: what would agree?")

    def defining(self) -> dict[str, object]:
        """Return what a run's result depends on."""
        return {name: value for name, value in vars(self).items() if name != "actors"}


class Space(NamedTuple):
    """Where points lie: what is clustered."""

    name: str
    n_neighbors: int = 0
    dims: int = 0
    seed: int = 0
    """Of the map."""

    @property
    def title(self) -> str:
        """Name it, whatever its seed."""
        return f"map {self.dims}-D, {self.n_neighbors} neighbours" if self.dims else self.name


class Data(NamedTuple):
    """The sample as its n-th model sees it, or the n-th draw of structureless data like it."""

    kind: str = DATA
    draw: int = 0

    @property
    def is_null(self) -> bool:
        """Tell whether it is without structure."""
        return self.kind != DATA


class Trial(NamedTuple):
    """One clustering of the sweep."""

    data: Data
    space: Space
    setting: Setting
    repeat: int
    seed: int


class Job(NamedTuple):
    """Trials that are made together, in one space."""

    number: int
    data: Data
    space: Space
    trials: tuple[Trial, ...]


def spaces(config: ClusteringConfig, n_maps: int, seed: int) -> list[Space]:
    """Return the spaces of a sweep, maps once for each of their seeds."""
    found = [Space(name) for name in config.spaces if name != "map"]
    if "map" in config.spaces:
        found += [
            Space("map", n_neighbors, dims, seed * config.maps + i)
            for n_neighbors in config.n_neighbors
            for dims in config.dims
            for i in range(n_maps)
        ]
    return found


def settings(config: ClusteringConfig, n: int) -> tuple[list[Setting], list[str]]:
    """Return what is tried on a sample of `n` in each space, and in words what was adapted to a small one.

    Examples
    --------
    >>> found, adapted = settings(ClusteringConfig(), 9)
    >>> [each.k for each in found], adapted
    ([5, 6, 7, 8], ['k tried up to 8 instead of 15: a silhouette needs fewer classes than the 9 spectra'])
    """
    k_max = min(config.k_max, n - 1)
    k_min = min(config.k_min, max(2, k_max))
    adapted = (
        [
            f"k tried up to {max(k_max, 1)} instead of {config.k_max}: "
            f"a silhouette needs fewer classes than the {n} spectra"
        ]
        if k_max < config.k_max
        else []
    )
    found: list[Setting] = []
    for name in config.algorithms if k_max >= k_min else ():
        variants = config.covariances if name == "gmm" else VARIANTS.get(name, ("",))
        if name in SHARES:
            found += [Setting(name, scale=share) for share in SHARES[name]]
        elif name == "bgmm":
            found.append(Setting(name, k_max))
        else:
            found += [Setting(name, k, variant) for variant in variants for k in range(k_min, k_max + 1)]
    return found, adapted


def plan(config: ClusteringConfig, tried: Sequence[Setting], seed: int) -> list[Job]:
    """Return every trial of a sweep in jobs, first those on the data, then those on what has no structure.

    A repeat of a setting has a seed of its own, a share of the points of its own where they are resampled,
    and a map of its own where there are several.
    """
    draws = [Data(kind, draw) for draw in range(config.null_draws) for kind in NULLS]
    groups: list[list[Trial]] = []
    for data in (Data(), *draws):
        null = data.is_null
        n_repeats = min(config.null_seeds, config.seeds) if null else config.seeds
        for space in spaces(config, 1 if null else config.maps, seed):
            mine = [
                Trial(data, space, setting, repeat, seed * config.seeds + repeat)
                for repeat in range(n_repeats)
                for setting in tried
                if null or not space.dims or repeat % config.maps == space.seed % config.maps
            ]
            # A null's map is made by the job that needs it: its trials stay together.
            groups += [mine] if null else list(_split(mine, config))
    kept = [tuple(group) for group in groups if group]
    return [Job(i, group[0].data, group[0].space, group) for i, group in enumerate(kept)]


def _split(trials: Sequence[Trial], config: ClusteringConfig) -> Iterator[list[Trial]]:
    """Yield trials that are fitted to the same points by one algorithm, not too many at once."""

    def same(trial: Trial) -> tuple[str, int]:
        return trial.setting.algorithm, trial.repeat if config.resample < 1 else 0

    for (algorithm, _), group in groupby(sorted(trials, key=same), key=same):
        whole, most = list(group), BATCHED.get(algorithm, 1)
        yield from (whole[i : i + most] for i in range(0, len(whole), most))
