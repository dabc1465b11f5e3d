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


def data(seed, n=900):
    return make_classification(
        n, 6, n_informative=4, n_classes=3, n_clusters_per_class=1, class_sep=0.8, random_state=seed
    )


@pytest.mark.filterwarnings("ignore:WARNING. your conformalization dataset has less labels")
@pytest.mark.parametrize("error", [0.05, 0.1, 0.3])
def test_sets_are_those_of_mapie_label_by_label(error):
    """Of one model, a label's threshold is that of split conformal prediction on its spectra alone."""
    from mapie.classification import SplitConformalClassifier

    x, y = data(3)
    model = LogisticRegression().fit(x[:300], y[:300])
    own = model.predict_proba(x[300:600])[np.arange(300), y[300:600]]
    zeros = np.zeros(300, np.int64)
    said = model.predict_proba(x[600:])
    ours = prediction_sets(conformal_p_values(own, y[300:600], np.ones(300), zeros, said[None]), error)
    for k in range(3):
        mine = np.flatnonzero(y[300:600] == k) + 300
        mapie = SplitConformalClassifier(
            model, confidence_level=1 - error, conformity_score="lac", prefit=True
        )
        mapie.conformalize(x[mine], y[mine])
        assert np.array_equal(ours[:, k], mapie.predict_set(x[600:])[1][:, k, 0])


@pytest.mark.parametrize("n", [8, 9, 19])
def test_a_label_of_too_few_is_in_every_set(n):
    own, said = np.linspace(0.5, 0.9, n), np.full((1, 4, 1), 0.01)
    found = prediction_sets(
        conformal_p_values(own, np.zeros(n, int), np.ones(n), np.zeros(n, int), said), 0.1
    )
    assert found.all() == (n < min_sources_to_exclude(0.1))


def test_repeats_count_as_one():
    own, code = np.array([0.2, 0.4, 0.6]), np.zeros(3, int)
    said = np.array([[[0.1], [0.3], [0.5], [0.9]]])
    once = conformal_p_values(own, code, np.ones(3), code, said)
    source = np.array(["a", "b", "b", "b", "c"])
    many = conformal_p_values(
        own[[0, 1, 1, 1, 2]], np.zeros(5, int), compute_source_weights(source), np.zeros(5, int), said
    )
    assert np.allclose(once, many)


def test_each_is_compared_with_what_its_own_model_says():
    own, fold = np.array([0.5, 0.5]), np.array([0, 1])
    said = np.array([[[0.6]], [[0.4]]])
    assert conformal_p_values(own, np.zeros(2, int), np.ones(2), fold, said)[0, 0] == pytest.approx(2 / 3)
