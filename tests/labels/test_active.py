"""Suggestions of spectra to label next."""

import numpy as np

from distspec.labels.active import margin_uncertainty, suggest_spectra


def test_suggestions_are_uncertain_from_different_sources_and_spread_out(rng):
    centers = [[0, 0], [50, 0], [0, 50], [50, 50]]
    points = rng.normal(size=(400, 2)) + np.repeat(centers, 100, axis=0)
    prob = np.tile([0.95, 0.05], (400, 1))
    prob[::2] = [0.55, 0.45]
    source_id = (np.arange(400) // 4).astype(str)
    selected = suggest_spectra(points, prob, source_id, 4)
    assert len(selected) == 4
    assert (selected % 2 == 0).all()
    assert sorted((selected // 100).tolist()) == [0, 1, 2, 3], "one in each group"
    many = suggest_spectra(points, prob, source_id, 100)
    assert len(set(source_id[many])) == len(many) == 100
    assert np.all(np.diff(margin_uncertainty(prob)[many]) <= 1e-12)


def test_all_sources_are_suggested_where_there_are_fewer_than_asked_for(rng):
    points, prob = rng.normal(size=(3, 2)), np.full((3, 2), 0.5)
    assert sorted(suggest_spectra(points, prob, np.array(["a", "b", "a"]), 10).tolist()) == [0, 1]
    assert len(suggest_spectra(np.zeros((0, 2)), np.zeros((0, 2)), np.array([], str), 10)) == 0
