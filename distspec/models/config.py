"""NEEDS A DOCSTRING."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class VAEConfig:
    """Architecture and objective of the VAE; what is off by default is not of the published one."""

    hidden_sizes: tuple[int, ...] = (512, 256, 128, 64)
    """Widths of the encoder's hidden layers, input side first; the decoder mirrors them."""
    dropout: tuple[float, ...] = (0.2, 0.2, 0.2, 0.1)
    """Dropout after each hidden layer, input side first."""
    decoder_dropout: bool = True
    """Dropout in the decoder, too."""
    n_latents: int = 16
    """Dimensions of the latent space."""
    l2: float = 1e-3
    """Weight of the summed squares of the hidden layers' kernels."""
    kl_weight: float = 1.0
    """Weight of the KL divergence to N(0, I)."""
    free_bits: float = 0.0
    """A latent's KL, as a mean over the batch, costs only what it exceeds this by [nat]."""
    likelihood: Literal["mse", "gaussian"] = "mse"
    """Squared error of arcsinh flux, or a Gaussian of linear flux with the archive's ivar and a floor …"""
    noise_floor: tuple[float, float] = (0.3, 0.05)
    """… which falls from the first to the second value, in standard deviations of the sample …"""
    noise_floor_steps: int = 600
    """… geometrically, in so many steps."""
    student_t_dof: float = 0.0
    """Degrees of freedom of a Student-t likelihood; 0: Gaussian."""
    standardize: bool = False
    """Give the networks pixels less their sample's mean, over its standard deviation."""
    ppca_init: bool = False
    """Begin as probabilistic PCA; the networks correct its posterior and its reconstruction."""
    impute_with_ppca: bool = False
    """Show the encoder PCA's estimate where pixels are masked or lost in noise, and where that is."""
    condition_on_z: bool = False
    """Give the redshift to the encoder and the decoder."""
    encoder_min_wave: float = 0.0
    """Hide pixels below this rest wavelength [Å] from the encoder: what the intergalactic medium eats."""
    profile_amplitude: bool = False
    """Scale the input by the mean spectrum's best amplitude, and the reconstruction by its own."""
    resolving_power: tuple[tuple[float, float], ...] = ()
    """(wavelength [um, observed], λ / FWHM) of the instrument; empty: not known."""
    convolve_lsf: bool = False
    """Decode what the instrument is yet to blur."""
    data_thinning: bool = False
    """Train on two halves of each spectrum's light, with independent noise, each to predict the other."""
    consistency_weight: float = 0.0
    """Weight of the agreement between a spectrum's latents and those of a second view of it …"""
    redshift_augmentation: bool = False
    """… degraded and cropped as if at another redshift, …"""
    noise_augmentation: float = 0.0
    """… with up to so many times its noise added, …"""
    scale_augmentation: float = 0.0
    """… scaled by a lognormal factor of this width."""
    calibrate_posteriors: bool = False
    """Widen posteriors until repeats of a source differ as much as they say."""

    @property
    def n_annealing_steps(self) -> int:
        """Steps after which the objective no longer changes: only then can epochs be compared."""
        return self.noise_floor_steps if self.likelihood == "gaussian" else 0

    @property
    def has_second_view(self) -> bool:
        """Whether each spectrum is encoded twice in training."""
        return (
            self.data_thinning
            or self.redshift_augmentation
            or self.noise_augmentation > 0
            or self.scale_augmentation > 0
        )

    def __post_init__(self) -> None:
        if len(self.hidden_sizes) != len(self.dropout) or not self.hidden_sizes:
            raise ValueError(
                f"vae.hidden_sizes {self.hidden_sizes} and vae.dropout {self.dropout}: give one dropout a hidden layer"
            )
        if min(self.hidden_sizes) < 1 or self.n_latents < 1:
            raise ValueError("vae.hidden_sizes and vae.n_latents must be positive")
        if any(not 0 <= rate < 1 for rate in self.dropout):
            raise ValueError(f"vae.dropout {self.dropout}: rates lie in [0, 1)")
        if not 0 < self.noise_floor[1] <= self.noise_floor[0] or self.noise_floor_steps < 1:
            raise ValueError(
                f"vae.noise_floor {self.noise_floor} must fall and stay positive, vae.noise_floor_steps be positive"
            )
        needs = ("ppca_init", "impute_with_ppca", "profile_amplitude")
        if not self.standardize and (asked := [name for name in needs if getattr(self, name)]):
            raise ValueError(f"vae.{asked[0]} needs vae.standardize")
        if self.likelihood == "mse" and (self.profile_amplitude or self.student_t_dof):
            raise ValueError("vae.profile-amplitude and vae.student_t_dof need --vae.likelihood gaussian")
        if (self.convolve_lsf or self.redshift_augmentation) and not self.resolving_power:
            raise ValueError("vae.convolve_lsf and vae.shift-z need vae.resolving_power, the instrument's")
        if self.consistency_weight and not self.has_second_view:
            raise ValueError(
                "vae.consistency_weight needs a second view: vae.data_thinning, shift-z, renoise or rescale"
            )
