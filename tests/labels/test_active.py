import numpy as np

from distspec.labels.active import margin_uncertainty, suggest_spectra


def test_what_is_torn_comes_first_one_of_a_source_and_spread_out(rng):
    points = rng.normal(size=(400, 2)) + np.repeat([[0, 0], [50, 0], [0, 50], [50, 50]], 100, axis=0)
    prob = np.tile([0.95, 0.05], (400, 1))
    prob[::2] = [0.55, 0.45]
    source = (np.arange(400) // 4).astype(str)
    picked = suggest_spectra(points, prob, source, 4)
    assert len(picked) == 4
    assert (picked % 2 == 0).all()
    assert sorted((picked // 100).tolist()) == [0, 1, 2, 3], "one of each island"
    many = suggest_spectra(points, prob, source, 100)
    assert len(set(source[many])) == len(many) == 100
    assert np.all(np.diff(margin_uncertainty(prob)[many]) <= 1e-12)


def test_where_there_are_fewer_all_are_suggested(rng):
    picked = suggest_spectra(rng.normal(size=(3, 2)), np.full((3, 2), 0.5), np.array(["a", "b", "a"]), 10)
    assert sorted(picked.tolist()) == [0, 1]
    assert len(suggest_spectra(np.zeros((0, 2)), np.zeros((0, 2)), np.array([], str), 10)) == 0
