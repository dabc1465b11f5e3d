import numpy as np

from distspec.clustering.diagnostics import compare_latent_pairs, compute_class_confusion, normalized_entropy


def test_entropy_counts_noise_as_a_class():
    prob = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0], [1 / 3, 1 / 3]])
    entropy = normalized_entropy(prob)
    assert entropy[0] == entropy[2] == 0.0
    assert 0 < entropy[1] < entropy[3]
    assert np.isclose(entropy[3], 1.0)
    assert normalized_entropy(np.ones((2, 1))).tolist() == [0.0, 0.0]


def test_confusion_lists_ambiguous_members():
    labels = np.array([0, 0, 0, 1])
    prob = np.array([[1.0, 0.0], [0.9, 0.1], [0.6, 0.4], [0.0, 1.0]])
    (pair,) = compute_class_confusion(labels, prob)
    assert (pair.cluster_label, pair.other_label, pair.n_ambiguous) == (0, 1, 1)
    assert pair.example_rows == (2, 1)
    assert np.isclose(pair.share, 0.5 / 3)


def test_redundant_latents_are_found(rng):
    first, second = rng.normal(size=(2, 800))
    z_mean = np.column_stack([first, second, first + 0.05 * rng.normal(size=800), np.zeros(800)])
    curves = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]], np.float32)
    rows = compare_latent_pairs(
        z_mean.astype(np.float32), np.full((800, 4), -2, np.float32), lambda z: z @ curves, rng
    )
    pairs = {(pair.latent, pair.other_latent): pair for pair in rows}
    assert len(pairs) == 6
    assert pairs[2, 0].mutual_information > 1.0 > 0.2 > pairs[1, 0].mutual_information
    assert np.isclose(pairs[2, 1].alignment, 1.0)
    assert np.isclose(pairs[1, 0].alignment, 0.0)
    assert np.isnan(pairs[3, 0].alignment)
