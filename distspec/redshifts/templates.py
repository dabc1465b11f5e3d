"""The spectra that a model describes, as a mixture of Gaussians in linear flux, before any instrument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from distspec.core.spectrum import Floats, Floats32
from distspec.models.model import Model

N_SAMPLES = 3000
"""Number of spectra drawn from the model."""
NODES = (-1.5, -0.5, 0.5, 1.5, 2.5)
"""Redshifts at which spectra are decoded [standard deviations of ln(1 + z) of the training spectra]."""
GROUPING_SCALE = 3.0
"""Spectra are grouped by arcsinh of this multiple of flux over mean flux."""
N_AMPLITUDE_ITERATIONS = 3
"""Number of times that spectra are scaled to the mean of the spectra."""
LYMAN_LIMIT = 911.75
"""Rest wavelength blueward of which templates are dark where they are continued [Å]."""
EDGE_PIXELS = 10
"""Pixels at either end of the model's grid whose mean is continued beyond it."""
RED_EXTENSION = 7.0
"""Factor by which templates are continued beyond the red end of the model's grid."""
RED_SLOPE = -1.5
"""Exponent of f_λ there."""
N_RAMPS, RAMP_STD = 4, 0.5
"""Number of ramps in ln λ by which the continuation may differ, and their standard deviation relative to the
mean at the red end."""


@dataclass(frozen=True)
class TemplateMixture:
    """Spectra at unit amplitude: a Gaussian mixture, with a few principal axes in each group.

    Attributes
    ----------
    log_wave_rest : ndarray of shape (n_pixels,)
        Natural logarithm of the rest wavelengths [Å], equally spaced.
    z_nodes : ndarray of shape (n_nodes,)
        Redshifts at which the spectra were decoded: intergalactic absorption depends on redshift.
    templates : ndarray of shape (n_nodes, n_groups, n_columns, n_pixels)
        Mean of each group, then its principal axes times the standard deviation along them [f_λ], then the
        ramps by which it may continue redward of the model's grid.
    log_weights : ndarray of shape (n_groups,)
        Natural logarithm of the share of each group.
    """

    log_wave_rest: Floats
    z_nodes: Floats
    templates: Floats32
    log_weights: Floats

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return self.templates.shape[1]

    @property
    def n_columns(self) -> int:
        """Number of templates of a group."""
        return self.templates.shape[2]


def draw_spectra(model: Model, seed: int = 0) -> tuple[Floats, Floats32]:
    """Draw spectra from a model at several redshifts, before the instrument.

    Parameters
    ----------
    model : Model
        A model that is conditioned on redshift or not.
    seed : int
        Seed of the latents, which are those of the prior.

    Returns
    -------
    z_nodes : ndarray of shape (n_nodes,)
        Redshifts: one if the model is not conditioned on redshift.
    flux : ndarray of shape (n_nodes, N_SAMPLES, n_pixels)
        The same latents decoded at each redshift.
    """
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((N_SAMPLES, model.n_latents)).astype(np.float32)
    nodes = np.zeros(1)
    if model.vae.config.condition_on_z:
        mean, std = model.vae.log1pz_moments.tolist()
        nodes = np.expm1(mean + std * np.array(NODES))
    return nodes, np.array([model.decode(latents, z, convolve=False) for z in nodes])


def fit_mixture(
    log_wave_rest: Floats, z_nodes: Floats, flux: Floats32, n_groups: int, n_axes: int, seed: int = 0
) -> TemplateMixture:
    """Fit a mixture to spectra.

    Parameters
    ----------
    log_wave_rest : ndarray of shape (n_pixels,)
        Natural logarithm of the rest wavelengths [Å].
    z_nodes : ndarray of shape (n_nodes,)
        Redshifts of the spectra.
    flux : ndarray of shape (n_nodes, n_samples, n_pixels)
        The same objects at each redshift [f_λ].
    n_groups, n_axes : int
        Number of groups, found by k-means at the middle redshift, and of principal axes of each.
    seed : int
        Seed of k-means.

    Returns
    -------
    TemplateMixture
    """
    middle = flux[len(flux) // 2]
    shape = np.arcsinh(GROUPING_SCALE * middle / np.abs(middle).mean(axis=1, keepdims=True))
    kmeans: Any = KMeans  # scikit-learn declares n_init as text
    labels = kmeans(n_groups, n_init=3, random_state=seed).fit_predict(shape)
    templates = np.array(
        [[_fit_gaussian(each[labels == k], n_axes) for k in range(n_groups)] for each in flux]
    )
    shares = np.bincount(labels, minlength=n_groups) / len(labels)
    log_wave, extended = _extend(log_wave_rest, templates)
    return TemplateMixture(log_wave, z_nodes, extended.astype(np.float32), np.log(shares))


def _extend(log_wave: Floats, templates: Floats) -> tuple[Floats, Floats]:
    """Continue templates beyond both ends of their grid, so that all pixels are compared at all redshifts.

    Blueward they keep their level down to the Lyman limit. Redward they follow a power law, from which ramps
    in ln λ, further columns, may lead away.
    """
    step = log_wave[1] - log_wave[0]
    n_blue = max(int(np.ceil((log_wave[0] - np.log(LYMAN_LIMIT)) / step)), 0)
    n_red = int(np.ceil(np.log(RED_EXTENSION) / step))
    extended = log_wave[0] + step * np.arange(-n_blue, len(log_wave) + n_red)
    blue = np.where(extended[:n_blue] >= np.log(LYMAN_LIMIT), 1.0, 0.0)
    edges = slice(None, EDGE_PIXELS), slice(-EDGE_PIXELS, None)
    offset = extended[len(extended) - n_red :] - log_wave[-1]
    low, high = (templates[..., part].mean(axis=-1, keepdims=True) for part in edges)
    continued = np.concatenate([low * blue, templates, high * np.exp(RED_SLOPE * offset)], axis=-1)
    ramps = (N_RAMPS * offset / np.log(RED_EXTENSION) - np.arange(N_RAMPS)[:, None]).clip(0.0, 1.0)
    ramps = np.pad(ramps, ((0, 0), (len(extended) - n_red, 0)))
    return extended, np.concatenate([continued, RAMP_STD * np.abs(high[:, :, :1]) * ramps], axis=2)


def _fit_gaussian(flux: Floats32, n_axes: int) -> Floats:
    """Return the mean of spectra at unit amplitude and scaled principal axes, (1 + n_axes, n_pixels)."""
    scaled = flux.astype(np.float64)
    scaled /= np.abs(scaled).mean(axis=1, keepdims=True)
    for _ in range(N_AMPLITUDE_ITERATIONS):
        mean = scaled.mean(axis=0)
        scaled /= (scaled @ mean / (mean @ mean))[:, None]
    mean = scaled.mean(axis=0)
    _, sizes, axes = np.linalg.svd(scaled - mean, full_matrices=False)
    found = axes[:n_axes] * (sizes[:n_axes, None] / np.sqrt(len(flux)))
    missing = n_axes - len(found)
    return np.concatenate([mean[None], found, np.zeros((missing, len(mean)))])
