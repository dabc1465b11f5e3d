"""Second views of spectra for training: data thinning and simulated observing conditions."""

from __future__ import annotations

import torch
from torch import Tensor

from distspec.models.batch import JoinedInputs
from distspec.models.config import VAEConfig
from distspec.models.losses import TINY
from distspec.models.lsf import LineSpreadFunction

MAX_LOG_NOISE_RATIO = 0.7
"""Largest |ln k|, where k² is the ratio of the noise that is added to the halves of a thinned spectrum."""


def thin(inputs: JoinedInputs, noise: Tensor, equally: bool = False) -> tuple[JoinedInputs, JoinedInputs]:
    """Split the light of each spectrum into two halves with independent noise.

    With noise ε drawn as large as the spectrum's own, the halves are x + kε and x - ε/k.

    Parameters
    ----------
    inputs : JoinedInputs
        Spectra; values with an inverse variance of 0 are masked and get no noise.
    noise : Tensor of shape (n_spectra, n_values)
        Noise of unit variance that is correlated as that of the spectra.
    equally : bool
        Whether both halves are equally deep, k = 1; otherwise k is drawn for each spectrum.

    Returns
    -------
    first, second : JoinedInputs
        Two views whose inverse variances sum to that of the input.

    References
    ----------
    Neufeld et al. 2024, JMLR 25, 57.
    """
    max_log_ratio = 0.0 if equally else MAX_LOG_NOISE_RATIO
    k = torch.exp(max_log_ratio * (2.0 * torch.rand_like(inputs.z) - 1.0))[:, None]
    noise = torch.where(inputs.ivar > 0, noise * inputs.ivar.clamp(min=TINY).rsqrt(), 0.0)
    first = JoinedInputs(inputs.value + k * noise, inputs.ivar / (1.0 + k.square()), inputs.z)
    second = JoinedInputs(inputs.value - noise / k, inputs.ivar / (1.0 + k.square().reciprocal()), inputs.z)
    return first, second


def augment(inputs: JoinedInputs, config: VAEConfig, lsf: LineSpreadFunction | None) -> JoinedInputs:
    """Return spectra as they might have been observed at another redshift.

    Parameters
    ----------
    inputs : JoinedInputs
        Spectra; their pixels come first along the second axis.
    config : VAEConfig
        Which changes to make.
    lsf : LineSpreadFunction or None
        The instrument's line-spread function; None leaves the redshift as it is.
    """
    value, ivar, z = inputs
    if config.redshift_augmentation and lsf is not None:
        n, z_other = lsf.n_pixels, z[torch.randperm(len(z), device=z.device)]
        # Spectra cannot be sharpened: towards higher redshift only the coverage changes.
        z_target, mask = torch.minimum(z, z_other), (ivar[:, :n] > 0).to(value.dtype)
        flux = lsf.degrade(value[:, :n], mask, z, z_target)
        value = torch.cat([flux, value[:, n:]], dim=1)
        ivar = torch.cat([ivar[:, :n] * lsf.is_covered(z_other), ivar[:, n:]], dim=1)
        z = z_target
    return JoinedInputs(torch.where(ivar > 0, value, 0.0), ivar, z)
