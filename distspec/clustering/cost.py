"""What a sweep will need: memory from how large it is, time from how long its first jobs took.

Bytes are those that stand at the same moment; each formula is held against measured peaks by
`tests/benchmarks/bench_scale.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from distspec.clustering.config import BATCHED, ClusteringConfig, Setting, Space
from distspec.clustering.consensus import AGREEMENT_SAMPLE
from distspec.clustering.plan import Job

PAIR_BYTES = {"hierarchy": 9.0, "dbscan": 9.0}
"""Working memory, a pair of points: of an agglomerative tree; of neighbour lists where all are neighbours."""
SLOW = {"optics": 3_000}
"""Points that an algorithm is given at most, whatever the memory: it would take longer than all others."""
POINT_BYTES = 1_500.0
"""Of trees, graphs and lists of neighbours, a point."""
AGREEMENT_BYTES = 12.0
"""Of a consensus's co-association and its tree, a pair of points."""
SILHOUETTE_ROWS = 1024
"""Of the distances that are held at a time."""
GROWS_WITH_K = ("gmm", "bgmm", "kmeans")
MB = 1e6


class Resident(NamedTuple):
    """A process's memory [MB]: what it holds now, and the most that it has held."""

    now: float
    peak: float


def resident() -> Resident:
    """Return this process's memory; where the system keeps no peak it is what is held now."""
    status = Path("/proc/self/status")
    now = psutil.Process().memory_info().rss / MB
    if not status.exists():
        return Resident(now, now)
    peak = float(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / MB
    return Resident(now, max(now, peak))  # the system's peak is brought up to date now and then


def most_rows(algorithm: str, memory: float) -> int:
    """Return how many points an algorithm can be given in so many bytes of memory, and in bearable time.

    Examples
    --------
    >>> most_rows("hierarchy", 0.9e9), most_rows("dbscan", 0.9e9), most_rows("optics", 1e12)
    (10000, 10000, 3000)
    """
    fits = int(np.sqrt(memory / PAIR_BYTES[algorithm])) if algorithm in PAIR_BYTES else 2**62
    return min(fits, SLOW.get(algorithm, 2**62))


@dataclass(frozen=True)
class Size:
    """What a sweep is made of.

    Attributes
    ----------
    n_all, n : int
        Spectra, and those of them that the sweep is fitted to.
    dims : int
        Of the widest space that is not a map.
    n_trials : int
        On the spectra themselves and on structureless data.
    """

    n_all: int
    n: int
    dims: int
    n_trials: int


def actor_bytes(
    size: Size, config: ClusteringConfig, tried: Sequence[Setting], most: Mapping[str, int]
) -> float:
    """Return what an actor holds at most beside what it holds when it has nothing to do.

    Parameters
    ----------
    size : Size
    config : ClusteringConfig
    tried : sequence of Setting
    most : mapping
        Points that each algorithm is fitted to: `distspec.clustering.trials.limits`.
    """
    shared = size.n * size.dims * (4.0 + 8.0 + 8.0)
    maps = size.n * POINT_BYTES if "map" in config.spaces else 0.0
    return (
        shared + maps + max(_job_bytes(size, config, tried, name, most[name]) for name in config.algorithms)
    )


def _job_bytes(
    size: Size, config: ClusteringConfig, tried: Sequence[Setting], algorithm: str, rows: int
) -> float:
    """Return what one job holds: its fits, and either what the last of them works with or its scores."""
    settings = [each for each in tried if each.algorithm == algorithm]
    repeats = 1 if config.resample < 1 else config.seeds
    n_trials = min(len(settings) * repeats, BATCHED.get(algorithm, 1))
    # Null jobs hold all trials of an algorithm.
    n_trials = max(n_trials, len(settings)) if config.null_draws else n_trials
    k = max((each.k for each in settings), default=0) or config.k_max
    k_mean = float(np.mean([each.k or k for each in settings])) if settings else k
    fits = n_trials * (rows * k_mean * 8.0 + size.n * 4.0)
    pairs = PAIR_BYTES["hierarchy"] * rows**2 if algorithm == "hierarchy" else 0.0
    working = pairs + 3 * size.n * k * 8.0 + rows * POINT_BYTES * (algorithm != "gmm")
    return fits + max(working, _silhouette_bytes(size.n, config, n_trials, k))


def _silhouette_bytes(n: int, config: ClusteringConfig, n_trials: int, k: int) -> float:
    n = min(n, config.silhouette_sample)
    n_trials = min(n_trials, 100)
    rows = min(SILHOUETTE_ROWS, n)
    distances = 3 * 8.0 * n * rows
    members = n_trials * k * n * (8.0 + 2.0)
    return distances + members + 3 * 8.0 * n_trials * (k + 1) * rows


def driver_bytes(size: Size, config: ClusteringConfig) -> float:
    """Return what the driver holds at most beside the latents: results, consensus, what is said of all."""
    agreement = AGREEMENT_BYTES * min(size.n, AGREEMENT_SAMPLE) ** 2
    said = size.n_all * (4.0 * config.k_max + 20.0) * 2.0  # spans, and the same joined
    return size.n_trials * size.n * 2.0 + max(agreement * (config.rule == "consensus"), said)


@dataclass(frozen=True)
class Need:
    """What a sweep takes: seconds, and the largest resident sets of an actor and of the driver [MB]."""

    seconds: float
    actor_mb: float
    driver_mb: float

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.seconds:,.0f} s, at most {self.actor_mb:,.0f} MB an actor and "
            f"{self.driver_mb:,.0f} MB in the driver"
        )


class Kind(NamedTuple):
    """Jobs that take alike long, a trial."""

    is_null: bool
    space: Space
    algorithm: str

    @classmethod
    def of(cls, job: Job) -> Kind:
        """Return a job's."""
        return cls(job.data.is_null, job.space._replace(seed=0), job.trials[0].setting.algorithm)


def work(job: Job) -> float:
    """Return how much there is to do in a job, in units that its kind shares: trials, or their clusters."""
    return float(
        sum(
            each.setting.k if each.setting.algorithm in GROWS_WITH_K and each.setting.k else 1
            for each in job.trials
        )
    )


def firsts(jobs: Sequence[Job]) -> list[Job]:
    """Return the first job of each kind: they are timed, and say what the others will take."""
    found: dict[Kind, Job] = {}
    for job in jobs:
        found.setdefault(Kind.of(job), job)
    return list(found.values())


def seconds(rest: Sequence[Job], pace: Mapping[Kind, float], n_actors: int) -> float:
    """Return how long jobs take on so many actors, from the seconds that each kind's unit of work took.

    Parameters
    ----------
    rest : sequence of Job
    pace : mapping
        Kind to seconds a unit of `work`.
    n_actors : int
    """
    each = [pace[Kind.of(job)] * work(job) for job in rest]
    return max(sum(each) / n_actors, max(each, default=0.0))
