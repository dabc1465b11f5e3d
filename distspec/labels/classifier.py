"""From a few labelled spectra to what every other is likely called: probabilities, and sets that hold.

Multinomial logistic regression on where spectra lie. How firmly it is regularised and how sure it may be are
chosen by what models say of sources that they have not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression

from distspec.core.spectrum import Floats
from distspec.labels.conformal import Ints, p_values, source_weights

FOLDS = 10
"""Models that each leave some sources out; as many as there are sources, if these are fewer."""
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the L2 penalty that are tried."""
COOLEST, HOTTEST = 0.2, 5.0
MIN_SOURCES = 2
"""A label of fewer sources cannot be learnt: left out, nothing of it is known."""
BLOCK = 65_536
Strings = NDArray[np.str_]


@dataclass(frozen=True)
class Scale:
    """What brings points to comparable size: the same factor for all axes, so that none is blown up."""

    centre: Floats
    radius: float

    @classmethod
    def of(cls, points: Floats) -> Scale:
        """Return that of points (N, D): their mean, their root mean square distance from it an axis."""
        centre = points.mean(axis=0, dtype=np.float64)
        return cls(centre, float(np.sqrt(np.square(points - centre).mean())) or 1.0)

    def __call__(self, points: Floats) -> Floats:
        """Scale points, (N, D)."""
        return (points - self.centre) / self.radius


@dataclass(frozen=True)
class Said:
    """What a classifier says of N spectra, of K labels.

    Attributes
    ----------
    prob : (N, K)
        As if all labels were equally common.
    p_value : (N, K)
        How well each goes with each label: `distspec.labels.conformal.p_values`.
    """

    prob: Floats
    p_value: Floats


class Classifier:
    """Labels learnt from some spectra.

    Parameters
    ----------
    points : (n, D)
        Where labelled spectra lie.
    labels : (n,) str
        Of at least two kinds, each of `MIN_SOURCES` sources or more.
    source : (n,) str
        Spectra of one source are never on both sides of a test.
    scale : Scale
        Of the whole archive.

    Raises
    ------
    ValueError
        When there are too few labels, or sources of one.
    """

    def __init__(self, points: Floats, labels: Strings, source: Strings, scale: Scale) -> None:
        self.names: list[str] = np.unique(labels).tolist()
        counts = sources_of(labels, source)
        if len(counts) < 2 or min(counts.values()) < MIN_SOURCES:
            raise ValueError(
                f"sources labelled: {counts or 'none'}; it takes two labels of {MIN_SOURCES} or more each"
            )
        self.scale = scale
        self.code = np.searchsorted(self.names, labels).astype(np.int64)
        self.weight = source_weights(source)
        self.fold = folds(self.code, source)
        total = np.bincount(self.code, self.weight)
        self._balanced = self.weight * total.mean() / total[self.code]
        self._x = scale(points)
        self.penalty, logits = self._best()
        self.temperature = _temperature(logits, self.code, self._balanced)
        out_of_fold = softmax(logits / self.temperature, axis=1)
        self.own = np.take_along_axis(out_of_fold, self.code[:, None], 1)[:, 0]
        self._models = [self._fit(self.fold != f, self.penalty) for f in range(self.fold.max() + 1)]
        self._whole = self._fit(np.ones(len(labels), bool), self.penalty)
        self.out_of_fold = Said(out_of_fold, self._left_out(out_of_fold, source))

    def predict(self, points: Floats) -> Said:
        """Say what spectra are that nobody has labelled, given where they lie, (N, D)."""
        parts = [self._predict(self.scale(points[rows])) for rows in _blocks(len(points))]
        return Said(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _predict(self, x: Floats) -> tuple[Floats, Floats]:
        prob = softmax(self._logits(self._whole, x) / self.temperature, axis=1)
        said = np.stack([softmax(self._logits(each, x) / self.temperature, axis=1) for each in self._models])
        return prob, p_values(self.own, self.code, self.weight, self.fold, said)

    def _left_out(self, out_of_fold: Floats, source: Strings) -> Floats:
        """Return p-values of labelled spectra among the others, each source by the model without it."""
        found = np.zeros_like(out_of_fold)
        for each in np.unique(source):
            own = source == each
            rest = ~own
            zeros = np.zeros(rest.sum(), np.int64)
            found[own] = p_values(
                self.own[rest], self.code[rest], self.weight[rest], zeros, out_of_fold[own][None]
            )
        return found

    def _best(self) -> tuple[float, Floats]:
        """Return the penalty whose models tell best of sources that they have not seen, and their logits."""
        loss: list[float] = []
        found: list[Floats] = []
        for penalty in PENALTIES:
            logits = np.zeros((len(self.code), len(self.names)))
            for f in range(self.fold.max() + 1):
                logits[self.fold == f] = self._logits(
                    self._fit(self.fold != f, penalty), self._x[self.fold == f]
                )
            cool = _temperature(logits, self.code, self._balanced)
            loss.append(_loss(logits / cool, self.code, self._balanced))
            found.append(logits)
        best = int(np.argmin(loss))
        return PENALTIES[best], found[best]

    def _fit(self, rows: NDArray[np.bool_], penalty: float) -> Any:
        model = LogisticRegression(C=1.0 / penalty, max_iter=1000)
        return model.fit(self._x[rows], self.code[rows], sample_weight=self._balanced[rows])

    def _logits(self, model: Any, x: Floats) -> Floats:
        """Return logits (N, K); of a label that a model has not seen they are next to impossible."""
        scores = model.decision_function(x)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros(len(x)), scores])
        logits = np.full((len(x), len(self.names)), -30.0)
        logits[:, model.classes_] = scores
        return logits


def sources_of(labels: Strings, source: Strings) -> dict[str, int]:
    """Return how many sources have each label and no other.

    Examples
    --------
    >>> sources_of(np.array(["a", "a", "a", "b", "b"]), np.array(["s", "s", "t", "t", "u"]))
    {'a': 1, 'b': 1}
    """
    pairs = np.unique(np.column_stack([source, labels]), axis=0)
    _, at, n = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    alone = pairs[n[at] == 1, 1]
    return {str(name): int(np.sum(alone == name)) for name in np.unique(labels)}


def folds(code: Ints, source: Strings) -> Ints:
    """Return which fold each spectrum is in, (n,): a source in one, a label's sources spread over all.

    Examples
    --------
    >>> folds(np.array([0, 1, 0, 1]), np.array(["s", "t", "s", "u"])).tolist()
    [0, 1, 0, 2]
    """
    names, first, at = np.unique(source, return_index=True, return_inverse=True)
    place = np.empty(len(names), np.int64)
    place[np.argsort(code[first], kind="stable")] = np.arange(len(names))
    return place[at] % min(FOLDS, len(names))


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, n)) for start in range(0, max(n, 1), BLOCK))


def _loss(logits: Floats, code: Ints, weight: Floats) -> float:
    own = np.take_along_axis(log_softmax(logits, axis=1), code[:, None], 1)[:, 0]
    return float(-np.average(own, weights=weight))


def _temperature(logits: Floats, code: Ints, weight: Floats) -> float:
    """Return what logits are divided by to be as sure as they are right (Guo et al. 2017, PMLR 70, 1321)."""
    limits = float(np.log(COOLEST)), float(np.log(HOTTEST))
    found: Any = minimize_scalar(
        lambda t: _loss(logits / np.exp(t), code, weight), bounds=limits, method="bounded"
    )
    return float(np.exp(found.x))
