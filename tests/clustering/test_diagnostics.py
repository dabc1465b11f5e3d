import numpy as np

from distspec.clustering.diagnostics import compare_latent_pairs, compute_class_confusion, normalized_entropy


def test_entropy_counts_noise_as_a_class():
    prob = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [1 / 3, 1 / 3]])
    found = normalized_entropy(prob)
    assert found[0] == found[2] == 0.0
    assert 0 < found[1] < found[3]
    assert np.isclose(found[3], 1.0)
    assert normalized_entropy(np.ones((2, 1))).tolist() == [0.0, 0.0]


def test_confusion_names_who_is_torn():
    labels = np.array([0, 0, 0, 1])
    prob = np.array([[1.0, 0.0], [0.9, 0.1], [0.6, 0.4], [0.0, 1.0]])
    (row,) = compute_class_confusion(labels, prob)
    assert (row.cluster_label, row.other_label, row.n_ambiguous) == (0, 1, 1)
    assert row.example_rows == (2, 1)
    assert np.isclose(row.share, 0.5 / 3)


def test_latents_that_say_the_same_are_found(rng):
    first, second = rng.normal(size=(2, 800))
    z_mean = np.column_stack([first, second, first + 0.05 * rng.normal(size=800), np.zeros(800)])
    curves = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]], np.float32)
    rows = compare_latent_pairs(
        z_mean.astype(np.float32), np.full((800, 4), -2, np.float32), lambda z: z @ curves, rng
    )
    pairs = {(row.latent, row.other_latent): row for row in rows}
    assert len(pairs) == 6
    assert pairs[2, 0].mutual_information > 1.0 > 0.2 > pairs[1, 0].mutual_information
    assert np.isclose(pairs[2, 1].alignment, 1.0)
    assert np.isclose(pairs[1, 0].alignment, 0.0)
    assert np.isnan(pairs[3, 0].alignment)
