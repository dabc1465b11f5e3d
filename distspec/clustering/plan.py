"""The plan of a sweep: which algorithms run in which feature spaces, how often, and on which null data."""

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
    """The data that a trial clusters.

    Attributes
    ----------
    null_model : str
        "data" for the sample itself, else a null model.
    number : int
        Of the sample: number of the model whose latents are clustered. Of a null model: number of the draw.
    """

    null_model: str = OBSERVED
    number: int = 0

    @property
    def is_null(self) -> bool:
        """Whether the data are structureless."""
        return self.null_model != OBSERVED


class Trial(NamedTuple):
    """One clustering of the sweep.

    Attributes
    ----------
    dataset : DatasetSpec
        Data to cluster.
    space : FeatureSpace
        Space to cluster in.
    algorithm_spec : AlgorithmSpec
        Algorithm and parameters.
    member : int
        Number of the ensemble member, from 0.
    seed : int
        Seed of the algorithm and of the resampling.
    """

    dataset: DatasetSpec
    space: FeatureSpace
    algorithm_spec: AlgorithmSpec
    member: int
    seed: int


class Job(NamedTuple):
    """Trials that one actor runs together: on the same data, in the same space."""

    number: int
    dataset: DatasetSpec
    space: FeatureSpace
    trials: tuple[Trial, ...]


def build_spaces(config: ClusteringConfig, map_numbers: Sequence[int], seed: int) -> list[FeatureSpace]:
    """Return the feature spaces of a sweep, a map once for each of its seeds.

    Parameters
    ----------
    config : ClusteringConfig
        Settings of the sweep.
    map_numbers : sequence of int
        Numbers of the embeddings of each kind of map, from which their seeds follow.
    seed : int
        Seed of the run.
    """
    spaces = [FeatureSpace(name) for name in config.spaces if name != "map"]
    if "map" in config.spaces:
        spaces += [
            FeatureSpace("map", n_neighbors, dims, seed * config.n_umap_seeds + i)
            for n_neighbors in config.umap_n_neighbors
            for dims in config.umap_dims
            for i in map_numbers
        ]
    return spaces


def build_algorithm_grid(config: ClusteringConfig, n_points: int) -> tuple[list[AlgorithmSpec], list[str]]:
    """Return the algorithms and parameters to try in each space, and the adaptations to a small sample.

    Parameters
    ----------
    config : ClusteringConfig
        Settings of the sweep.
    n_points : int
        Size of the sample.

    Returns
    -------
    algorithm_specs : list of AlgorithmSpec
        Empty if the sample is too small to be divided.
    adaptations : list of str
        One sentence for each adaptation.

    Examples
    --------
    >>> specs, adaptations = build_algorithm_grid(ClusteringConfig(), 9)
    >>> [spec.k for spec in specs], adaptations
    ([5, 6, 7, 8], ['k is at most 8 instead of 15: a silhouette needs fewer classes than the 9 spectra'])
    """
    k_max = min(config.k_max, n_points - 1)
    k_min = min(config.k_min, max(2, k_max))
    adaptations = (
        [
            f"k is at most {max(k_max, 1)} instead of {config.k_max}: "
            f"a silhouette needs fewer classes than the {n_points} spectra"
        ]
        if k_max < config.k_max
        else []
    )
    specs: list[AlgorithmSpec] = []
    for name in config.algorithms if k_max >= k_min else ():
        variants = config.covariance_types if name == "gmm" else ALGORITHM_VARIANTS.get(name, ("",))
        if name in ALGORITHM_FRACTIONS:
            specs += [AlgorithmSpec(name, fraction=fraction) for fraction in ALGORITHM_FRACTIONS[name]]
        elif name == "bgmm":
            specs.append(AlgorithmSpec(name, k_max))
        else:
            specs += [
                AlgorithmSpec(name, k, variant) for variant in variants for k in range(k_min, k_max + 1)
            ]
    return specs, adaptations


def plan_jobs(config: ClusteringConfig, algorithm_specs: Sequence[AlgorithmSpec], seed: int) -> list[Job]:
    """Return the jobs of a sweep, those on the sample first, then those on null data.

    Every ensemble member of a setting has its own seed and its own resample if points are resampled. Members
    take the models in turn, and the maps of their model in turn; each model has a map of its own. Null data
    are drawn from the points of the first model.

    Parameters
    ----------
    config : ClusteringConfig
        Settings of the sweep.
    algorithm_specs : sequence of AlgorithmSpec
        Algorithms and parameters to try.
    seed : int
        Seed of the run.
    """
    draws = [
        DatasetSpec(null_model, draw) for draw in range(config.n_null_draws) for null_model in NULL_MODELS
    ]
    n_models = config.n_clustered_models
    models = [DatasetSpec(number=model) for model in range(n_models)]
    groups: list[list[Trial]] = []
    for dataset in (*models, *draws):
        is_null = dataset.is_null
        if is_null:
            members, map_numbers = range(min(config.n_null_seeds, config.n_seeds)), range(1)
        else:
            members = range(dataset.number, config.n_seeds, n_models)
            map_numbers = range(dataset.number, max(config.n_umap_seeds, n_models), n_models)
        for space in build_spaces(config, map_numbers, seed):
            map_index = (space.umap_seed - seed * config.n_umap_seeds) // n_models
            trials = [
                Trial(dataset, space, spec, member, seed * config.n_seeds + member)
                for member in members
                for spec in algorithm_specs
                if is_null or not space.umap_dims or member // n_models % len(map_numbers) == map_index
            ]
            # The map of null data is made by the job that needs it, so its trials stay together.
            groups += [trials] if is_null else list(_split_into_jobs(trials, config))
    jobs = [tuple(group) for group in groups if group]
    return [Job(i, group[0].dataset, group[0].space, group) for i, group in enumerate(jobs)]


def _split_into_jobs(trials: Sequence[Trial], config: ClusteringConfig) -> Iterator[list[Trial]]:
    """Yield groups of trials that fit one algorithm to the same points, of limited size."""

    def key(trial: Trial) -> tuple[str, int]:
        return trial.algorithm_spec.algorithm, trial.member if config.resample_fraction < 1 else 0

    for (algorithm, _), group in groupby(sorted(trials, key=key), key=key):
        members, size = list(group), TRIALS_PER_JOB.get(algorithm, 1)
        yield from (members[i : i + size] for i in range(0, len(members), size))
