"""The sweep: which spaces, which algorithms, how often, and on which data that have no structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from distspec.clustering.config import (
    BATCHED,
    DATA,
    NULLS,
    SHARES,
    VARIANTS,
    ClusteringConfig,
    Setting,
    Space,
)


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
