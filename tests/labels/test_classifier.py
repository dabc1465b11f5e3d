"""The label classifier: accuracy and coverage from few labels, and independence of sources."""

import numpy as np
import pytest

from distspec.core.errors import LabelError
from distspec.labels.classifier import IsotropicScaler, LabelClassifier, assign_folds, count_sources_per_label
from distspec.labels.conformal import prediction_sets

NAMES = np.array(["EELG", "LAE", "quenched"])


def draw_points(seed, n=600, separation=2.5):
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, n)
    return rng.normal(size=(n, 5)) + separation / np.sqrt(2) * np.eye(5)[code], NAMES[code]


def first_of_each(labels, n):
    return np.concatenate([np.flatnonzero(labels == name)[:n] for name in NAMES])


def source_names(n):
    return np.arange(n).astype(str)


def train(points, labels, rows):
    scaler = IsotropicScaler.fit(points)
    return LabelClassifier(points[rows], labels[rows], source_names(len(rows)), scaler)


def test_few_labels_give_accurate_predictions_and_valid_sets():
    accuracy, coverage = [], {name: [] for name in NAMES}
    for seed in range(6):
        points, labels = draw_points(seed)
        rows = first_of_each(labels, 15)
        rest = np.setdiff1d(np.arange(600), rows)
        prediction = train(points, labels, rows).predict(points[rest])
        assert np.allclose(prediction.prob.sum(axis=1), 1.0)
        accuracy.append(np.mean(NAMES[prediction.prob.argmax(axis=1)] == labels[rest]))
        in_set = prediction_sets(prediction.p_value, 0.1)
        assert in_set.sum(axis=1).mean() < 2.0
        for k, name in enumerate(NAMES):
            coverage[name].append(in_set[labels[rest] == name, k].mean())
    assert np.mean(accuracy) > 0.75
    # 90 labeled sources per label in all: 0.9 with a standard deviation of 0.03.
    assert all(np.mean(values) > 0.84 for values in coverage.values())


def test_shift_and_scale_of_the_points_do_not_matter():
    points, labels = draw_points(0)
    rows, shifted = first_of_each(labels, 6), 100.0 + 7.0 * points
    before = train(points, labels, rows).predict(points)
    after = train(shifted, labels, rows).predict(shifted)
    assert np.allclose(before.prob, after.prob, atol=1e-3)


def test_spectra_of_a_source_do_not_help_to_predict_each_other():
    """With random labels and four spectra per source, repeats in training would give the label away."""
    rng = np.random.default_rng(0)
    centers, source = 10.0 * rng.normal(size=(40, 30)), np.repeat(np.arange(40), 4)
    points = centers[source] + 0.01 * rng.normal(size=(160, 30))
    labels = NAMES[np.arange(40) % 2][source]
    classifier = LabelClassifier(points, labels, source.astype(str), IsotropicScaler.fit(points))
    assert all(len(set(classifier.fold[source == i])) == 1 for i in range(40))
    predicted = np.array(classifier.label_names)[classifier.out_of_fold.prob.argmax(axis=1)]
    assert np.mean(predicted == labels) < 0.75


def test_the_sources_of_a_label_are_spread_over_all_folds():
    code = np.repeat([0, 1, 2], [2, 10, 31])
    fold = assign_folds(code, source_names(43))
    for k in range(3):
        counts = np.bincount(fold[code == k], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_two_sources_of_each_label_are_enough_and_one_is_not():
    points, labels = draw_points(1)
    rows = first_of_each(labels, 2)
    prediction = train(points, labels, rows).predict(points)
    assert prediction_sets(prediction.p_value, 0.1).all(), "two sources cannot exclude a label"
    with pytest.raises(LabelError, match=r"'quenched': 1.*at least 2 sources of each of two labels"):
        train(points, labels, rows[:5])
    with pytest.raises(LabelError, match="two labels"):
        train(points, labels, rows[:2])


def test_sources_with_conflicting_labels_are_not_counted():
    counts = count_sources_per_label(np.array(["a", "b", "a", "b"]), np.array(["s", "s", "t", "u"]))
    assert counts == {"a": 1, "b": 1}
