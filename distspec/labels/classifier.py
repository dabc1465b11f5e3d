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
from distspec.labels.conformal import Ints, compute_source_weights, conformal_p_values

MAX_FOLDS = 10
"""Models that each leave some sources out; as many as there are sources, if these are fewer."""
L2_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the L2 penalty that are tried."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 5.0
MIN_SOURCES_PER_LABEL = 2
"""A label of fewer sources cannot be learnt: left out, nothing of it is known."""
BLOCK_ROWS = 65_536
Strings = NDArray[np.str_]


@dataclass(frozen=True)
class IsotropicScaler:
    """What brings points to comparable size: the same factor for all axes, so that none is blown up."""

    center: Floats
    rms: float

    @classmethod
    def fit(cls, points: Floats) -> IsotropicScaler:
        """Return that of points (N, D): their mean, their root mean square distance from it an axis."""
        centre = points.mean(axis=0, dtype=np.float64)
        return cls(centre, float(np.sqrt(np.square(points - centre).mean())) or 1.0)

    def transform(self, points: Floats) -> Floats:
        """Scale points, (N, D)."""
        return (points - self.center) / self.rms


@dataclass(frozen=True)
class LabelPrediction:
    """What a classifier says of N spectra, of K labels.

    Attributes
    ----------
    prob : (N, K)
        As if all labels were equally common.
    p_value : (N, K)
        How well each goes with each label: `distspec.labels.conformal.conformal_p_values`.
    """

    prob: Floats
    p_value: Floats


class LabelClassifier:
    """Labels learnt from some spectra.

    Parameters
    ----------
    points : (n, D)
        Where labelled spectra lie.
    labels : (n,) str
        Of at least two kinds, each of `MIN_SOURCES_PER_LABEL` sources or more.
    source : (n,) str
        Spectra of one source are never on both sides of a test.
    scaler : Scale
        Of the whole archive.

    Raises
    ------
    ValueError
        When there are too few labels, or sources of one.
    """

    def __init__(self, points: Floats, labels: Strings, source_id: Strings, scaler: IsotropicScaler) -> None:
        self.label_names: list[str] = np.unique(labels).tolist()
        counts = count_sources_per_label(labels, source_id)
        if len(counts) < 2 or min(counts.values()) < MIN_SOURCES_PER_LABEL:
            raise ValueError(
                f"sources labelled: {counts or 'none'}; it takes two labels of {MIN_SOURCES_PER_LABEL} or more each"
            )
        self.scaler = scaler
        self.label_code = np.searchsorted(self.label_names, labels).astype(np.int64)
        self.sample_weight = compute_source_weights(source_id)
        self.fold = assign_folds(self.label_code, source_id)
        total = np.bincount(self.label_code, self.sample_weight)
        self._balanced_weight = self.sample_weight * total.mean() / total[self.label_code]
        self._x = scaler.transform(points)
        self.penalty, logits = self._select_penalty()
        self.temperature = _fit_temperature(logits, self.label_code, self._balanced_weight)
        out_of_fold = softmax(logits / self.temperature, axis=1)
        self.true_label_prob = np.take_along_axis(out_of_fold, self.label_code[:, None], 1)[:, 0]
        self._fold_models = [self._fit(self.fold != f, self.penalty) for f in range(self.fold.max() + 1)]
        self._full_model = self._fit(np.ones(len(labels), bool), self.penalty)
        self.out_of_fold = LabelPrediction(
            out_of_fold, self._leave_source_out_p_values(out_of_fold, source_id)
        )

    def predict(self, points: Floats) -> LabelPrediction:
        """Say what spectra are that nobody has labelled, given where they lie, (N, D)."""
        parts = [self._predict(self.scaler.transform(points[rows])) for rows in _iter_blocks(len(points))]
        return LabelPrediction(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _predict(self, x: Floats) -> tuple[Floats, Floats]:
        prob = softmax(self._logits(self._full_model, x) / self.temperature, axis=1)
        said = np.stack(
            [softmax(self._logits(each, x) / self.temperature, axis=1) for each in self._fold_models]
        )
        return prob, conformal_p_values(
            self.true_label_prob, self.label_code, self.sample_weight, self.fold, said
        )

    def _leave_source_out_p_values(self, out_of_fold: Floats, source: Strings) -> Floats:
        """Return p-values of labelled spectra among the others, each source by the model without it."""
        found = np.zeros_like(out_of_fold)
        for each in np.unique(source):
            own = source == each
            rest = ~own
            zeros = np.zeros(rest.sum(), np.int64)
            found[own] = conformal_p_values(
                self.true_label_prob[rest],
                self.label_code[rest],
                self.sample_weight[rest],
                zeros,
                out_of_fold[own][None],
            )
        return found

    def _select_penalty(self) -> tuple[float, Floats]:
        """Return the penalty whose models tell best of sources that they have not seen, and their logits."""
        loss: list[float] = []
        found: list[Floats] = []
        for penalty in L2_PENALTIES:
            logits = np.zeros((len(self.label_code), len(self.label_names)))
            for f in range(self.fold.max() + 1):
                logits[self.fold == f] = self._logits(
                    self._fit(self.fold != f, penalty), self._x[self.fold == f]
                )
            cool = _fit_temperature(logits, self.label_code, self._balanced_weight)
            loss.append(_cross_entropy(logits / cool, self.label_code, self._balanced_weight))
            found.append(logits)
        best = int(np.argmin(loss))
        return L2_PENALTIES[best], found[best]

    def _fit(self, rows: NDArray[np.bool_], penalty: float) -> Any:
        model = LogisticRegression(C=1.0 / penalty, max_iter=1000)
        return model.fit(self._x[rows], self.label_code[rows], sample_weight=self._balanced_weight[rows])

    def _logits(self, model: Any, x: Floats) -> Floats:
        """Return logits (N, K); of a label that a model has not seen they are next to impossible."""
        scores = model.decision_function(x)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros(len(x)), scores])
        logits = np.full((len(x), len(self.label_names)), -30.0)
        logits[:, model.classes_] = scores
        return logits


def count_sources_per_label(labels: Strings, source_id: Strings) -> dict[str, int]:
    """Return how many sources have each label and no other.

    Examples
    --------
    >>> sources_of(np.array(["a", "a", "a", "b", "b"]), np.array(["s", "s", "t", "t", "u"]))
    {'a': 1, 'b': 1}
    """
    pairs = np.unique(np.column_stack([source_id, labels]), axis=0)
    _, at, n = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    alone = pairs[n[at] == 1, 1]
    return {str(name): int(np.sum(alone == name)) for name in np.unique(labels)}


def assign_folds(label_code: Ints, source_id: Strings) -> Ints:
    """Return which fold each spectrum is in, (n,): a source in one, a label's sources spread over all.

    Examples
    --------
    >>> folds(np.array([0, 1, 0, 1]), np.array(["s", "t", "s", "u"])).tolist()
    [0, 1, 0, 2]
    """
    names, first, at = np.unique(source_id, return_index=True, return_inverse=True)
    place = np.empty(len(names), np.int64)
    place[np.argsort(label_code[first], kind="stable")] = np.arange(len(names))
    return place[at] % min(MAX_FOLDS, len(names))


def _iter_blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, max(n, 1), BLOCK_ROWS))


def _cross_entropy(logits: Floats, code: Ints, weight: Floats) -> float:
    own = np.take_along_axis(log_softmax(logits, axis=1), code[:, None], 1)[:, 0]
    return float(-np.average(own, weights=weight))


def _fit_temperature(logits: Floats, code: Ints, weight: Floats) -> float:
    """Return what logits are divided by to be as sure as they are right (Guo et al. 2017, PMLR 70, 1321)."""
    limits = float(np.log(MIN_TEMPERATURE)), float(np.log(MAX_TEMPERATURE))
    found: Any = minimize_scalar(
        lambda t: _cross_entropy(logits / np.exp(t), code, weight), bounds=limits, method="bounded"
    )
    return float(np.exp(found.x))
