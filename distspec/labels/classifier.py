"""Label classifier: multinomial logistic regression on a few labeled spectra, with calibrated probabilities.

The strength of the regularization and the temperature of the probabilities are chosen by cross-validation,
in folds that keep the spectra of one source together.
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

from distspec.core.errors import LabelError
from distspec.core.spectrum import Floats
from distspec.labels.conformal import Ints, compute_source_weights, conformal_p_values

MAX_FOLDS = 10
"""Largest number of cross-validation folds; with fewer sources, one for each source."""
L2_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Strengths of the L2 penalty that are compared."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.2, 5.0
"""Range of the temperature by which logits are divided."""
MIN_SOURCES_PER_LABEL = 2
"""Fewest sources of a label that can be learned: in each fold one must be left for training."""
_UNSEEN_LABEL_LOGIT = -30.0
"""Logit of a label that a fold's model was not trained on."""
BLOCK_ROWS = 65_536
"""Rows that are predicted at a time."""
Strings = NDArray[np.str_]


@dataclass(frozen=True)
class IsotropicScaler:
    """Shift and scale of points, with one factor for all dimensions, so that none is amplified.

    Attributes
    ----------
    center : ndarray of shape (n_dimensions,)
        Mean.
    rms : float
        Root mean square distance from the mean per dimension.
    """

    center: Floats
    rms: float

    @classmethod
    def fit(cls, points: Floats) -> IsotropicScaler:
        """Fit the scaler to points.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_dimensions)
            Points whose center and scale are computed.

        Returns
        -------
        IsotropicScaler
        """
        center = points.mean(axis=0, dtype=np.float64)
        return cls(center, float(np.sqrt(np.square(points - center).mean())) or 1.0)

    def transform(self, points: Floats) -> Floats:
        """Scale points.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_dimensions)
            Points in the original units.

        Returns
        -------
        ndarray of shape (n_points, n_dimensions)
            Scaled points.
        """
        return (points - self.center) / self.rms


@dataclass(frozen=True)
class LabelPrediction:
    """Predictions of a classifier.

    Attributes
    ----------
    prob : ndarray of shape (n_spectra, n_labels)
        Probabilities of the labels, if all labels were equally common.
    p_value : ndarray of shape (n_spectra, n_labels)
        Conformal p-values: `distspec.labels.conformal.conformal_p_values`.
    """

    prob: Floats
    p_value: Floats


class LabelClassifier:
    """Classifier that is trained on labeled spectra.

    Parameters
    ----------
    points : ndarray of shape (n_labeled, n_dimensions)
        Positions of the labeled spectra.
    labels : ndarray of str, shape (n_labeled,)
        Their labels: at least two different ones, with `MIN_SOURCES_PER_LABEL` sources each.
    source_id : ndarray of str, shape (n_labeled,)
        Their sources; spectra of one source are never both in training and test.
    scaler : IsotropicScaler
        Scaler fitted to all spectra of the archive.

    Attributes
    ----------
    label_names : list of str
        The labels in the order of the predictions' columns.
    penalty : float
        Selected strength of the L2 penalty.
    temperature : float
        Selected temperature of the probabilities.
    fold : ndarray of shape (n_labeled,)
        Cross-validation fold of each labeled spectrum.
    out_of_fold : LabelPrediction
        Predictions for the labeled spectra by models that were trained without their source.

    Raises
    ------
    LabelError
        If there are too few labels, or too few sources of a label.
    """

    def __init__(self, points: Floats, labels: Strings, source_id: Strings, scaler: IsotropicScaler) -> None:
        self.label_names: list[str] = np.unique(labels).tolist()
        counts = count_sources_per_label(labels, source_id)
        if len(counts) < 2 or min(counts.values()) < MIN_SOURCES_PER_LABEL:
            raise LabelError(
                f"labels cannot be learned: sources per label are {counts or 'none'}; label at least "
                f"{MIN_SOURCES_PER_LABEL} sources of each of two labels"
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
        prob = softmax(logits / self.temperature, axis=1)
        self.true_label_prob = np.take_along_axis(prob, self.label_code[:, None], 1)[:, 0]
        self._fold_models = [self._fit(self.fold != f, self.penalty) for f in range(self.fold.max() + 1)]
        self._full_model = self._fit(np.ones(len(labels), bool), self.penalty)
        self.out_of_fold = LabelPrediction(prob, self._leave_source_out_p_values(prob, source_id))

    def predict(self, points: Floats) -> LabelPrediction:
        """Predict the labels of new spectra.

        Parameters
        ----------
        points : ndarray of shape (n_spectra, n_dimensions)
            Positions of the spectra.

        Returns
        -------
        LabelPrediction
        """
        blocks = [self._predict(self.scaler.transform(points[rows])) for rows in _iter_blocks(len(points))]
        return LabelPrediction(
            np.concatenate([block.prob for block in blocks]),
            np.concatenate([block.p_value for block in blocks]),
        )

    def _predict(self, x: Floats) -> LabelPrediction:
        """Return predictions for scaled points."""
        prob = softmax(self._logits(self._full_model, x) / self.temperature, axis=1)
        fold_prob = np.stack(
            [softmax(self._logits(model, x) / self.temperature, axis=1) for model in self._fold_models]
        )
        p_value = conformal_p_values(
            self.true_label_prob, self.label_code, self.sample_weight, self.fold, fold_prob
        )
        return LabelPrediction(prob, p_value)

    def _leave_source_out_p_values(self, prob: Floats, source_id: Strings) -> Floats:
        """Return p-values of labeled spectra relative to those of other sources."""
        p_values = np.zeros_like(prob)
        for source in np.unique(source_id):
            own = source_id == source
            rest = ~own
            p_values[own] = conformal_p_values(
                self.true_label_prob[rest],
                self.label_code[rest],
                self.sample_weight[rest],
                np.zeros(rest.sum(), np.int64),
                prob[own][None],
            )
        return p_values

    def _select_penalty(self) -> tuple[float, Floats]:
        """Return the penalty of the lowest cross-validated loss, and its out-of-fold logits."""
        losses: list[float] = []
        logits_by_penalty: list[Floats] = []
        for penalty in L2_PENALTIES:
            logits = np.zeros((len(self.label_code), len(self.label_names)))
            for f in range(self.fold.max() + 1):
                test = self.fold == f
                logits[test] = self._logits(self._fit(~test, penalty), self._x[test])
            temperature = _fit_temperature(logits, self.label_code, self._balanced_weight)
            losses.append(_cross_entropy(logits / temperature, self.label_code, self._balanced_weight))
            logits_by_penalty.append(logits)
        best = int(np.argmin(losses))
        return L2_PENALTIES[best], logits_by_penalty[best]

    def _fit(self, rows: NDArray[np.bool_], penalty: float) -> Any:
        """Return a model trained on some of the labeled spectra."""
        model = LogisticRegression(C=1.0 / penalty, max_iter=1000)
        return model.fit(self._x[rows], self.label_code[rows], sample_weight=self._balanced_weight[rows])

    def _logits(self, model: Any, x: Floats) -> Floats:
        """Return logits, (n_spectra, n_labels), of scaled points by a model."""
        scores = model.decision_function(x)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros(len(x)), scores])
        logits = np.full((len(x), len(self.label_names)), _UNSEEN_LABEL_LOGIT)
        logits[:, model.classes_] = scores
        return logits


def count_sources_per_label(labels: Strings, source_id: Strings) -> dict[str, int]:
    """Count the sources that have each label and no other.

    Parameters
    ----------
    labels, source_id : ndarray of str, shape (n_labeled,)
        Labels and sources of labeled spectra.

    Returns
    -------
    dict of str to int
        Number of sources by label.

    Examples
    --------
    >>> count_sources_per_label(np.array(["a", "a", "a", "b", "b"]), np.array(["s", "s", "t", "t", "u"]))
    {'a': 1, 'b': 1}
    """
    pairs = np.unique(np.column_stack([source_id, labels]), axis=0)
    _, index, n = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    unambiguous = pairs[n[index] == 1, 1]
    return {str(name): int(np.sum(unambiguous == name)) for name in np.unique(labels)}


def assign_folds(label_code: Ints, source_id: Strings) -> Ints:
    """Assign labeled spectra to folds: each source to one, the sources of a label evenly to all.

    Parameters
    ----------
    label_code : ndarray of shape (n_labeled,)
        Index of each spectrum's label.
    source_id : ndarray of str, shape (n_labeled,)
        Sources of the spectra.

    Returns
    -------
    ndarray of shape (n_labeled,)
        Index of the fold.

    Examples
    --------
    >>> assign_folds(np.array([0, 1, 0, 1]), np.array(["s", "t", "s", "u"])).tolist()
    [0, 1, 0, 2]
    """
    names, first, index = np.unique(source_id, return_index=True, return_inverse=True)
    position = np.empty(len(names), np.int64)
    position[np.argsort(label_code[first], kind="stable")] = np.arange(len(names))
    return position[index] % min(MAX_FOLDS, len(names))


def _iter_blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_ROWS, n_rows)) for start in range(0, max(n_rows, 1), BLOCK_ROWS))


def _cross_entropy(logits: Floats, code: Ints, weight: Floats) -> float:
    """Return the weighted mean of -ln of the true label's probability."""
    log_prob = np.take_along_axis(log_softmax(logits, axis=1), code[:, None], 1)[:, 0]
    return float(-np.average(log_prob, weights=weight))


def _fit_temperature(logits: Floats, code: Ints, weight: Floats) -> float:
    """Return the temperature that minimizes the cross-entropy (Guo et al. 2017, PMLR 70, 1321)."""
    limits = float(np.log(MIN_TEMPERATURE)), float(np.log(MAX_TEMPERATURE))
    result: Any = minimize_scalar(
        lambda t: _cross_entropy(logits / np.exp(t), code, weight), bounds=limits, method="bounded"
    )
    return float(np.exp(result.x))
