"""The sweep: which spaces, which algorithms, how often, and on which data that have no structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from distspec.clustering.config import (
    ALGORITHM_FRACTIONS,
    ALGORITHM_VARIANTS,
    NULL_MODELS,
    OBSERVED,
    TRIALS_PER_JOB,
    AlgorithmSpec,
    ClusteringConfig,
    FeatureSpace,
)


class DatasetSpec(NamedTuple):
    """The sample as its n-th model sees it, or the n-th draw of structureless data like it."""

    null_model: str = OBSERVED
    draw: int = 0

    @property
    def is_null(self) -> bool:
        """Tell whether it is without structure."""
        return self.null_model != OBSERVED


class Trial(NamedTuple):
    """One clustering of the sweep."""

    dataset: DatasetSpec
    space: FeatureSpace
    algorithm_spec: AlgorithmSpec
    member: int
    seed: int


class Job(NamedTuple):
    """Trials that are made together, in one space."""

    number: int
    dataset: DatasetSpec
    space: FeatureSpace
    trials: tuple[Trial, ...]


def build_spaces(config: ClusteringConfig, n_umap_seeds: int, seed: int) -> list[FeatureSpace]:
    """Return the spaces of a sweep, maps once for each of their seeds."""
    found = [FeatureSpace(name) for name in config.spaces if name != "map"]
    if "map" in config.spaces:
        found += [
            FeatureSpace("map", n_neighbors, dims, seed * config.n_umap_seeds + i)
            for n_neighbors in config.umap_n_neighbors
            for dims in config.umap_dims
            for i in range(n_umap_seeds)
        ]
    return found


def build_algorithm_grid(config: ClusteringConfig, n_points: int) -> tuple[list[AlgorithmSpec], list[str]]:
    """Return what is tried on a sample of `n_points` in each space, and in words what was adapted to a small one.

    Examples
    --------
    >>> found, adapted = build_algorithm_grid(ClusteringConfig(), 9)
    >>> [each.k for each in found], adapted
    ([5, 6, 7, 8], ['k tried up to 8 instead of 15: a silhouette needs fewer classes than the 9 spectra'])
    """
    k_max = min(config.k_max, n_points - 1)
    k_min = min(config.k_min, max(2, k_max))
    adapted = (
        [
            f"k tried up to {max(k_max, 1)} instead of {config.k_max}: "
            f"a silhouette needs fewer classes than the {n_points} spectra"
        ]
        if k_max < config.k_max
        else []
    )
    found: list[AlgorithmSpec] = []
    for name in config.algorithms if k_max >= k_min else ():
        variants = config.covariance_types if name == "gmm" else ALGORITHM_VARIANTS.get(name, ("",))
        if name in ALGORITHM_FRACTIONS:
            found += [AlgorithmSpec(name, fraction=share) for share in ALGORITHM_FRACTIONS[name]]
        elif name == "bgmm":
            found.append(AlgorithmSpec(name, k_max))
        else:
            found += [
                AlgorithmSpec(name, k, variant) for variant in variants for k in range(k_min, k_max + 1)
            ]
    return found, adapted


def plan_jobs(config: ClusteringConfig, algorithm_specs: Sequence[AlgorithmSpec], seed: int) -> list[Job]:
    """Return every trial of a sweep in jobs, first those on the data, then those on what has no structure.

    A repeat of a setting has a seed of its own, a share of the points of its own where they are resampled,
    and a map of its own where there are several.
    """
    draws = [DatasetSpec(kind, draw) for draw in range(config.n_null_draws) for kind in NULL_MODELS]
    groups: list[list[Trial]] = []
    for data in (DatasetSpec(), *draws):
        null = data.is_null
        n_repeats = min(config.n_null_seeds, config.n_seeds) if null else config.n_seeds
        for space in build_spaces(config, 1 if null else config.n_umap_seeds, seed):
            mine = [
                Trial(data, space, setting, repeat, seed * config.n_seeds + repeat)
                for repeat in range(n_repeats)
                for setting in algorithm_specs
                if null
                or not space.umap_dims
                or repeat % config.n_umap_seeds == space.umap_seed % config.n_umap_seeds
            ]
            # A null's map is made by the job that needs it: its trials stay together.
            groups += [mine] if null else list(_split_into_jobs(mine, config))
    kept = [tuple(group) for group in groups if group]
    return [Job(i, group[0].dataset, group[0].space, group) for i, group in enumerate(kept)]


def _split_into_jobs(trials: Sequence[Trial], config: ClusteringConfig) -> Iterator[list[Trial]]:
    """Yield trials that are fitted to the same points by one algorithm, not too many at once."""

    def same(trial: Trial) -> tuple[str, int]:
        return trial.algorithm_spec.algorithm, trial.member if config.resample_fraction < 1 else 0

    for (algorithm, _), group in groupby(sorted(trials, key=same), key=same):
        whole, most = list(group), TRIALS_PER_JOB.get(algorithm, 1)
        yield from (whole[i : i + most] for i in range(0, len(whole), most))
