"""Which clustering of a sweep a run's classes are taken from, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from distspec.clustering.config import ClusteringConfig, Setting
from distspec.clustering.consensus import stability
from distspec.clustering.null_tests import Against, against
from distspec.clustering.trials import Result
from distspec.core.spectrum import Floats

MAX_NOISE = 0.5
"""A clustering that leaves more of the sample out is of a few."""
MIN_CLASSES = 2.0
"""Effective classes of a clustering, at least: fewer, and nearly all of the sample is in one of them."""
SURE = 0.995
"""A mean adjusted Rand index beyond this counts as this."""
BASELINES = ("kmeans",)
"""Algorithms to compare with: they divide whatever they are given; not chosen where others are tried."""


class Way(NamedTuple):
    """A setting in a space, whatever the seeds."""

    space: str
    setting: Setting

    @classmethod
    def of(cls, result: Result) -> Way:
        """Return the way that a trial went."""
        return cls(result.trial.space.title, result.trial.setting)

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.setting} in {self.space}"


@dataclass(frozen=True)
class Judgement:
    """What a sweep says of every way.

    Attributes
    ----------
    repeats : mapping of Way to list of int
        Its trials on the data, by their places among the results.
    stability : (T,)
        Of each result on the data: its mean adjusted Rand index with the other repeats of its way.
    silhouette, repeatability : Against or None
        Both scores against structureless data; None where none was drawn.
    level : float
        `ClusteringConfig.level`.
    """

    repeats: Mapping[Way, Sequence[int]]
    stability: Floats
    silhouette: Against | None
    repeatability: Against | None
    level: float

    def mean_stability(self, way: Way) -> float:
        """Return a way's mean over its repeats; NaN where there is one alone."""
        return float(np.mean(self.stability[self.repeats[way]]))

    def beats_null(self, way: Way) -> bool | None:
        """Tell whether a way scores more than structureless data, of all ways and both scores."""
        tests = [test for test in (self.silhouette, self.repeatability) if test is not None]
        # Two scores have two chances: each at half the level.
        return any(test.chance[way] <= self.level / 2 for test in tests) if tests else None


def judge(results: Sequence[Result], config: ClusteringConfig) -> Judgement:
    """Compare repeats with each other, and the data's scores with those of structureless data."""
    own = [result for result in results if not result.trial.data.is_null]
    repeats: dict[Way, list[int]] = {}
    for place, result in enumerate(own):
        repeats.setdefault(Way.of(result), []).append(place)
    stable = np.full(len(own), np.nan)
    for places in repeats.values():
        stable[places] = stability([own[place].labels.astype(np.int32) for place in places])
    drawn: dict[str, dict[Way, dict[int, list[Result]]]] = {}
    for result in results:
        data = result.trial.data
        if data.is_null:
            of_kind = drawn.setdefault(data.kind, {}).setdefault(Way.of(result), {})
            of_kind.setdefault(data.draw, []).append(result)
    silhouette = {way: _silhouette([own[i] for i in places]) for way, places in repeats.items()}
    repeatable = {
        way: _repeatability([own[i] for i in places], stable[places]) for way, places in repeats.items()
    }
    null_silhouette, null_repeatable = (
        {
            kind: {way: [score(each) for each in draws.values()] for way, draws in ways.items()}
            for kind, ways in drawn.items()
        }
        for score in (_silhouette, _null_repeatability)
    )
    tests = (
        against(silhouette, null_silhouette, _family),
        against(repeatable, null_repeatable, _family) if min(config.null_seeds, config.seeds) > 1 else None,
    )
    return Judgement(repeats, stable, *tests, config.level)


def _family(way: Way) -> str:
    """Return with which other ways' chances a way is held together."""
    return way.setting.algorithm


def _silhouette(results: Sequence[Result]) -> float:
    return float(np.mean([np.nan_to_num(each.scores["silhouette"]) for each in results]))


def _null_repeatability(results: Sequence[Result]) -> float:
    return _repeatability(results, np.array([each.scores["stability"] for each in results]))


def _repeatability(results: Sequence[Result], stable: Floats) -> float:
    """Return Fisher's z of the mean adjusted Rand index: what is left of an index near 1 counts in ratios.

    Repeats that find fewer than two clusters agree perfectly on nothing: they count with 0.
    """
    index = np.where([each.n_clusters >= 2 for each in results], stable, 0.0)
    return float(np.arctanh(np.clip(index.mean(), -SURE, SURE)))


@dataclass(frozen=True)
class Choice:
    """The way that a run's classes are taken from.

    Attributes
    ----------
    way : Way
    k : int
        Classes that the consensus has at most; of the published rule those of its trial.
    trial : int or None
        The place among the results whose labels are taken as they are; None: of the consensus of its repeats.
    why : str
    """

    way: Way
    k: int
    trial: int | None
    why: str


def choose(results: Sequence[Result], judgement: Judgement, config: ClusteringConfig) -> Choice | None:
    """Return the way that is chosen; None where nothing could be clustered.

    The published rule takes the trial with the best silhouette, the first of equals. The other asks that a
    clustering divides the sample (`MIN_CLASSES`) and repeats (`ClusteringConfig.min_stability`). Of those in
    the first of `ClusteringConfig.spaces` that has any, and of these those that beat their null, it takes
    the one that repeats best: silhouettes are highest where a few lie far from all others. It says so where
    none does; the next space is not asked then, since what divides latents need not be physics.

    Parameters
    ----------
    results : sequence of Result
        Those on the data, in the order that `judgement` counts.
    judgement : Judgement
    config : ClusteringConfig
    """
    if config.rule == "silhouette":
        values = np.array([result.scores["silhouette"] for result in results], np.float64)
        if not np.isfinite(values).any():
            return None
        best = int(np.nanargmax(values))
        why = f"the best silhouette of {len(values)} trials, {values[best]:.3f}"
        way = Way.of(results[best])
        return Choice(way, results[best].n_clusters, best, _with_null(why, judgement.beats_null(way)))
    ways = [way for way, places in judgement.repeats.items() if _divides([results[i] for i in places])]
    ways = [way for way in ways if way.setting.algorithm not in BASELINES] or ways
    if not ways:
        return None
    words: list[str] = []
    repeat = [way for way in ways if judgement.mean_stability(way) >= config.min_stability]
    if not repeat:
        repeat = [max(ways, key=judgement.mean_stability)]
        words.append(f"no clustering repeats at {config.min_stability:g}")
    # Clusterings of different spaces do not compare: what is in the space named first comes first.
    first = next(name for name in config.spaces if any(way.space.startswith(name) for way in repeat))
    repeat = [way for way in repeat if way.space.startswith(first)]
    beat = [way for way in repeat if judgement.beats_null(way) is not False]
    if not beat:
        words.append("none beats its null: classes may be of nothing but noise")
    best = max(beat or repeat, key=judgement.mean_stability)
    places = judgement.repeats[best]
    words.insert(
        0,
        f"of {len(beat or repeat)} clusterings in {best.space} that may be chosen, the one that repeats best "
        f"(mean adjusted Rand index {judgement.mean_stability(best):.2f})",
    )
    k = int(np.median([results[i].n_clusters for i in places]))
    return Choice(best, k, None, "; ".join(words))


def _divides(results: Sequence[Result]) -> bool:
    """Tell whether repeats of a clustering divide the sample: not a few against the rest, or all as noise."""
    if min(result.n_clusters for result in results) < 2:
        return False
    noise = float(np.mean([result.noise_share for result in results]))
    return noise <= MAX_NOISE and float(np.mean([_effective(result) for result in results])) >= MIN_CLASSES


def _effective(result: Result) -> float:
    """Return exp of the entropy of the classes' shares, noise being one of them."""
    assigned = result.sizes / result.sizes.sum() * (1.0 - result.noise_share)
    shares = np.append(assigned, result.noise_share)
    return float(np.exp(-np.sum(shares[shares > 0] * np.log(shares[shares > 0]))))


def _with_null(why: str, beats: bool | None) -> str:
    if beats is None:
        return why
    return f"{why}; it {'beats' if beats else 'does not beat'} its null"
