"""Settings of the variational autoencoder (VAE). Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distspec.core.errors import ConfigError

SPECTRUM_KEY = "spectrum"
"""Name of the input that holds the spectrum; photometry may join it under other names."""


@dataclass(frozen=True)
class VAEConfig:
    """Architecture and objective of the VAE.

    The defaults are the published model; every option that it does not have is off.
    """

    hidden_sizes: tuple[int, ...] = (512, 256, 128, 64)
    """Widths of the encoder's hidden layers, input side first; the decoder mirrors them."""
    dropout: tuple[float, ...] = (0.2, 0.2, 0.2, 0.1)
    """Dropout rate after each hidden layer, input side first."""
    decoder_dropout: bool = True
    """Apply dropout in the decoder as well."""
    hidden_layer: Literal["batch-norm", "scale"] = "batch-norm"
    """batch-norm: dense, batch normalization, ReLU, dropout. scale: dense, ReLU, a trainable scale and offset
    of each unit, dropout, as in the released code, whose batch normalization never learns its moments."""
    glorot_init: bool = False
    """Draw initial weights from the uniform distribution of Glorot & Bengio 2010, with offsets 0, as Keras
    does."""
    smooth_spectra: bool = False
    """Smooth the flux before arcsinh by Gaussians of 2 pixels up to 3000 Å, 1.5 up to 6000 Å and 1 beyond,
    with masked pixels as 0; those that this fills count as measured."""
    n_latents: int = 16
    """Number of dimensions of the latent space."""
    l2: float = 1e-3
    """Weight of the sum of squares of the hidden layers' kernels."""
    kl_weight: float = 1.0
    """Weight of the KL divergence from the posterior to N(0, I)."""
    likelihood: Literal["mse", "gaussian"] = "mse"
    """Reconstruction loss: squared error of arcsinh flux, or Gaussian likelihood of linear flux with ivar."""
    noise_floor: float = 0.05
    """Noise floor of the Gaussian likelihood [standard deviations of the sample]."""
    standardize: bool = False
    """Subtract the sample's mean from each pixel and divide by its standard deviation before the networks."""
    ppca_init: bool = False
    """Start as probabilistic PCA; the networks correct its posterior and its reconstruction."""
    impute_with_ppca: bool = False
    """Replace masked and noisy pixels in the encoder's input by PCA estimates, and give it their weights."""
    condition_on_z: bool = False
    """Give the redshift to the encoder and to the decoder."""
    profile_amplitude: bool = False
    """Scale the input by the best-fit amplitude of the mean spectrum, and the reconstruction by its own."""
    resolving_power: tuple[tuple[float, float], ...] = ()
    """Resolving power of the instrument: (observed wavelength [µm], λ / FWHM); empty if unknown."""
    noise_correlation: float = 0.0
    """Correlation of the noise of neighboring detector pixels."""
    convolve_lsf: bool = False
    """Decode to unlimited resolution and convolve with the instrument's line-spread function."""
    data_thinning: bool = False
    """Train on two halves of each spectrum's light with independent noise; each half predicts the other."""
    consistency_weight: float = 0.0
    """Weight of the agreement between the latents of a spectrum and of its second view."""
    redshift_augmentation: bool = False
    """Second view: degrade and crop the spectrum as if it were observed at another redshift."""
    calibrate_posteriors: bool = False
    """After training, widen the posteriors until they match the scatter between repeats of a source."""

    @property
    def has_second_view(self) -> bool:
        """Whether training encodes a second view of each spectrum."""
        return self.data_thinning or self.redshift_augmentation

    def __post_init__(self) -> None:
        if len(self.hidden_sizes) != len(self.dropout) or not self.hidden_sizes:
            raise ConfigError(
                f"vae.hidden_sizes {self.hidden_sizes} and vae.dropout {self.dropout}: "
                "give one dropout rate for each hidden layer"
            )
        if min(self.hidden_sizes) < 1 or self.n_latents < 1:
            raise ConfigError(
                f"vae.hidden_sizes {self.hidden_sizes} and vae.n_latents {self.n_latents} must be positive"
            )
        if any(not 0 <= rate < 1 for rate in self.dropout):
            raise ConfigError(f"vae.dropout {self.dropout}: rates must lie in [0, 1)")
        if not self.noise_floor > 0:
            raise ConfigError(f"vae.noise_floor {self.noise_floor} must be positive")
        dependent = ("ppca_init", "impute_with_ppca", "profile_amplitude")
        if not self.standardize and (enabled := [name for name in dependent if getattr(self, name)]):
            raise ConfigError(f"vae.{enabled[0]} needs vae.standardize")
        if self.smooth_spectra and self.likelihood != "mse":
            raise ConfigError("vae.smooth_spectra needs vae.likelihood mse: smoothed noise has no ivar")
        if self.likelihood == "mse" and self.profile_amplitude:
            raise ConfigError("vae.profile_amplitude needs vae.likelihood gaussian")
        if (self.convolve_lsf or self.redshift_augmentation) and not self.resolving_power:
            raise ConfigError("vae.convolve_lsf and vae.redshift_augmentation need vae.resolving_power")
        if self.consistency_weight and not self.has_second_view:
            raise ConfigError(
                "vae.consistency_weight needs a second view: "
                "set vae.data_thinning or vae.redshift_augmentation"
            )
