"""Conformal prediction sets against MAPIE, and the weights of sources."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from distspec.labels.conformal import (
    compute_source_weights,
    conformal_p_values,
    min_sources_to_exclude,
    prediction_sets,
)


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_with_one_model_sets_equal_those_of_mapie_label_by_label(alpha):
    from mapie.classification import SplitConformalClassifier

    x, y = make_classification(
        900, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, class_sep=0.8, random_state=3
    )
    model = LogisticRegression().fit(x[:300], y[:300])
    true_label_prob = model.predict_proba(x[300:600])[np.arange(300), y[300:600]]
    zeros = np.zeros(300, np.int64)
    prob = model.predict_proba(x[600:])[None]
    sets = prediction_sets(conformal_p_values(true_label_prob, y[300:600], np.ones(300), zeros, prob), alpha)
    for k in range(3):
        members = np.flatnonzero(y[300:600] == k) + 300
        mapie = SplitConformalClassifier(
            model, confidence_level=1 - alpha, conformity_score="lac", prefit=True
        )
        mapie.conformalize(x[members], y[members])
        assert np.array_equal(sets[:, k], mapie.predict_set(x[600:])[1][:, k, 0])


@pytest.mark.parametrize("n", [8, 9, 19])
def test_a_label_of_too_few_sources_is_in_every_set(n):
    true_label_prob, prob = np.linspace(0.5, 0.9, n), np.full((1, 4, 1), 0.01)
    zeros = np.zeros(n, int)
    sets = prediction_sets(conformal_p_values(true_label_prob, zeros, np.ones(n), zeros, prob), 0.1)
    assert sets.all() == (n < min_sources_to_exclude(0.1))


def test_spectra_of_one_source_count_as_one():
    true_label_prob, zeros = np.array([0.2, 0.4, 0.6]), np.zeros(3, int)
    prob = np.array([[[0.1], [0.3], [0.5], [0.9]]])
    once = conformal_p_values(true_label_prob, zeros, np.ones(3), zeros, prob)
    weights, zeros = compute_source_weights(np.array(["a", "b", "b", "b", "c"])), np.zeros(5, int)
    repeated = conformal_p_values(true_label_prob[[0, 1, 1, 1, 2]], zeros, weights, zeros, prob)
    assert np.allclose(once, repeated)


def test_a_labeled_spectrum_is_compared_with_the_prediction_of_its_own_fold():
    true_label_prob, fold = np.array([0.5, 0.5]), np.array([0, 1])
    prob = np.array([[[0.6]], [[0.4]]])
    p_values = conformal_p_values(true_label_prob, np.zeros(2, int), np.ones(2), fold, prob)
    assert p_values[0, 0] == pytest.approx(2 / 3)
