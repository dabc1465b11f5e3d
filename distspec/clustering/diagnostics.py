"""Diagnostics of a clustering: confusion between classes, membership entropy, and redundancy of latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.feature_selection import mutual_info_regression

from distspec.clustering.algorithms import Labels
from distspec.core.spectrum import Floats, Floats32

N_EXAMPLES_PER_PAIR = 3
MUTUAL_INFO_SAMPLE_SIZE = 2_000
"""Number of spectra from which mutual information is estimated."""
N_PROBES, PROBE_STEP = 64, 0.5
"""Number of spectra at which the decoder is differentiated, and the step [posterior widths]."""


@dataclass(frozen=True)
class ClassConfusion:
    """How often the members of one class could as well belong to another.

    Attributes
    ----------
    cluster_label, other_label : int
        The class and another class.
    share : float
        Mean probability of the other class among the members.
    n_ambiguous : int
        Number of members whose probability of the other class exceeds half that of their own.
    example_rows : tuple of int
        Rows of the members with the highest probability of the other class, at most `N_EXAMPLES_PER_PAIR`.
    """

    cluster_label: int
    other_label: int
    share: float
    n_ambiguous: int
    example_rows: tuple[int, ...]


@dataclass(frozen=True)
class LatentPair:
    """How much two latents have in common.

    Attributes
    ----------
    latent, other_latent : int
        Numbers of the latents; ``other_latent < latent``.
    mutual_information : float
        Mutual information of the posterior means [nat].
    alignment : float
        Absolute cosine between the changes of the decoded spectrum along the two latents; 1 if the decoder
        does not distinguish them, NaN if a latent has no effect.
    """

    latent: int
    other_latent: int
    mutual_information: float
    alignment: float


def normalized_entropy(prob: Floats) -> Floats:
    """Return the entropy of membership probabilities relative to that of equal probabilities.

    Parameters
    ----------
    prob : ndarray of shape (n_points, n_classes)
        What a row lacks to 1 is noise, and counts as a class.

    Returns
    -------
    ndarray of shape (n_points,)
        0 for a certain membership, 1 for equal probabilities.

    Examples
    --------
    >>> normalized_entropy(np.array([[1.0, 0.0], [1 / 3, 1 / 3]])).round(3)
    array([0., 1.])
    """
    complete = np.column_stack([prob, np.maximum(1.0 - prob.sum(axis=1), 0.0)])
    terms = np.where(complete > 0, complete * np.log(np.where(complete > 0, complete, 1.0)), 0.0)
    # 0 - x instead of -x: the negative of 0 would be -0.
    return (0.0 - terms.sum(axis=1)) / np.log(complete.shape[1])


def compute_class_confusion(labels: Labels, prob: Floats | Floats32) -> list[ClassConfusion]:
    """Compute for each pair of classes how probable the second is among members of the first.

    Parameters
    ----------
    labels : ndarray of int32, shape (n_points,)
        Class of each point; -1 is noise.
    prob : ndarray of shape (n_points, n_classes)
        Membership probabilities.

    Returns
    -------
    list of ClassConfusion
        Pairs with a probability above 0.
    """
    pairs: list[ClassConfusion] = []
    for label in range(prob.shape[1]):
        members = np.flatnonzero(labels == label)
        for other in range(prob.shape[1]):
            prob_other = prob[members, other]
            if label == other or not len(members) or not prob_other.any():
                continue
            examples = members[np.argsort(-prob_other, kind="stable")[:N_EXAMPLES_PER_PAIR]]
            pairs.append(
                ClassConfusion(
                    label,
                    other,
                    float(prob_other.mean()),
                    int(np.count_nonzero(prob_other > 0.5 * prob[members, label])),
                    tuple(int(i) for i in examples if prob[i, other] > 0),
                )
            )
    return pairs


def compare_latent_pairs(
    z_mean: Floats32,
    z_log_var: Floats32,
    decode: Callable[[Floats32], Floats32],
    rng: np.random.Generator,
) -> list[LatentPair]:
    """Compare all pairs of latents: their mutual information and their effect on the decoded spectrum.

    Parameters
    ----------
    z_mean, z_log_var : ndarray of shape (n_spectra, n_latents)
        Posterior means and log variances.
    decode : callable
        Maps latents, (n, n_latents), to spectra, (n, n_pixels).
    rng : numpy.random.Generator
        Draws the spectra that are used.

    Returns
    -------
    list of LatentPair
        One for each pair.

    References
    ----------
    Kraskov, Stögbauer & Grassberger 2004, Phys. Rev. E 69, 066138 (mutual information).
    """
    n, n_latents = z_mean.shape
    sample = np.sort(rng.choice(n, min(MUTUAL_INFO_SAMPLE_SIZE, n), replace=False))
    x = z_mean[sample].astype(np.float64)
    sensitivity = decoder_sensitivity(z_mean, z_log_var, decode, rng)
    norm = np.sqrt(np.einsum("ilp,ilp->l", sensitivity, sensitivity))
    gram = np.einsum("ilp,imp->lm", sensitivity, sensitivity)
    pairs: list[LatentPair] = []
    for i in range(1, n_latents):
        information = (
            mutual_info_regression(x[:, :i], x[:, i], random_state=0)
            if len(sample) > 5
            else np.full(i, float("nan"))
        )
        for j in range(i):
            product = norm[i] * norm[j]
            alignment = float(abs(gram[i, j]) / product) if product > 0 else float("nan")
            pairs.append(LatentPair(i, j, float(information[j]), alignment))
    return pairs


def decoder_sensitivity(
    z_mean: Floats32,
    z_log_var: Floats32,
    decode: Callable[[Floats32], Floats32],
    rng: np.random.Generator,
) -> Floats:
    """Return the derivative of decoded spectra with respect to each latent, per posterior width.

    Parameters
    ----------
    z_mean, z_log_var, decode, rng
        As `compare_latent_pairs`.

    Returns
    -------
    ndarray of shape (n_probes, n_latents, n_pixels)
    """
    n, n_latents = z_mean.shape
    probes = np.sort(rng.choice(n, min(N_PROBES, n), replace=False))
    center = np.repeat(z_mean[probes], n_latents, axis=0)
    step = PROBE_STEP * np.exp(0.5 * z_log_var[probes])
    shift = (step[:, :, None] * np.eye(n_latents)).reshape(-1, n_latents).astype(np.float32)
    change = decode(center + shift).astype(np.float64) - decode(center - shift)
    return change.reshape(len(probes), n_latents, -1) / (2 * PROBE_STEP)
