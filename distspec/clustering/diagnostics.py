"""Which classes trade members, how torn each spectrum is, and which latents say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.feature_selection import mutual_info_regression

from distspec.clustering.algorithms import Labels
from distspec.core.spectrum import Floats, Floats32

N_EXAMPLES_PER_PAIR = 3
MUTUAL_INFO_SAMPLE_SIZE = 2_000
"""Spectra that mutual information is estimated from."""
N_PROBES, PROBE_STEP = 64, 0.5
"""Spectra at which the decoder is asked what a latent does, and how far it is moved [posterior widths]."""


def normalized_entropy(prob: Floats) -> Floats:
    """Return the entropy of memberships, (N, K), in units of what an even share would have: 0 sure, 1 torn.

    What a row lacks to 1 is noise, and counts as a class.

    Examples
    --------
    >>> normalized_entropy(np.array([[1.0, 0.0], [1 / 3, 1 / 3]])).round(3)
    array([0., 1.])
    """
    whole = np.column_stack([prob, np.maximum(1.0 - prob.sum(axis=1), 0.0)])
    terms = np.where(whole > 0, whole * np.log(np.where(whole > 0, whole, 1.0)), 0.0)
    # Not the sum's own negative: that of nothing would be -0.
    return (0.0 - terms.sum(axis=1)) / np.log(whole.shape[1])


def compute_class_confusion(labels: Labels, prob: Floats) -> list[dict[str, Any]]:
    """Say what the members of each class would be if not of it.

    Parameters
    ----------
    labels : (N,) int32
    prob : (N, K)

    Returns
    -------
    list of {cluster_label, other_label, share, n_ambiguous, examples}
        For each pair of classes: the mean probability of the other among members of the one; how many members
        are as likely of the other as half their own; the rows of those
        most of the other, at most `N_EXAMPLES_PER_PAIR`.
    """
    rows: list[dict[str, Any]] = []
    for one in range(prob.shape[1]):
        members = np.flatnonzero(labels == one)
        for other in range(prob.shape[1]):
            theirs = prob[members, other]
            if one == other or not len(members) or not theirs.any():
                continue
            most = members[np.argsort(-theirs, kind="stable")[:N_EXAMPLES_PER_PAIR]]
            rows.append(
                {
                    "cluster_label": one,
                    "other_label": other,
                    "share": float(theirs.mean()),
                    "n_ambiguous": int(np.count_nonzero(theirs > 0.5 * prob[members, one])),
                    "examples": [int(i) for i in most if prob[i, other] > 0],
                }
            )
    return rows


def compare_latent_pairs(
    z_mean: Floats32,
    z_log_var: Floats32,
    decode: Callable[[Floats32], Floats32],
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Say of each pair of latents how much one tells of the other, and how alike they move the spectrum.

    Parameters
    ----------
    z_mean, z_log_var : (N, latents)
    decode : callable
        Latents (n, latents) to spectra (n, L).
    rng : numpy Generator
        Draws the spectra that are looked at.

    Returns
    -------
    list of {latent, other_latent, mutual_information, alignment}
        Mutual information [nat] of the posterior means (Kraskov, Stögbauer & Grassberger 2004, Phys. Rev. E
        69, 066138), and the absolute cosine between what steps along the two do to decoded spectra: 1 where
        the decoder cannot tell them apart. Pairs below the diagonal alone; NaN where a latent does nothing.
    """
    n, n_latents = z_mean.shape
    few = np.sort(rng.choice(n, min(MUTUAL_INFO_SAMPLE_SIZE, n), replace=False))
    x = z_mean[few].astype(np.float64)
    moved = decoder_sensitivity(z_mean, z_log_var, decode, rng)
    size = np.sqrt(np.einsum("ilp,ilp->l", moved, moved))
    gram = np.einsum("ilp,imp->lm", moved, moved)
    rows: list[dict[str, Any]] = []
    for i in range(1, n_latents):
        shared = (
            mutual_info_regression(x[:, :i], x[:, i], random_state=0)
            if len(few) > 5
            else np.full(i, float("nan"))
        )
        for j in range(i):
            both = size[i] * size[j]
            rows.append(
                {
                    "latent": i,
                    "other_latent": j,
                    "mutual_information": float(shared[j]),
                    "alignment": float(abs(gram[i, j]) / both) if both > 0 else float("nan"),
                }
            )
    return rows


def decoder_sensitivity(
    z_mean: Floats32,
    z_log_var: Floats32,
    decode: Callable[[Floats32], Floats32],
    rng: np.random.Generator,
) -> Floats:
    """Return what moving each latent by its posterior width does to spectra, (spectra, latents, L)."""
    n, n_latents = z_mean.shape
    probes = np.sort(rng.choice(n, min(N_PROBES, n), replace=False))
    centre = np.repeat(z_mean[probes], n_latents, axis=0)
    step = PROBE_STEP * np.exp(0.5 * z_log_var[probes])
    shift = (step[:, :, None] * np.eye(n_latents)).reshape(-1, n_latents).astype(np.float32)
    change = decode(centre + shift).astype(np.float64) - decode(centre - shift)
    return change.reshape(len(probes), n_latents, -1) / (2 * PROBE_STEP)
