import numpy as np
import pytest

from distspec.labels.classifier import IsotropicScaler, LabelClassifier, assign_folds, count_sources_per_label
from distspec.labels.conformal import prediction_sets

NAMES = np.array(["EELG", "LAE", "quenched"])


def made(seed, n=600, apart=2.5):
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, n)
    return rng.normal(size=(n, 5)) + apart / np.sqrt(2) * np.eye(5)[code], NAMES[code]


def some(names, n):
    return np.concatenate([np.flatnonzero(names == name)[:n] for name in NAMES])


def numbered(n):
    return np.arange(n).astype(str)


def test_few_labels_tell_most_and_sets_hold_the_right_one():
    hits, held = [], {name: [] for name in NAMES}
    for seed in range(6):
        points, names = made(seed)
        few = some(names, 15)
        rest = np.setdiff1d(np.arange(600), few)
        learnt = LabelClassifier(points[few], names[few], numbered(45), IsotropicScaler.fit(points))
        said = learnt.predict(points[rest])
        assert np.allclose(said.prob.sum(axis=1), 1.0)
        hits.append(np.mean(NAMES[said.prob.argmax(axis=1)] == names[rest]))
        inside = prediction_sets(said.p_value, 0.1)
        assert inside.sum(axis=1).mean() < 2.0
        for k, name in enumerate(NAMES):
            held[name].append(inside[names[rest] == name, k].mean())
    assert np.mean(hits) > 0.75
    # 90 labelled sources a label in all: 0.9 give or take 0.03, twice.
    assert all(np.mean(each) > 0.84 for each in held.values())


def test_the_axes_scale_and_shift_change_nothing():
    points, names = made(0)
    few = some(names, 6)
    moved = 100.0 + 7.0 * points
    one = LabelClassifier(points[few], names[few], numbered(18), IsotropicScaler.fit(points)).predict(points)
    two = LabelClassifier(moved[few], names[few], numbered(18), IsotropicScaler.fit(moved)).predict(moved)
    assert np.allclose(one.prob, two.prob, atol=1e-3)


def test_no_source_helps_to_judge_itself():
    """Labels at random, each source four times: by repeats of itself each would be told."""
    rng = np.random.default_rng(0)
    centres, source = 10.0 * rng.normal(size=(40, 30)), np.repeat(np.arange(40), 4)
    points = centres[source] + 0.01 * rng.normal(size=(160, 30))
    names = NAMES[np.arange(40) % 2][source]
    learnt = LabelClassifier(points, names, source.astype(str), IsotropicScaler.fit(points))
    assert all(len(set(learnt.fold[source == each])) == 1 for each in range(40))
    right = np.mean(np.array(learnt.label_names)[learnt.out_of_fold.prob.argmax(axis=1)] == names)
    assert right < 0.75


def test_a_labels_sources_are_spread_over_all_folds():
    code = np.repeat([0, 1, 2], [2, 10, 31])
    fold = assign_folds(code, numbered(43))
    for k in range(3):
        counts = np.bincount(fold[code == k], minlength=10)
        assert counts.max() - counts.min() <= 1


def test_two_of_each_are_enough_and_one_is_not():
    points, names = made(1)
    few = some(names, 2)
    said = LabelClassifier(points[few], names[few], numbered(6), IsotropicScaler.fit(points)).predict(points)
    assert prediction_sets(said.p_value, 0.1).all(), "of two sources nothing can be left out"
    with pytest.raises(ValueError, match=r"'quenched': 1.*two labels of 2 or more"):
        LabelClassifier(points[few[:5]], names[few[:5]], numbered(5), IsotropicScaler.fit(points))
    with pytest.raises(ValueError, match="two labels"):
        LabelClassifier(points[few[:2]], names[few[:2]], numbered(2), IsotropicScaler.fit(points))


def test_sources_that_people_call_two_things_count_for_neither():
    found = count_sources_per_label(np.array(["a", "b", "a", "b"]), np.array(["s", "s", "t", "u"]))
    assert found == {"a": 1, "b": 1}
